//! NATS with JetStream.

use super::Certificate;
use super::process::{Directory, Process, command, free_port, listens, wait_until};

/// A NATS server with JetStream, with a user and a password.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    directory: Directory,
    port: u16,
}

impl NatsServer {
    /// The only user.
    pub const USER: &str = "factum";
    /// The password of the only user.
    pub const PASSWORD: &str = "nats secret";

    /// Starts a server, with TLS if there is a certificate.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[must_use]
    pub fn start(tls: Option<Certificate<'_>>) -> Self {
        let directory = Directory::make();
        let port = free_port();
        let tls = tls.map(|tls| {
            let (certificate, key) = directory.write_certificate(tls);
            format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, timeout: 10 }}\n")
        });
        let configuration = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?} }}\n\
             authorization {{ user: {:?}, password: {:?} }}\n{}",
            directory.path().join("data"),
            Self::USER,
            Self::PASSWORD,
            tls.unwrap_or_default(),
        );
        directory.write("nats.conf", &configuration);
        let process = Self::run(&directory);
        wait_until(&directory, "nats-server", || listens(port));
        Self {
            process,
            directory,
            port,
        }
    }

    fn run(directory: &Directory) -> Process {
        let mut server = command("nats-server", "nats-server");
        server.arg("-c").arg(directory.path().join("nats.conf"));
        Process::start(server, directory)
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
        wait_until(&self.directory, "nats-server", || listens(self.port));
    }
}
