//! `factum rules`: rules are made, changed, switched and tried.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::client::{Call, Client, Problem, encode_segment};
use crate::output::{Tone, printable};

/// List, make, change and try rules, which send events to targets
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the rules
    List,
    /// Show the definition of a rule, without its secrets
    Show {
        /// The id of the rule
        id: String,
    },
    /// Make a rule, or replace the one of the same id
    Apply {
        /// The definition as JSON; `-` is standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Switch a rule on; it sends first what came while it was off
    Enable {
        /// The id of the rule
        id: String,
    },
    /// Switch a rule off; what comes meanwhile waits
    Disable {
        /// The id of the rule
        id: String,
    },
    /// Delete a rule; its dead letters stay
    Delete {
        /// The id of the rule
        id: String,
    },
    /// Say which rules events would be for, and why the others are not; nothing is sent
    Test {
        /// The id of the rule; all of them where none is named
        id: Option<String>,
        /// A definition as JSON that is not recorded; `-` is standard input
        #[arg(short, long, value_name = "FILE", conflicts_with = "id")]
        file: Option<PathBuf>,
        /// The event to look at
        #[arg(long, value_name = "ID", conflicts_with = "last")]
        event: Option<String>,
        /// How many of the last events to look at
        #[arg(long, value_name = "N", default_value_t = 10)]
        last: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleView {
    id: String,
    definition: DefinitionView,
    changed_at: String,
    changed_by: String,
}

#[derive(Deserialize)]
struct DefinitionView {
    name: String,
    enabled: bool,
    priority: i64,
    targets: Vec<TargetView>,
}

#[derive(Deserialize)]
struct TargetView {
    id: String,
    enabled: bool,
    to: Value,
}

#[derive(Deserialize)]
struct RuleList {
    items: Vec<RuleView>,
}

#[derive(Deserialize)]
struct Tested {
    items: Vec<TestedEvent>,
}

#[derive(Deserialize)]
struct TestedEvent {
    position: u64,
    #[serde(rename = "type")]
    event_type: String,
    rules: Vec<OutcomeView>,
}

#[derive(Deserialize)]
struct OutcomeView {
    rule: Option<String>,
    enabled: bool,
    outcome: String,
    pointer: Option<String>,
    missing: Option<String>,
    error: Option<String>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    match args.act {
        Act::List => {
            let body = client.send(Call::get("/v1/rules")).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            list(serde_json::from_slice(&body)?, context)
        }
        Act::Show { id } => {
            let body = client.send(Call::get(path(&id, ""))).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            let rule: Map<String, Value> = serde_json::from_slice(&body)?;
            let definition = rule.get("definition").unwrap_or(&Value::Null);
            Ok(context
                .out
                .line(serde_json::to_string_pretty(definition)?)?)
        }
        Act::Apply { file } => apply(&mut client, &file, context).await,
        Act::Enable { id } => switch(&mut client, &id, "enable", context).await,
        Act::Disable { id } => switch(&mut client, &id, "disable", context).await,
        Act::Delete { id } => {
            let call = Call::new(Method::DELETE, path(&id, ""));
            client.send(call).await?.bytes().await?;
            done(context, "deleted", &id)
        }
        Act::Test {
            id,
            file,
            event,
            last,
        } => {
            let mut body = Map::new();
            match event {
                Some(event) => body.insert("event".to_owned(), event.into()),
                None => body.insert("last".to_owned(), last.into()),
            };
            if let Some(file) = &file {
                let definition: Value = serde_json::from_str(&text_of(file)?)
                    .with_context(|| format!("reading {}", file.display()))?;
                body.insert("definition".to_owned(), definition);
            }
            let path = id.map_or_else(|| "/v1/rules/test".to_owned(), |id| path(&id, "/test"));
            let call = Call::post(path, Value::from(body).to_string());
            let body = client.send(call).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            tested(serde_json::from_slice(&body)?, context)
        }
    }
}

fn path(id: &str, act: &str) -> String {
    format!("/v1/rules/{}{act}", encode_segment(id))
}

pub(super) fn raw(context: &mut Context, body: &[u8]) -> anyhow::Result<()> {
    context.out.bytes(body.trim_ascii_end())?;
    Ok(context.out.bytes(b"\n")?)
}

fn done(context: &mut Context, what: &str, id: &str) -> anyhow::Result<()> {
    if context.out.is_json() {
        return Ok(context
            .out
            .json(&serde_json::json!({ "id": id, "done": what }))?);
    }
    let word = context.out.paint(Tone::Good, what);
    Ok(context.out.line(format_args!("{word} {}", printable(id)))?)
}

fn text_of(file: &PathBuf) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        return Ok(std::io::read_to_string(std::io::stdin())?);
    }
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Makes the rule, or replaces it where it is there already.
async fn apply(client: &mut Client, file: &PathBuf, context: &mut Context) -> anyhow::Result<()> {
    let text = text_of(file)?;
    let definition: Map<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a JSON object", file.display()))?;
    let id = definition.get("id").and_then(Value::as_str);
    let known = match id {
        Some(id) => is_known(client, id).await?,
        None => false,
    };
    let (call, word) = match id {
        Some(id) if known => (
            Call::post(path(id, ""), text.clone()).method(Method::PUT),
            "changed",
        ),
        Some(_) | None => (Call::post("/v1/rules", text.clone()), "created"),
    };
    let body = client.send(call).await?.bytes().await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    let rule: RuleView = serde_json::from_slice(&body)?;
    done(context, word, &rule.id)
}

async fn is_known(client: &mut Client, id: &str) -> anyhow::Result<bool> {
    match client.send(Call::get(path(id, ""))).await {
        Ok(answer) => answer.bytes().await.map(|_| true),
        Err(error) => match error.downcast_ref::<Problem>() {
            Some(problem) if problem.code == "not_found" => Ok(false),
            Some(_) | None => Err(error),
        },
    }
}

async fn switch(
    client: &mut Client,
    id: &str,
    act: &str,
    context: &mut Context,
) -> anyhow::Result<()> {
    let call = Call::new(Method::POST, path(id, &format!("/{act}")));
    let body = client.send(call).await?.bytes().await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    done(context, &format!("{act}d"), id)
}

fn list(rules: RuleList, context: &mut Context) -> anyhow::Result<()> {
    let target = |target: &TargetView| {
        let kind = target.to.get("type").and_then(Value::as_str).unwrap_or("?");
        let off = if target.enabled { "" } else { " (off)" };
        printable(&format!("{}: {kind}{off}", target.id))
    };
    let cells = |rule: RuleView| {
        let targets: Vec<String> = rule.definition.targets.iter().map(target).collect();
        let state = if rule.definition.enabled { "on" } else { "off" };
        vec![
            rule.id,
            printable(&rule.definition.name),
            state.to_owned(),
            rule.definition.priority.to_string(),
            targets.join(", "),
            format!("{} by {}", rule.changed_at, printable(&rule.changed_by)),
        ]
    };
    let rows = rules.items.into_iter().map(cells).collect();
    let head = ["id", "name", "state", "priority", "targets", "changed"];
    Ok(context.out.table(&head, rows)?)
}

fn tested(tested: Tested, context: &mut Context) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for event in tested.items {
        for rule in event.rules {
            let off = if rule.enabled { "" } else { " (off)" };
            let name = rule.rule.unwrap_or_else(|| "(not recorded)".to_owned());
            let missing = rule.missing.map(|missing| format!("there is no {missing}"));
            let why = rule.error.or(missing).unwrap_or_default();
            rows.push(vec![
                event.position.to_string(),
                printable(&event.event_type),
                format!("{name}{off}"),
                rule.outcome.replace('_', " "),
                rule.pointer.unwrap_or_default(),
                printable(&why),
            ]);
        }
    }
    let head = ["position", "type", "rule", "outcome", "decided by", "why"];
    Ok(context.out.table(&head, rows)?)
}
