//! `factum dead-letters`: what could not be delivered, and what is done about it.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::client::{Call, Client, Query, encode_segment};
use crate::commands::deliveries::{DeliveryView, show};
use crate::commands::rules::raw;
use crate::exit::Failure;
use crate::output::{Tone, printable};

/// Look at what could not be delivered, and decide what becomes of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Count dead letters by what they died of
    Groups {
        #[command(flatten)]
        filter: Filter,
    },
    /// List dead letters, the newest events first
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show a dead letter with its event, its attempts and its rule
    Show {
        /// The id of the dead letter
        id: String,
    },
    /// Have dead letters tried again
    Retry {
        #[command(flatten)]
        choice: Choice,
        /// How many a second; as many as the targets take where nothing is said
        #[arg(long, value_name = "N")]
        per_second: Option<u32>,
    },
    /// Decide that dead letters will not be delivered
    Fail {
        #[command(flatten)]
        choice: Choice,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Delete dead letters that were delivered after all, or given up
    Purge {
        #[command(flatten)]
        choice: Choice,
    },
}

/// Which dead letters are meant
#[derive(Debug, clap::Args)]
struct Filter {
    /// Those of a rule
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Those of a target
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Those that failed in a way, such as `timeout`
    #[arg(long, value_name = "CLASS")]
    error_class: Option<String>,
    /// Those of a group
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// Those of events of a type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Those that stand so: `pending_retry`, `retrying`, `resolved` or `permanent_failure`
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
}

impl Filter {
    fn conditions(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("rule", self.rule.as_deref()),
            ("target", self.target.as_deref()),
            ("errorClass", self.error_class.as_deref()),
            ("group", self.group.as_deref()),
            ("eventType", self.event_type.as_deref()),
            ("status", self.status.as_deref()),
        ]
    }
}

/// Which dead letters an act is for
#[derive(Debug, clap::Args)]
struct Choice {
    /// The ids of dead letters; or else all that match the flags
    ids: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Change nothing, and say how many would be
    #[arg(long)]
    dry_run: bool,
}

impl Choice {
    fn body(self) -> anyhow::Result<Map<String, Value>> {
        let mut body = Map::new();
        for (name, value) in self.filter.conditions() {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.into());
            }
        }
        let matches = !body.is_empty() || self.all;
        if self.ids.is_empty() != matches {
            return Err(Failure::Usage {
                message: "it is not clear which dead letters are meant".to_owned(),
                hint: "name their ids, or what they match (--group, --rule, …), or --all"
                    .to_owned(),
            }
            .into());
        }
        if self.all {
            body.insert("all".to_owned(), true.into());
        }
        if !self.ids.is_empty() {
            body.insert("ids".to_owned(), self.ids.into());
        }
        body.insert("dryRun".to_owned(), self.dry_run.into());
        Ok(body)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LetterView {
    id: String,
    status: String,
    group: String,
    error_class: String,
    error: String,
    dead_at: String,
    reason: Option<String>,
    delivery: DeliveryView,
    event: Option<Value>,
    rule: Option<Value>,
}

