//! Webhooks: HTTP requests, signed after Standard Webhooks.

mod answer;
mod sign;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use factum_model::Clock;
use factum_store::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect};
use serde::{Deserialize, Serialize};
use url::Url;

use self::sign::SigningKey;
use crate::definition::{Kind, escape};
use crate::endpoint::EndpointName;
use crate::gate::{Gate, GateDefinition};
use crate::guard::{Guard, Host, check_url, refusal_in};
use crate::outside::{DeliverLimits, Outside, tls};
use crate::payload::{Payload, PayloadDefinition, header_value};
use crate::secret::Secret;
use crate::server::refused;

/// How many secrets may sign at once, while receivers change from one to the next.
const SECRETS_MAX: usize = 5;
const HEADERS_MAX: usize = 32;
const USER_AGENT: &str = concat!("Factum/", env!("CARGO_PKG_VERSION"));
/// Connections that nobody has used for this long are closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Headers that say how the request itself is made, or what signs it.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// The kind `webhook`.
pub(crate) struct Webhook;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    url: String,
    /// What signs: `whsec_…` for HMAC-SHA256, `whsk_…` for Ed25519. All sign each request.
    secrets: Vec<Secret>,
    #[serde(default)]
    payload: PayloadDefinition,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Headers that are secrets, such as `Authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secret_headers: BTreeMap<String, Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_certificates: Option<String>,
    #[serde(default)]
    limits: GateDefinition,
}

impl Kind for Webhook {
    const NAME: &'static str = "webhook";
    type Definition = Definition;

    fn secrets(definition: &mut Definition) -> Vec<(String, &mut Secret)> {
        let keys = definition.secrets.iter_mut().enumerate();
        let keys = keys.map(|(index, secret)| (format!("/secrets/{index}"), secret));
        let headers = definition.secret_headers.iter_mut();
        let headers =
            headers.map(|(name, secret)| (format!("/secretHeaders/{}", escape(name)), secret));
        keys.chain(headers).collect()
    }

    fn open(definition: &Definition, outside: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let (url, host) = check_url(&definition.url)
            .map_err(|error| InvalidTarget::at("/url", error.rule).with_value(&definition.url))?;
        if let Host::Address(address) = host {
            // A name is looked at when it resolves, but an address that stands here never is.
            let checked = outside.guard.check_address(address);
            checked.map_err(|refusal| InvalidTarget::at("/url", refusal.to_string()))?;
        }
        let gate = Gate::new(&definition.limits, outside, endpoint_of(&url))?;
        let payload = Payload::new(&definition.payload);
        let client = client(definition, outside, &gate)?;
        Ok(Arc::new(Target {
            url,
            keys: keys(definition, outside)?,
            payload: payload.map_err(|fault| fault.under("/payload"))?,
            headers: headers(definition, outside)?,
            client,
            gate,
            clock: Arc::clone(&outside.clock),
            limits: outside.limits,
        }))
    }
}

fn keys(definition: &Definition, outside: &Outside) -> Result<Vec<SigningKey>, InvalidTarget> {
    let secrets = &definition.secrets;
    if secrets.is_empty() || secrets.len() > SECRETS_MAX {
        let rule = format!("must have 1 to {SECRETS_MAX} secrets");
        return Err(InvalidTarget::at("/secrets", rule));
    }
    let open = |(index, secret): (usize, &Secret)| {
        let pointer = format!("/secrets/{index}");
        let plain = secret
            .open(outside.vault())
            .map_err(|fault| fault.under(&pointer))?;
        SigningKey::parse(plain.reveal()).map_err(|rule| InvalidTarget::at(&pointer, rule))
    };
    secrets.iter().enumerate().map(open).collect()
}

fn headers(definition: &Definition, outside: &Outside) -> Result<HeaderMap, InvalidTarget> {
    let mut headers = HeaderMap::new();
    let mut add = |field: &str, name: &str, value: &str, is_secret: bool| {
        let fault =
            |rule: &str| InvalidTarget::at(&format!("/{field}/{}", escape(name)), rule.to_owned());
        let lower = name.to_ascii_lowercase();
        let is_own = OWN_HEADERS.contains(&lower.as_str())
            || lower.starts_with("webhook-")
            || lower.starts_with("ce-");
        if is_own {
            return Err(fault("is a header that Factum sets itself"));
        }
        let name: HeaderName = lower.parse().map_err(|_| fault("is no name of a header"))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| fault("is no value of a header"))?;
        value.set_sensitive(is_secret);
        if headers.insert(name, value).is_some() {
            return Err(fault("is given twice"));
        }
        Ok(())
    };
    for (name, value) in &definition.headers {
        add("headers", name, value, false)?;
    }
    for (name, secret) in &definition.secret_headers {
        let pointer = format!("/secretHeaders/{}", escape(name));
        let plain = secret
            .open(outside.vault())
            .map_err(|fault| fault.under(&pointer))?;
        add("secretHeaders", name, plain.reveal(), true)?;
    }
    if headers.len() > HEADERS_MAX {
        let rule = format!("are more than {HEADERS_MAX}");
        return Err(InvalidTarget::at("/headers", rule));
    }
    Ok(headers)
}

fn client(
    definition: &Definition,
    outside: &Outside,
    gate: &Gate,
) -> Result<Client, InvalidTarget> {
    let roots = outside.roots(definition.ca_certificates.as_deref())?;
    let mut tls = tls(roots).map_err(|error| InvalidTarget::at("", error.to_string()))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(GuardedNames(Arc::clone(&outside.guard)))
        // A proxy would connect for us, where the guard does not see.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(gate.timeout())
        .connect_timeout(gate.timeout())
        .pool_max_idle_per_host(gate.in_flight_max())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| InvalidTarget::at("", format!("cannot be made: {error}")))
}

/// Gives the client the addresses that the guard lets through, and no others.
struct GuardedNames(Arc<Guard>);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let host = Host::parse(name.as_str())?;
            // The client puts the port of the URL in place of the zero.
            let sockets = guard.sockets(&host, 0).await?;
            Ok(Box::new(sockets.into_iter()) as Addrs)
        })
    }
}

/// Returns the endpoint of a URL: all but the query and the fragment.
fn endpoint_of(url: &Url) -> EndpointName {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    EndpointName {
        shown: format!("{}://{host}:{port}", url.scheme()),
        // May have a token in it.
        rest: url.path().to_owned(),
    }
}

/// A webhook.
struct Target {
    url: Url,
    keys: Vec<SigningKey>,
    payload: Payload,
    headers: HeaderMap,
    client: Client,
    gate: Gate,
    clock: Arc<dyn Clock>,
    limits: DeliverLimits,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Webhook");
        debug
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
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
        self.gate.state(Webhook::NAME)
    }
}

impl Target {
    async fn attempt(&self, delivery: &Delivery) -> Result<Delivered, DeliverError> {
        let rendered = self.payload.render(delivery)?;
        let mut headers = self.headers.clone();
        let mut set = |name: HeaderName, value: &str| match HeaderValue::from_str(value) {
            Ok(value) => {
                headers.insert(name, value);
                Ok(())
            }
            Err(error) => {
                let message = format!("the header {name} cannot be made");
                Err(DeliverError::lasting(ErrorClass::Payload, message).because(error))
            }
        };
        set(CONTENT_TYPE, &rendered.content_type)?;
        for (name, value) in &rendered.attributes {
            let name = format!("ce-{name}").parse();
            set(name.map_err(|error| failed(&error))?, &header_value(value))?;
        }
        // The timestamp is of the attempt, so that receivers can refuse what is replayed.
        let seconds = self.clock.now().as_micros().div_euclid(1_000_000);
        let id = delivery.id.to_string();
        let signatures = sign::signatures(&self.keys, &id, seconds, &rendered.body);
        set(HeaderName::from_static("webhook-id"), &id)?;
        set(
            HeaderName::from_static("webhook-timestamp"),
            &seconds.to_string(),
        )?;
        set(HeaderName::from_static("webhook-signature"), &signatures)?;
        self.send(headers, rendered.body).await
    }

    async fn send(&self, headers: HeaderMap, body: Bytes) -> Result<Delivered, DeliverError> {
        let request = self.client.post(self.url.clone());
        let answer = request.headers(headers).body(body).send().await;
        let answer = answer.map_err(classify)?;
        answer::read(answer, &self.limits, self.clock.now()).await
    }
}

fn failed(error: &dyn fmt::Display) -> DeliverError {
    DeliverError::lasting(ErrorClass::Payload, error.to_string())
}

/// Says what kind of failure the client ran into. Nothing of what it says has the URL in it, which
/// may hold a token.
fn classify(error: reqwest::Error) -> DeliverError {
    let error = error.without_url();
    if let Some(refusal) = refusal_in(&error) {
        return refused(refusal);
    }
    let (class, message) = if error.is_timeout() {
        (ErrorClass::Timeout, "no answer in time")
    } else if is_tls(&error) {
        (ErrorClass::Tls, "no TLS that both sides accept")
    } else if error.is_connect() {
        (ErrorClass::Connect, "no connection")
    } else if error.is_builder() {
        return DeliverError::lasting(ErrorClass::Payload, "the request cannot be made")
            .because(error);
    } else {
        (
            ErrorClass::Connect,
            "the connection broke before the answer",
        )
    };
    let message = match root_cause(&error) {
        Some(cause) => format!("{message}: {cause}"),
        None => message.to_owned(),
    };
    DeliverError::passing(class, message).because(error)
}

fn root_cause(error: &reqwest::Error) -> Option<String> {
    let first = std::error::Error::source(error)?;
    let root = std::iter::successors(Some(first), |error| error.source()).last()?;
    Some(root.to_string().chars().take(200).collect())
}

fn is_tls(error: &reqwest::Error) -> bool {
    std::iter::successors(
        Some(error as &(dyn std::error::Error + 'static)),
        |&error| match error.downcast_ref::<std::io::Error>() {
            // What an error of input and output was made of is not its source, but itself.
            Some(outer) if outer.get_ref().is_some() => outer
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static)),
            _ => error.source(),
        },
    )
    .any(|error| error.is::<rustls::Error>())
}
