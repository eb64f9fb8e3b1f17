//! Nodes that are stopped past the end of their lease and woken: what such a node writes is
//! refused, and nothing of it comes behind what its successor has written.
//!
//! The nodes are processes of their own, so that they can be stopped: this test started again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use factum_store::conformance::state::fixtures::id;
use factum_store::{
    Acquire, Acquired, Batch, Change, EventStore, Fence, Precondition, Put, RecordScan, StateError,
    StateStore,
};
use factum_store_postgres::{LeafPolicy, Options, PostgresStateStore, StateOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::{check, rounds, wait_for_more, write};
use crate::opened;

/// Where a node finds the database, and what it is called.
const URL: &str = "FACTUM_STOPPED_NODE_URL";
const NAME: &str = "FACTUM_STOPPED_NODE_NAME";
/// What the lease protects.
const LEASE: &str = "owner";
const LEASE_TTL: Duration = Duration::from_millis(300);
/// How long anything may take that others do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It was granted the lease under an epoch.
    Granted(u64),
    /// A write under an epoch, counted from one, was acknowledged.
    Wrote(u64, u64),
    /// The lease was lost: a write under an epoch was refused.
    Refused(u64),
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let what = words.next()?;
        let epoch = words.next()?.parse().ok()?;
        match what {
            "granted" => Some(Self::Granted(epoch)),
            "wrote" => Some(Self::Wrote(epoch, words.next()?.parse().ok()?)),
            "refused" => Some(Self::Refused(epoch)),
            _ => None,
        }
    }
}

/// Whoever holds the lease writes, one record after the other, and looks at no clock: the store
/// has to know whose turn it is.
async fn serve(url: String, name: String) {
    let store = PostgresStateStore::open(StateOptions::beside(Options::at(url)));
    let store = store.await.unwrap();
    loop {
        let acquired = store.acquire(Acquire {
            name: LEASE.parse().unwrap(),
            owner: name.parse().unwrap(),
            ttl: LEASE_TTL,
        });
        match acquired.await {
            Ok(Acquired::Granted(lease)) => hold(&store, &lease.fence()).await,
            Ok(Acquired::Held(_)) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn hold(store: &PostgresStateStore, fence: &Fence) {
    let epoch = fence.epoch.get();
    println!("granted {epoch}");
    for number in 1_u64.. {
        let of = id(&format!("written/{epoch:020}-{number:010}"));
        let batch = Batch {
            changes: vec![Change::put(of, Precondition::Any, Put::new(*b"x"))],
            fences: vec![fence.clone()],
        };
        match store.apply(batch).await {
            Ok(_) => println!("wrote {epoch} {number}"),
            Err(StateError::LeaseLost { .. }) => {
                println!("refused {epoch}");
                return;
            }
            Err(error) => eprintln!("{error}"),
        }
        // A renewal that is refused is told by the next write as well.
        drop(store.renew(fence.clone(), LEASE_TTL).await);
    }
}

/// A node as a process of its own.
struct Node {
    process: Child,
}

impl Node {
    #[expect(clippy::disallowed_methods, reason = "a test starts itself as a node")]
    fn start(url: &str, name: &str, heard: Sender<(String, Said)>) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "stopped::a_node_that_was_stopped_is_refused_when_it_wakes",
                "--exact",
            ])
            .arg("--nocapture")
            .env(URL, url)
            .env(NAME, name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let name = name.to_owned();
        std::thread::spawn(move || {
            for said in lines
                .map_while(Result::ok)
                .filter_map(|line| Said::parse(&line))
            {
                if heard.send((name.clone(), said)).is_err() {
                    return;
                }
            }
        });
        Self { process }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What was heard of all nodes.
struct Heard {
    from: Receiver<(String, Said)>,
    wrote: Vec<(u64, u64)>,
    /// The epochs of which the end was told.
    refused: HashSet<u64>,
}

impl Heard {
    fn note(&mut self, said: Said) {
        match said {
            Said::Granted(_) => {}
            Said::Wrote(epoch, number) => self.wrote.push((epoch, number)),
            Said::Refused(epoch) => {
                self.refused.insert(epoch);
            }
        }
    }

    /// Waits until some node says what is waited for.
    fn until<T>(&mut self, what: &str, wanted: impl Fn(&str, Said) -> Option<T>) -> T {
        loop {
            let (name, said) = match self.from.recv_timeout(PATIENCE) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what}: not within {PATIENCE:?}")
                }
            };
            self.note(said);
            if let Some(found) = wanted(&name, said) {
                return found;
            }
        }
    }
}

