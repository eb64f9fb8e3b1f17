//! `factum keys`: API keys are made, listed and revoked.

use clap::{Subcommand, ValueEnum};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::output::{Tone, note, printable};

/// Make, list and revoke API keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key; it is shown once
    Create {
        /// What it is for
        name: String,
        /// What it may do
        #[arg(long, value_delimiter = ',', required = true, value_name = "SCOPE,…")]
        scopes: Vec<Scope>,
        /// When it ends
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List the keys
    List,
    /// Revoke a key
    Revoke {
        /// The id of the key
        id: String,
        /// Revoke it even if it is the last that administers the server
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// Read events
    Read,
    /// Append events
    Append,
    /// Everything
    Admin,
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Append => "append",
            Self::Admin => "admin",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Deserialize)]
struct KeyList {
    items: Vec<KeyView>,
}

#[derive(Deserialize)]
struct NewKey {
    id: String,
    secret: String,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    match args.act {
        Act::Create {
            name,
            scopes,
            expires_at,
        } => {
            let body = create_body(name, &scopes, expires_at);
            let body = client
                .send(Call::post("/v1/keys", body))
                .await?
                .bytes()
                .await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            let made: NewKey = serde_json::from_slice(&body)?;
            context.out.line(&made.secret)?;
            context.out.flush()?;
            note(format_args!(
                "key {} was made; it is not shown again",
                made.id
            ));
            Ok(())
        }
        Act::List => {
            let body = client.send(Call::get("/v1/keys")).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            list(serde_json::from_slice(&body)?, context)
        }
        Act::Revoke { id, force } => {
            let query = if force { "?force=true" } else { "" };
            let path = format!("/v1/keys/{}{query}", encode_segment(&id));
            let body = client
                .send(Call::new(Method::DELETE, path))
                .await?
                .bytes()
                .await?;
            if context.out.is_json() && !body.is_empty() {
                return raw(context, &body);
            }
            let word = context.out.paint(Tone::Good, "revoked");
            Ok(context
                .out
                .line(format_args!("{word} {}", printable(&id)))?)
        }
    }
}

fn raw(context: &mut Context, body: &[u8]) -> anyhow::Result<()> {
    context.out.bytes(body.trim_ascii_end())?;
    Ok(context.out.bytes(b"\n")?)
}

fn create_body(name: String, scopes: &[Scope], expires_at: Option<String>) -> String {
    let mut body = Map::new();
    body.insert("name".to_owned(), name.into());
    let scopes: Vec<Value> = scopes.iter().map(|scope| scope.as_str().into()).collect();
    body.insert("scopes".to_owned(), scopes.into());
    if let Some(at) = expires_at {
        body.insert("expiresAt".to_owned(), at.into());
    }
    Value::from(body).to_string()
}

fn list(keys: KeyList, context: &mut Context) -> anyhow::Result<()> {
    let cells = |key: KeyView| {
        let state = match key.revoked_at {
            Some(at) => format!("revoked {at}"),
            None => key
                .expires_at
                .map_or_else(|| "valid".to_owned(), |at| format!("until {at}")),
        };
        let made = key.created_at.unwrap_or_default();
        vec![
            key.id,
            printable(&key.name),
            key.scopes.join(" "),
            made,
            state,
        ]
    };
    let rows = keys.items.into_iter().map(cells).collect();
    Ok(context
        .out
        .table(&["id", "name", "scopes", "made", "state"], rows)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_asked_for_by_name_scopes_and_end() {
        let body = create_body("ci".to_owned(), &[Scope::Read, Scope::Append], None);
        assert_eq!(body, r#"{"name":"ci","scopes":["read","append"]}"#);
    }
}
