//! One WebSocket connection, from the first message to the last.
//!
//! A connection is one task. It gives each subscription its turn (one page of the log), sends
//! what they had to say in one go, listens to the client, and waits. Nothing is queued: what a
//! slow client has not taken stays in the log.

use std::sync::Arc;

use bytes::Bytes;
use factum_api::filter_json;
use factum_engine::{
    Engine, HeadSignal, KeyRing, LiveRead, Principal, Rules, Scope, SubscriptionError,
    Subscriptions,
};
use factum_model::ErrorCode;
use factum_store::{ReadError, Visibility};
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::channel::Channel;
use super::client::{ClientMessage, Place, Refusal, RefusedWhat, Subscribe, Token, parse};
use super::close::{CloseCode, Closing};
use super::durable::{Durable, taken};
use super::limiter::MessageLimiter;
use super::options::LiveOptions;
use super::registry::{ConnectionEntry, ConnectionOwner, Registration, SubscriptionEntry};
use super::render::{Envelope, Kind};
use super::subscription::{Subscription, TurnError, public_detail};
use super::upgrade::{Socket, TakenBytes};
use super::wire::{End, Stop, Wire};

/// What a connection works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) keys: Arc<dyn KeyRing>,
    pub(crate) options: Arc<LiveOptions>,
    pub(crate) registration: Registration,
    /// Who the client is, where it has said so in a header or by a ticket.
    pub(crate) principal: Option<Principal>,
    /// The durable subscriptions, where the server has any.
    pub(crate) subscriptions: Option<Subscriptions>,
    /// The rules, where the server has any.
    pub(crate) rules: Option<Rules>,
}

/// Serves a connection to its end.
pub(crate) async fn serve(session: Session, socket: Socket, taken: TakenBytes) {
    let stop = stop_of(session.registration.entry(), &session.engine, None);
    let wire = Wire::new(socket, taken, session.options.write_timeout, stop);
    let mut connection = Connection {
        limiter: MessageLimiter::new(
            session.options.messages_per_second,
            session.options.messages_burst,
        ),
        signal: HeadSignal::new(
            session.engine.store().watch_head(),
            session.options.coalesce,
        ),
        envelope: Envelope::new(&session.registration.entry().id, None),
        subscriptions: Vec::new(),
        durables: Vec::new(),
        pinged: Instant::now(),
        session,
        wire,
    };
    let Err(end) = connection.run().await;
    connection.finish(end).await;
}

/// Something that only ever ends with an error.
enum Never {}

pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) wire: Wire,
    limiter: MessageLimiter,
    signal: HeadSignal,
    /// The envelope of what is not about a subscription.
    envelope: Envelope,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) durables: Vec<Durable>,
    /// When the last ping was sent.
    pinged: Instant,
}

impl Connection {
    async fn run(&mut self) -> Result<Never, End> {
        let principal = match self.session.principal.take() {
            Some(principal) => principal,
            None => self.authenticate().await?,
        };
        let entry = self.session.registration.entry();
        self.wire
            .stop_when(stop_of(entry, &self.session.engine, Some(&principal)));
        loop {
            // Marked before the log is read: what comes in between is then seen twice, not never.
            self.signal.mark_seen();
            for subscription in &mut self.subscriptions {
                subscription.wake();
            }
            while self.round().await? {
                while let Some(message) = self.wire.try_receive()? {
                    self.on_message(message, &principal).await?;
                }
            }
            self.wait(&principal).await?;
        }
    }

    async fn authenticate(&mut self) -> Result<Principal, End> {
        let limit = self.session.options.authentication_timeout;
        let first = async {
            loop {
                match self.wire.receive().await? {
                    Message::Text(text) => return Ok(text),
                    other => control(&other)?,
                }
            }
        };
        let text = tokio::time::timeout(limit, first)
            .await
            .map_err(|_| End::close(CloseCode::Authentication, "no authentication in time"))??;
        let lineage = self.session.engine.store().lineage();
        let Ok(ClientMessage::Authenticate { token }) =
            parse(&text, &lineage, &self.session.options)
        else {
            let reason = "the first message must be authenticate";
            return Err(End::close(CloseCode::Authentication, reason));
        };
        let principal = self.check(&token)?;
        let entry = self.session.registration.entry();
        entry.authenticated(ConnectionOwner::of(&principal));
        Ok(principal)
    }

