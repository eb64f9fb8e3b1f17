//! How nodes hear of each other's appends, and what else has to be done from time to time.
//!
//! Asking the database is the truth; a notification only says that it is worth asking now. A lost
//! one costs an interval of time, and nothing else.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use factum_store::WriteState;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::{ToSql, Type};

use crate::counters::add;
use crate::error::OpenError;
use crate::pool::{Role, parse};
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::position_bigint;

/// How long to wait before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How often leaves are looked after.
const LEAVES_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the head that this node knows of up to date, until it is aborted.
pub(crate) async fn follow(shared: Arc<Shared>, heard: Arc<Notify>) {
    loop {
        let interval = shared.options.poll_interval;
        if timeout(interval, heard.notified()).await.is_ok() {
            add(&shared.counters.notifications_heard, 1);
        }
        ask(&shared).await;
    }
}

/// Asks where the head is, and notes whether the database answers.
async fn ask(shared: &Shared) {
    add(&shared.counters.heads_asked, 1);
    let asked = Instant::now();
    let deadline = asked + shared.options.connect_timeout;
    match shared.fetch_head(Asking::own(deadline)).await {
        Ok(_) => {
            shared.knows_all_before(asked);
            if matches!(shared.state(), WriteState::Failed { .. }) {
                tracing::info!("PostgreSQL answers again");
                shared.set_state(WriteState::Open);
            }
        }
        Err(failure) => {
            if shared.state() == WriteState::Open {
                tracing::error!(%failure, "PostgreSQL does not answer");
            }
            shared.set_state(WriteState::Failed {
                cause: "PostgreSQL cannot be reached".to_owned(),
            });
        }
    }
}

/// Listens to other nodes, over a connection of its own that is made again whenever it breaks,
/// until it is aborted.
pub(crate) async fn listen(shared: Arc<Shared>, heard: Arc<Notify>) {
    loop {
        if let Err(error) = hear(&shared, &heard).await {
            tracing::debug!(%error, "no notifications are heard");
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Listens as long as a connection lasts.
async fn hear(shared: &Shared, heard: &Arc<Notify>) -> Result<(), OpenError> {
    let options = &shared.options;
    let url = options.listen_url.as_ref().unwrap_or(&options.url);
    let (config, tls) = parse(url, options.connect_timeout, Role::Writer)?;
    let connecting = timeout(options.connect_timeout, config.connect(tls));
    let (client, mut connection) = connecting.await.map_err(|_| OpenError::Timeout)??;
    let mut mover = JoinSet::new();
    let tell = Arc::clone(heard);
    mover.spawn(async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => tell.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    });
    // The name has been checked when the store was opened.
    let sql = format!("LISTEN \"{}\"", shared.statements.channel);
    timeout(options.connect_timeout, client.batch_execute(&sql))
        .await
        .map_err(|_| OpenError::Timeout)??;
    mover.join_next().await;
    Ok(())
}

/// Tells the other nodes of appends, many at once, until it is aborted.
pub(crate) async fn tell(shared: Arc<Shared>) {
    loop {
        shared.appended.notified().await;
        sleep(shared.options.notify_delay).await;
        let head = position_bigint(*shared.head.borrow());
        let text = format!("{}:{head}", shared.statements.log);
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&shared.statements.channel, Type::TEXT),
            (&text, Type::TEXT),
        ];
        let told = async {
            let deadline = Instant::now() + shared.options.connect_timeout;
            let client = shared.own.get(deadline).await?;
            client
                .query_typed("SELECT pg_notify($1, $2)", parameters)
                .await?;
            Ok::<_, crate::error::Failure>(())
        };
        match timeout(shared.options.connect_timeout, told).await {
            Ok(Ok(())) => add(&shared.counters.notifications_sent, 1),
            Ok(Err(failure)) => tracing::debug!(%failure, "other nodes were not told"),
            Err(_) => tracing::debug!("other nodes were not told in time"),
        }
    }
}

/// Makes leaves ahead of their use, and learns which were opened, until it is aborted.
pub(crate) async fn keep_leaves(shared: Arc<Shared>) {
    loop {
        let deadline = Instant::now() + shared.options.read_timeout;
        let made = async {
            let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
                (&shared.statements.log, Type::INT4),
                (&shared.options.leaves_ahead, Type::INT4),
            ];
            let client = shared.own.get(deadline).await?;
            client
                .query_typed(&shared.statements.make_leaves, parameters)
                .await?;
            drop(client);
            shared
                .leaves
                .refresh(&shared.own, &shared.statements, deadline)
                .await
        };
        match timeout(shared.options.read_timeout, made).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "no leaves could be made"),
            Err(_) => tracing::warn!("no leaves could be made in time"),
        }
        sleep(LEAVES_INTERVAL).await;
    }
}
