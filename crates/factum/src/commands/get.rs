//! `factum get`: one event by its id.

use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::event_view::EventView;

/// Show one event
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The id of the event
    id: String,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    let path = format!("/v1/events/{}", encode_segment(&args.id));
    let body = client
        .send(Call::get(path).accept("application/x-ndjson"))
        .await?
        .bytes()
        .await?;
    let out = &mut context.out;
    if out.is_json() {
        out.bytes(body.trim_ascii_end())?;
        return Ok(out.bytes(b"\n")?);
    }
    Ok(EventView::parse(&body)?.write_fields(out)?)
}
