//! A server full of sessions, and clients of its tools over both transports.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Act, Outcome, Size};

/// The tools that are measured.
pub(crate) const CALLS: &[&str] = &[
    "mcp_meta_emit_event",
    "mcp_meta_heartbeat",
    "mcp_meta_log_command",
    "mcp_meta_query_events",
    "mcp_meta_get_latest_events",
    "mcp_meta_replay_events",
    "mcp_meta_get_event_aggregates",
    "mcp_meta_get_instance_details",
    "mcp_meta_list_instances",
    "mcp_meta_search_commands",
    "mcp_meta_create_checkpoint",
    "mcp_meta_resume_instance",
    "factum_append",
    "factum_query",
    "factum_count",
    "factum_read",
];

/// A server with its sessions, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
    program: String,
    address: String,
    size: Size,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// Starts the program on the directory `data` within another.
fn spawn(program: &str, directory: &Path) -> Outcome<(Child, String)> {
    let data = directory.join("data");
    let child = Command::new(program)
        .arg("--data")
        .arg(&data)
        .args(["serve", "--listen", "127.0.0.1:0", "--insecure-no-auth"])
        .args(["--sessions-stale-ms", "86400000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let address = address(&data.join("server.json"))?;
    Ok((child, address))
}

/// Returns the id of an instance.
pub(crate) fn instance(number: usize) -> String {
    format!("load-PS-{number:06x}")
}

/// Returns type and data of an event of an instance.
pub(crate) fn event(number: usize) -> (&'static str, String) {
    match number % 4 {
        _ if number == 0 => (
            "instance_registered",
            r#"{"instance_type":"PS","project":"load"}"#.to_owned(),
        ),
        0 => (
            "instance_heartbeat",
            format!(
                r#"{{"context_percent":{},"current_epic":"epic-7"}}"#,
                number % 70
            ),
        ),
        1 => (
            "test_passed",
            format!(
                r#"{{"test_type":"unit","passed_count":{number},"failed_count":0,"duration_seconds":3.5,"epic_id":"epic-7"}}"#
            ),
        ),
        2 => (
            "commit_created",
            format!(
                r#"{{"commit_hash":"{number:040x}","message":"change {number} of many","branch":"main","files_changed":3}}"#
            ),
        ),
        _ => (
            "task_spawned",
            format!(
                r#"{{"task_type":"review","subagent_type":"reviewer","task_id":"t-{number}","epic_id":"epic-7"}}"#
            ),
        ),
    }
}

impl Server {
    /// Starts a server, fills it, and starts it again.
    pub(crate) fn start(program: &str, size: Size) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let (child, address) = spawn(program, directory.path())?;
        let mut server = Self {
            child,
            directory,
            program: program.to_owned(),
            address,
            size,
        };
        let began = Instant::now();
        server.fill()?;
        let n_events = size.n_instances * size.events_each;
        println!(
            "{n_events} events of {} instances in {:?}",
            size.n_instances,
            began.elapsed()
        );
        server.child.kill()?;
        server.child.wait()?;
        std::fs::remove_file(server.directory.path().join("data/server.json"))?;
        let began = Instant::now();
        let (child, address) = spawn(program, server.directory.path())?;
        server.child = child;
        server.address = address;
        let listening = began.elapsed();
        server.http("mcp_meta_list_instances", 0)?(0)?;
        println!(
            "killed and started again: it listens after {listening:?}, and has listed instances after {:?}",
            began.elapsed()
        );
        println!("{}\n", server.memory()?);
        Ok(server)
    }

    /// Says how much memory the server has that is not of files.
    fn memory(&self) -> Outcome<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        Ok(format!("memory of the server: {}", line.unwrap_or("unknown")))
    }

    fn fill(&self) -> Outcome<()> {
        let mut connection = TcpStream::connect(&self.address)?;
        // Every instance begins before any goes on, as they would beside each other.
        for number in 0..self.size.events_each {
            let (event_type, data) = event(number);
            let mut body = String::new();
            for of in 0..self.size.n_instances {
                let id = instance(of);
                body.push_str(&format!(
                    "{{\"type\":\"{event_type}\",\"aggregateType\":\"agent_session\",\"aggregateId\":\"{id}\",\"payload\":{data}}}\n"
                ));
            }
            let head = format!(
                "POST /v1/events/bulk HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
                self.address,
                body.len()
            );
            connection.write_all(head.as_bytes())?;
            connection.write_all(body.as_bytes())?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(answer.into());
            }
            connection = TcpStream::connect(&self.address)?;
        }
        Ok(())
    }

    fn arguments(&self, call: &str, client: usize, number: usize) -> String {
        let id = instance((client * 31 + number * 7) % self.size.n_instances);
        match call {
            "mcp_meta_emit_event" => {
                let (event_type, data) = event(1 + number);
                format!(
                    r#"{{"instance_id":"{id}","event_type":"{event_type}","event_data":{data}}}"#
                )
            }
            "mcp_meta_heartbeat" => {
                format!(
                    r#"{{"instance_id":"{id}","context_percent":{},"current_epic":"epic-7"}}"#,
                    number % 70
                )
            }
            "mcp_meta_log_command" => format!(
                r#"{{"instance_id":"{id}","action":"Bash","details":{{"description":"cargo test {number}","result":{{"success":true}}}}}}"#
            ),
            "mcp_meta_query_events" => {
                format!(
                    r#"{{"instance_id":"{id}","filters":{{"event_type":["test_passed","commit_created"]}},"limit":100}}"#
                )
            }
            "mcp_meta_get_latest_events" => format!(r#"{{"instance_id":"{id}","limit":10}}"#),
            "mcp_meta_replay_events" => {
                format!(r#"{{"instance_id":"{id}","to_sequence_num":100}}"#)
            }
            "mcp_meta_list_instances" => r#"{"project":"load","limit":100}"#.to_owned(),
            "mcp_meta_create_checkpoint" => {
                format!(
                    r#"{{"instance_id":"{id}","checkpoint_type":"manual","note":"checkpoint {number}"}}"#
                )
            }
            "mcp_meta_resume_instance" => format!(r#"{{"instance_id_hint":"{id}","force":true}}"#),
            "factum_append" => format!(
                r#"{{"events":[{{"type":"bench.ran","aggregateType":"bench","aggregateId":"b-{client}","payload":{{"n":{number}}}}}]}}"#
            ),
            "factum_query" => {
                format!(
                    r#"{{"filter":{{"aggregateIds":["{id}"],"eventTypes":["test_passed"]}},"limit":100}}"#
                )
            }
            "factum_count" => r#"{"filter":{"eventTypes":["commit_created"]}}"#.to_owned(),
            "factum_read" => format!(r#"{{"aggregateId":"{id}","newestFirst":true,"limit":100}}"#),
            _ => format!(r#"{{"instance_id":"{id}"}}"#),
        }
    }

    fn message(&self, call: &str, client: usize, number: usize) -> String {
        let arguments = self.arguments(call, client, number);
        format!(
            r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{call}","arguments":{arguments}}}}}"#
        )
    }

    /// Makes a client over HTTP, with a connection of its own.
    pub(crate) fn http<'a>(&'a self, call: &'a str, client: usize) -> Outcome<Act<'a>> {
        let connection = TcpStream::connect(&self.address)?;
        connection.set_nodelay(true)?;
        let mut input = BufReader::new(connection.try_clone()?);
        let mut output = connection;
        Ok(Box::new(move |number| {
            let message = self.message(call, client, number);
            let whole = format!(
                "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{message}",
                self.address,
                message.len()
            );
            output.write_all(whole.as_bytes())?;
            checked(&http_answer(&mut input)?)
        }))
    }

    /// Makes a client over standard input and output of a program of its own.
    pub(crate) fn stdio<'a>(&'a self, call: &'a str, client: usize) -> Outcome<Act<'a>> {
        let url = format!("http://{}", self.address);
        let mut child = Command::new(&self.program)
            .args(["mcp", "--write", "--url", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdout.take().ok_or("no output")?;
        let output = child.stdin.take().ok_or("no input")?;
        let mut pipe = Pipe {
            child,
            input: BufReader::new(input),
            output,
        };
        Ok(Box::new(move |number| {
            let mut message = self.message(call, client, number);
            message.push('\n');
            pipe.output.write_all(message.as_bytes())?;
            let mut line = String::new();
            pipe.input.read_line(&mut line)?;
            checked(&line)
        }))
    }
}

/// A program that is spoken to, ended when it is dropped.
struct Pipe {
    child: Child,
    input: BufReader<ChildStdout>,
    output: ChildStdin,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

fn checked(answer: &str) -> Outcome<()> {
    if answer.contains("\"isError\":false") {
        return Ok(());
    }
    Err(answer.chars().take(500).collect::<String>().into())
}

fn http_answer(input: &mut BufReader<TcpStream>) -> Outcome<String> {
    let mut n_bytes = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            n_bytes = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; n_bytes];
    input.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// Waits for the server's run file, and returns the address in it.
fn address(file: &PathBuf) -> Outcome<String> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if let Ok(text) = std::fs::read_to_string(file)
            && let Some((_, rest)) = text.split_once("http://")
            && let Some((address, _)) = rest.split_once('"')
        {
            return Ok(address.to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the server did not start".into())
}