    fn check(&self, Token(token): &Token) -> Result<Principal, End> {
        let principal = self
            .session
            .keys
            .authenticate(token)
            .map_err(|_| End::close(CloseCode::Authentication, "the key is not valid"))?;
        if !principal.allows(Scope::Read) {
            let reason = "the key does not have the scope read";
            return Err(End::close(CloseCode::Authorization, reason));
        }
        Ok(principal)
    }

    /// Gives each subscription that has something to do one turn, and sends the results; tells
    /// whether any of them has more to do.
    async fn round(&mut self) -> Result<bool, End> {
        let mut failed = None;
        for (index, subscription) in self.subscriptions.iter_mut().enumerate() {
            if !subscription.is_due() {
                continue;
            }
            let registry = self.session.registration.registry();
            let turn = subscription.turn(&self.session.engine, registry, &mut self.wire);
            match turn.await {
                Ok(()) => {}
                Err(TurnError::End(end)) => return Err(end),
                Err(TurnError::Read(error)) => {
                    failed = Some((index, error));
                    break;
                }
            }
        }
        if let Some((index, error)) = failed {
            self.fail(index, &error).await?;
        }
        self.keep_alive().await?;
        self.wire.flush().await?;
        Ok(self.subscriptions.iter().any(Subscription::is_due))
    }

    /// Ends a subscription that cannot be read on, and the connection if it was the only one.
    async fn fail(&mut self, index: usize, error: &ReadError) -> Result<(), End> {
        let subscription = self.subscriptions.remove(index);
        let entry = self.session.registration.entry();
        entry.remove(subscription.id());
        tracing::error!(
            stream_id = entry.id,
            subscription_id = subscription.id(),
            error = error as &dyn std::error::Error,
            "a live subscription cannot be read on"
        );
        let detail = public_detail(error);
        let closed = subscription.closed(&self.session.engine, error.code().as_str(), &detail);
        self.wire.feed(closed).await?;
        if !self.is_idle() {
            return Ok(());
        }
        let code = match error {
            ReadError::Closed => CloseCode::GoingAway,
            ReadError::Corrupt { .. } | ReadError::Io(_) | ReadError::Unavailable(_) => {
                CloseCode::Internal
            }
        };
        Err(End::Close(Closing::new(code, detail)))
    }

    /// Sends the heartbeats and the ping that are due.
    async fn keep_alive(&mut self) -> Result<(), End> {
        let now = Instant::now();
        for subscription in &mut self.subscriptions {
            subscription
                .beat(&self.session.engine, now, &mut self.wire)
                .await?;
        }
        for durable in &mut self.durables {
            durable
                .beat(&self.session.engine, now, &mut self.wire)
                .await?;
        }
        let options = &self.session.options;
        if now >= self.wire.alive() + options.peer_timeout {
            return Err(End::close(CloseCode::TooSlow, "pings were not answered"));
        }
        if now >= self.ping_at() {
            self.pinged = now;
            self.wire.ping().await?;
        }
        Ok(())
    }

    fn ping_at(&self) -> Instant {
        self.wire.alive().max(self.pinged) + self.session.options.ping_interval
    }

    /// Waits until the head moves, the client says something, or a heartbeat is due.
    async fn wait(&mut self, principal: &Principal) -> Result<(), End> {
        let heartbeats = self.subscriptions.iter().map(Subscription::heartbeat_at);
        let durables = self.durables.iter();
        let ends =
            durables.flat_map(|one| one.expires_at().into_iter().chain([one.heartbeat_at()]));
        let next = heartbeats
            .chain(ends)
            .min()
            .map_or_else(|| self.ping_at(), |heartbeat| heartbeat.min(self.ping_at()));
        let next = next.min(self.wire.alive() + self.session.options.peer_timeout);
        let follows = !self.subscriptions.is_empty();
        for durable in &mut self.durables {
            durable.begin();
        }
        let message = tokio::select! {
            message = self.wire.receive() => Some(message?),
            (index, taken) = taken(&mut self.durables) => return self.hand_out(index, taken).await,
            moved = self.signal.moved(), if follows => match moved {
                Ok(()) => None,
                Err(error) => return Err(End::Close(Closing::new(
                    CloseCode::GoingAway,
                    public_detail(&error),
                ))),
            },
            () = tokio::time::sleep_until(next) => None,
        };
        match message {
            Some(message) => self.on_message(message, principal).await,
            None => Ok(()),
        }
    }

