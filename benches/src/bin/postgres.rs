//! Appends, import and catch-up on PostgreSQL: Factum's store beside plain hand-written SQL, on one
//! server. A word as argument makes it short, to see that it runs.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin postgres`
//!
//! The plain table has a sequence for positions, unique ids, a unique number in each stream and
//! GIN over payload and metadata, as Factum's has; a client of it sends one prepared INSERT an
//! event, and commits. Its positions have gaps and become visible out of order, and nothing is
//! checked but uniqueness. The import is beside COPY of the same rows, events and ids, into the same
//! tables, in as many transactions. Rounds take turns.
#![expect(clippy::disallowed_methods, reason = "a program that measures")]

#[path = "queries/events.rs"]
#[expect(dead_code, reason = "the other program uses the rest")]
mod events;
#[path = "queries/machine.rs"]
#[expect(dead_code, reason = "the other program uses the rest")]
mod machine;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use factum_model::RecordedEvent;
use factum_store::{AppendRequest, EventStore as _, ImportTarget as _, LogRead};
use factum_store_postgres::{Options, PostgresImport, PostgresStore, Setup};
use factum_testkit::postgres::PrivateServer;
use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::{Client, NoTls, Statement};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 3;
const ROUND_TIME: Duration = Duration::from_secs(3);
/// How many events are imported, and how many of them in a transaction.
const N_IMPORTED: usize = 100_000;
const IMPORT_BATCH: usize = 1000;
/// The most connections of the plain clients: more wait for one.
const CONNECTIONS_MAX: u64 = 64;
/// Streams are of so many events.
const N_EVENTS: u64 = 10_000_000;

const PLAIN: &str = "CREATE TABLE plain (position bigserial PRIMARY KEY, id uuid NOT NULL UNIQUE,
  type text NOT NULL, aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint NOT NULL,
  ts timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL, payload jsonb NOT NULL,
  UNIQUE (aggregate_type, aggregate_id, sequence));
  CREATE INDEX ON plain (type, position);
  CREATE INDEX ON plain USING gin (payload jsonb_path_ops);
  CREATE INDEX ON plain USING gin (metadata jsonb_path_ops)";
const INSERT: &str =
    "INSERT INTO plain (id, type, aggregate_type, aggregate_id, sequence, metadata, payload)
  SELECT id, type, 'submission', stream, sequence, metadata::jsonb, payload::jsonb
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
    AS e (id, type, stream, sequence, metadata, payload)";

/// The tables that COPY fills: those of a log, without anything that checks what goes in.
const RAW: &str =
    "DROP TABLE IF EXISTS raw_events, raw_ids; CREATE TABLE raw_events (LIKE factum.events_1 INCLUDING ALL);
  CREATE TABLE raw_ids (LIKE factum.event_ids INCLUDING ALL)";

/// Numbers of events, each used once.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn main() -> Outcome<()> {
    println!("{}", machine::line().map_err(|error| error.to_string())?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let is_short = std::env::args().len() > 1;
    let (n_rounds, time, n_imported) = if is_short {
        (1, Duration::from_millis(300), 3000)
    } else {
        (ROUNDS, ROUND_TIME, N_IMPORTED)
    };
    runtime.block_on(measure(n_rounds, time, n_imported))
}

async fn measure(n_rounds: usize, time: Duration, n_imported: usize) -> Outcome<()> {
    let server = PrivateServer::start();
    let url = server.url();
    Setup::default().run(&url).await?;
    let store = Arc::new(PostgresStore::open(Options::at(&url)).await?);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        clients.push(Arc::new(plain_client(&url).await?));
    }
    clients[0].client.batch_execute(PLAIN).await?;
    let mut plain = Vec::new();
    for client in &clients {
        plain.push((Arc::clone(client), client.client.prepare(INSERT).await?));
    }
    println!("| case | Factum, events/s | SQL, events/s | ratio |\n|---|---|---|---|");
    for (n_clients, batch) in [(1, 1), (8, 1), (64, 1), (256, 1), (1, 100), (8, 100)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..n_rounds {
            ours.push(append_ours(&store, n_clients, batch, time).await?);
            theirs.push(append_plain(&plain, n_clients, batch, time).await?);
        }
        let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
        let ratio = ours.median / theirs.median;
        println!("| {n_clients} clients, {batch} each | {ours} | {theirs} | {ratio:.2} |");
    }
    let events = first_events(&store, n_imported).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..n_rounds {
        ours.push(import(&store, &url, round, &events).await?);
        theirs.push(copy(&clients[0].client, n_imported).await?);
    }
    let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
    let ratio = ours.median / theirs.median;
    println!(
        "| import, {IMPORT_BATCH} a transaction, beside COPY | {ours} | {theirs} | {ratio:.2} |"
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..n_rounds {
        ours.push(catch_up(&store).await?);
        theirs.push(catch_up_plain(&clients[0].client).await?);
    }
    let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
    let ratio = ours.median / theirs.median;
    println!("| catch-up from the beginning, pages of 1000 | {ours} | {theirs} | {ratio:.2} |");
    store.close().await;
    Ok(())
}

