//! Tests of targets through the port, against receivers and brokers on this machine.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod brokers;
mod endpoint;
mod kafka;
mod mail;
mod nats;
mod rabbitmq;
mod receiver;
mod redis;
mod ssrf;
mod support;
mod verified;
mod webhook;
