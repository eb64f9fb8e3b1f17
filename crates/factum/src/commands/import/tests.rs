//! An import against a server that breaks off.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::*;

/// A server that takes chunks of two lines and breaks off after each chunk, but for the last.
#[derive(Clone, Default)]
struct Breaking {
    ids: Arc<Mutex<BTreeSet<String>>>,
    n_connections: Arc<Mutex<usize>>,
    /// How many connections break.
    n_breaks: usize,
}

impl Breaking {
    /// Returns the URL, and the task that serves until it is dropped.
    async fn serve(self) -> (String, tokio::task::JoinSet<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/events/bulk", post(bulk))
            .with_state(self);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, tasks)
    }

    fn take(&self, line: &str) -> (u64, u64) {
        let event: Value = serde_json::from_str(line).unwrap();
        let new = self.ids.lock().unwrap().insert(event["id"].to_string());
        (u64::from(new), u64::from(!new))
    }
}

async fn bulk(State(server): State<Breaking>, body: Body) -> Body {
    let connection = {
        let mut n_connections = server.n_connections.lock().unwrap();
        *n_connections += 1;
        *n_connections
    };
    let breaks = connection <= server.n_breaks;
    let mut text = Vec::new();
    let mut body = body.into_data_stream();
    while let Some(Ok(bytes)) = body.next().await {
        text.extend_from_slice(&bytes);
    }
    let lines = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let mut answer: Vec<io::Result<String>> = Vec::new();
    for chunk in lines.chunks(2) {
        let (mut appended, mut deduplicated) = (0, 0);
        for line in chunk {
            let (new, old) = server.take(line);
            appended += new;
            deduplicated += old;
        }
        let receipt = json!({"appended": appended, "deduplicated": deduplicated, "cursor": "c"});
        answer.push(Ok(format!("{receipt}\n")));
        if breaks {
            answer.push(Err(io::ErrorKind::ConnectionReset.into()));
            break;
        }
    }
    Body::from_stream(futures_util::stream::iter(answer))
}

async fn imported(server: Breaking, n_lines: usize) -> anyhow::Result<Summary> {
    let (url, _tasks) = server.serve().await;
    let context = Context::of_test(&url);
    let line = |n: usize| {
        format!(
            "{{\"type\":\"a.b\",\"aggregateType\":\"a\",\"aggregateId\":\"{n}\",\"payload\":{{}}}}\n"
        )
    };
    let text: String = (0..n_lines).map(line).collect();
    let lines = LineReader::new(Box::new(io::Cursor::new(text.into_bytes())), "");
    let mut summary = Summary::default();
    let mut import = Import {
        summary: &mut summary,
        progress: &Progress::of_bytes(context.out.audience(), None),
        n_bytes_before: 0,
        n_bytes_read: Arc::default(),
    };
    import.send(lines, &context).await?;
    Ok(summary)
}

#[tokio::test]
async fn an_import_goes_on_where_the_connection_broke() {
    let server = Breaking {
        n_breaks: 2,
        ..Breaking::default()
    };
    let summary = imported(server.clone(), 7).await.unwrap();
    // Lines whose receipt was lost count as there already.
    assert_eq!(
        (summary.lines, summary.appended + summary.already_there),
        (7, 7)
    );
    assert_eq!(server.ids.lock().unwrap().len(), 7);
    assert_eq!(*server.n_connections.lock().unwrap(), 3);
}

#[tokio::test]
async fn an_import_of_nothing_ends_at_once() {
    let summary = imported(Breaking::default(), 0).await.unwrap();
    assert_eq!(summary, Summary::default());
}
