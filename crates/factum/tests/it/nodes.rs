//! Several nodes of one log, which are killed and started again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use factum_testkit::Random;
use serde_json::Value;

use crate::harness::{Server, until};

/// How nodes are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Anew at each start: what one had when it was killed is nobody's until its time is up.
    AtRandom,
    /// Always the same: a node that is started again gives back what it had.
    Kept,
}

/// The nodes of one log. Some may be away.
pub(crate) struct Nodes {
    naming: Naming,
    directories: Vec<PathBuf>,
    arguments: Vec<String>,
    pub(crate) servers: Vec<Mutex<Option<Server>>>,
}

impl Nodes {
    pub(crate) fn start(root: &Path, n_nodes: usize, naming: Naming, more: &[&str]) -> Self {
        let directories: Vec<_> = (0..n_nodes)
            .map(|n| root.join(format!("node-{n}")))
            .collect();
        let arguments = ["--insecure-no-auth", "--subscriptions-lease-ms", "2000"];
        let arguments = arguments.iter().chain(more).map(|&word| word.to_owned());
        let nodes = Self {
            naming,
            servers: directories.iter().map(|_| Mutex::new(None)).collect(),
            directories,
            arguments: arguments.collect(),
        };
        for node in 0..n_nodes {
            nodes.begin(node);
        }
        nodes
    }

    fn begin(&self, node: usize) {
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        arguments.extend(["--log-level", "error"]);
        let name = format!("node-{node}");
        if self.naming == Naming::Kept {
            arguments.extend(["--node-name", &name]);
        }
        let log = std::process::Stdio::inherit();
        let server = Server::start_logging(&self.directories[node], &arguments, log);
        *self.servers[node].lock().unwrap() = Some(server);
    }

    /// Kills a node and starts it again.
    pub(crate) fn crash(&self, node: usize) {
        let server = self.servers[node].lock().unwrap().take();
        if let Some(server) = server {
            server.kill();
        }
        self.begin(node);
    }

    /// Sends a request to a node; `None` if it is away or dies.
    pub(crate) fn ask(
        &self,
        node: usize,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let (status, text) = self.exchange(node, method, path, &body.to_string())?;
        Some((status, serde_json::from_str(&text).ok()?))
    }

    /// Returns a value of the metrics page of a node, if it is there.
    pub(crate) fn metric(&self, node: usize, name: &str) -> Option<u64> {
        let (_, page) = self.exchange(node, "GET", "/metrics", "")?;
        let value = page.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse().ok()
    }

    fn exchange(&self, node: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let run = std::fs::read(self.directories[node].join("server.json")).ok()?;
        let run: Value = serde_json::from_slice(&run).ok()?;
        let address = run["url"].as_str()?.strip_prefix("http://")?.to_owned();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            chunked(body)
        } else {
            body.to_owned()
        };
        Some((status, body))
    }

    /// Appends events through any node that is there. Their ids make it safe to ask again, whatever
    /// became of the first time.
    pub(crate) fn append(&self, random: &mut Random, body: &Value) {
        until("events are appended", || {
            let node = random.index(self.servers.len());
            let answer = self.ask(node, "POST", "/v1/events", body);
            answer
                .filter(|(status, _)| matches!(status, 200 | 201))
                .map(drop)
        });
    }
}

fn chunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        text.push_str(rest.get(..size).unwrap_or_default());
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}