#[derive(Deserialize)]
struct LetterList {
    items: Vec<LetterView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupView {
    group: String,
    rule: String,
    target: String,
    error_class: String,
    error: String,
    pending_retry: u64,
    retrying: u64,
    resolved: u64,
    permanent_failure: u64,
    last_at: String,
}

#[derive(Deserialize)]
struct GroupList {
    items: Vec<GroupView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MovedView {
    matched: u64,
    changed: u64,
    dry_run: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    match args.act {
        Act::Groups { filter } => {
            let path = format!("/v1/dead-letters/groups{}", asking(&filter).as_str());
            let body = client.send(Call::get(path)).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            groups(serde_json::from_slice(&body)?, context)
        }
        Act::List { filter, limit } => {
            let mut query = asking(&filter);
            query.add("limit", &limit.to_string());
            let path = format!("/v1/dead-letters{}", query.as_str());
            let body = client.send(Call::get(path)).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            list(serde_json::from_slice(&body)?, context)
        }
        Act::Show { id } => {
            let path = format!("/v1/dead-letters/{}", encode_segment(&id));
            let body = client.send(Call::get(path)).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            letter(&serde_json::from_slice(&body)?, context)
        }
        Act::Retry { choice, per_second } => {
            let mut body = choice.body()?;
            if let Some(rate) = per_second {
                body.insert("perSecond".to_owned(), rate.into());
            }
            act(&mut client, ("retry", "to be tried again"), body, context).await
        }
        Act::Fail { choice, reason } => {
            let mut body = choice.body()?;
            body.insert("reason".to_owned(), reason.into());
            act(&mut client, ("fail", "given up"), body, context).await
        }
        Act::Purge { choice } => {
            act(&mut client, ("purge", "deleted"), choice.body()?, context).await
        }
    }
}

fn asking(filter: &Filter) -> Query {
    let mut query = Query::default();
    for (name, value) in filter.conditions() {
        query.add_some(name, value);
    }
    query
}

async fn act(
    client: &mut Client,
    (act, word): (&str, &str),
    body: Map<String, Value>,
    context: &mut Context,
) -> anyhow::Result<()> {
    let call = Call::post(
        format!("/v1/dead-letters/{act}"),
        Value::from(body).to_string(),
    );
    let body = client.send(call).await?.bytes().await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    let moved: MovedView = serde_json::from_slice(&body)?;
    let would = if moved.dry_run { "would be " } else { "" };
    let word = context.out.paint(Tone::Good, word);
    Ok(context.out.line(format_args!(
        "{} of {} {would}{word}",
        moved.changed, moved.matched
    ))?)
}

fn groups(list: GroupList, context: &mut Context) -> anyhow::Result<()> {
    let cells = |group: GroupView| {
        vec![
            group.group,
            format!("{}/{}", group.rule, group.target),
            group.error_class,
            printable(&group.error),
            group.pending_retry.to_string(),
            group.retrying.to_string(),
            group.resolved.to_string(),
            group.permanent_failure.to_string(),
            group.last_at,
        ]
    };
    let rows = list.items.into_iter().map(cells).collect();
    let head = [
        "group", "to", "class", "error", "pending", "retrying", "resolved", "failed", "last",
    ];
    Ok(context.out.table(&head, rows)?)
}

fn list(list: LetterList, context: &mut Context) -> anyhow::Result<()> {
    let cells = |letter: LetterView| {
        vec![
            letter.id,
            letter.status,
            letter.group,
            letter.error_class,
            printable(&letter.error),
            letter.dead_at,
        ]
    };
    let rows = list.items.into_iter().map(cells).collect();
    let head = ["id", "status", "group", "class", "error", "died"];
    Ok(context.out.table(&head, rows)?)
}

fn letter(letter: &LetterView, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    out.line(format_args!("status     {}", letter.status))?;
    out.line(format_args!("group      {}", letter.group))?;
    out.line(format_args!("class      {}", letter.error_class))?;
    out.line(format_args!("error      {}", printable(&letter.error)))?;
    if let Some(reason) = &letter.reason {
        out.line(format_args!("reason     {}", printable(reason)))?;
    }
    show(&letter.delivery, context)?;
    for (name, value) in [("event", &letter.event), ("rule", &letter.rule)] {
        if let Some(value) = value {
            context.out.line(format_args!("{name}:"))?;
            context.out.line(serde_json::to_string_pretty(value)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(ids: &[&str], all: bool, group: Option<&str>) -> Choice {
        Choice {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            all,
            filter: Filter {
                rule: None,
                target: None,
                error_class: None,
                group: group.map(str::to_owned),
                event_type: None,
                status: None,
            },
            dry_run: true,
        }
    }

    #[test]
    fn an_act_says_which_dead_letters_are_meant() {
        let body = choice(&[], false, Some("g")).body().unwrap();
        assert_eq!(
            Value::from(body),
            serde_json::json!({"group": "g", "dryRun": true})
        );
        assert!(choice(&["1.a"], false, None).body().is_ok());
        assert!(choice(&[], true, None).body().is_ok());
        assert!(choice(&[], false, None).body().is_err());
        assert!(choice(&["1.a"], true, None).body().is_err());
    }
}
