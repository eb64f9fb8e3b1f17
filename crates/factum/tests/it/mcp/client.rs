//! A client of the tools over each way that leads to them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use factum_testkit::agents::Call;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Server, factum};

/// How long a tool may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `POST /mcp`.
    Http,
    /// `factum mcp` before a server.
    Forwarded,
    /// `factum mcp` that opens the data directory itself.
    Local,
}

/// A data directory, and a server on it where the door needs one.
pub(crate) struct Setting {
    door: Door,
    directory: TempDir,
    environment: Vec<(&'static str, &'static str)>,
    server: Option<Server>,
}

impl Setting {
    pub(crate) fn start(door: Door, environment: &[(&'static str, &'static str)]) -> Self {
        let mut setting = Self {
            door,
            directory: tempfile::tempdir().unwrap(),
            environment: environment.to_vec(),
            server: None,
        };
        setting.serve();
        setting
    }

    fn serve(&mut self) {
        if self.door == Door::Local {
            return;
        }
        let arguments: Vec<String> = self
            .environment
            .iter()
            .flat_map(|(name, value)| {
                let flag = name.trim_start_matches("FACTUM_").replace('_', "-");
                [format!("--{}", flag.to_lowercase()), (*value).to_owned()]
            })
            .collect();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if !arguments.contains(&"--log-level") {
            arguments.extend(["--log-level", "warn"]);
        }
        let server = Server::start_logging(&self.data(), &arguments, self.log());
        self.server = Some(server);
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> Stdio {
        let path = self.directory.path().join("log");
        let log = File::options().create(true).append(true).open(path);
        log.unwrap().into()
    }

    /// Kills the server, and starts it again.
    pub(crate) fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
        self.serve();
    }

    /// Ends everything in order, and returns what was logged.
    pub(crate) fn stop(&mut self, client: Client) -> Vec<u8> {
        client.stop();
        if let Some(server) = self.server.take() {
            assert_eq!(server.stop(), 0);
        }
        std::fs::read(self.directory.path().join("log")).unwrap()
    }

    /// Makes a client. Without a server there is one at a time.
    pub(crate) fn client(&self) -> Client {
        let data = self.data();
        if self.door == Door::Http {
            let run = std::fs::read(data.join("server.json")).unwrap();
            let run: Value = serde_json::from_slice(&run).unwrap();
            let url = run["url"].as_str().unwrap();
            let key = std::fs::read_to_string(data.join("admin.key")).unwrap();
            return Client::Http {
                address: url.strip_prefix("http://").unwrap().to_owned(),
                key: key.trim().to_owned(),
            };
        }
        let mut command = factum(&data);
        command.args(["mcp", "--write"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs(self.environment.iter().copied());
        command.stderr(self.log());
        Client::Pipe(Pipe::open(command.spawn().unwrap()))
    }
}

/// A client of the tools.
pub(crate) enum Client {
    Http { address: String, key: String },
    Pipe(Pipe),
}

impl Client {
    /// Calls a tool that answers.
    pub(crate) fn done(&self, call: &Call) -> Value {
        let result = self.call(call);
        assert_eq!(result["isError"], false, "{call:?}: {result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that refuses, and returns the document that says why.
    pub(crate) fn refused(&self, call: &Call) -> Value {
        let result = self.call(call);
        assert_eq!(result["isError"], true, "{call:?}: {result}");
        let text = result["content"][1]["text"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    }

    fn call(&self, call: &Call) -> Value {
        let params = json!({ "name": call.tool, "arguments": call.arguments });
        let answer = match self {
            Self::Http { address, key } => {
                let message =
                    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
                post(address, key, &message.to_string())
            }
            Self::Pipe(pipe) => pipe.ask("tools/call", &params),
        };
        answer["result"].clone()
    }

    /// Ends as a crash would, with whatever it was.
    pub(crate) fn kill(self) {
        if let Self::Pipe(mut pipe) = self {
            pipe.child.kill().unwrap();
        }
    }

    /// Ends in order.
    fn stop(self) {
        if let Self::Pipe(mut pipe) = self {
            drop(pipe.input.lock().unwrap().take());
            assert!(pipe.child.wait().unwrap().success());
        }
    }
}

fn post(address: &str, key: &str, message: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let n_bytes = message.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n\
         content-length: {n_bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(message.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

type Waiting = Arc<Mutex<HashMap<u64, mpsc::Sender<Value>>>>;

/// A process that answers over standard output, in whatever order.
pub(crate) struct Pipe {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Pipe {
    fn open(mut child: Child) -> Self {
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = Mutex::new(child.stdin.take());
        let waiting = Waiting::default();
        let waiting_for = Arc::clone(&waiting);
        // It ends with the process, whose output it reads.
        std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                let answer: Value = serde_json::from_str(&line).unwrap();
                let id = answer["id"].as_u64().unwrap();
                if let Some(asked) = waiting_for.lock().unwrap().remove(&id) {
                    asked.send(answer).unwrap_or_default();
                }
            }
        });
        let pipe = Self {
            child,
            input,
            waiting,
            next: AtomicU64::new(1),
        };
        let client = json!({ "name": "test", "version": "0" });
        let made = pipe.ask(
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}),
        );
        assert_eq!(made["result"]["protocolVersion"], "2025-11-25");
        pipe.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        pipe
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    fn write(&self, message: &Value) {
        let line = format!("{message}\n");
        let mut input = self.input.lock().unwrap();
        input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // A test that failed must not leave its process behind.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}
