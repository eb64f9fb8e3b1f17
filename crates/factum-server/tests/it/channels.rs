//! Channels: what rules lead to those who listen.

use std::sync::Arc;

use factum_engine::{Deliver, InvalidTarget, Scope, Targets};
use factum_store::{EventStore, MemoryStore};
use serde_json::{Value, json};

use crate::harness::{Harness, event};
use crate::live_client::Ws;

/// Knows channels alone; a server does not know the targets that there are besides.
#[derive(Debug)]
struct Channels;

impl Targets for Channels {
    fn accept(&self, definition: &str, _: Option<&str>) -> Result<String, InvalidTarget> {
        Ok(definition.to_owned())
    }

    fn show(&self, stored: &str) -> Result<String, InvalidTarget> {
        Ok(stored.to_owned())
    }

    fn open(&self, _: &str) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        Err(InvalidTarget::at(
            "",
            "is a channel, to which nothing is sent",
        ))
    }

    fn reseal(&self, _: &str) -> Result<Option<String>, InvalidTarget> {
        Ok(None)
    }

    fn channel(&self, stored: &str) -> Option<String> {
        let definition: Value = serde_json::from_str(stored).unwrap();
        definition["channel"].as_str().map(str::to_owned)
    }
}

async fn node(store: &Arc<dyn EventStore>) -> Harness {
    Harness::start_node(Arc::clone(store), Some(Arc::new(Channels)), |_| {}).await
}

fn rule(id: &str, event_type: &str, channel: &str) -> String {
    json!({
        "id": id,
        "name": id,
        "conditions": {"type": "eventType", "operator": "equals", "value": event_type},
        "targets": [{"id": "t", "to": {"type": "channel", "channel": channel}}],
    })
    .to_string()
}

async fn append(server: &Harness, event_types: &[&str]) {
    for event_type in event_types {
        let body = event(event_type, "a", "1", "{}");
        assert_eq!(server.post("/v1/events", body).await.status, 201);
    }
}

/// Listens to a channel, and returns what confirms it.
async fn listen(ws: &mut Ws, channel: &str, more: Value) -> Value {
    let mut message = json!({"type": "subscribe", "subscriptionId": "s", "channel": channel});
    let fields = more.as_object().unwrap().clone();
    message.as_object_mut().unwrap().extend(fields);
    ws.say(&message).await;
    ws.next().await
}

/// Returns the types of the next so many events.
async fn types(ws: &mut Ws, count: usize) -> Vec<String> {
    let mut types = Vec::new();
    while types.len() < count {
        let message = ws.next().await;
        // It stands before or among them, by how fast the reader was.
        if message["type"] != "caught_up" {
            assert_eq!(message["type"], "event", "{message}");
            types.push(message["data"]["type"].as_str().unwrap().to_owned());
        }
    }
    types
}

#[tokio::test]
async fn listeners_of_every_node_get_what_rules_lead_to_their_channel() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let first = node(&store).await;
    let second = node(&store).await;
    for (id, event_type, channel) in [
        ("placed", "order.placed", "orders"),
        ("paid", "order.paid", "orders"),
        ("again", "order.paid", "orders"),
        ("form", "form.opened", "forms"),
    ] {
        let made = first.post("/v1/rules", rule(id, event_type, channel)).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let mut here = Ws::admin(&first).await;
    let confirmed = listen(&mut here, "orders", json!({})).await;
    assert_eq!(confirmed["type"], "subscription_confirmed");
    assert_eq!(confirmed["data"]["channel"], "orders");
    let mut there = Ws::with_key(&second.url, &first.admin).await;
    listen(
        &mut there,
        "orders",
        json!({"filter": {"eventTypes": ["*.paid"]}}),
    )
    .await;
    let mut forms = Ws::admin(&first).await;
    listen(&mut forms, "forms", json!({})).await;
    append(
        &first,
        &["order.placed", "form.opened", "other.x", "order.paid"],
    )
    .await;
    // An event that two rules lead here comes once.
    assert_eq!(types(&mut here, 2).await, ["order.placed", "order.paid"]);
    assert_eq!(types(&mut forms, 1).await, ["form.opened"]);
    assert_eq!(types(&mut there, 1).await, ["order.paid"]);
    // Nothing is sent, so nothing is queued, and nothing is broken.
    let targets = first.get("/v1/deliveries/targets").await.json();
    assert_eq!(targets["items"], json!([]));
}

