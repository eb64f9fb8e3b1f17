//! Nodes over one PostgreSQL are killed, and stopped and woken, under load. Clients go on at another
//! node with the same request; what was acknowledged is there exactly once, and nobody sees a gap.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use factum_testkit::Random;
use factum_testkit::postgres::Database;
use tempfile::TempDir;

use crate::client::Client;
use crate::crash::{Knowledge, Shared, check, ids, learn, request};
use crate::server::{Server, until};

const NODES: usize = 3;
const WRITERS: u64 = 6;
/// How long a client waits for an answer before it asks another node.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);

/// Returns how often a node is killed or stopped.
fn rounds(few: u64) -> u64 {
    let named = std::env::var("FACTUM_FAULT_ROUNDS").ok();
    named.map_or(few, |number| number.parse().unwrap())
}

/// The nodes, which come and go.
struct Nodes {
    database: Database,
    directories: Vec<TempDir>,
    servers: Vec<Mutex<Server>>,
    key: String,
}

impl Nodes {
    fn start() -> Self {
        let database = Database::create();
        let directories: Vec<_> = (0..NODES).map(|_| tempfile::tempdir().unwrap()).collect();
        let url = database.url();
        let mut init = std::process::Command::new(crate::server::program());
        init.args(["postgres", "init", "--postgres", &url, "--leaves", "500"]);
        assert!(init.output().unwrap().status.success());
        let servers = directories.iter().map(|directory| start(directory, &url));
        let servers: Vec<_> = servers.map(Mutex::new).collect();
        let key = servers[0].lock().unwrap().key();
        Self {
            database,
            directories,
            servers,
            key,
        }
    }

    fn server(&self, number: usize) -> MutexGuard<'_, Server> {
        self.servers[number % NODES].lock().unwrap()
    }

    fn client(&self, number: usize) -> Client {
        self.client_with(number, CLIENT_PATIENCE)
    }

    fn client_with(&self, number: usize, patience: Duration) -> Client {
        let url = self.server(number).url.clone();
        let address = url.strip_prefix("http://").unwrap();
        Client::with_patience(address, &self.key, patience)
    }

    fn kill(&self, number: usize) {
        let mut server = self.server(number);
        server.kill();
        *server = start(&self.directories[number % NODES], &self.database.url());
    }
}

fn start(directory: &TempDir, url: &str) -> Server {
    Server::start(directory.path(), &["--postgres", url])
}

/// What the load has come to, and when it is to end.
#[derive(Default)]
struct Load {
    knowledge: Shared,
    numbers: AtomicU64,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Waits until so many more requests are answered.
    fn wait_for(&self, n_requests: u64) {
        let goal = self.answered.load(Ordering::SeqCst) + n_requests;
        until("others go on", || {
            (self.answered.load(Ordering::SeqCst) >= goal).then_some(())
        });
    }

    /// Appends, and takes each request to one node after the other until it is acknowledged.
    fn write(&self, nodes: &Nodes, writer: usize) {
        let mut at = writer;
        let mut client = nodes.client(at);
        while self.goes_on() {
            let request = request(writer as u64, &self.numbers);
            self.knowledge.lock().unwrap().sent.push(ids(&request));
            until("a request is answered", || {
                match client.post("/v1/events", &request) {
                    Ok((200 | 201, receipt)) => {
                        learn(&mut self.knowledge.lock().unwrap(), &receipt);
                        return Some(());
                    }
                    Ok((status, body)) => {
                        assert!(matches!(status, 429 | 500..), "{status} {body}");
                    }
                    Err(_) => {}
                }
                at += 1;
                client = nodes.client(at);
                None
            });
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Reads on at one node after the other, and misses nothing.
    fn read(&self, nodes: &Nodes) {
        let (mut at, mut after) = (0, 0);
        let mut client = nodes.client(at);
        while self.goes_on() {
            let path = format!("/v1/events?after={after}&limit=1000");
            let Ok((200, page)) = client.get(&path) else {
                at += 1;
                client = nodes.client(at);
                continue;
            };
            for event in page["events"].as_array().unwrap() {
                let position = event["position"].as_u64().unwrap();
                assert_eq!(position, after + 1, "a position is missing");
                after = position;
                let id = event["id"].as_str().unwrap().to_owned();
                let mut knowledge = self.knowledge.lock().unwrap();
                knowledge.seen.insert(position, id);
            }
        }
    }
}

/// Does something to one node after the other under load, and checks what is left.
fn torture(n_rounds: u64, what: &str, fault: impl Fn(&Nodes, &Load, usize, &mut Random)) {
    let nodes = Nodes::start();
    let load = Load::default();
    load.numbers.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (nodes, load) = (&nodes, &load);
            let writer = usize::try_from(writer).unwrap();
            scope.spawn(move || load.write(nodes, writer));
        }
        scope.spawn(|| load.read(&nodes));
        // Whatever fails here, the load ends.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut random = Random::seeded(n_rounds);
            for round in 0..n_rounds {
                std::thread::park_timeout(Duration::from_millis(random.below(200)));
                fault(&nodes, &load, usize::try_from(round).unwrap(), &mut random);
            }
            load.wait_for(20);
        }));
        load.stop.store(true, Ordering::SeqCst);
        done.unwrap();
    });
    // Counts over everything take longer than an append.
    let mut client = nodes.client_with(0, Duration::from_secs(60));
    check(&mut client, &load.knowledge);
    let known: MutexGuard<'_, Knowledge> = load.knowledge.lock().unwrap();
    eprintln!(
        "{n_rounds} {what}, {} events acknowledged",
        known.acknowledged.len()
    );
}

#[test]
fn nodes_that_are_killed_lose_nothing() {
    torture(rounds(6), "nodes killed", |nodes, load, round, _| {
        nodes.kill(round);
        load.wait_for(10);
    });
}

/// A node that stops does nothing for a while and then goes on where it was, with requests in its
/// hands that were sent to other nodes meanwhile.
#[test]
fn nodes_that_are_stopped_and_woken_do_nothing_twice() {
    torture(rounds(6), "nodes stopped", |nodes, load, round, random| {
        let server = nodes.server(round);
        server.signal(rustix::process::Signal::STOP);
        drop(server);
        // The others are not held up: each client needs its patience to find them.
        load.wait_for(20);
        std::thread::park_timeout(Duration::from_millis(random.below(500)));
        nodes.server(round).signal(rustix::process::Signal::CONT);
        load.wait_for(10);
    });
}