    async fn on_message(&mut self, message: Message, principal: &Principal) -> Result<(), End> {
        if !self.limiter.admit() {
            return Err(End::close(CloseCode::Rate, "too many messages"));
        }
        let Message::Text(text) = message else {
            return control(&message);
        };
        let lineage = self.session.engine.store().lineage();
        let done = match parse(&text, &lineage, &self.session.options) {
            Err(refusal) => Err(refusal),
            Ok(ClientMessage::Subscribe(wanted)) => self.subscribe(*wanted, principal).await?,
            Ok(ClientMessage::Consume(wanted)) => self.consume(wanted, principal).await?,
            Ok(ClientMessage::Settle {
                subscription_id,
                tokens,
                outcome,
            }) => self.settle(&subscription_id, tokens, &outcome).await?,
            Ok(ClientMessage::Extend {
                subscription_id,
                tokens,
                extend_ms,
            }) => self.extend(&subscription_id, tokens, extend_ms).await?,
            Ok(ClientMessage::Unsubscribe { subscription_id }) => {
                self.unsubscribe(&subscription_id).await?
            }
            Ok(ClientMessage::Ack {
                subscription_id,
                at,
            }) => self.acknowledge(&subscription_id, &at),
            Ok(ClientMessage::Ping) => {
                let at = self.session.engine.clock().now();
                let pong = self.envelope.message(Kind::Pong, at, None, "{}");
                self.send(pong).await?;
                Ok(())
            }
            Ok(ClientMessage::Authenticate { .. }) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the connection is authenticated already",
            )),
        };
        match done {
            Ok(()) => Ok(()),
            Err(refusal) => self.refuse(refusal).await,
        }
    }

    pub(super) async fn send(&mut self, message: Bytes) -> Result<(), End> {
        self.wire.feed(message).await?;
        self.wire.flush().await
    }

    async fn subscribe(
        &mut self,
        wanted: Subscribe,
        principal: &Principal,
    ) -> Result<Result<(), Refusal>, End> {
        let subscription = match self.open(&wanted, principal) {
            Ok(subscription) => subscription,
            Err(refusal) => return Ok(Err(refusal.of_subscription(&wanted.subscription_id))),
        };
        let confirmation = subscription.confirmation(&self.session.engine, wanted.batch_events_max);
        let entry = self.session.registration.entry();
        entry.add(Arc::clone(&subscription.entry));
        self.subscriptions.push(subscription);
        self.send(confirmation).await?;
        Ok(Ok(()))
    }

    fn open(&self, wanted: &Subscribe, principal: &Principal) -> Result<Subscription, Refusal> {
        let id = &wanted.subscription_id;
        let limit = self.session.options.subscriptions_max;
        if self.knows(id) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("subscription {id:?} is open already"),
            ));
        }
        if self.subscriptions.len() + self.durables.len() >= limit {
            return Err(Refusal::new(
                ErrorCode::LimitExceeded,
                format!("a connection has at most {limit} subscriptions"),
            ));
        }
        let channel = wanted.channel.as_ref().map(|name| {
            let rules = self.session.rules.clone();
            let rules = rules.ok_or(SubscriptionError::NoBookkeeping);
            rules.map(|rules| Channel::new(name.clone(), rules))
        });
        let channel = channel
            .transpose()
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let engine = &self.session.engine;
        // A rule is for events of applications, whoever listens to what it leads to.
        let visibility = match &channel {
            Some(_) => Visibility::Application,
            None => principal.visibility(),
        };
        let reader = engine
            .live(LiveRead {
                filter: wanted.filter.clone(),
                visibility,
                start: wanted.start,
                batch_events_max: wanted.batch_events_max,
                batch_bytes_max: self.session.options.batch_bytes_max,
                ..LiveRead::default()
            })
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let since = engine.clock().now();
        let entry = Arc::new(SubscriptionEntry::new(
            id.clone(),
            filter_json(&wanted.filter),
            since,
        ));
        entry.set_scanned(reader.position());
        let envelope = Envelope::new(&self.session.registration.entry().id, Some(id));
        Ok(
            Subscription::new(reader, entry, envelope, wanted.heartbeat_interval)
                .listening_to(channel),
        )
    }

    async fn unsubscribe(&mut self, id: &str) -> Result<Result<(), Refusal>, End> {
        if let Some(index) = self.durable_of(id) {
            let durable = self.durables.remove(index);
            self.session.registration.entry().remove(id);
            let data = r#"{"code":"unsubscribed","detail":"the client asked for it"}"#;
            let at = self.session.engine.clock().now();
            let closed = durable
                .envelope
                .message(Kind::SubscriptionClosed, at, None, data);
            durable.release().await;
            self.send(closed).await?;
            return Ok(Ok(()));
        }
        let Some(index) = self.index_of(id) else {
            return Ok(Err(unknown(id)));
        };
        let subscription = self.subscriptions.remove(index);
        self.session.registration.entry().remove(id);
        let detail = "the client asked for it";
        let closed = subscription.closed(&self.session.engine, "unsubscribed", detail);
        self.send(closed).await?;
        Ok(Ok(()))
    }

    fn acknowledge(&self, id: &str, at: &Place) -> Result<(), Refusal> {
        let index = self.index_of(id).ok_or_else(|| unknown(id))?;
        let lineage = self.session.engine.store().lineage();
        let position = at.resolve(&lineage).map_err(|refusal| refusal.of(id))?;
        if let Some(subscription) = self.subscriptions.get(index) {
            subscription.entry.acknowledge(position);
        }
        Ok(())
    }

    fn index_of(&self, id: &str) -> Option<usize> {
        self.subscriptions.iter().position(|known| known.id() == id)
    }

    /// Tells the client what is wrong. A subscription that is refused ends the connection if it
    /// has no other: nothing would ever come.
    async fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        let at = self.session.engine.clock().now();
        let data = json!({ "code": refusal.code.as_str(), "detail": refusal.detail }).to_string();
        let id = refusal.subscription_id.as_deref();
        let envelope = Envelope::new(&self.session.registration.entry().id, id);
        let error = envelope.message(Kind::Error, at, None, &data);
        self.send(error).await?;
        match refusal.what {
            RefusedWhat::Subscription if self.is_idle() => Err(End::Close(Closing::new(
                CloseCode::Subscription,
                refusal.detail,
            ))),
            RefusedWhat::Subscription | RefusedWhat::Message => Ok(()),
        }
    }

    async fn finish(self, end: End) {
        let give_back = async {
            for durable in self.durables {
                durable.release().await;
            }
        };
        let limit = self.session.options.close_timeout;
        // What is not given back in time is handed out again when its deadlines pass.
        let _in_time = tokio::time::timeout(limit, give_back).await;
        let Session {
            options,
            registration,
            ..
        } = self.session;
        let (code, reason) = match &end {
            End::Close(closing) => (closing.code, &*closing.reason),
            End::Gone => (CloseCode::Normal, "the client left"),
        };
        registration.registry().counters.count_close(code);
        tracing::debug!(
            stream_id = registration.entry().id,
            code = code.number(),
            reason,
            "live connection ended"
        );
        self.wire.close(&end, options.close_timeout).await;
    }
}

