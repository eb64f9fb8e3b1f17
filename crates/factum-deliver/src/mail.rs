//! Mail by SMTP: each event is a mail, made of templates.
//!
//! Repeats have the same `Message-ID`, by which mail programs tell them. Each mail has a
//! connection of its own: mails are few, and servers dislike those who keep connections.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_model::Clock;
use factum_store::BoxFuture;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Tls, TlsParameters, TlsParametersBuilder,
};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::Kind;
use crate::endpoint::EndpointName;
use crate::excerpt::excerpt;
use crate::gate::{Gate, GateDefinition};
use crate::outside::{DeliverLimits, Outside};
use crate::payload::{at_template, context, unrenderable};
use crate::secret::{Plain, Secret};
use crate::server::{Server, ServerDefinition, first_of};
use crate::template::{Escape, Template};
use crate::text::ShortText;

const TLS_PORT: u16 = 465;
const START_TLS_PORT: u16 = 587;
const RECIPIENTS_MAX: usize = 50;
/// What a header line may have, and what people read.
const SUBJECT_CHARS_MAX: usize = 500;

/// The kind `mail`.
pub(crate) struct Mail;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    server: ServerDefinition,
    /// How the connection becomes encrypted, where it is.
    #[serde(default)]
    security: Security,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    from: String,
    /// Each may be a template.
    to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    #[serde(default)]
    limits: GateDefinition,
}

/// What a server replies that closes the connection.
const NOT_AVAILABLE: u16 = 421;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Security {
    /// From the first byte on.
    Tls,
    /// By STARTTLS, without which nothing is sent.
    #[default]
    StartTls,
}

impl Kind for Mail {
    const NAME: &'static str = "mail";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        let password = definition.password.iter_mut();
        password
            .map(|secret| ("/password".to_owned(), secret))
            .collect()
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let port = match definition.security {
            Security::Tls => TLS_PORT,
            Security::StartTls => START_TLS_PORT,
        };
        let server = Server::new(&definition.server, port, outside)?;
        let name = EndpointName::of_servers("smtp", std::slice::from_ref(&server));
        let reply_to = definition.reply_to.as_deref();
        Ok(Arc::new(Target {
            tls: encryption(definition, &server)?,
            server,
            credentials: credentials(definition, outside)?,
            from: mailbox("/from", &definition.from)?,
            reply_to: reply_to.map(|text| mailbox("/replyTo", text)).transpose()?,
            to: recipients(&definition.to)?,
            subject: template("subject", &definition.subject, Escape::Nothing)?,
            body: body(definition)?,
            gate: Gate::new(&definition.limits, outside, name)?.with_unwell(is_unwell),
            clock: Arc::clone(&outside.clock),
            limits: outside.limits,
        }))
    }
}

/// Tells whether a reply says that the server is unwell. Only one does; the others refuse one mail,
/// its sender or a recipient of it.
const fn is_unwell(reply: u16) -> bool {
    reply == NOT_AVAILABLE
}

fn encryption(definition: &Definition, server: &Server) -> Result<Tls, InvalidTarget> {
    if server.roots.is_none() {
        return Ok(Tls::None);
    }
    let fault = |error: Error| InvalidTarget::at("/server/caCertificates", error.to_string());
    let mut parameters: TlsParametersBuilder = TlsParameters::builder(server.host.name());
    if let Some(pem) = &server.ca_certificates {
        parameters = parameters.certificate_store(CertificateStore::None);
        let authorities = Certificate::from_pem(pem.as_bytes()).map_err(fault)?;
        parameters = parameters.add_root_certificate(authorities);
    }
    let parameters = parameters.build_rustls().map_err(fault)?;
    Ok(match definition.security {
        Security::Tls => Tls::Wrapper(parameters),
        Security::StartTls => Tls::Required(parameters),
    })
}

fn credentials(
    definition: &Definition,
    outside: &Outside,
) -> Result<Option<(String, Plain)>, InvalidTarget> {
    match (&definition.username, &definition.password) {
        (None, None) => Ok(None),
        (Some(name), Some(password)) => {
            let password = password.open(outside.vault());
            let password = password.map_err(|fault| fault.under("/password"))?;
            Ok(Some((name.clone(), password)))
        }
        (Some(_), None) => Err(InvalidTarget::at("/password", "is missing beside username")),
        (None, Some(_)) => Err(InvalidTarget::at("/username", "is missing beside password")),
    }
}

fn mailbox(pointer: &str, text: &str) -> Result<Mailbox, InvalidTarget> {
    let rule = "must be an address such as ann@example.com or Ann <ann@example.com>";
    text.parse()
        .map_err(|_| InvalidTarget::at(pointer, rule).with_value(text))
}

fn recipients(to: &[String]) -> Result<Vec<ShortText>, InvalidTarget> {
    if to.is_empty() || to.len() > RECIPIENTS_MAX {
        let rule = format!("must have 1 to {RECIPIENTS_MAX} addresses");
        return Err(InvalidTarget::at("/to", rule));
    }
    let check = |(index, text): (usize, &String)| {
        let field = format!("to/{index}");
        let text = ShortText::new(&field, text)?;
        if let ShortText::Plain(text) = &text {
            mailbox(&format!("/{field}"), text)?;
        }
        Ok(text)
    };
    to.iter().enumerate().map(check).collect()
}

fn template(field: &str, source: &str, escape: Escape) -> Result<Template, InvalidTarget> {
    Template::compile(source, escape).map_err(|error| InvalidTarget {
        pointer: format!("/{field}"),
        ..at_template(error, source)
    })
}

