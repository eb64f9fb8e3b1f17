//! RabbitMQ: each event is a persistent message, taken when the broker confirms it.
//!
//! A message that no queue takes comes back and counts as refused. The broker does not know
//! repeats; receivers tell them by the message id, which is the id of the delivery.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_store::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
};
use serde::{Deserialize, Serialize};

use crate::definition::Kind;
use crate::endpoint::EndpointName;
use crate::gate::{Gate, GateDefinition};
use crate::outside::{Outside, tls};
use crate::payload::{Payload, PayloadDefinition, Rendered};
use crate::secret::{Plain, Secret};
use crate::server::{Kept, Server, ServerDefinition, first_of};
use crate::text::ShortText;

const TLS_PORT: u16 = 5671;
const PORT: u16 = 5672;
/// What the protocol allows for names and keys.
const NAME_BYTES_MAX: usize = 255;
/// How often both sides show that they live, in seconds.
const HEARTBEAT_SECONDS: u16 = 20;
const PERSISTENT: u8 = 2;

/// The kind `rabbitmq`.
pub(crate) struct RabbitMq;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    server: ServerDefinition,
    username: String,
    password: Secret,
    #[serde(default = "root")]
    virtual_host: String,
    /// The exchange; the empty one delivers to the queue that the routing key names.
    #[serde(default)]
    exchange: String,
    /// May be a template.
    routing_key: String,
    #[serde(default)]
    payload: PayloadDefinition,
    #[serde(default)]
    limits: GateDefinition,
}

fn root() -> String {
    "/".to_owned()
}

impl Kind for RabbitMq {
    const NAME: &'static str = "rabbitmq";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        vec![("/password".to_owned(), &mut definition.password)]
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        for (pointer, text) in [
            ("/exchange", &definition.exchange),
            ("/virtualHost", &definition.virtual_host),
            ("/username", &definition.username),
        ] {
            if text.len() > NAME_BYTES_MAX {
                let rule = format!("must have at most {NAME_BYTES_MAX} bytes");
                return Err(InvalidTarget::at(pointer, rule));
            }
        }
        let routing_key = ShortText::new("routingKey", &definition.routing_key)?;
        if let ShortText::Plain(text) = &routing_key
            && !is_key(text)
        {
            let rule = format!("must have at most {NAME_BYTES_MAX} bytes");
            return Err(InvalidTarget::at("/routingKey", rule));
        }
        let password = definition.password.open(outside.vault());
        let payload = Payload::new(&definition.payload);
        let port = if definition.server.is_encrypted() {
            TLS_PORT
        } else {
            PORT
        };
        let server = Server::new(&definition.server, port, outside)?;
        let name = EndpointName::of_servers("amqp", std::slice::from_ref(&server));
        Ok(Arc::new(Target {
            server,
            username: definition.username.clone(),
            password: password.map_err(|fault| fault.under("/password"))?,
            virtual_host: definition.virtual_host.clone(),
            exchange: definition.exchange.clone(),
            routing_key,
            payload: payload.map_err(|fault| fault.under("/payload"))?,
            gate: Gate::new(&definition.limits, outside, name)?,
            kept: Kept::none(),
        }))
    }
}

fn is_key(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
}

/// An exchange of RabbitMQ.
struct Target {
    server: Server,
    username: String,
    password: Plain,
    virtual_host: String,
    exchange: String,
    routing_key: ShortText,
    payload: Payload,
    gate: Gate,
    kept: Kept<Confirmed>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RabbitMq");
        debug.field("server", &self.server).finish_non_exhaustive()
    }
}

