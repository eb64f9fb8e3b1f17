//! Durable appends, catch-up and questions on a PostgreSQL that syncs, beside plain SQL by hand on
//! the same server.
//!
//! `cargo bench -p factum-store-postgres --bench append` prints one table. Rounds of all cases are
//! interleaved, so that noise of the machine meets them alike.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_docs_in_private_items,
    clippy::too_many_lines,
    reason = "a program that measures and prints"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use factum_model::{JsonObject, NewEvent, Position, StreamId};
use factum_query::{Filter, JsonQuery};
use factum_store::{AppendRequest, CountBy, CountRead, EventStore as _, LogRead, StreamRead};
use factum_store_postgres::{Options, PostgresStore, Setup};
use factum_testkit::postgres::PrivateServer;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

const ROUND: Duration = Duration::from_millis(2000);
const ROUNDS: usize = 3;

/// Callers at once, and events in each request.
const CASES: &[(u64, u64)] = &[(1, 1), (8, 1), (64, 1), (256, 1), (1, 100), (8, 100)];

fn payload(number: u64) -> String {
    format!(
        r#"{{"form":"contact","country":"C{}","amount":{},"email":"user{number}@example.org","note":"{}","status":"submitted"}}"#,
        number % 50,
        number % 10_000,
        "x".repeat(80)
    )
}

fn metadata(number: u64) -> String {
    format!(
        r#"{{"userId":"user-{}","sourceSystem":"bench","tags":["region:eu","form:{}"]}}"#,
        number % 100,
        number % 20
    )
}

/// An event of about 300 bytes.
fn event(number: u64) -> NewEvent {
    let stream = format!("s-{}", number % 20_000);
    NewEvent {
        metadata: JsonObject::parse(metadata(number)).unwrap(),
        ..NewEvent::new(
            format!("submission.t{}", number % 10).parse().unwrap(),
            StreamId::new("submission".parse().unwrap(), stream.parse().unwrap()),
            JsonObject::parse(payload(number)).unwrap(),
        )
    }
}

async fn ours(stores: &[Arc<PostgresStore>], callers: u64, batch: u64) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for (_, store) in (0..callers).zip(stores.iter().cycle()) {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        tasks.spawn(async move {
            let mut appended = 0;
            while start.elapsed() < ROUND {
                let first = next.fetch_add(batch, Ordering::Relaxed);
                let request = AppendRequest {
                    events: (first..first + batch).map(event).collect(),
                    ..AppendRequest::default()
                };
                store.append(request).await.unwrap();
                appended += batch;
            }
            appended
        });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / start.elapsed().as_secs_f64()
}

const TABLE: &str = "CREATE TABLE plain (position bigserial PRIMARY KEY, stream text NOT NULL, \
    sequence bigint NOT NULL, id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE, type text NOT NULL, \
    recorded_at timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL, payload jsonb NOT NULL, \
    UNIQUE (stream, sequence));
    CREATE INDEX ON plain (type, position);
    CREATE INDEX ON plain USING gin (metadata jsonb_path_ops);
    CREATE INDEX ON plain USING gin (payload jsonb_path_ops);";

/// What an application would write: a table with a sequence, one statement for each request, a
/// connection for each caller up to 64. It promises less: positions are not dense.
async fn plain(url: &str, callers: u64, batch: u64) -> f64 {
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(u64::from(start.elapsed().subsec_nanos())));
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let mut tasks = JoinSet::new();
    let mut connections = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..callers.min(64) {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        connections.spawn(connection);
        let sql = "INSERT INTO plain (stream, sequence, type, metadata, payload) \
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]::jsonb[], $5::text[]::jsonb[])";
        let statement = client.prepare(sql).await.unwrap();
        clients.push(Arc::new((client, statement)));
    }
    let start = Instant::now();
    for (_, client) in (0..callers).zip(clients.iter().cycle()) {
        let (client, next) = (Arc::clone(client), Arc::clone(&next));
        tasks.spawn(async move {
            let mut appended = 0;
            while start.elapsed() < ROUND {
                let first = next.fetch_add(batch, Ordering::Relaxed);
                let numbers = first..first + batch;
                let streams: Vec<_> = numbers
                    .clone()
                    .map(|number| format!("s-{}", number % 20_000))
                    .collect();
                let sequences: Vec<_> = numbers
                    .clone()
                    .map(|_| SEQUENCE.fetch_add(1, Ordering::Relaxed).cast_signed())
                    .collect();
                let types: Vec<_> = numbers
                    .clone()
                    .map(|number| format!("submission.t{}", number % 10))
                    .collect();
                let metadata: Vec<_> = numbers.clone().map(metadata).collect();
                let payloads: Vec<_> = numbers.map(payload).collect();
                client
                    .0
                    .execute(
                        &client.1,
                        &[&streams, &sequences, &types, &metadata, &payloads],
                    )
                    .await
                    .unwrap();
                appended += batch;
            }
            appended
        });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = work.await;
    println!("{what:<44} {:>9.1} ms", start.elapsed().as_secs_f64() * 1e3);
    done
}

