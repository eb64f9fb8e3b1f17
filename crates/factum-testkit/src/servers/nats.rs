//! NATS with JetStream.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

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

    /// Makes a stream of the subjects that a pattern names, and a consumer that is sent all of it.
    /// The server has to be without TLS.
    ///
    /// # Panics
    /// When the server does not do so.
    #[must_use]
    pub fn consume(&self, stream: &str, subjects: &str) -> NatsConsumer {
        let mut consumer = NatsConsumer::connect(self.port);
        consumer.subscribe("answers", 1);
        let config = format!(r#"{{"name":"{stream}","subjects":["{subjects}"]}}"#);
        consumer.ask(&format!("$JS.API.STREAM.CREATE.{stream}"), &config);
        consumer.subscribe("messages", 2);
        let config = format!(
            r#"{{"stream_name":"{stream}","config":{{"deliver_subject":"messages","deliver_policy":"all","ack_policy":"none"}}}}"#
        );
        consumer.ask(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &config);
        consumer
    }
}

/// Who gets everything of a stream, in its order.
#[derive(Debug)]
pub struct NatsConsumer {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl NatsConsumer {
    fn connect(port: u16) -> Self {
        let writer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        writer
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let mut consumer = Self { reader, writer };
        let (user, password) = (NatsServer::USER, NatsServer::PASSWORD);
        consumer.send(&format!(
            r#"CONNECT {{"verbose":false,"pedantic":false,"headers":true,"user":"{user}","pass":"{password}"}}"#
        ));
        consumer
    }

    fn send(&mut self, line: &str) {
        self.writer
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
    }

    fn subscribe(&mut self, subject: &str, number: u32) {
        self.send(&format!("SUB {subject} {number}"));
    }

    fn ask(&mut self, subject: &str, config: &str) {
        let length = config.len();
        self.send(&format!("PUB {subject} answers {length}\r\n{config}"));
        let answer = self.next();
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
    }

    /// Waits for the next message, and returns what it says.
    ///
    /// # Panics
    /// When there is none for half a minute, or the server goes away.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it never ends by itself")]
    pub fn next(&mut self) -> Vec<u8> {
        loop {
            let mut line = String::new();
            let n_bytes = self.reader.read_line(&mut line).unwrap();
            assert!(n_bytes > 0, "the server has closed the connection");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.send("PONG"),
                ["MSG", .., length] => return self.body(0, length.parse().unwrap()),
                ["HMSG", .., headers, length] => {
                    return self.body(headers.parse().unwrap(), length.parse().unwrap());
                }
                ["-ERR", ..] => panic!("{line}"),
                _ => {}
            }
        }
    }

    fn body(&mut self, headers: usize, length: usize) -> Vec<u8> {
        // With the end of the line.
        let mut body = vec![0; length + 2];
        self.reader.read_exact(&mut body).unwrap();
        body.truncate(length);
        body.split_off(headers)
    }
}