/// A channel with confirms, and its connection, which ends when it is dropped.
struct Confirmed {
    connection: Connection,
    channel: Channel,
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
        self.gate.state(RabbitMq::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery) -> Result<Delivered, DeliverError> {
        let rendered = self.payload.render(delivery)?;
        let key = self.routing_key.render(delivery, "routing key", is_key)?;
        let lives = |kept: &Confirmed| {
            kept.connection.status().connected() && kept.channel.status().connected()
        };
        let kept = self.kept.get(lives, self.connect()).await?;
        let confirmed = self.publish(&kept.channel, &key, delivery, rendered).await;
        match confirmed {
            Ok(Confirmation::Ack(None)) => Ok(Delivered::default()),
            Ok(Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back))) => {
                let (code, text) = (back.reply_code, back.reply_text.as_str());
                let text: String = text.chars().take(100).collect();
                let message = format!("no queue takes it: {text} ({code})");
                Err(DeliverError::passing(ErrorClass::Rejected, message))
            }
            Ok(Confirmation::Nack(None)) => {
                let message = "the broker could not take it";
                Err(DeliverError::passing(ErrorClass::Rejected, message))
            }
            Ok(Confirmation::NotRequested) => {
                let message = "the broker does not confirm";
                Err(DeliverError::passing(ErrorClass::Protocol, message))
            }
            Err(error) => {
                // A channel is of no use after any error.
                self.kept.forget(&kept).await;
                Err(classify(error))
            }
        }
    }

    async fn publish(
        &self,
        channel: &Channel,
        key: &str,
        delivery: &Delivery,
        rendered: Rendered,
    ) -> Result<Confirmation, Error> {
        let event = &delivery.event;
        let mut headers = FieldTable::default();
        for (name, value) in rendered.attributes {
            headers.insert(
                format!("cloudEvents:{name}").into(),
                AMQPValue::LongString(value.into()),
            );
        }
        let seconds = event.timestamp.as_micros().div_euclid(1_000_000);
        let mut properties = BasicProperties::default()
            .with_message_id(delivery.id.to_string().into())
            .with_type(event.event_type().into())
            .with_content_type(rendered.content_type.into())
            .with_delivery_mode(PERSISTENT)
            .with_app_id("factum".into())
            .with_timestamp(u64::try_from(seconds).unwrap_or(0))
            .with_headers(headers);
        // The protocol has no room for longer ones.
        if let Some(id) = event
            .correlation_id()
            .filter(|id| id.len() <= NAME_BYTES_MAX)
        {
            properties = properties.with_correlation_id(id.into());
        }
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let exchange = self.exchange.as_str().into();
        let sent = channel.basic_publish(exchange, key.into(), options, &rendered.body, properties);
        sent.await?.await
    }

    async fn connect(&self) -> Result<Confirmed, DeliverError> {
        let sockets = self.server.sockets().await?;
        first_of(sockets, |socket| Box::pin(self.connect_to(socket))).await
    }

    async fn connect_to(&self, socket: SocketAddr) -> Result<Confirmed, DeliverError> {
        let is_encrypted = self.server.roots.is_some();
        let uri = AMQPUri {
            scheme: if is_encrypted {
                AMQPScheme::AMQPS
            } else {
                AMQPScheme::AMQP
            },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.username.clone(),
                    password: self.password.reveal().to_owned(),
                },
                host: self.server.host.name(),
                port: self.server.port,
            },
            vhost: self.virtual_host.clone(),
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT_SECONDS),
                ..AMQPQueryString::default()
            },
        };
        let roots = self.server.roots.clone();
        let connector = roots
            .map(tls)
            .transpose()
            .map_err(|error| DeliverError::lasting(ErrorClass::Tls, error.to_string()))?;
        let connector = connector.map(RustlsConnector::from);
        let runtime = lapin::runtime::default_runtime().map_err(|error| {
            DeliverError::passing(ErrorClass::Connect, "no runtime").because(error)
        })?;
        let properties = ConnectionProperties::default().with_connection_name("factum".into());
        let connection = Connection::connector(
            uri,
            runtime,
            // To the address that was checked, with the name that it was resolved from.
            async move |uri, runtime| {
                let stream = AsyncTcpStream::connect(&runtime, socket).await?;
                match &connector {
                    Some(connector) => {
                        Ok(stream.into_rustls(connector, &uri.authority.host).await?)
                    }
                    None => Ok(stream),
                }
            },
            properties,
        );
        let connection = connection.await.map_err(classify)?;
        let channel = connection.create_channel().await.map_err(classify)?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        confirms.await.map_err(classify)?;
        Ok(Confirmed {
            connection,
            channel,
        })
    }
}

/// Says what kind of failure the client ran into.
fn classify(error: Error) -> DeliverError {
    let said: String = error.to_string().chars().take(200).collect();
    let is_certificate = said.contains("certificate") || said.contains("TLS");
    let class = match error.kind() {
        ErrorKind::IOError(_) | ErrorKind::RuntimeShutdownError(_) if is_certificate => {
            ErrorClass::Tls
        }
        ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            ErrorClass::Timeout
        }
        ErrorKind::IOError(_)
        | ErrorKind::RuntimeShutdownError(_)
        | ErrorKind::MissingHeartbeatError
        | ErrorKind::InvalidConnectionState(_) => ErrorClass::Connect,
        ErrorKind::ProtocolError(error) if error.get_id() == ACCESS_REFUSED => {
            ErrorClass::Authentication
        }
        // The broker closed the channel for what was sent on it just before, such as to an exchange
        // that is not there. Were the connection broken, the next one would tell.
        ErrorKind::ProtocolError(_) | ErrorKind::InvalidChannelState(..) => ErrorClass::Rejected,
        _ => ErrorClass::Protocol,
    };
    DeliverError::passing(class, said).because(error)
}

/// What the broker says to who may not do something, or gave a wrong password.
const ACCESS_REFUSED: u16 = 403;

#[cfg(test)]
mod tests {
    use lapin::ChannelState;

    use super::*;

    /// Whatever is sent while the broker closes a channel fails so. The connection is well.
    #[test]
    fn a_channel_that_was_closed_is_no_broken_connection() {
        for state in [
            ChannelState::Closing,
            ChannelState::Closed,
            ChannelState::Error,
        ] {
            let error = classify(ErrorKind::InvalidChannelState(state, "basic.publish").into());
            assert_eq!(error.class, ErrorClass::Rejected, "{error}");
            assert!(error.is_retryable());
        }
    }
}
