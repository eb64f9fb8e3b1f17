//! NATS JetStream: each event is published, and taken when the stream acknowledges it.
//!
//! The id of the delivery goes along as `Nats-Msg-Id`, so a stream keeps one of two that come
//! within its window of de-duplication.

mod pinned;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, HeaderMap};
use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_store::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::definition::Kind;
use crate::endpoint::EndpointName;
use crate::gate::{Gate, GateDefinition, Heard};
use crate::outside::Outside;
use crate::payload::{Payload, PayloadDefinition, header_value};
use crate::secret::{Plain, Secret};
use crate::server::{Kept, Server, ServerDefinition, first_of};
use crate::text::ShortText;

const PORT: u16 = 4222;
const SUBJECT_BYTES_MAX: usize = 255;

/// The kind `nats`.
pub(crate) struct Nats;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    server: ServerDefinition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Secret>,
    /// What a file of credentials holds: a JWT and a seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<Secret>,
    /// What events are published to; may be a template.
    subject: String,
    #[serde(default)]
    payload: PayloadDefinition,
    #[serde(default)]
    limits: GateDefinition,
}

/// How the server knows us.
#[derive(Debug)]
enum Login {
    Nobody,
    User { name: String, password: Plain },
    Token(Plain),
    Credentials(Plain),
}

impl Kind for Nats {
    const NAME: &'static str = "nats";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        let secrets = [
            ("/password", &mut definition.password),
            ("/token", &mut definition.token),
            ("/credentials", &mut definition.credentials),
        ];
        let given =
            |(pointer, secret): (&str, _)| Some((pointer.to_owned(), Option::as_mut(secret)?));
        secrets.into_iter().filter_map(given).collect()
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let subject = &definition.subject;
        if subject.is_empty() || subject.len() > 4 * SUBJECT_BYTES_MAX {
            return Err(InvalidTarget::at("/subject", "must have 1 to 1020 bytes"));
        }
        let subject = ShortText::new("subject", subject)?;
        if let ShortText::Plain(text) = &subject
            && !is_subject(text)
        {
            let rule = "must be a subject without wildcards, such as events.form";
            return Err(InvalidTarget::at("/subject", rule).with_value(text));
        }
        let payload = Payload::new(&definition.payload);
        let server = Server::new(&definition.server, PORT, outside)?;
        let name = EndpointName::of_servers("nats", std::slice::from_ref(&server));
        Ok(Arc::new(Target {
            server,
            login: login(definition, outside)?,
            subject,
            payload: payload.map_err(|fault| fault.under("/payload"))?,
            gate: Gate::new(&definition.limits, outside, name)?,
            kept: Kept::none(),
        }))
    }
}

fn login(definition: &Definition, outside: &Outside) -> Result<Login, InvalidTarget> {
    let open = |secret: &Secret, pointer: &str| {
        let opened = secret.open(outside.vault());
        opened.map_err(|fault| fault.under(pointer))
    };
    let Definition {
        username,
        password,
        token,
        credentials,
        ..
    } = definition;
    match (username, password, token, credentials) {
        (None, None, None, None) => Ok(Login::Nobody),
        (Some(name), Some(password), None, None) => Ok(Login::User {
            name: name.clone(),
            password: open(password, "/password")?,
        }),
        (None, None, Some(token), None) => Ok(Login::Token(open(token, "/token")?)),
        (None, None, None, Some(credentials)) => {
            let credentials = open(credentials, "/credentials")?;
            // What is wrong with them is not said by quoting them.
            if ConnectOptions::with_credentials(credentials.reveal()).is_err() {
                let rule = "must be what a file of credentials holds: a JWT and a seed";
                return Err(InvalidTarget::at("/credentials", rule));
            }
            Ok(Login::Credentials(credentials))
        }
        _ => Err(InvalidTarget::at(
            "/username",
            "stands beside password, or there is a token or credentials alone",
        )),
    }
}

/// Tells whether a text is a subject to publish to.
fn is_subject(text: &str) -> bool {
    let is_token = |token: &str| {
        let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'*' && byte != b'>';
        !token.is_empty() && token.bytes().all(is_plain)
    };
    text.len() <= SUBJECT_BYTES_MAX && text.split('.').all(is_token)
}

/// A subject of JetStream.
struct Target {
    server: Server,
    login: Login,
    subject: ShortText,
    payload: Payload,
    gate: Gate,
    kept: Kept<Connection>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Nats");
        debug.field("server", &self.server).finish_non_exhaustive()
    }
}

/// A connection, and the part of it that knows streams.
struct Connection {
    client: Client,
    streams: Context,
}

