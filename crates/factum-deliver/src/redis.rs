//! Redis Streams: each event is an entry.
//!
//! Appending an entry cannot be repeated without adding another, so an event whose answer was
//! lost stands in the stream twice; the field `delivery` is the same in both.

use std::fmt;
use std::sync::Arc;

use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_store::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::definition::Kind;
use crate::endpoint::EndpointName;
use crate::gate::{Gate, GateDefinition};
use crate::outside::Outside;
use crate::payload::{Payload, PayloadDefinition, Rendered};
use crate::secret::{Plain, Secret};
use crate::server::{Kept, Server, ServerDefinition};
use crate::stream::{Stream, dial};
use crate::text::ShortText;

const PORT: u16 = 6379;
const KEY_BYTES_MAX: usize = 1024;

/// The kind `redis`.
pub(crate) struct Redis;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    server: ServerDefinition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    #[serde(default)]
    database: u16,
    /// The key of the stream; may be a template.
    stream: String,
    /// About how many entries the stream keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_length: Option<u64>,
    #[serde(default)]
    payload: PayloadDefinition,
    #[serde(default)]
    limits: GateDefinition,
}

impl Kind for Redis {
    const NAME: &'static str = "redis";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        let password = definition.password.iter_mut();
        password
            .map(|secret| ("/password".to_owned(), secret))
            .collect()
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        if definition.stream.is_empty() || definition.stream.len() > KEY_BYTES_MAX {
            let rule = format!("must have 1 to {KEY_BYTES_MAX} bytes");
            return Err(InvalidTarget::at("/stream", rule));
        }
        if definition.max_length == Some(0) {
            return Err(InvalidTarget::at("/maxLength", "must be at least 1"));
        }
        let open = |secret: &Secret| {
            let opened = secret.open(outside.vault());
            opened.map_err(|fault| fault.under("/password"))
        };
        let password = definition.password.as_ref().map(open).transpose()?;
        if definition.username.is_some() && password.is_none() {
            return Err(InvalidTarget::at("/password", "is missing beside username"));
        }
        let payload = Payload::new(&definition.payload);
        let server = Server::new(&definition.server, PORT, outside)?;
        let name = EndpointName::of_servers("redis", std::slice::from_ref(&server));
        Ok(Arc::new(Target {
            server,
            username: definition.username.clone(),
            password,
            database: definition.database,
            stream: ShortText::new("stream", &definition.stream)?,
            max_length: definition.max_length,
            payload: payload.map_err(|fault| fault.under("/payload"))?,
            gate: Gate::new(&definition.limits, outside, name)?,
            kept: Kept::none(),
        }))
    }
}

/// A Redis stream.
#[derive(Debug)]
struct Target {
    server: Server,
    username: Option<String>,
    password: Option<Plain>,
    database: u16,
    stream: ShortText,
    max_length: Option<u64>,
    payload: Payload,
    gate: Gate,
    kept: Kept<Connection>,
}

/// A connection, and the task that drives it.
struct Connection {
    commands: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
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
        self.gate.state(Redis::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery) -> Result<Delivered, DeliverError> {
        let rendered = self.payload.render(delivery)?;
        let is_key = |text: &str| !text.is_empty() && text.len() <= KEY_BYTES_MAX;
        let stream = self.stream.render(delivery, "stream", is_key)?;
        let add = self.command(&stream, delivery, &rendered);
        let lives = |connection: &Connection| !connection.driver.is_finished();
        let connection = self.kept.get(lives, self.connect()).await?;
        let mut commands = connection.commands.clone();
        let answer: Result<String, RedisError> = add.query_async(&mut commands).await;
        match answer {
            Ok(entry) => Ok(Delivered {
                status: None,
                excerpt: Some(format!("entry {entry}")),
            }),
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
                    self.kept.forget(&connection).await;
                }
                Err(classify(error))
            }
        }
    }

    fn command(&self, stream: &str, delivery: &Delivery, rendered: &Rendered) -> redis::Cmd {
        let mut add = redis::cmd("XADD");
        add.arg(stream);
        if let Some(max_length) = self.max_length {
            add.arg("MAXLEN").arg("~").arg(max_length);
        }
        add.arg("*");
        add.arg("delivery").arg(delivery.id.to_string());
        add.arg("type").arg(delivery.event.event_type());
        add.arg("contentType").arg(&rendered.content_type);
        for (name, value) in &rendered.attributes {
            add.arg(format!("ce-{name}")).arg(value);
        }
        add.arg("body").arg(&rendered.body[..]);
        add
    }

    async fn connect(&self) -> Result<Connection, DeliverError> {
        let mut info = RedisConnectionInfo::default()
            .set_db(i64::from(self.database))
            .set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.reveal());
        }
        let stream = dial(&self.server).await?;
        let (commands, driver) = begin(&info, stream).await?;
        Ok(Connection { commands, driver })
    }
}

async fn begin(
    info: &RedisConnectionInfo,
    stream: Stream,
) -> Result<(MultiplexedConnection, JoinHandle<()>), DeliverError> {
    // How long an attempt may take is known to the gate alone.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let begun = MultiplexedConnection::new_with_config(info, stream, config).await;
    let (commands, driver) = begun.map_err(classify)?;
    Ok((commands, spawn(driver)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the connection owns the task and ends it"
)]
fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(driver)
}

/// Says what kind of failure the client ran into.
fn classify(error: RedisError) -> DeliverError {
    let code = error.code().unwrap_or_default();
    let said: String = error.to_string().chars().take(200).collect();
    let class = match error.kind() {
        ErrorKind::AuthenticationFailed => {
            return DeliverError::passing(ErrorClass::Authentication, said).because(error);
        }
        // The key holds something that is no stream, or there is no right to write to it.
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            return DeliverError::passing(ErrorClass::Authentication, said).because(error);
        }
        ErrorKind::Server(_) | ErrorKind::Extension => ErrorClass::Rejected,
        ErrorKind::Io if error.is_timeout() => ErrorClass::Timeout,
        ErrorKind::Io => ErrorClass::Connect,
        _ => ErrorClass::Protocol,
    };
    if matches!(code, "NOAUTH" | "WRONGPASS") {
        return DeliverError::passing(ErrorClass::Authentication, said).because(error);
    }
    DeliverError::passing(class, said).because(error)
}
