//! Redis.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Certificate;
use super::process::{Directory, Process, command, free_port, wait_until};

/// A Redis server with a user and a password.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    directory: Directory,
    port: u16,
    authority: Option<PathBuf>,
}

impl RedisServer {
    /// The user who may do everything.
    pub const USER: &str = "factum";
    /// The password of the user.
    pub const PASSWORD: &str = "redis-secret";

    /// Starts a server, with TLS if there is a certificate.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[must_use]
    pub fn start(tls: Option<Certificate<'_>>) -> Self {
        let directory = Directory::make();
        let port = free_port();
        let mut authority = None;
        let listener = match tls {
            Some(tls) => {
                let (certificate, key) = directory.write_certificate(tls);
                let listener = format!(
                    "port 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\n\
                     tls-auth-clients no\n",
                    certificate.display(),
                    key.display(),
                );
                authority = Some(certificate);
                listener
            }
            None => format!("port {port}\n"),
        };
        let configuration = format!(
            "bind 127.0.0.1\ndir {}\nappendonly yes\nappendfsync always\nuser default off\n\
             user {} on >{} ~* &* +@all\n{listener}",
            directory.path().display(),
            Self::USER,
            Self::PASSWORD,
        );
        directory.write("redis.conf", &configuration);
        let server = Self {
            process: Self::run(&directory),
            directory,
            port,
            authority,
        };
        server.wait();
        server
    }

    fn run(directory: &Directory) -> Process {
        let mut server = command("redis-server", "redis-server");
        server.arg(directory.path().join("redis.conf"));
        Process::start(server, directory)
    }

    fn wait(&self) {
        wait_until(&self.directory, "redis-server", || {
            self.ask(&["PING"])
                .is_some_and(|said| said.trim() == "PONG")
        });
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut client: Command = command("redis-cli", "redis-tools");
        client
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args([
                "--user",
                Self::USER,
                "--pass",
                Self::PASSWORD,
                "--no-auth-warning",
            ]);
        if let Some(authority) = &self.authority {
            client.args(["--tls", "--cacert"]).arg(authority);
        }
        let output = client.args(words).stdin(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives the server a command and returns what it says.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        self.ask(words).unwrap()
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again after it was killed, with what it has on disk.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        self.process = Self::run(&self.directory);
        self.wait();
    }
}