/// The median of some rates, with the range.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut rates: Vec<f64>) -> Self {
        rates.sort_by(f64::total_cmp);
        Self {
            median: rates[rates.len() / 2],
            least: rates[0],
            most: rates[rates.len() - 1],
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} ({:.0} – {:.0})",
            self.median, self.least, self.most
        )
    }
}

struct PlainClient {
    client: Client,
}

async fn plain_client(url: &str) -> Outcome<PlainClient> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // Whoever sends a statement is told as well.
        drop(connection.await);
    });
    Ok(PlainClient { client })
}

/// Runs clients for a while and returns how many events they appended a second.
async fn run<F, R>((n_clients, batch): (u64, u64), time: Duration, append: F) -> Outcome<f64>
where
    F: Fn(u64, Vec<u64>) -> R,
    R: Future<Output = Outcome<()>> + Send + 'static,
{
    let start = Instant::now();
    let deadline = start + time;
    let mut clients = tokio::task::JoinSet::new();
    let append = &append;
    let mut turns = Vec::new();
    for client in 0..n_clients {
        turns.push(move || {
            let first = NEXT.fetch_add(batch, Ordering::Relaxed);
            append(client, (first..first + batch).collect())
        });
    }
    // Each client has one append at a time.
    let mut n_events = 0;
    let mut waiting: std::collections::HashMap<tokio::task::Id, usize> =
        std::collections::HashMap::new();
    for (number, turn) in turns.iter().enumerate() {
        let handle = clients.spawn(turn());
        waiting.insert(handle.id(), number);
    }
    while let Some(done) = clients.join_next_with_id().await {
        let (id, result) = done?;
        result?;
        n_events += batch;
        let number = waiting.remove(&id).ok_or("a client is not known")?;
        if Instant::now() < deadline {
            let handle = clients.spawn(turns[number]());
            waiting.insert(handle.id(), number);
        }
    }
    Ok(n_events as f64 / start.elapsed().as_secs_f64())
}

async fn append_ours(
    store: &Arc<PostgresStore>,
    n_clients: u64,
    batch: u64,
    time: Duration,
) -> Outcome<f64> {
    run((n_clients, batch), time, |_, numbers| {
        let store = Arc::clone(store);
        async move {
            let mut request = AppendRequest::default();
            for number in numbers {
                let made = events::event(number, N_EVENTS).and_then(events::Event::proposed);
                request
                    .events
                    .push(made.map_err(|error| error.to_string())?);
            }
            store.append(request).await?;
            Ok(())
        }
    })
    .await
}

async fn append_plain(
    plain: &[(Arc<PlainClient>, Statement)],
    n_clients: u64,
    batch: u64,
    time: Duration,
) -> Outcome<f64> {
    run((n_clients, batch), time, |client, numbers| {
        let (client, statement) = plain[(client % CONNECTIONS_MAX) as usize].clone();
        async move {
            let (mut ids, mut types, mut streams) = (Vec::new(), Vec::new(), Vec::new());
            let (mut sequences, mut metadata, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
            for number in numbers {
                let event = events::event(number, N_EVENTS).map_err(|error| error.to_string())?;
                ids.push(uuid::Uuid::from_bytes(*event.id.as_bytes()));
                types.push(event.event_type);
                streams.push(event.aggregate_id);
                sequences.push(i64::try_from(number)?);
                metadata.push(event.metadata);
                payloads.push(event.payload);
            }
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&ids, &types, &streams, &sequences, &metadata, &payloads];
            client.client.execute(&statement, &parameters).await?;
            Ok(())
        }
    })
    .await
}

