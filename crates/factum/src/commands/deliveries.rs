//! `factum deliveries`: what rules have sent, attempt by attempt.

use clap::{Subcommand, ValueEnum};
use serde::Deserialize;

use crate::cli::Context;
use crate::client::{Call, Client, Query, encode_segment};
use crate::commands::rules::raw;
use crate::output::printable;

/// Look at what rules have sent, attempt by attempt
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List deliveries, the newest events first
    List {
        /// Those of a rule
        #[arg(long, value_name = "ID")]
        rule: Option<String>,
        /// Those of a target
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// Those of an event
        #[arg(long, value_name = "ID")]
        event: Option<String>,
        /// Those that stand so
        #[arg(long)]
        status: Option<Status>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show a delivery with its attempts
    Show {
        /// The id of the delivery
        id: String,
    },
    /// Say how the targets of rules are: breakers, queues, lag
    Targets,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    /// The target has it
    Delivered,
    /// Another attempt is set
    Retrying,
    /// It has become a dead letter
    Dead,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryView {
    id: String,
    position: u64,
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    rule: String,
    target: String,
    status: String,
    attempts_made: u32,
    attempts: Vec<AttemptView>,
    next_attempt_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttemptView {
    number: u32,
    at: String,
    duration_ms: u64,
    status: Option<u16>,
    error_class: Option<String>,
    error: Option<String>,
    excerpt: Option<String>,
}

#[derive(Deserialize)]
struct DeliveryList {
    items: Vec<DeliveryView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetView {
    rule: String,
    target: String,
    kind: Option<String>,
    breaker: Option<String>,
    in_flight: u64,
    endpoint: Option<EndpointView>,
    ready: u64,
    waiting: u64,
    lag_events: u64,
    lag_ms: u64,
    delivered: u64,
    failed: u64,
    dead: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointView {
    name: String,
    in_flight: u64,
    in_flight_max: u64,
    targets: u64,
}

impl EndpointView {
    fn text(&self) -> String {
        let (name, targets) = (printable(&self.name), self.targets);
        let (in_flight, max) = (self.in_flight, self.in_flight_max);
        format!("{name} ({in_flight} of {max}, targets: {targets})")
    }
}

#[derive(Deserialize)]
struct TargetList {
    items: Vec<TargetView>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    let (path, is_list) = match &args.act {
        Act::List {
            rule,
            target,
            event,
            status,
            limit,
        } => {
            let mut query = Query::default();
            query.add_some("rule", rule.as_deref());
            query.add_some("target", target.as_deref());
            query.add_some("event", event.as_deref());
            query.add_some("status", status.map(Status::as_str));
            query.add("limit", &limit.to_string());
            (format!("/v1/deliveries{}", query.as_str()), true)
        }
        Act::Show { id } => (format!("/v1/deliveries/{}", encode_segment(id)), false),
        Act::Targets => ("/v1/deliveries/targets".to_owned(), false),
    };
    let body = client.send(Call::get(path)).await?.bytes().await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    if is_list {
        return list(serde_json::from_slice(&body)?, context);
    }
    match args.act {
        Act::Targets => targets(serde_json::from_slice(&body)?, context),
        Act::Show { .. } | Act::List { .. } => show(&serde_json::from_slice(&body)?, context),
    }
}

fn list(list: DeliveryList, context: &mut Context) -> anyhow::Result<()> {
    let cells = |delivery: DeliveryView| {
        vec![
            delivery.id,
            printable(&delivery.event_type),
            printable(&format!(
                "{}/{}",
                delivery.aggregate_type, delivery.aggregate_id
            )),
            format!("{}/{}", delivery.rule, delivery.target),
            delivery.status,
            delivery.attempts_made.to_string(),
        ]
    };
    let rows = list.items.into_iter().map(cells).collect();
    let head = ["id", "type", "aggregate", "to", "status", "attempts"];
    Ok(context.out.table(&head, rows)?)
}

/// Writes a delivery and its attempts.
pub(super) fn show(delivery: &DeliveryView, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    let aggregate = format!("{}/{}", delivery.aggregate_type, delivery.aggregate_id);
    out.line(format_args!("delivery   {}", delivery.id))?;
    out.line(format_args!(
        "event      {} at position {}",
        printable(&delivery.event_type),
        delivery.position
    ))?;
    out.line(format_args!("aggregate  {}", printable(&aggregate)))?;
    out.line(format_args!(
        "to         {}/{}",
        delivery.rule, delivery.target
    ))?;
    out.line(format_args!("status     {}", delivery.status))?;
    if let Some(at) = &delivery.next_attempt_at {
        out.line(format_args!("next       {at}"))?;
    }
    let cells = |attempt: &AttemptView| {
        let class = attempt.error_class.clone();
        vec![
            attempt.number.to_string(),
            attempt.at.clone(),
            format!("{} ms", attempt.duration_ms),
            attempt
                .status
                .map_or_else(String::new, |status| status.to_string()),
            class.unwrap_or_else(|| "delivered".to_owned()),
            printable(attempt.error.as_deref().unwrap_or_default()),
            printable(attempt.excerpt.as_deref().unwrap_or_default()),
        ]
    };
    let rows = delivery.attempts.iter().map(cells).collect();
    let head = [
        "attempt", "at", "took", "status", "outcome", "error", "answer",
    ];
    Ok(out.table(&head, rows)?)
}

fn targets(list: TargetList, context: &mut Context) -> anyhow::Result<()> {
    let cells = |target: TargetView| {
        vec![
            format!("{}/{}", target.rule, target.target),
            target.kind.unwrap_or_else(|| "broken".to_owned()),
            target.breaker.unwrap_or_default(),
            target.in_flight.to_string(),
            target.endpoint.map(|it| it.text()).unwrap_or_default(),
            target.ready.to_string(),
            target.waiting.to_string(),
            format!("{} ({} ms)", target.lag_events, target.lag_ms),
            target.delivered.to_string(),
            target.failed.to_string(),
            target.dead.to_string(),
        ]
    };
    let rows = list.items.into_iter().map(cells).collect();
    let head = [
        "target",
        "kind",
        "breaker",
        "in flight",
        "endpoint",
        "ready",
        "waiting",
        "lag",
        "delivered",
        "failed",
        "dead",
    ];
    Ok(context.out.table(&head, rows)?)
}