/// The rule and the event are written right after one another, and a node that has not heard of
/// the rule yet must not take the event for one that is not meant.
#[tokio::test]
async fn a_rule_counts_from_its_own_event_on_for_every_node() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let first = node(&store).await;
    let second = node(&store).await;
    let mut there = Ws::with_key(&second.url, &first.admin).await;
    listen(&mut there, "orders", json!({})).await;
    assert_eq!(there.next_of("caught_up").await["type"], "caught_up");
    let wanted: Vec<String> = (0..50).map(|round| format!("order.n{round}")).collect();
    for (round, event_type) in wanted.iter().enumerate() {
        let definition = rule(&format!("r{round}"), event_type, "orders");
        let made = first.post("/v1/rules", definition).await;
        assert_eq!(made.status, 201);
        append(&first, &[event_type, "order.other"]).await;
    }
    assert_eq!(types(&mut there, 50).await, wanted);
}

#[tokio::test]
async fn a_listener_goes_on_where_it_was_and_sees_what_its_key_may() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let server = node(&store).await;
    let made = server.post("/v1/rules", rule("r", "order.placed", "orders"));
    assert_eq!(made.await.status, 201);
    append(&server, &["order.placed", "order.placed"]).await;
    let history = json!({"options": {"includeHistory": true}});
    let mut ws = Ws::admin(&server).await;
    listen(&mut ws, "orders", history).await;
    let cursor = ws.next_of("event").await["cursor"].clone();
    let mut again = Ws::admin(&server).await;
    listen(
        &mut again,
        "orders",
        json!({"options": {"fromPosition": cursor}}),
    )
    .await;
    assert_eq!(types(&mut again, 1).await, ["order.placed"]);
    assert_eq!(again.next_of("caught_up").await["data"]["lag"], 0);
    // Who may only write may not listen.
    let writer = server.key(&[Scope::Append]).await;
    let bearer = format!("Bearer {writer}");
    let refused = Ws::open(&server.url, "", &[("authorization", &bearer)]).await;
    assert_eq!(refused.err(), Some(403));
    // Rules are switched while somebody listens.
    let off = server.post("/v1/rules/r/disable", "{}").await;
    assert!(off.status.is_success(), "{off:?}");
    append(&server, &["order.placed"]).await;
    let on = server.post("/v1/rules/r/enable", "{}").await;
    assert!(on.status.is_success(), "{on:?}");
    append(&server, &["order.placed"]).await;
    assert!(types(&mut again, 1).await == ["order.placed"]);
}

#[tokio::test]
async fn what_makes_no_sense_with_a_channel_is_refused() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let server = node(&store).await;
    for more in [
        json!({"options": {"historyLimit": 5}}),
        json!({"durable": "crm"}),
    ] {
        let mut ws = Ws::admin(&server).await;
        let answer = listen(&mut ws, "orders", more).await;
        assert_eq!(answer["data"]["code"], "invalid_request", "{answer}");
    }
    let without_rules = Harness::start().await;
    let mut ws = Ws::admin(&without_rules).await;
    let answer = listen(&mut ws, "orders", json!({})).await;
    assert_eq!(answer["type"], "error", "{answer}");
}

#[tokio::test]
async fn a_channel_leads_no_events_of_the_engine_not_even_to_an_admin() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let server = node(&store).await;
    let everything = json!({
        "id": "r",
        "name": "r",
        "conditions": {"not": {"type": "eventType", "operator": "equals", "value": "never.was"}},
        "targets": [{"id": "t", "to": {"type": "channel", "channel": "all"}}],
    });
    let made = server.post("/v1/rules", everything.to_string());
    assert_eq!(made.await.status, 201);
    let mut ws = Ws::admin(&server).await;
    listen(&mut ws, "all", json!({})).await;
    // This is an event of the engine, with what the rule says in it.
    let made = server.post("/v1/rules", rule("other", "x.y", "other"));
    assert_eq!(made.await.status, 201);
    append(&server, &["order.placed"]).await;
    assert_eq!(types(&mut ws, 1).await, ["order.placed"]);
}
