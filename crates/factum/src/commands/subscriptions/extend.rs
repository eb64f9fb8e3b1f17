//! `factum subscriptions extend`: what it asks for, and what it shows.

use serde::Deserialize;
use serde_json::json;

use super::{ask, raw};
use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::output::{Tone, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Extend {
    /// Its name
    name: String,
    /// The tokens of the events
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
    /// How long; as long as the subscription gives for an event where nothing is said
    #[arg(long, value_name = "MS")]
    by_ms: Option<u64>,
}

#[derive(Deserialize)]
struct View {
    results: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    token: String,
    deadline: Option<String>,
}

impl Extend {
    pub(super) async fn run(
        self,
        client: &mut Client,
        context: &mut Context,
    ) -> anyhow::Result<()> {
        let path = format!("/v1/subscriptions/{}/extend", encode_segment(&self.name));
        let body = match self.by_ms {
            Some(by_ms) => json!({ "tokens": self.tokens, "extendMs": by_ms }),
            None => json!({ "tokens": self.tokens }),
        };
        let answer = ask(client, Call::post(path, body.to_string())).await?;
        show(&answer, context)
    }
}

fn show(body: &[u8], context: &mut Context) -> anyhow::Result<()> {
    if context.out.is_json() {
        return raw(context, body);
    }
    let view: View = serde_json::from_slice(body)?;
    for one in view.results {
        let token = printable(&one.token);
        match one.deadline {
            Some(deadline) => {
                let word = context.out.paint(Tone::Good, "extended");
                let line = format_args!("{word} {token} until {deadline}");
                context.out.line(line)?;
            }
            None => {
                let word = context.out.paint(Tone::Bad, "stale");
                context.out.line(format_args!("{word} {token}"))?;
            }
        }
    }
    Ok(())
}