async fn questions(store: &PostgresStore) {
    let all = LogRead::forwards();
    let start = Instant::now();
    let (mut read, mut n_events) = (all.clone(), 0);
    loop {
        let page = store.read_log(read.clone()).await.unwrap();
        n_events += page.events.len();
        read.after = page.scanned_to;
        if !page.has_more {
            break;
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "catch-up: {n_events} events, {:.0} events/s",
        n_events as f64 / took
    );
    let filtered = |filter: Filter| LogRead {
        filter,
        limit: 100,
        ..LogRead::backwards()
    };
    let equals = Filter {
        payload: Some(JsonQuery::And(vec![
            JsonQuery::equals("$.country", "C7").unwrap(),
            JsonQuery::equals("$.amount", 57_u64).unwrap(),
        ])),
        ..Filter::default()
    };
    let of_type = Filter {
        event_types: vec!["submission.t3".parse().unwrap()],
        ..Filter::default()
    };
    let tag = Filter {
        tags: vec!["form:3".to_owned()],
        ..Filter::default()
    };
    let nothing = Filter {
        payload: Some(JsonQuery::equals("$.country", "nowhere").unwrap()),
        ..Filter::default()
    };
    for _ in 0..2 {
        timed("100 newest", store.read_log(filtered(Filter::default())))
            .await
            .unwrap();
        timed(
            "100 newest of a type",
            store.read_log(filtered(of_type.clone())),
        )
        .await
        .unwrap();
        timed(
            "100 newest with a tag",
            store.read_log(filtered(tag.clone())),
        )
        .await
        .unwrap();
        timed(
            "two equal members",
            store.read_log(filtered(equals.clone())),
        )
        .await
        .unwrap();
        timed("no match", store.read_log(filtered(nothing.clone())))
            .await
            .unwrap();
        let by_type = CountRead {
            by: Some(CountBy::EventType),
            ..CountRead::all(Filter::default())
        };
        timed("count by type", store.count(by_type)).await.unwrap();
        let stream = StreamId::new("submission".parse().unwrap(), "s-77".parse().unwrap());
        timed(
            "one stream",
            store.read_stream(StreamRead::forwards(stream)),
        )
        .await
        .unwrap();
        let middle = LogRead {
            after: Position::new(n_events as u64 / 2),
            limit: 1,
            ..LogRead::forwards()
        };
        let page = timed("one in the middle", store.read_log(middle))
            .await
            .unwrap();
        timed("by id", store.event(page.events[0].id))
            .await
            .unwrap();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = PrivateServer::start();
    runtime.block_on(async {
        Setup::default().run(&server.url()).await.unwrap();
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        let mut mover = JoinSet::new();
        mover.spawn(connection);
        client.batch_execute(TABLE).await.unwrap();
        let mut stores = Vec::new();
        for _ in 0..3 {
            let options = Options::at(server.url());
            stores.push(Arc::new(PostgresStore::open(options).await.unwrap()));
        }
        let mut results = vec![[Vec::new(), Vec::new(), Vec::new()]; CASES.len()];
        for _ in 0..ROUNDS {
            for (result, &(callers, batch)) in results.iter_mut().zip(CASES) {
                result[0].push(ours(&stores[..1], callers, batch).await);
                result[1].push(ours(&stores, callers, batch).await);
                result[2].push(plain(&server.url(), callers, batch).await);
            }
        }
        println!("callers x batch | one node | three nodes | plain SQL (events/s)");
        for (result, (callers, batch)) in results.into_iter().zip(CASES) {
            let [one, three, plain] = result.map(median);
            println!("{callers:>7} x {batch:<5} | {one:>8.0} | {three:>11.0} | {plain:>9.0}");
        }
        let sizes = "SELECT (pg_total_relation_size('plain') / greatest(count(*), 1))::text FROM plain";
        let plain_bytes: String = client.query_one(sizes, &[]).await.unwrap().get(0);
        let sizes = "SELECT (sum(pg_total_relation_size(c.oid)) / (SELECT head FROM factum.logs))::bigint::text \
             FROM pg_class c WHERE relnamespace = 'factum'::regnamespace AND relkind = 'r'";
        let own_bytes: String = client.query_one(sizes, &[]).await.unwrap().get(0);
        println!("bytes an event: {own_bytes}, plain {plain_bytes}");
        client.batch_execute("VACUUM ANALYZE").await.unwrap();
        questions(&stores[0]).await;
        for store in &stores {
            println!("{:?}", store.metrics().values);
        }
    });
}
