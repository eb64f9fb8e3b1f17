//! The Kafka protocol: each event is a record, taken when all replicas in sync have it.
//!
//! A producer without an identity: the broker does not know repeats; receivers tell them by the
//! header `delivery`. The protocol is spoken here, and not by a client of others, because those bring
//! a second provider of cryptography, or C, or set memory aside for whatever a broker promises.

mod cluster;
mod connection;
mod failure;
mod message;
mod record;
mod scram;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_store::BoxFuture;
use serde::{Deserialize, Serialize};

use self::cluster::Cluster;
use self::connection::{Credentials, Mechanism};
use self::message::{Produce, TOPIC_BYTES_MAX};
use self::record::Record;
use crate::definition::Kind;
use crate::endpoint::EndpointName;
use crate::gate::{Gate, GateDefinition};
use crate::outside::Outside;
use crate::payload::{Payload, PayloadDefinition, Rendered};
use crate::secret::Secret;
use crate::server::{Server, ServerDefinition};
use crate::text::ShortText;

const PORT: u16 = 9092;
const SERVERS_MAX: usize = 16;
const KEY_BYTES_MAX: usize = 2048;
/// More is no use to anybody, and would not fit beside what else SCRAM says.
const USERNAME_BYTES_MAX: usize = 1024;
/// The longest that connecting to one broker may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The kind `kafka`.
pub(crate) struct Kafka;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    /// Brokers to ask for the others, each `host` or `host:port`.
    servers: Vec<String>,
    #[serde(default = "yes")]
    tls: bool,
    /// The authorities that are trusted in place of the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_certificates: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mechanism: Option<Mechanism>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    /// May be a template.
    topic: String,
    /// What decides on the partition; may be a template.
    #[serde(default = "stream")]
    key: String,
    #[serde(default)]
    payload: PayloadDefinition,
    #[serde(default)]
    limits: GateDefinition,
}

const fn yes() -> bool {
    true
}

fn stream() -> String {
    "{{ aggregateType }}/{{ aggregateId }}".to_owned()
}

impl Kind for Kafka {
    const NAME: &'static str = "kafka";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        let password = definition.password.iter_mut();
        password
            .map(|secret| ("/password".to_owned(), secret))
            .collect()
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let topic = ShortText::new("topic", &definition.topic)?;
        if let ShortText::Plain(name) = &topic
            && !is_topic(name)
        {
            let rule = format!("must have 1 to {TOPIC_BYTES_MAX} letters, digits, '.', '_' or '-'");
            return Err(InvalidTarget::at("/topic", rule).with_value(name));
        }
        let key = ShortText::new("key", &definition.key)?;
        if let ShortText::Plain(text) = &key
            && !is_key(text)
        {
            let rule = format!("must have at most {KEY_BYTES_MAX} bytes");
            return Err(InvalidTarget::at("/key", rule));
        }
        let payload = Payload::new(&definition.payload);
        let servers = servers(definition, outside)?;
        let name = EndpointName::of_servers(Self::NAME, &servers);
        let gate = Gate::new(&definition.limits, outside, name)?;
        let credentials = credentials(definition, outside)?;
        // Half of the time is left for another broker, and for the event itself.
        let connect_time_max = CONNECT_TIME_MAX.min(gate.timeout() / 2);
        Ok(Arc::new(Target {
            cluster: Cluster::new(servers, credentials, connect_time_max),
            topic,
            key,
            payload: payload.map_err(|fault| fault.under("/payload"))?,
            gate,
        }))
    }
}

fn is_topic(name: &str) -> bool {
    let is_letter =
        |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-');
    (1..=TOPIC_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_letter)
        && !matches!(name, "." | "..")
}

const fn is_key(text: &str) -> bool {
    text.len() <= KEY_BYTES_MAX
}

fn servers(definition: &Definition, outside: &Outside) -> Result<Vec<Server>, InvalidTarget> {
    let count = definition.servers.len();
    if count == 0 || count > SERVERS_MAX {
        let rule = format!("must be 1 to {SERVERS_MAX} servers");
        return Err(InvalidTarget::at("/servers", rule));
    }
    let authorities = definition.ca_certificates.as_deref();
    let servers = definition.servers.iter().enumerate().map(|(index, text)| {
        let pointer = format!("/servers/{index}");
        let server = ServerDefinition::parse(text, definition.tls, authorities);
        let server = server.map_err(|rule| InvalidTarget::at(&pointer, rule).with_value(text))?;
        Server::checked(&server, PORT, outside).map_err(|fault| match fault.pointer.as_str() {
            "/caCertificates" => fault,
            _ => InvalidTarget { pointer, ..fault },
        })
    });
    servers.collect()
}