/// Under load, whoever holds the lease is stopped, another takes over and writes, and the first is
/// woken: its next write is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_is_refused_when_it_wakes() {
    if let (Some(url), Some(name)) = (std::env::var_os(URL), std::env::var_os(NAME)) {
        serve(url.into_string().unwrap(), name.into_string().unwrap()).await;
        return;
    }
    let (database, options) = opened::database(LeafPolicy::Monthly).await;
    let (heard, from) = channel();
    let nodes: HashMap<_, _> = ["one", "two", "three"]
        .map(|name| (name, Node::start(&options.url, name, heard.clone())))
        .into();
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    let (stop, done) = (Arc::default(), Arc::default());
    let writers = write(&[Arc::clone(&store)], &stop, &done);
    let mut heard = Heard {
        from,
        wrote: Vec::new(),
        refused: HashSet::new(),
    };
    let (n_rounds, mut n_stopped) = (rounds(5), 0);
    while n_stopped < n_rounds {
        let (owner, old) = tokio::task::block_in_place(|| {
            heard.until("somebody writes", |name, said| match said {
                Said::Wrote(epoch, number) => (number > 2).then(|| (name.to_owned(), epoch)),
                Said::Granted(_) | Said::Refused(_) => None,
            })
        });
        let node = &nodes[owner.as_str()];
        node.signal(Signal::STOP);
        tokio::task::block_in_place(|| {
            heard.until("another takes over", |name, said| match said {
                Said::Wrote(epoch, _) => (epoch > old && name != owner).then_some(()),
                Said::Granted(_) | Said::Refused(_) => None,
            });
            node.signal(Signal::CONT);
            // It may have lost the lease before it was stopped, as one that is too slow.
            if !heard.refused.contains(&old) {
                heard.until("the old owner is refused", |_, said| {
                    (said == Said::Refused(old)).then_some(())
                });
                n_stopped += 1;
            }
        });
        wait_for_more(&done, 5).await;
    }
    drop(nodes);
    while let Ok((_, said)) = heard.from.try_recv() {
        heard.note(said);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    check(&store, writers.join_all().await).await;
    check_written(&options, &heard.wrote).await;
    eprintln!(
        "{n_rounds} owners were stopped, {} writes",
        heard.wrote.len()
    );
    drop(database);
}

/// What was acknowledged is there, and in the order of the epochs.
async fn check_written(options: &Options, wrote: &[(u64, u64)]) {
    let opened = PostgresStateStore::open(StateOptions::beside(options.clone()));
    let store: Arc<dyn StateStore> = Arc::new(opened.await.unwrap());
    let mut by_version = BTreeMap::new();
    let mut scan = RecordScan::all("written".parse().unwrap());
    loop {
        let page = store.scan(scan.clone()).await.unwrap();
        for record in page.records {
            let key = record.id.key.as_str().to_owned();
            by_version.insert(record.version.get(), key);
        }
        match page.next {
            Some(next) => scan.after = Some(next),
            None => break,
        }
    }
    let keys: HashSet<_> = by_version.values().cloned().collect();
    for (epoch, number) in wrote {
        let key = format!("{epoch:020}-{number:010}");
        assert!(keys.contains(&key), "{key} was acknowledged");
    }
    // Only what was on its way when its node was killed has not been told.
    assert!(keys.len() <= wrote.len() + 3);
    assert!(by_version.values().is_sorted(), "a stale owner has written");
}
