//! A broker that speaks the Kafka protocol: Tansu, with its log in memory.

use std::path::{Path, PathBuf};

use super::process::{Directory, Process, command, free_port, listens, wait_until};

/// A broker. No package of Debian has one, so it is there only where somebody installed it.
#[derive(Debug)]
pub struct KafkaServer {
    _process: Process,
    _directory: Directory,
    program: String,
    port: u16,
}

impl KafkaServer {
    /// Starts a broker; `None`, with a word about it, where none is installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            println!(
                "left out: no broker of the Kafka protocol is installed (cargo xtask kafka); the \
                 brokers within the tests are what the target was checked against"
            );
            return None;
        };
        let program = program.display().to_string();
        let directory = Directory::make();
        let port = free_port();
        let url = format!("tcp://127.0.0.1:{port}");
        let mut broker = command(&program, "none");
        broker.args(["broker", "--listener-url", &url]);
        broker.args(["--advertised-listener-url", &url]);
        broker.args(["--storage-engine", "memory://tansu/"]);
        let process = Process::start(broker, &directory);
        wait_until(&directory, "tansu", || listens(port));
        Some(Self {
            _process: process,
            _directory: directory,
            program,
            port,
        })
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        let url = format!("tcp://127.0.0.1:{}", self.port);
        let mut create = command(&self.program, "none");
        create.args(["topic", "create", "--broker", &url]);
        create.args(["--partitions", &partitions.to_string(), name]);
        let made = create.output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Looks where `cargo xtask kafka` puts it, and where programs are.
fn program() -> Option<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let tools = crates.and_then(Path::parent)?.join("target/tools/bin");
    [tools, "/usr/local/bin".into(), "/usr/bin".into()]
        .into_iter()
        .map(|place| place.join("tansu"))
        .find(|program| program.exists())
}
