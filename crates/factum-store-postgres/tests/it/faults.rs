//! Connections that break, backends that are killed and servers that crash, under load: what was
//! acknowledged is there, once, and nobody is told anything else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use factum_model::{EventId, Position};
use factum_store::conformance::fixtures::{event, everything, request};
use factum_store::{AppendReceipt, EventStore};
use factum_store_postgres::{LeafPolicy, Options, Setup};
use factum_testkit::Random;
use factum_testkit::postgres::PrivateServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::opened;

const WRITERS: u64 = 8;

/// Returns how often a fault is made: as often as `FACTUM_FAULT_ROUNDS` says, else a few times.
pub(crate) fn rounds(few: u64) -> u64 {
    let named = std::env::var_os("FACTUM_FAULT_ROUNDS");
    named.map_or(few, |number| number.to_str().unwrap().parse().unwrap())
}

fn patient(options: Options) -> Options {
    Options {
        append_timeout: Duration::from_secs(60),
        read_timeout: Duration::from_secs(60),
        ..options
    }
}

/// Appends from several tasks until `stop` is set. Every request succeeds: where a connection is
/// lost the store finds out what became of it.
pub(crate) fn write(
    nodes: &[Arc<dyn EventStore>],
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> JoinSet<Vec<AppendReceipt>> {
    let mut writers = JoinSet::new();
    for (writer, node) in (0..WRITERS).zip(nodes.iter().cycle()) {
        let (node, stop, done) = (Arc::clone(node), Arc::clone(stop), Arc::clone(done));
        writers.spawn(async move {
            let mut random = Random::seeded(writer);
            let mut receipts = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let of = format!("form/f-{}", random.below(10));
                let events = (0..=random.below(3)).map(|_| event("a", &of)).collect();
                receipts.push(node.append(request(events)).await.unwrap());
                done.fetch_add(1, Ordering::Relaxed);
            }
            receipts
        });
    }
    writers
}

