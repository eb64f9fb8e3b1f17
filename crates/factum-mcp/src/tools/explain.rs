//! `factum_explain`: what led to an event and what came of it.

use factum_api::{EventDto, TreeEventDto};
use factum_engine::CausalTree;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::events::{in_short, json, write_list, write_one};
use crate::tools::get::{event_id, missing};
use crate::tools::query::limit;

pub(crate) static TOOL: Tool = Tool {
    name: "factum_explain",
    title: "Explain an event",
    about: "Shows why an event happened and what it led to: the chain of its causes, the first \
            one first, and the tree of its effects.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<Output>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Which event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// At most so many effects, 1 to 1000; 100 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// At most so many bytes of answer.
    #[schema(minimum = 1024)]
    max_bytes: Option<u32>,
}

/// The causes and effects of an event.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes an output")]
struct Output {
    /// The causes, the first one first, the direct one last.
    ancestors: Vec<EventDto>,
    /// A cause that is named and not there.
    missing_cause: Option<String>,
    /// The event at depth 0, then its effects, each followed by its own.
    tree: Vec<TreeEventDto>,
    /// Everything is there; otherwise a bound was reached.
    complete: bool,
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let bytes_max = call.bytes_max(input.max_bytes)?;
    let id = event_id(&input.id)?;
    let n_effects = limit(input.limit, 100)?;
    let visibility = call.principal.visibility();
    let found = call.engine.causal_tree(id, visibility, n_effects).await?;
    let found = found.ok_or_else(|| missing(id))?;
    Ok(write(&found, bytes_max))
}

fn write(found: &CausalTree, bytes_max: usize) -> Answer {
    let mut text = sentence(found);
    // The nearest causes and the event itself matter most: half of the budget is for each side.
    let half = bytes_max / 2;
    let nearest: Vec<_> = found.ancestors.iter().rev().cloned().collect();
    let mut n_ancestors = nearest.len();
    let mut ancestors = write_list(&[], half);
    if !nearest.is_empty() {
        n_ancestors = write_list(&nearest, half).n_events;
        let from = found.ancestors.len() - n_ancestors;
        ancestors = write_list(found.ancestors.get(from..).unwrap_or_default(), half);
    }
    let mut left = half;
    let mut tree: Vec<String> = Vec::new();
    for node in &found.tree {
        let (event, _) = write_one(&node.event, half);
        let written = format!("{{\"depth\":{},\"event\":{event}}}", node.depth);
        if !tree.is_empty() && written.len() >= left {
            break;
        }
        left = left.saturating_sub(written.len() + 1);
        tree.push(written);
    }
    let cut = n_ancestors < found.ancestors.len() || tree.len() < found.tree.len();
    if cut {
        text.push_str(" The answer was cut to stay within its budget; maxBytes allows more.");
    }
    let missing = found.missing_cause.map_or_else(String::new, |cause| {
        format!(",\"missingCause\":{}", json(&cause.to_string()))
    });
    let complete = found.complete && !cut;
    let ancestors = String::from_utf8_lossy(&ancestors.json).into_owned();
    let tree = tree.join(",");
    let whole =
        format!("{{\"ancestors\":{ancestors}{missing},\"tree\":[{tree}],\"complete\":{complete}}}");
    Answer {
        json: whole.into_bytes(),
        text,
        cut,
    }
}

fn sentence(found: &CausalTree) -> String {
    let Some(root) = found.tree.first() else {
        return String::new();
    };
    let mut text = format!("{}.", in_short(&root.event));
    match (found.ancestors.first(), found.ancestors.last()) {
        (Some(first), Some(direct)) if first.id != direct.id => {
            let n_causes = found.ancestors.len();
            let (direct, first) = (in_short(direct), in_short(first));
            say(
                &mut text,
                format_args!(" Caused by {direct}; the first of {n_causes} causes is {first}."),
            );
        }
        (_, Some(direct)) => say(&mut text, format_args!(" Caused by {}.", in_short(direct))),
        (_, None) => text.push_str(" It names no cause that is known."),
    }
    match found.tree.len() - 1 {
        0 => text.push_str(" Nothing came of it."),
        1 => text.push_str(" 1 event came of it."),
        n_effects => say(&mut text, format_args!(" {n_effects} events came of it.")),
    }
    text
}
