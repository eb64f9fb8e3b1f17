//! `factum catalogue`: the event types that ship with the program.

use clap::Subcommand;
use factum_engine::{Catalogue, CatalogueEntry};
use serde_json::json;

use crate::cli::Context;
use crate::exit::Failure;
use crate::output::{Out, Tone};

/// Show the event types that ship with the program, and their schemas
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the types
    List {
        /// Only those of this category, such as git or form
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
    },
    /// Show one type: its fields, its schema and an example
    Show {
        /// The type
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    let done = match args.act.unwrap_or(Act::List { category: None }) {
        Act::List { category } => list(category.as_deref(), out),
        Act::Show { event_type } => show(&event_type, out),
    };
    std::future::ready(done).await
}

fn list(category: Option<&str>, out: &mut Out) -> anyhow::Result<()> {
    let entries: Vec<&CatalogueEntry> = Catalogue::shipped()
        .entries()
        .filter(|entry| category.is_none_or(|category| entry.category() == category))
        .collect();
    if entries.is_empty() {
        return Err(missing("category", category.unwrap_or_default()));
    }
    if out.is_json() {
        let items: Result<Vec<_>, _> = entries.into_iter().map(as_json).collect();
        return Ok(out.json(&json!({ "items": items? }))?);
    }
    let cells = |entry: &CatalogueEntry| {
        vec![
            entry.event_type().to_owned(),
            entry.category().to_owned(),
            entry.description().to_owned(),
        ]
    };
    let rows = entries.into_iter().map(cells).collect();
    Ok(out.table(&["type", "category", "says"], rows)?)
}

fn show(event_type: &str, out: &mut Out) -> anyhow::Result<()> {
    let entry = Catalogue::shipped().entry(event_type);
    let entry = entry.ok_or_else(|| missing("event type", event_type))?;
    if out.is_json() {
        return Ok(out.json(&as_json(entry)?)?);
    }
    let name = out.paint(Tone::Name, entry.event_type());
    out.line(format_args!(
        "{name} ({}, {})",
        entry.category(),
        entry.group().as_str()
    ))?;
    out.line(entry.description())?;
    let fields = |fields: Vec<&str>| fields.join(", ");
    out.line(format_args!(
        "required  {}",
        fields(entry.required_fields().collect())
    ))?;
    out.line(format_args!(
        "optional  {}",
        fields(entry.optional_fields().collect())
    ))?;
    out.line("")?;
    out.line(format_args!("schema {}", entry.schema()))?;
    out.line("")?;
    Ok(out.line(format_args!("example {}", entry.example()))?)
}

fn missing(what: &str, name: &str) -> anyhow::Error {
    Failure::NotFound {
        message: format!("the catalogue has no {what} {name:?}"),
        hint: "`factum catalogue list` names them all".to_owned(),
    }
    .into()
}

fn as_json(entry: &CatalogueEntry) -> anyhow::Result<serde_json::Value> {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    Ok(json!({
        "type": entry.event_type(),
        "group": entry.group().as_str(),
        "category": entry.category(),
        "description": entry.description(),
        "requiredFields": entry.required_fields().collect::<Vec<_>>(),
        "optionalFields": entry.optional_fields().collect::<Vec<_>>(),
        "schema": parse(entry.schema())?,
        "example": parse(entry.example())?,
    }))
}
