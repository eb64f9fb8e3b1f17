//! Real brokers and a receiver of mail for tests: each of a test's own, on free ports of this
//! machine, with a directory of its own. They end with the process that started them.

mod kafka;
mod libraries;
mod mail;
mod nats;
mod process;
mod rabbitmq;
mod redis;

pub use self::kafka::KafkaServer;
pub use self::libraries::{Libraries, Library};
pub use self::mail::{MailSink, ReceivedMail, Security};
pub use self::nats::{NatsConsumer, NatsServer};
pub use self::process::free_port;
pub use self::rabbitmq::RabbitMqServer;
pub use self::redis::RedisServer;

/// A certificate and its key as PEM, for servers that speak TLS.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// The certificate.
    pub certificate: &'a str,
    /// Its private key.
    pub key: &'a str,
}
