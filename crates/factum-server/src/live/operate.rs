//! What operators see of live connections, and the tickets of browsers, as they stand on the wire.

use std::sync::atomic::Ordering;

use factum_model::Position;
use serde::Serialize;
use utoipa::ToSchema;

use super::registry::{ConnectionEntry, SubscriptionEntry};

/// A ticket with which a browser opens a WebSocket: `GET /v1/stream?ticket=…`, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StreamTicket)]
pub struct TicketDto {
    /// The ticket.
    pub ticket: String,
    /// How many seconds it is valid.
    pub expires_in: u64,
}

/// The live connections.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StreamList)]
pub struct ConnectionListDto {
    /// Every one that is open.
    pub items: Vec<ConnectionDto>,
    /// Always false: the list is whole.
    pub has_more: bool,
}

/// A live connection.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stream)]
pub struct ConnectionDto {
    /// The id, which is the `streamId` of its messages.
    pub id: String,
    /// `websocket` or `sse`.
    pub transport: String,
    /// The address of the client.
    pub client: String,
    /// The id of the client's key; absent before it has authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The name of the client's key; absent before it has authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// When it was opened.
    pub since: String,
    /// How many events were delivered on it, on all subscriptions that it has now.
    pub delivered: u64,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionDto>,
}

/// A subscription of a live connection.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StreamSubscription)]
pub struct SubscriptionDto {
    /// The name that the client gave it.
    pub subscription_id: String,
    /// The filter.
    #[schema(value_type = Object)]
    pub filter: serde_json::Value,
    /// When it was opened.
    pub since: String,
    /// How many events were delivered.
    pub delivered: u64,
    /// The last position of the log that was looked at for it.
    pub position: u64,
    /// The last position that the client has acknowledged, 0 for none.
    pub acknowledged: u64,
    /// How many events of the log it has still to look at.
    pub lag: u64,
}

pub(crate) fn connection_dto(entry: &ConnectionEntry, head: Option<Position>) -> ConnectionDto {
    let owner = entry.owner();
    let subscriptions: Vec<SubscriptionDto> = entry
        .subscriptions()
        .iter()
        .map(|subscription| subscription_dto(subscription, head))
        .collect();
    ConnectionDto {
        id: entry.id.clone(),
        transport: entry.transport.as_str().to_owned(),
        client: entry.client.to_string(),
        key_id: owner.as_ref().and_then(|owner| owner.key_id.clone()),
        key_name: owner.map(|owner| owner.key_name),
        since: entry.since.to_string(),
        delivered: subscriptions.iter().map(|one| one.delivered).sum(),
        subscriptions,
    }
}

fn subscription_dto(entry: &SubscriptionEntry, head: Option<Position>) -> SubscriptionDto {
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    let position = number(entry.scanned());
    SubscriptionDto {
        subscription_id: entry.subscription_id.clone(),
        // It was written by ourselves.
        filter: serde_json::from_str(&entry.filter).unwrap_or_default(),
        since: entry.since.to_string(),
        delivered: entry.delivered.load(Ordering::Relaxed),
        position,
        acknowledged: number(entry.acknowledged()),
        lag: number(head).saturating_sub(position),
    }
}
