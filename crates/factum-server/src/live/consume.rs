//! What a connection does for durable subscriptions: opens them, hands out, settles.

use std::sync::Arc;

use factum_api::filter_json;
use factum_engine::{Handout, Outcome, Principal, SubscriptionError, Subscriptions};
use factum_model::ErrorCode;
use serde_json::json;

use super::client::{Consume, Refusal};
use super::close::{CloseCode, Closing};
use super::connection::{Connection, unknown};
use super::durable::{Durable, NewDurable};
use super::registry::SubscriptionEntry;
use super::render::{Envelope, Kind};
use super::wire::End;
use crate::error::ApiError;
use crate::handlers::consumers::{extend_with, owner, settle_with};

impl Connection {
    /// Tells whether nothing would ever come on this connection.
    pub(super) fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.durables.is_empty()
    }

    /// Returns which of the durable subscriptions has a name.
    pub(super) fn durable_of(&self, id: &str) -> Option<usize> {
        self.durables.iter().position(|known| known.id() == id)
    }

    /// Tells whether a name is taken on this connection.
    pub(super) fn knows(&self, id: &str) -> bool {
        let mut live = self.subscriptions.iter();
        live.any(|known| known.id() == id) || self.durables.iter().any(|known| known.id() == id)
    }

    pub(super) async fn consume(
        &mut self,
        wanted: Consume,
        principal: &Principal,
    ) -> Result<Result<(), Refusal>, End> {
        let id = wanted.subscription_id.clone();
        let durable = match self.open_durable(wanted, principal) {
            Ok(durable) => durable,
            Err(refusal) => return Ok(Err(refusal.of_subscription(&id))),
        };
        let at = self.session.engine.clock().now();
        let data = json!({ "durable": durable.name }).to_string();
        let confirmed = durable
            .envelope
            .message(Kind::SubscriptionConfirmed, at, None, &data);
        self.session
            .registration
            .entry()
            .add(Arc::clone(&durable.entry));
        self.durables.push(durable);
        self.send(confirmed).await?;
        Ok(Ok(()))
    }

    fn open_durable(&self, wanted: Consume, principal: &Principal) -> Result<Durable, Refusal> {
        let id = &wanted.subscription_id;
        let limit = self.session.options.subscriptions_max;
        if self.knows(id) {
            let detail = format!("subscription {id:?} is open already");
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail));
        }
        if self.subscriptions.len() + self.durables.len() >= limit {
            let detail = format!("a connection has at most {limit} subscriptions");
            return Err(Refusal::new(ErrorCode::LimitExceeded, detail));
        }
        let refused = |error: SubscriptionError| Refusal::new(error.code(), error.to_string());
        let subscriptions = self.durable_subscriptions().map_err(refused)?;
        let info = subscriptions.get(&wanted.durable).map_err(refused)?;
        let stream_id = &self.session.registration.entry().id;
        let owner =
            owner(principal, &format!("stream-{stream_id}/{id}")).map_err(|error| told(&error))?;
        let entry = SubscriptionEntry::new(
            id.clone(),
            filter_json(&info.definition.filter),
            self.session.engine.clock().now(),
        );
        Ok(Durable::new(NewDurable {
            entry: Arc::new(entry),
            envelope: Envelope::new(stream_id, Some(id)),
            name: wanted.durable,
            subscriptions: subscriptions.clone(),
            owner,
            buffer: wanted.buffer,
            bytes_max: self.session.options.batch_bytes_max,
            heartbeat_interval: wanted.heartbeat_interval,
        }))
    }

    fn durable_subscriptions(&self) -> Result<&Subscriptions, SubscriptionError> {
        let subscriptions = self.session.subscriptions.as_ref();
        subscriptions.ok_or(SubscriptionError::NoBookkeeping)
    }

    /// Sends what a durable subscription was given, or says why there is nothing more.
    pub(super) async fn hand_out(
        &mut self,
        index: usize,
        taken: Result<Vec<Handout>, SubscriptionError>,
    ) -> Result<(), End> {
        let Some(durable) = self.durables.get_mut(index) else {
            return Ok(());
        };
        let error = match taken {
            Ok(handouts) => {
                let registry = self.session.registration.registry();
                let with = (&self.session.engine, registry);
                return durable.send(&handouts, with, &mut self.wire).await;
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(
                    subscription = durable.name,
                    error = &error as &dyn std::error::Error,
                    "a consumer gets nothing for now"
                );
                durable.pause();
                return Ok(());
            }
            Err(error) => error,
        };
        let durable = self.durables.remove(index);
        let entry = self.session.registration.entry();
        entry.remove(durable.id());
        let refusal = told(&error.into());
        let at = self.session.engine.clock().now();
        let data = json!({ "code": refusal.code.as_str(), "detail": refusal.detail }).to_string();
        let closed = durable
            .envelope
            .message(Kind::SubscriptionClosed, at, None, &data);
        self.wire.feed(closed).await?;
        if self.is_idle() {
            let closing = Closing::new(CloseCode::Subscription, refusal.detail);
            return Err(End::Close(closing));
        }
        Ok(())
    }

    /// Settles events by their tokens, and says what became of each.
    pub(super) async fn settle(
        &mut self,
        id: &str,
        tokens: Vec<String>,
        outcome: &Outcome,
    ) -> Result<Result<(), Refusal>, End> {
        let Some(index) = self.durable_of(id) else {
            return Ok(Err(unknown(id)));
        };
        let Some(durable) = self.durables.get_mut(index) else {
            return Ok(Err(unknown(id)));
        };
        let settled = settle_with(
            durable.subscriptions(),
            &durable.name,
            tokens.clone(),
            outcome,
        );
        let settled = match settled.await {
            Ok(settled) => settled,
            Err(error) => return Ok(Err(told(&error).of(id))),
        };
        durable.settled(&tokens);
        let data = serde_json::to_string(&settled).unwrap_or_default();
        let at = self.session.engine.clock().now();
        let message = durable.envelope.message(Kind::Settled, at, None, &data);
        self.send(message).await?;
        Ok(Ok(()))
    }

    /// Gives the client more time for events that it has.
    pub(super) async fn extend(
        &mut self,
        id: &str,
        tokens: Vec<String>,
        extend_ms: Option<u64>,
    ) -> Result<Result<(), Refusal>, End> {
        let index = self.durable_of(id);
        let Some(durable) = index.and_then(|index| self.durables.get_mut(index)) else {
            return Ok(Err(unknown(id)));
        };
        let extended = extend_with(durable.subscriptions(), &durable.name, tokens, extend_ms);
        let extended = match extended.await {
            Ok(extended) => extended,
            Err(error) => return Ok(Err(told(&error).of(id))),
        };
        durable.extended(&extended.results, extend_ms);
        let data = serde_json::to_string(&extended).unwrap_or_default();
        let at = self.session.engine.clock().now();
        let message = durable.envelope.message(Kind::Extended, at, None, &data);
        self.send(message).await?;
        Ok(Ok(()))
    }
}

/// Says to a client of a connection what is said to clients of requests.
fn told(error: &ApiError) -> Refusal {
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.as_str() == error.problem.code)
        .copied()
        .unwrap_or(ErrorCode::Internal);
    Refusal::new(code, error.problem.detail.clone())
}
