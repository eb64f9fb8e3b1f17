//! A server with a rule for each endpoint, and what it uses of the machine.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::sender::answer;

/// A server, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

impl Server {
    pub(crate) fn start(program: &str) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        let child = Command::new(program)
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", "127.0.0.1:0", "--insecure-no-auth"])
            .args(["--deliver-allow", "127.0.0.0/8"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let address = address(&data.join("server.json"))?;
        Ok(Self { child, address, _directory: directory })
    }

    pub(crate) fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> String {
        let (host, length) = (&self.address, body.len());
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    /// Makes a rule that sends events to an endpoint.
    pub(crate) fn rule(&self, endpoint: usize, url: &str, to_one: bool) -> Outcome<()> {
        let types = if to_one { format!("case.noted.e{endpoint}") } else { "case.>".to_owned() };
        let body = format!(
            r#"{{"id":"e{endpoint}","name":"endpoint {endpoint}","conditions":{{"type":"eventType","operator":"matches","value":"{types}"}},"targets":[{{"id":"t","concurrency":8,"to":{{"type":"webhook","url":"{url}","secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}}}}]}}"#
        );
        let mut client = self.connect()?;
        client.write_all(self.request("POST", "/v1/rules", &body).as_bytes())?;
        match answer(&mut client)? {
            200 | 201 => Ok(()),
            status => Err(format!("a rule was answered with {status}").into()),
        }
    }

    /// Begins to note how much memory and processor the server uses.
    pub(crate) fn watch(&self, begun: Instant) -> Watch {
        let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
        let (noted, pid) = (Arc::clone(&samples), self.child.id());
        std::thread::spawn(move || {
            while let Some(sample) = Sample::take(pid, begun) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Watch(samples)
    }
}

fn address(run_file: &Path) -> Outcome<String> {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Ok(text) = std::fs::read_to_string(run_file)
            && let Some((_, rest)) = text.split_once("http://")
            && let Some((address, _)) = rest.split_once('"')
        {
            return Ok(address.trim_end_matches('/').to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the server did not start".into())
}

/// What the server used, once a second.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Mutex<Vec<Sample>>>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// Memory that is not of files, in MiB.
    anonymous: u64,
    processor: Duration,
}

impl Sample {
    fn take(pid: u32, begun: Instant) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kib = status.lines().find_map(|line| {
            let rest = line.strip_prefix("RssAnon:")?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        // Linux counts in hundredths of a second for everybody.
        let processor = Duration::from_millis(ticks * 10);
        Some(Self { at: begun.elapsed(), anonymous: kib >> 10, processor })
    }
}

impl Watch {
    pub(crate) fn report(&self, sent_after: Duration) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sending: Vec<Sample> =
            samples.iter().copied().filter(|sample| sample.at <= sent_after).collect();
        let (Some(first), Some(last)) = (sending.first(), sending.last()) else {
            return;
        };
        let share = (last.processor - first.processor).as_secs_f64() / (last.at - first.at).as_secs_f64();
        println!("processor of the server while sending: {share:.2} cores");
        let step = (samples.len() / 15).max(1);
        let memory: Vec<String> = samples
            .iter()
            .step_by(step)
            .map(|sample| format!("{:.0} s {} MiB", sample.at.as_secs_f64(), sample.anonymous))
            .collect();
        println!("memory of the server: {}", memory.join(", "));
    }
}