#[derive(Debug)]
struct Body {
    text: Option<Template>,
    html: Option<Template>,
}

fn body(definition: &Definition) -> Result<Body, InvalidTarget> {
    let part = |field, source: &Option<String>, escape| {
        let source = source.as_deref();
        source
            .map(|source| template(field, source, escape))
            .transpose()
    };
    let body = Body {
        text: part("text", &definition.text, Escape::Nothing)?,
        html: part("html", &definition.html, Escape::Html)?,
    };
    if body.text.is_none() && body.html.is_none() {
        return Err(InvalidTarget::at("/text", "is missing, and so is html"));
    }
    Ok(body)
}

/// A mailbox, or several.
struct Target {
    server: Server,
    tls: Tls,
    credentials: Option<(String, Plain)>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Vec<ShortText>,
    subject: Template,
    body: Body,
    gate: Gate,
    clock: Arc<dyn Clock>,
    limits: DeliverLimits,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mail");
        debug.field("server", &self.server).finish_non_exhaustive()
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
        self.gate.state(Mail::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery) -> Result<Delivered, DeliverError> {
        let message = self.message(delivery)?;
        let sockets = self.server.sockets().await?;
        let message = &message;
        first_of(sockets, |socket| Box::pin(self.send(socket, message))).await
    }

    async fn send(&self, socket: SocketAddr, message: &Message) -> Result<Delivered, DeliverError> {
        let sent = self.transport(socket).send(message.clone()).await;
        let answer = sent.map_err(|error| self.classify(error))?;
        let said = answer.message().collect::<Vec<_>>().join("\n");
        Ok(Delivered {
            status: status(answer.code()),
            excerpt: excerpt(&said, self.limits.excerpt_bytes_max),
        })
    }

    fn transport(&self, socket: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(socket.ip().to_string())
                .port(socket.port())
                .tls(self.tls.clone())
                .timeout(Some(self.gate.timeout()));
        if let Some((name, password)) = &self.credentials {
            let password = password.reveal().to_owned();
            builder = builder.credentials(Credentials::new(name.clone(), password));
        }
        builder.build()
    }

    fn message(&self, delivery: &Delivery) -> Result<Message, DeliverError> {
        let context = context(delivery)?;
        let subject = render(&self.subject, &context)?;
        // A line end would begin another header. What makes the mail would refuse it as well.
        let is_line = |text: &str| !text.chars().any(char::is_control);
        if !is_line(&subject) || subject.chars().count() > SUBJECT_CHARS_MAX {
            let reason =
                format!("the subject must be one line of at most {SUBJECT_CHARS_MAX} characters");
            return Err(unrenderable(&reason));
        }
        let domain = self.from.email.domain();
        let now = self.clock.now().as_micros();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(
                std::time::SystemTime::UNIX_EPOCH
                    + std::time::Duration::from_micros(u64::try_from(now).unwrap_or(0)),
            )
            .message_id(Some(format!("<{}@{domain}>", delivery.id)));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        for to in &self.to {
            let text = to.render(delivery, "recipient", |text| {
                is_line(text) && text.parse::<Mailbox>().is_ok()
            })?;
            let mailbox = text.parse().map_err(|error| unrenderable(&error))?;
            builder = builder.to(mailbox);
        }
        // Programs that answer mail do not answer this.
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(name, "auto-generated".to_owned()));
        let part = |template: &Template, kind: ContentType| {
            let text = render(template, &context)?;
            Ok(SinglePart::builder().content_type(kind).body(text))
        };
        let text = self.body.text.as_ref();
        let text = text
            .map(|text| part(text, ContentType::TEXT_PLAIN))
            .transpose()?;
        let html = self.body.html.as_ref();
        let html = html
            .map(|html| part(html, ContentType::TEXT_HTML))
            .transpose()?;
        let message = match (text, html) {
            (Some(text), Some(html)) => {
                builder.multipart(MultiPart::alternative().singlepart(text).singlepart(html))
            }
            (Some(part), None) | (None, Some(part)) => builder.singlepart(part),
            (None, None) => builder.body(String::new()),
        };
        message.map_err(|error| unrenderable(&error))
    }

    fn classify(&self, error: Error) -> DeliverError {
        let code = error.status();
        let said: String = error.to_string().chars().take(200).collect();
        let class = if error.is_timeout() {
            ErrorClass::Timeout
        } else if error.is_tls() || said.contains("certificate") {
            ErrorClass::Tls
        } else if code.is_some_and(|code| matches!(status(code), Some(530 | 534 | 535 | 454))) {
            ErrorClass::Authentication
        } else if code.is_some() {
            ErrorClass::Rejected
        } else if error.is_response() || error.is_client() {
            ErrorClass::Protocol
        } else {
            ErrorClass::Connect
        };
        let mut failure = DeliverError::passing(class, said.clone());
        // What the server refuses for good it refuses again.
        if class == ErrorClass::Rejected && error.is_permanent() {
            failure = DeliverError::lasting(class, said.clone());
        }
        failure.status = code.and_then(status);
        failure.excerpt = excerpt(&said, self.limits.excerpt_bytes_max);
        failure.because(error)
    }
}

fn render(template: &Template, context: &Value) -> Result<String, DeliverError> {
    template
        .render(context)
        .map_err(|error| unrenderable(&error))
}

fn status(code: impl fmt::Display) -> Option<u16> {
    code.to_string().parse().ok()
}