/// Follows a message that is not a text.
fn control(message: &Message) -> Result<(), End> {
    match message {
        // Pings are answered by the protocol layer; the others ask for nothing.
        Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_) => Ok(()),
        Message::Binary(_) => Err(End::close(
            CloseCode::Unsupported,
            "binary messages are not understood",
        )),
        Message::Close(_) => Err(End::Gone),
    }
}

pub(super) fn unknown(id: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        format!(
            "there is no subscription {:?}",
            id.chars().take(40).collect::<String>()
        ),
    )
    .of(id)
}

/// Returns what ends a connection from outside: an operator or the shutdown, and, once the client
/// is known, the end of its key.
pub(crate) fn stop_of(
    entry: &ConnectionEntry,
    engine: &Engine,
    principal: Option<&Principal>,
) -> Stop {
    let mut ending = entry.ending();
    let asked = async move {
        match ending.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(closing)) => closing.clone(),
            // The registry is gone, and with it the server.
            Ok(None) | Err(_) => Closing::new(CloseCode::GoingAway, "the server is gone"),
        }
    };
    let Some(principal) = principal.cloned() else {
        return Box::pin(asked);
    };
    let engine = engine.clone();
    Box::pin(async move {
        tokio::select! {
            closing = asked => closing,
            closing = end_of_key(&principal, &engine) => closing,
        }
    })
}

/// Waits for the end of a key and says how it ended.
async fn end_of_key(principal: &Principal, engine: &Engine) -> Closing {
    principal.ended(engine.clock()).await;
    let now = engine.clock().now();
    if principal.identity().expires_at.is_some_and(|at| at <= now) {
        Closing::new(CloseCode::Authentication, "the key has expired")
    } else {
        Closing::new(CloseCode::Authorization, "the key was revoked")
    }
}