/// Waits until so many more requests are answered.
pub(crate) async fn wait_for_more(done: &AtomicU64, n_requests: u64) {
    let goal = done.load(Ordering::Relaxed) + n_requests;
    while done.load(Ordering::Relaxed) < goal {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that the log is what the receipts say, and nothing else.
pub(crate) async fn check(store: &Arc<dyn EventStore>, receipts: Vec<Vec<AppendReceipt>>) {
    let mut promised: HashMap<EventId, Position> = HashMap::new();
    for receipt in receipts.into_iter().flatten().flat_map(|each| each.events) {
        assert!(!receipt.deduplicated, "nobody has repeated anything");
        promised.insert(receipt.id, receipt.position);
    }
    let log = everything(store).await;
    eprintln!(
        "{} events acknowledged, {} there",
        promised.len(),
        log.len()
    );
    assert_eq!(log.len(), promised.len());
    let mut versions = HashMap::new();
    for (event, expected) in log.iter().zip(1..) {
        assert_eq!(event.position.get(), expected);
        assert_eq!(promised.get(&event.id), Some(&event.position));
        let version = versions.entry(event.aggregate_id().to_owned()).or_insert(0);
        *version += 1;
        assert_eq!(event.sequence_number.get(), *version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_backends_lose_nothing() {
    let (database, options) = opened::database(LeafPolicy::Events(300)).await;
    let options = patient(options);
    let mut nodes: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..2 {
        nodes.push(Arc::new(opened::open(&options).await));
    }
    let (stop, done) = (Arc::default(), Arc::default());
    let writers = write(&nodes, &stop, &done);
    for _ in 0..rounds(10) {
        wait_for_more(&done, 20).await;
        database.psql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
    wait_for_more(&done, 20).await;
    stop.store(true, Ordering::Relaxed);
    let receipts = writers.join_all().await;
    check(&nodes[1], receipts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_loses_nothing() {
    let mut server = PrivateServer::start();
    Setup::default().run(&server.url()).await.unwrap();
    let options = patient(Options::at(server.url()));
    let mut nodes: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..2 {
        nodes.push(Arc::new(opened::open(&options).await));
    }
    let (stop, done) = (Arc::default(), Arc::default());
    let writers = write(&nodes, &stop, &done);
    for _ in 0..rounds(3) {
        wait_for_more(&done, 50).await;
        tokio::task::block_in_place(|| {
            server.stop_immediately();
            server.resume();
        });
    }
    wait_for_more(&done, 50).await;
    stop.store(true, Ordering::Relaxed);
    let receipts = writers.join_all().await;
    check(&nodes[1], receipts).await;
}

/// The server fails, and the standby that has confirmed every commit takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_has_everything() {
    let mut primary = PrivateServer::start();
    Setup::default().run(&primary.url()).await.unwrap();
    let standby = tokio::task::block_in_place(|| primary.start_standby());
    let (client, connection) = tokio_postgres::connect(&primary.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    let mut mover = JoinSet::new();
    mover.spawn(connection);
    for act in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        client.batch_execute(act).await.unwrap();
    }
    let confirms = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    while client
        .query_one(confirms, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        sleep(Duration::from_millis(50)).await;
    }
    let options = patient(Options::at(primary.url_with(&standby)));
    let node: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    let (stop, done) = (Arc::default(), Arc::default());
    let writers = write(&[Arc::clone(&node)], &stop, &done);
    wait_for_more(&done, 50).await;
    tokio::task::block_in_place(|| {
        primary.stop_immediately();
        standby.promote();
    });
    wait_for_more(&done, 50).await;
    stop.store(true, Ordering::Relaxed);
    let receipts = writers.join_all().await;
    check(&node, receipts).await;
}

/// A socket before that of the server, which now and then takes a question to the server and does
/// not bring the answer back.
struct CuttingProxy {
    directory: tempfile::TempDir,
    cut: Arc<AtomicBool>,
    n_cut: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

const SOCKET: &str = ".s.PGSQL.5432";

impl CuttingProxy {
    fn before(sockets: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let n_cut = Arc::new(AtomicU64::new(0));
        let (server, flag, count) = (sockets.join(SOCKET), Arc::clone(&cut), Arc::clone(&n_cut));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (flag, count) = (Arc::clone(&flag), Arc::clone(&count));
                connections.spawn(carry(client, server.clone(), flag, count));
            }
        });
        Self {
            directory,
            cut,
            n_cut,
            _tasks: tasks,
        }
    }
}

async fn carry(
    mut client: UnixStream,
    server: PathBuf,
    cut: Arc<AtomicBool>,
    n_cut: Arc<AtomicU64>,
) {
    let Ok(mut server) = UnixStream::connect(server).await else {
        return;
    };
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(n_bytes @ 1..) => {
                    if server.write_all(&asked[..n_bytes]).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            },
            read = server.read(&mut answered) => match read {
                Ok(n_bytes @ 1..) => {
                    // The server has done it, and whoever asked will not hear of it.
                    if cut.swap(false, Ordering::Relaxed) {
                        n_cut.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    if client.write_all(&answered[..n_bytes]).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_is_found_out() {
    let (database, options) = opened::database(LeafPolicy::Monthly).await;
    let sockets = database.sockets();
    let proxy = CuttingProxy::before(sockets);
    let host = |path: &Path| path.to_string_lossy().replace('/', "%2F");
    let url = options
        .url
        .replace(&host(sockets), &host(proxy.directory.path()));
    // One connection that does nothing but append, so that it is mostly an append's answer.
    let quiet = Options {
        url,
        notify: false,
        poll_interval: Duration::from_secs(3600),
        ..patient(options)
    };
    let node: Arc<dyn EventStore> = Arc::new(opened::open(&quiet).await);
    let (stop, done) = (Arc::default(), Arc::default());
    let writers = write(&[Arc::clone(&node)], &stop, &done);
    let n_rounds = rounds(15);
    for _ in 0..n_rounds {
        wait_for_more(&done, 10).await;
        proxy.cut.store(true, Ordering::Relaxed);
    }
    wait_for_more(&done, 20).await;
    stop.store(true, Ordering::Relaxed);
    let receipts = writers.join_all().await;
    assert!(proxy.n_cut.load(Ordering::Relaxed) + 4 > n_rounds);
    check(&node, receipts).await;
    let metrics = node.metrics().values.into_iter().collect::<HashMap<_, _>>();
    assert!(
        metrics["postgres_connections_lost_total"] > 0,
        "{metrics:?}"
    );
}

/// Without a server appends are refused in time, and when it is back they are taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_appends_are_refused_in_time() {
    let mut server = PrivateServer::start();
    Setup::default().run(&server.url()).await.unwrap();
    let options = Options {
        append_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        ..Options::at(server.url())
    };
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    store
        .append(request(vec![event("a", "form/f-1")]))
        .await
        .unwrap();
    tokio::task::block_in_place(|| server.stop_immediately());
    let error = store
        .append(request(vec![event("a", "form/f-1")]))
        .await
        .unwrap_err();
    assert_eq!(error.code().as_str(), "unavailable", "{error:?}");
    let read = factum_store::LogRead {
        time_max: Duration::from_secs(1),
        ..factum_store::LogRead::forwards()
    };
    let error = store.read_log(read).await.unwrap_err();
    assert_eq!(error.code().as_str(), "unavailable", "{error:?}");
    let writes = store.health().writes;
    assert!(
        matches!(writes, factum_store::WriteState::Failed { .. }),
        "{writes:?}"
    );
    tokio::task::block_in_place(|| server.resume());
    store
        .append(request(vec![event("a", "form/f-1")]))
        .await
        .unwrap();
    assert_eq!(store.health().writes, factum_store::WriteState::Open);
    assert_eq!(everything(&store).await.len(), 2);
}
