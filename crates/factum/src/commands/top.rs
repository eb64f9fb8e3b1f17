//! `factum top`: agent instances as they work, on a screen.

mod board;
mod draw;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::board::{Act, Board, Event, Instances};
use self::screen::{Input, Screen};
use crate::cli::Context;
use crate::client::{Call, Client, Query, encode_segment};

/// Watch agent instances at work, on a screen that keeps itself up to date
///
/// A row an instance: its status, how full its context is (◆: it has a checkpoint), how long ago its
/// last heartbeat was, events a second, its last event and its epic. Keys: q quits, the arrows
/// choose, enter shows the newest events, s sorts, r reverses, / filters, a shows only active ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one frame as text, as is done where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// How long to wait between two questions to the server, in milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(200..=60_000))]
    interval: u64,
    /// Only instances of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// How long the server may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How wide a frame is that no terminal asked for.
const PLAIN_WIDTH: u16 = 120;
const EVENTS_SHOWN: u32 = 100;

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    let call = instances(&args);
    if context.out.is_json() {
        let body = client.send(call).await?.bytes().await?;
        context.out.bytes(body.trim_ascii_end())?;
        return Ok(context.out.bytes(b"\n")?);
    }
    let colours = context.environment.get("NO_COLOR").is_none();
    let mut board = Board::new(client.url(), colours);
    // What is wrong from the start is told in the usual way.
    board.update(client.send(call).await?.json().await?, None);
    let is_terminal = io::stdout().is_terminal();
    if args.once || !is_terminal {
        let columns = context.environment.get("COLUMNS");
        let stated = columns.and_then(|columns| columns.parse().ok());
        let width = screen::width().filter(|_| is_terminal).or(stated);
        let text = draw::text(&board, width.unwrap_or(PLAIN_WIDTH));
        return Ok(context.out.bytes(text.as_bytes())?);
    }
    let (ask, asked) = mpsc::channel(1);
    let (tell, told) = mpsc::channel(1);
    tokio::select! {
        done = show(board, &args, (ask, told)) => done,
        () = answer(&args, context, asked, tell) => Ok(()),
    }
}

fn instances(args: &Args) -> Call {
    let mut query = Query::default();
    query.add_some("project", args.project.as_deref());
    query.add("limit", "1000");
    Call::get(format!("/v1/sessions{}", query.as_str()))
}

/// What came of a question.
enum Told {
    Seen {
        list: Instances,
        /// The instance whose events were asked for, and they.
        events: Option<(String, Vec<Event>)>,
        at: Instant,
    },
    Trouble(String),
}

/// Asks the server whenever it is told to, with the instance whose events are wanted too.
async fn answer(
    args: &Args,
    context: &Context,
    mut asked: mpsc::Receiver<Option<String>>,
    tell: mpsc::Sender<Told>,
) {
    let mut client = None;
    while let Some(id) = asked.recv().await {
        let question = question(args, context, &mut client, id);
        let told = match tokio::time::timeout(ANSWER_MAX, question).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => Told::Trouble(format!("{error:#}")),
            Err(_) => Told::Trouble(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        };
        if matches!(told, Told::Trouble(_)) {
            // The server may come back with another address.
            client = None;
        }
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

async fn question(
    args: &Args,
    context: &Context,
    client: &mut Option<Client>,
    id: Option<String>,
) -> anyhow::Result<Told> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::of(context)?),
    };
    let list = client.send(instances(args)).await?.json().await?;
    let at = Instant::now();
    let events = match id {
        None => None,
        Some(id) => {
            #[derive(Deserialize)]
            struct Latest {
                events: Vec<Event>,
            }
            let segment = encode_segment(&id);
            let path = format!("/v1/sessions/{segment}/events/latest?limit={EVENTS_SHOWN}");
            let latest: Latest = client.send(Call::get(path)).await?.json().await?;
            Some((id, latest.events))
        }
    };
    Ok(Told::Seen { list, events, at })
}

type Ends = (mpsc::Sender<Option<String>>, mpsc::Receiver<Told>);

/// Shows the board until a key or a signal ends it. The terminal is given back when this ends, or
/// is dropped.
async fn show(mut board: Board, args: &Args, (ask, mut told): Ends) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut screen = Screen::open()?;
    let mut inputs = screen::inputs();
    let mut ticks = tokio::time::interval(Duration::from_millis(args.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen_at: Option<Instant> = None;
    loop {
        screen.draw(&board)?;
        let act = tokio::select! {
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => board.press(key),
                Some(Input::Resized) => Act::Draw,
                None => Act::Quit,
            },
            _ = ticks.tick() => Act::Ask,
            told = told.recv() => {
                match told {
                    Some(Told::Seen { list, events, at }) => {
                        board.update(list, seen_at.map(|before| at - before));
                        seen_at = Some(at);
                        if let Some((id, events)) = events {
                            board.take_events(&id, events);
                        }
                    }
                    Some(Told::Trouble(trouble)) => board.trouble = Some(trouble),
                    None => return Ok(()),
                }
                Act::Draw
            }
            _ = terminated.recv() => Act::Quit,
            _ = hung_up.recv() => Act::Quit,
        };
        match act {
            Act::Draw => {}
            // One question at a time: while one is under way, the next tick asks again.
            Act::Ask => {
                let id = board.detail.as_ref().map(|(id, _)| id.clone());
                ask.try_send(id).unwrap_or_default();
            }
            Act::Quit => return Ok(()),
        }
    }
}