impl Deliver for Target {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(async move {
            let heard = Heard::default();
            let attempt = self.attempt(delivery, &heard);
            self.gate.pass_noting(&heard, attempt).await
        })
    }

    fn readiness(&self) -> Readiness {
        self.gate.readiness()
    }

    fn state(&self) -> TargetState {
        self.gate.state(Nats::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery, heard: &Heard) -> Result<Delivered, DeliverError> {
        let rendered = self.payload.render(delivery)?;
        let subject = self.subject.render(delivery, "subject", is_subject)?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", delivery.id.to_string());
        headers.insert("Content-Type", rendered.content_type);
        for (name, value) in rendered.attributes {
            headers.insert(format!("ce-{name}"), header_value(&value));
        }
        // A connection that broke is given up, since the next one is made to an address that is
        // checked anew.
        let lives = |kept: &Connection| kept.client.connection_state() == State::Connected;
        let kept = self.kept.get(lives, self.connect()).await?;
        // Nothing is said to who may not publish, nor by a stream that does not acknowledge.
        heard.note();
        let published = kept
            .streams
            .publish_with_headers(subject, headers, rendered.body)
            .await;
        let answer = match published {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => {
                let repeat = if answer.duplicate { ", a repeat" } else { "" };
                let (stream, sequence) = (answer.stream, answer.sequence);
                Ok(Delivered {
                    status: None,
                    excerpt: Some(format!("stream {stream}, sequence {sequence}{repeat}")),
                })
            }
            Err(error) => {
                if matches!(error.kind(), PublishErrorKind::BrokenPipe) {
                    self.kept.forget(&kept).await;
                }
                Err(classify(error))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, DeliverError> {
        let sockets = self.server.sockets().await?;
        first_of(sockets, |socket| Box::pin(self.connect_to(socket))).await
    }

    async fn connect_to(&self, socket: SocketAddr) -> Result<Connection, DeliverError> {
        let options = match &self.login {
            Login::Nobody => ConnectOptions::new(),
            Login::User { name, password } => {
                ConnectOptions::with_user_and_password(name.clone(), password.reveal().to_owned())
            }
            Login::Token(token) => ConnectOptions::with_token(token.reveal().to_owned()),
            Login::Credentials(credentials) => {
                ConnectOptions::with_credentials(credentials.reveal()).map_err(|error| {
                    DeliverError::lasting(ErrorClass::Authentication, error.to_string())
                })?
            }
        };
        let mut options = options
            .name("factum")
            .connection_timeout(self.gate.timeout())
            .request_timeout(Some(self.gate.timeout()))
            .ping_interval(Duration::from_secs(20))
            .client_capacity(self.gate.in_flight_max() + 1)
            // The addresses that a server tells of were checked by nobody.
            .ignore_discovered_servers()
            .max_reconnects(1);
        if let Some(roots) = &self.server.roots {
            let tls = pinned::tls(Arc::clone(roots), &self.server.host).map_err(|error| {
                DeliverError::lasting(ErrorClass::Tls, error.to_string()).because(error)
            })?;
            options = options.require_tls(true).tls_client_config(tls);
        }
        let connected = options.connect(format!("nats://{socket}")).await;
        let client = connected.map_err(|error| no_connection(&error))?;
        let streams = ContextBuilder::new()
            .timeout(self.gate.timeout())
            .ack_timeout(self.gate.timeout())
            .build(client.clone());
        Ok(Connection { client, streams })
    }
}

fn no_connection(error: &ConnectError) -> DeliverError {
    let class = match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ErrorClass::Authentication
        }
        ConnectErrorKind::TimedOut => ErrorClass::Timeout,
        ConnectErrorKind::Tls => ErrorClass::Tls,
        ConnectErrorKind::Dns => ErrorClass::Resolve,
        ConnectErrorKind::Io if is_tls(error) => ErrorClass::Tls,
        ConnectErrorKind::ServerParse | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            ErrorClass::Connect
        }
    };
    let said: String = error.to_string().chars().take(200).collect();
    DeliverError::passing(class, format!("no connection: {said}"))
}

fn is_tls(error: &ConnectError) -> bool {
    error.to_string().contains("certificate")
}

fn classify(error: PublishError) -> DeliverError {
    let class = match error.kind() {
        PublishErrorKind::TimedOut => ErrorClass::Timeout,
        PublishErrorKind::BrokenPipe => ErrorClass::Connect,
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => ErrorClass::Rejected,
        PublishErrorKind::MaxPayloadExceeded => {
            let message = "the event is larger than the server takes";
            return DeliverError::lasting(ErrorClass::Rejected, message).because(error);
        }
    };
    let said: String = error.to_string().chars().take(200).collect();
    DeliverError::passing(class, said).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_no_wildcards_and_no_spaces() {
        for good in ["a", "a.b", "events.form-1"] {
            assert!(is_subject(good), "{good}");
        }
        for wrong in [
            "",
            ".",
            "a.",
            "a..b",
            "a.*",
            "a.>",
            "a b",
            "a\r\nPUB x",
            "ä",
        ] {
            assert!(!is_subject(wrong), "{wrong}");
        }
    }
}