/// Reads the first events of the log.
async fn first_events(store: &PostgresStore, n_events: usize) -> Outcome<Vec<RecordedEvent>> {
    let mut read = LogRead {
        limit: 1000,
        ..LogRead::forwards()
    };
    let mut events = Vec::new();
    while events.len() < n_events {
        let page = store.read_log(read.clone()).await?;
        events.extend(page.events);
        if !page.has_more && events.len() < n_events {
            return Err("too few events were appended".into());
        }
        read.after = page.scanned_to;
    }
    events.truncate(n_events);
    Ok(events)
}

/// Imports events into a log of their own.
async fn import(
    store: &PostgresStore,
    url: &str,
    round: usize,
    events: &[RecordedEvent],
) -> Outcome<f64> {
    let schema = format!("import_{round}");
    let setup = Setup {
        schema: schema.clone(),
        ..Setup::default()
    };
    setup.run(url).await?;
    let options = Options {
        schema,
        ..Options::at(url)
    };
    let target = PostgresImport::begin(options, &store.lineage()).await?;
    let start = Instant::now();
    for batch in events.chunks(IMPORT_BATCH) {
        target.import(batch.to_vec()).await?;
    }
    let rate = events.len() as f64 / start.elapsed().as_secs_f64();
    target.finish().await?;
    target.close().await;
    Ok(rate)
}

/// Copies the rows of the first events into tables like theirs, as fast as they come.
async fn copy(client: &Client, n_events: usize) -> Outcome<f64> {
    client.batch_execute(RAW).await?;
    let mut batches = Vec::new();
    for first in (1..=n_events).step_by(IMPORT_BATCH) {
        let last = first + IMPORT_BATCH - 1;
        let mut tables = Vec::new();
        for table in ["events", "event_ids"] {
            let rows = format!(
                "COPY (SELECT * FROM factum.{table} WHERE position BETWEEN {first} AND {last} \
                 ORDER BY position) TO STDOUT (FORMAT binary)"
            );
            let rows = client.copy_out(&rows).await?;
            pin_mut!(rows);
            let mut chunks: Vec<Bytes> = Vec::new();
            while let Some(chunk) = rows.next().await {
                chunks.push(chunk?);
            }
            tables.push(Bytes::from(chunks.concat()));
        }
        batches.push(tables);
    }
    let start = Instant::now();
    for tables in batches {
        client.batch_execute("BEGIN").await?;
        for (rows, table) in tables.into_iter().zip(["raw_events", "raw_ids"]) {
            let sink = format!("COPY {table} FROM STDIN (FORMAT binary)");
            let sink = client.copy_in::<_, Bytes>(&sink).await?;
            pin_mut!(sink);
            sink.send(rows).await?;
            sink.finish().await?;
        }
        client.batch_execute("COMMIT").await?;
    }
    Ok(n_events as f64 / start.elapsed().as_secs_f64())
}

async fn catch_up(store: &PostgresStore) -> Outcome<f64> {
    let start = Instant::now();
    let mut read = LogRead {
        limit: 1000,
        ..LogRead::forwards()
    };
    let mut n_events = 0;
    loop {
        let page = store.read_log(read.clone()).await?;
        n_events += page.events.len();
        read.after = page.scanned_to;
        if !page.has_more {
            return Ok(n_events as f64 / start.elapsed().as_secs_f64());
        }
    }
}

async fn catch_up_plain(client: &Client) -> Outcome<f64> {
    const PAGE: &str = "SELECT position, id, type, aggregate_type, aggregate_id, sequence, ts::text, metadata::text, payload::text
      FROM plain WHERE position > $1 ORDER BY position LIMIT 1000";
    let statement = client.prepare(PAGE).await?;
    let start = Instant::now();
    let (mut after, mut n_events) = (0_i64, 0);
    loop {
        let rows = client.query(&statement, &[&after]).await?;
        let Some(last) = rows.last() else {
            return Ok(n_events as f64 / start.elapsed().as_secs_f64());
        };
        after = last.get(0);
        n_events += rows.len();
        for row in &rows {
            // What an application does with it first.
            let (_, _): (String, String) = (row.get(7), row.get(8));
        }
    }
}
