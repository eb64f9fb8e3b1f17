//! `factum sessions`: what agents did, and taking over from them.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::client::{Call, Client, Query, encode_segment};
use crate::commands::tail;
use crate::exit::Failure;
use crate::filter_flags::FilterFlags;
use crate::output::{Out, Tone, note, printable};

/// Show agent sessions, and take over from one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List instances, those first that were heard of last
    List {
        /// Only those of this project
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Only those that are active
        #[arg(long)]
        active: bool,
        /// The largest number of instances
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an instance and the state of its work
    Show {
        /// Its id, the digits that end it, its project, its epic, or the beginning of its id
        id: String,
    },
    /// Show the events of an instance in order
    Timeline {
        /// The id of the instance
        id: String,
        /// Only these event types
        #[arg(long, value_delimiter = ',', value_name = "TYPE,…")]
        types: Vec<String>,
        /// Only events with all of these words
        #[arg(long, value_name = "WORDS")]
        keyword: Option<String>,
        /// The largest number of events, the newest of them
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Take over from an instance: print everything that a successor needs, as Markdown
    Resume {
        /// Its id or a hint; without one the newest that is stale
        hint: Option<String>,
        /// Which of several matches, by number or id
        #[arg(long, value_name = "N|ID")]
        choose: Option<String>,
        /// Take over even if it is active
        #[arg(long)]
        force: bool,
    },
    /// Print the events of instances as they arrive, until Ctrl-C
    Watch {
        /// Only this instance
        id: Option<String>,
    },
}

impl Args {
    /// Tells whether the command goes on until it is interrupted.
    pub(crate) const fn is_watch(&self) -> bool {
        matches!(self.act, Act::Watch { .. })
    }
}

/// What the server says of an instance. Further members are ignored.
#[derive(Debug, Deserialize)]
struct Instance {
    instance_id: String,
    status: String,
    context_percent: f64,
    current_epic: Option<String>,
    age_seconds: u64,
    event_count: u64,
}

#[derive(Debug, Deserialize)]
struct Instances {
    instances: Vec<Instance>,
    total_count: u64,
    not_listed_count: u64,
}

#[derive(Debug, Deserialize)]
struct Match {
    choice: u32,
    instance_id: String,
    status: String,
    current_epic: Option<String>,
    last_event_at: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Details {
    Found { instance: Instance, state: Value },
    Choose { matches: Vec<Match> },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Resumed {
    Resumed { handoff: String },
    Choose { matches: Vec<Match> },
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    sequence_num: u64,
    timestamp: String,
    event_type: String,
    #[serde(borrow)]
    event_data: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Events<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
    total_count: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    match args.act {
        Act::List {
            project,
            active,
            limit,
        } => {
            let mut query = Query::default();
            query.add_some("project", project.as_deref());
            query.add("active_only", if active { "true" } else { "false" });
            query.add("limit", &limit.to_string());
            list(&query, context).await
        }
        Act::Show { id } => show(&id, context).await,
        Act::Timeline {
            id,
            types,
            keyword,
            limit,
        } => {
            let mut query = Query::default();
            if !types.is_empty() {
                query.add("event_type", &types.join(","));
            }
            query.add_some("keyword", keyword.as_deref());
            timeline(&id, query, limit, context).await
        }
        Act::Resume {
            hint,
            choose,
            force,
        } => resume(hint, choose, force, context).await,
        Act::Watch { id } => {
            let filter = FilterFlags {
                aggregate_types: vec!["agent_session".to_owned()],
                aggregate_ids: id.into_iter().collect(),
                ..FilterFlags::default()
            };
            tail::run(tail::Args::of(filter), context).await
        }
    }
}

/// Gets an answer; gives it out as it is where programs read it.
async fn answer(call: Call, context: &mut Context) -> anyhow::Result<Option<Vec<u8>>> {
    let mut client = Client::of(context)?;
    let body = client.send(call).await?.bytes().await?;
    if context.out.is_json() {
        context.out.bytes(body.trim_ascii_end())?;
        context.out.bytes(b"\n")?;
        return Ok(None);
    }
    Ok(Some(body.to_vec()))
}

async fn list(query: &Query, context: &mut Context) -> anyhow::Result<()> {
    let call = Call::get(format!("/v1/sessions{}", query.as_str()));
    let Some(body) = answer(call, context).await? else {
        return Ok(());
    };
    let list: Instances = serde_json::from_slice(&body)?;
    let n_shown = list.instances.len() as u64;
    let cells = |instance: Instance| {
        vec![
            printable(&instance.instance_id),
            instance.status,
            format!("{} %", instance.context_percent),
            instance
                .current_epic
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
            format!("{} s ago", instance.age_seconds),
            instance.event_count.to_string(),
        ]
    };
    let rows = list.instances.into_iter().map(cells).collect();
    let head = [
        "instance",
        "status",
        "context",
        "epic",
        "heartbeat",
        "events",
    ];
    context.out.table(&head, rows)?;
    context.out.flush()?;
    if n_shown < list.total_count {
        note(format_args!("{n_shown} of {} are shown", list.total_count));
    }
    if list.not_listed_count > 0 {
        let older = list.not_listed_count;
        note(format_args!(
            "{older} older ones are found by their whole id only"
        ));
    }
    Ok(())
}

async fn show(id: &str, context: &mut Context) -> anyhow::Result<()> {
    let call = Call::get(format!("/v1/sessions/{}", encode_segment(id)));
    let Some(body) = answer(call, context).await? else {
        return Ok(());
    };
    let out = &mut context.out;
    match serde_json::from_slice(&body)? {
        Details::Choose { matches } => {
            choices(matches, out)?;
            Err(ambiguous(id))
        }
        Details::Found { instance, state } => {
            let name = out.paint(Tone::Name, &printable(&instance.instance_id));
            let (status, age) = (instance.status, instance.age_seconds);
            out.line(format_args!("{name} {status}, last heartbeat {age} s ago"))?;
            // The parts of a state are said by their names; what is not known is left out.
            for (part, value) in state.as_object().into_iter().flatten() {
                if !is_nothing(value) {
                    out.line(format_args!(
                        "  {part:<20} {}",
                        printable(&value.to_string())
                    ))?;
                }
            }
            Ok(())
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

async fn timeline(id: &str, query: Query, limit: u32, context: &mut Context) -> anyhow::Result<()> {
    let path = format!("/v1/sessions/{}/events", encode_segment(id));
    // The newest stand at the end, so how many there are has to be known first.
    let mut client = Client::of(context)?;
    let mut count = query.clone();
    count.add("limit", "1");
    let body = client
        .send(Call::get(format!("{path}{}", count.as_str())))
        .await?
        .bytes()
        .await?;
    let first: Events<'_> = serde_json::from_slice(&body)?;
    let offset = first.total_count.saturating_sub(u64::from(limit));
    let mut page = query;
    page.add("limit", &limit.to_string());
    page.add("offset", &offset.to_string());
    let Some(body) = answer(Call::get(format!("{path}{}", page.as_str())), context).await? else {
        return Ok(());
    };
    let list: Events<'_> = serde_json::from_slice(&body)?;
    let out = &mut context.out;
    for event in &list.events {
        let number = out.paint(Tone::Faint, &format!("{:>6}", event.sequence_num));
        let time = event.timestamp.get(..19).unwrap_or(&event.timestamp);
        let name = out.paint(Tone::Name, &printable(&event.event_type));
        let data: String = event.event_data.get().chars().take(120).collect();
        let data = out.paint(Tone::Faint, &printable(&data));
        out.line(format_args!("{number}  {time}Z  {name}  {data}"))?;
    }
    out.flush()?;
    if offset > 0 {
        note(format_args!("{offset} older ones are not shown"));
    }
    Ok(())
}

async fn resume(
    hint: Option<String>,
    choose: Option<String>,
    force: bool,
    context: &mut Context,
) -> anyhow::Result<()> {
    let mut body = Map::new();
    body.extend(
        hint.clone()
            .map(|hint| ("instance_id_hint".to_owned(), hint.into())),
    );
    body.extend(choose.map(|choice| ("user_choice".to_owned(), choice.into())));
    body.insert("force".to_owned(), force.into());
    let call = Call::post("/v1/sessions/resume", Value::from(body).to_string());
    let Some(body) = answer(call, context).await? else {
        return Ok(());
    };
    match serde_json::from_slice(&body)? {
        Resumed::Resumed { handoff } => {
            for line in handoff.lines() {
                context.out.line(printable(line))?;
            }
            Ok(())
        }
        Resumed::Choose { matches } => {
            choices(matches, &mut context.out)?;
            Err(ambiguous(hint.as_deref().unwrap_or_default()))
        }
    }
}

fn choices(matches: Vec<Match>, out: &mut Out) -> anyhow::Result<()> {
    let cells = |one: Match| {
        vec![
            one.choice.to_string(),
            printable(&one.instance_id),
            one.status,
            one.current_epic
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
            one.last_event_at,
        ]
    };
    let rows = matches.into_iter().map(cells).collect();
    out.table(
        &["choice", "instance", "status", "epic", "last event"],
        rows,
    )?;
    Ok(out.flush()?)
}

fn ambiguous(hint: &str) -> anyhow::Error {
    Failure::Usage {
        message: format!("{hint:?} fits several instances"),
        hint: "name one by its whole id, or with --choose".to_owned(),
    }
    .into()
}
