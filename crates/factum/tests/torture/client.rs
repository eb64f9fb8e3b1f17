//! A plain HTTP/1.1 client: one connection, one request at a time. Any failure is an error, so
//! that a test can tell "refused" from "no answer".

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Client {
    address: String,
    key: String,
    patience: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: &str, key: &str) -> Self {
        Self::with_patience(address, key, Duration::from_secs(30))
    }

    /// Makes a client that waits for an answer for so long.
    pub(crate) fn with_patience(address: &str, key: &str, patience: Duration) -> Self {
        Self {
            address: address.to_owned(),
            key: key.to_owned(),
            patience,
            connection: None,
        }
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> io::Result<(u16, Value)> {
        self.call("POST", path, &body.to_string())
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, Value)> {
        self.call("GET", path, "")
    }

    fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let answer = self.exchange(method, path, body);
        if answer.is_err() {
            self.connection = None;
        }
        let (status, body) = answer?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_nodelay(true)?;
                self.connection.insert(BufReader::new(stream))
            }
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len()
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        let mut status = 0;
        let mut length = None;
        while connection.read_line(&mut line)? > 0 && line != "\r\n" {
            let lower = line.to_ascii_lowercase();
            if let Some(rest) = lower.strip_prefix("http/1.1 ") {
                status = rest
                    .get(..3)
                    .and_then(|code| code.parse().ok())
                    .unwrap_or_default();
            }
            if let Some(rest) = lower.strip_prefix("content-length:") {
                length = rest.trim().parse().ok();
            }
            line.clear();
        }
        let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        Ok((status, body))
    }

    /// Reads the whole log, page by page.
    pub(crate) fn whole_log(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/v1/events?after={after}&limit=1000");
            let (status, mut page) = self.get(&path).unwrap();
            assert_eq!(status, 200, "{page}");
            let page = page["events"].take();
            let Value::Array(page) = page else {
                panic!("no events: {page}")
            };
            let Some(last) = page.last() else {
                return events;
            };
            after = last["position"].as_u64().unwrap();
            events.extend(page);
        }
    }
}