fn credentials(
    definition: &Definition,
    outside: &Outside,
) -> Result<Option<Credentials>, InvalidTarget> {
    let missing = |field, beside| {
        let rule = format!("is missing beside {beside}");
        Err(InvalidTarget::at(field, rule))
    };
    let (username, password) = match (&definition.username, &definition.password) {
        (Some(username), Some(password)) => (username, password),
        (Some(_), None) => return missing("/password", "username"),
        (None, Some(_)) => return missing("/username", "password"),
        (None, None) if definition.mechanism.is_some() => {
            return missing("/username", "mechanism");
        }
        (None, None) => return Ok(None),
    };
    if username.is_empty() || username.len() > USERNAME_BYTES_MAX || username.contains('\0') {
        let rule = format!("must have 1 to {USERNAME_BYTES_MAX} bytes, and none that is zero");
        return Err(InvalidTarget::at("/username", rule));
    }
    let password = password.open(outside.vault());
    Ok(Some(Credentials {
        mechanism: definition.mechanism.unwrap_or(Mechanism::ScramSha512),
        username: username.clone(),
        password: password.map_err(|fault| fault.under("/password"))?,
    }))
}

/// A topic of a cluster.
struct Target {
    cluster: Cluster,
    topic: ShortText,
    key: ShortText,
    payload: Payload,
    gate: Gate,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Kafka");
        debug.field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Deliver for Target {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(self.gate.pass(self.attempt(delivery)))
    }

    fn readiness(&self) -> Readiness {
        self.gate.readiness()
    }

    fn state(&self) -> TargetState {
        self.gate.state(Kafka::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery) -> Result<Delivered, DeliverError> {
        let topic = self.topic.render(delivery, "topic", is_topic)?;
        let key = self.key.render(delivery, "key", is_key)?;
        let Rendered {
            body,
            content_type,
            attributes,
        } = self.payload.render(delivery)?;
        let mut headers = vec![
            ("content-type".to_owned(), content_type),
            ("delivery".to_owned(), delivery.id.to_string()),
            ("event-id".to_owned(), delivery.event.id.to_string()),
            (
                "event-type".to_owned(),
                delivery.event.event_type().to_owned(),
            ),
        ];
        let attributes = attributes.into_iter();
        headers.extend(attributes.map(|(name, value)| (format!("ce_{name}"), value)));
        let batch = record::batch(&Record {
            key: key.as_bytes(),
            value: &body,
            headers: &headers,
            // Brokers keep and drop records by this; the writer's clock may say anything.
            timestamp_ms: delivery.event.recorded_at.as_micros().div_euclid(1000),
        });
        match self.append(&topic, &key, &batch).await {
            Err(Failed::Moved(_)) => {}
            Err(Failed::Other(error)) => return Err(error),
            Ok(delivered) => return Ok(delivered),
        }
        // Nothing was written there, so another try at once is no repeat.
        self.append(&topic, &key, &batch)
            .await
            .map_err(Failed::into_error)
    }

    async fn append(&self, topic: &str, key: &str, batch: &[u8]) -> Result<Delivered, Failed> {
        let leaders = self.cluster.leaders(topic).await?;
        // Whatever goes wrong, being given up included, may mean that somebody else leads now.
        let mut doubt = Doubt {
            cluster: &self.cluster,
            topic,
            is_settled: false,
        };
        let partition = record::partition_of(key.as_bytes(), leaders.partitions());
        let Some(leader) = leaders.of(partition) else {
            let message = format!("nobody leads partition {partition} of {topic}");
            return Err(DeliverError::passing(ErrorClass::Rejected, message).into());
        };
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let millis = (self.gate.timeout() / 2).as_millis();
        let request = Produce {
            topic,
            partition,
            timeout_ms: i32::try_from(millis).unwrap_or(i32::MAX),
            batch,
        };
        let Some(answer) = self.cluster.ask(leader, &request).await? else {
            let message = "the broker says nothing of the record";
            return Err(DeliverError::passing(ErrorClass::Protocol, message).into());
        };
        if answer.failure != 0 {
            let error = failure::of(answer.failure, answer.message.as_deref());
            if failure::has_moved(answer.failure) {
                return Err(Failed::Moved(error));
            }
            return Err(error.into());
        }
        doubt.is_settled = true;
        Ok(Delivered {
            status: None,
            excerpt: Some(format!("partition {partition}, offset {}", answer.offset)),
        })
    }
}

/// Why a record was not appended.
enum Failed {
    /// Somebody else leads the partition; nothing was written.
    Moved(DeliverError),
    Other(DeliverError),
}

impl From<DeliverError> for Failed {
    fn from(error: DeliverError) -> Self {
        Self::Other(error)
    }
}

impl Failed {
    fn into_error(self) -> DeliverError {
        match self {
            Self::Moved(error) | Self::Other(error) => error,
        }
    }
}

/// Has the leaders asked for again, unless the one that was asked did what it should.
struct Doubt<'a> {
    cluster: &'a Cluster,
    topic: &'a str,
    is_settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.cluster.forget(self.topic);
        }
    }
}
