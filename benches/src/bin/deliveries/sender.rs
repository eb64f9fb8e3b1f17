//! Single appends at even intervals.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::{N_ENDPOINTS, Outcome};

/// How many connections there are: an append that is due waits for none of those before, unless they take long.
const N_CONNECTIONS: usize = 32;
/// How many streams the events are of.
const N_STREAMS: usize = 500;

/// Appends events and returns how many. An event is of the stream of its turn, and a connection has every event of a
/// stream, so that they are appended in the order of their numbers.
pub(crate) fn send(
    server: &Server,
    begun: Instant,
    (rate, time): (u32, Duration),
    to_one: bool,
) -> Outcome<usize> {
    let n_events = (f64::from(rate) * time.as_secs_f64()) as usize;
    let interval = Duration::from_secs(1) / rate;
    let first = begun.elapsed() + Duration::from_millis(200);
    let late = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..N_CONNECTIONS)
            .map(|connection| {
                let late = &late;
                scope.spawn(move || -> Outcome<()> {
                    let mut client = server.connect()?;
                    for number in 0..n_events {
                        let stream = number % N_STREAMS;
                        if stream % N_CONNECTIONS != connection {
                            continue;
                        }
                        let due = first + interval * u32::try_from(number)?;
                        let wait = due.saturating_sub(begun.elapsed());
                        if wait.is_zero() {
                            late.fetch_add(1, Ordering::Relaxed);
                        }
                        std::thread::sleep(wait);
                        append(&mut client, server, (number, stream, due), to_one)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a connection panicked")??;
        }
        Outcome::Ok(())
    })?;
    println!("{} appends were begun late", late.into_inner());
    Ok(n_events)
}

fn append(
    client: &mut TcpStream,
    server: &Server,
    (number, stream, due): (usize, usize, Duration),
    to_one: bool,
) -> Outcome<()> {
    let endpoint = if to_one { number % N_ENDPOINTS } else { 0 };
    let due = due.as_micros();
    let body = format!(
        r#"{{"type":"case.noted.e{endpoint}","aggregateType":"case","aggregateId":"c-{stream}","payload":{{"number":{number},"stream":{stream},"dueMicros":{due},"note":"the applicant was asked for the plans of the upper floor","by":"desk 7"}}}}"#
    );
    let request = server.request("POST", "/v1/events", &body);
    client.write_all(request.as_bytes())?;
    let status = answer(client)?;
    if status != 201 {
        return Err(format!("an append was answered with {status}").into());
    }
    Ok(())
}

/// Reads an answer and returns its status.
pub(crate) fn answer(client: &mut TcpStream) -> Outcome<u16> {
    let mut bytes = Vec::with_capacity(1024);
    let mut part = [0; 4096];
    loop {
        let n_read = client.read(&mut part)?;
        if n_read == 0 {
            return Err("the server closed the connection".into());
        }
        bytes.extend_from_slice(&part[..n_read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some(head) = text.find("\r\n\r\n") else {
            continue;
        };
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= head + 4 + length.unwrap_or(0) {
            let status = text.split(' ').nth(1).unwrap_or_default();
            return Ok(status.parse()?);
        }
    }
}
