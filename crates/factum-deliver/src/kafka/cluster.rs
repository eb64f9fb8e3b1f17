//! The brokers of a cluster: one connection to each, and who leads which partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use factum_engine::{DeliverError, ErrorClass};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Credentials};
use super::failure;
use super::message::{Metadata, MetadataAnswer, Request};
use crate::server::Server;

/// After this long the leaders are asked for again, as new partitions are not told of.
const LEADERS_AGE_MAX: Duration = Duration::from_mins(5);
/// The most topics whose leaders are remembered; templates may make any number.
const TOPICS_MAX: usize = 64;
/// The most brokers that connections are kept to.
const LINKS_MAX: usize = 64;
/// The most partitions that a topic may have; more would not fit into an answer, replicas and all.
const PARTITIONS_MAX: usize = 20_000;
/// The most brokers that a cluster may have; the largest that are told of have some hundred.
const BROKERS_MAX: usize = 1000;

/// A broker by its address.
type Address = (String, u16);

/// Who leads each partition of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaders {
    /// Where the brokers are. Each stands here once, however many partitions it leads.
    brokers: Vec<Address>,
    /// Which broker leads each partition; `None` where nobody does at the moment.
    partitions: Vec<Option<u16>>,
}

impl Leaders {
    pub(super) const fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Returns the leader of a partition.
    pub(super) fn of(&self, partition: usize) -> Option<&Address> {
        let broker = (*self.partitions.get(partition)?)?;
        self.brokers.get(usize::from(broker))
    }
}

/// A cluster as one target sees it.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Where to ask first.
    servers: Vec<Server>,
    credentials: Option<Credentials>,
    /// How long one broker may take to be connected to, so that there is time for another.
    connect_time_max: Duration,
    links: SyncMutex<BTreeMap<Address, Arc<Link>>>,
    topics: SyncMutex<BTreeMap<String, (Arc<Leaders>, Instant)>>,
    /// With which server to begin.
    next: AtomicUsize,
}

/// The one connection to a broker. Requests take turns, so what is sent to a partition is appended in
/// the order in which it was sent.
#[derive(Debug)]
struct Link {
    server: Server,
    connection: Mutex<Option<Connection>>,
}

impl Cluster {
    pub(super) fn new(
        servers: Vec<Server>,
        credentials: Option<Credentials>,
        connect_time_max: Duration,
    ) -> Self {
        Self {
            servers,
            credentials,
            connect_time_max,
            links: SyncMutex::default(),
            topics: SyncMutex::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Returns who leads a topic, as it was told of late.
    pub(super) async fn leaders(&self, topic: &str) -> Result<Arc<Leaders>, DeliverError> {
        let now = Instant::now();
        let known = lock(&self.topics).get(topic).cloned();
        if let Some((leaders, _)) = known.filter(|(_, until)| now < *until) {
            return Ok(leaders);
        }
        let answer = self.ask_any(&Metadata(topic)).await?;
        let leaders = Arc::new(read(answer)?);
        let mut topics = lock(&self.topics);
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        topics.insert(
            topic.to_owned(),
            (Arc::clone(&leaders), now + LEADERS_AGE_MAX),
        );
        Ok(leaders)
    }

    /// Forgets who leads a topic, so that it is asked for again.
    pub(super) fn forget(&self, topic: &str) {
        lock(&self.topics).remove(topic);
    }

    /// Asks one broker.
    pub(super) async fn ask<R: Request>(
        &self,
        (host, port): &Address,
        request: &R,
    ) -> Result<R::Answer, DeliverError> {
        // What a broker says of the others is as little trusted as what a definition says.
        let server = self.servers.first();
        let server = server.and_then(|server| server.elsewhere(host, *port));
        let Some(server) = server else {
            let message = format!(
                "the broker names {}:{port} as another, which is no host",
                failure::said(host)
            );
            return Err(DeliverError::passing(ErrorClass::Protocol, message));
        };
        self.ask_link(&self.link(&server), request).await
    }

    /// Asks the servers of the definition one after the other, beginning with another after each
    /// failure, and then the brokers that are known besides.
    async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Answer, DeliverError> {
        let first = self.next.load(Ordering::Relaxed);
        let turned = self.servers.iter().cycle().skip(first);
        let turned = turned.take(self.servers.len());
        let mut links: Vec<Arc<Link>> = turned.map(|server| self.link(server)).collect();
        let known: Vec<_> = lock(&self.links).values().map(Arc::clone).collect();
        links.extend(known);
        let mut asked: Vec<Arc<Link>> = Vec::new();
        let mut last = DeliverError::passing(ErrorClass::Resolve, "there is no server");
        for link in links {
            if asked.iter().any(|asked| Arc::ptr_eq(asked, &link)) {
                continue;
            }
            // Before it is asked, since who waits for an answer in vain may be given up.
            let next = (first + asked.len() + 1) % self.servers.len();
            self.next.store(next, Ordering::Relaxed);
            match self.ask_link(&link, request).await {
                Ok(answer) => {
                    let this = (first + asked.len()) % self.servers.len();
                    self.next.store(this, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
            asked.push(link);
        }
        Err(last)
    }

    async fn ask_link<R: Request>(
        &self,
        link: &Link,
        request: &R,
    ) -> Result<R::Answer, DeliverError> {
        let mut kept = link.connection.lock().await;
        // It is put back once the answer is there: a connection whose answer is not waited for
        // must not answer the next request with it.
        let mut connection = match kept.take().filter(Connection::is_fresh) {
            Some(connection) => connection,
            None => {
                let opening = Connection::open(&link.server, self.credentials.as_ref());
                match timeout(self.connect_time_max, opening).await {
                    Ok(opened) => opened?,
                    Err(_) => {
                        let message = format!("no connection to {:?} in time", link.server);
                        return Err(DeliverError::passing(ErrorClass::Timeout, message));
                    }
                }
            }
        };
        let answer = connection.ask(request).await?;
        *kept = Some(connection);
        Ok(answer)
    }

    fn link(&self, server: &Server) -> Arc<Link> {
        let address = (server.host.name(), server.port);
        let mut links = lock(&self.links);
        if links.len() >= LINKS_MAX && !links.contains_key(&address) {
            links.clear();
        }
        Arc::clone(links.entry(address).or_insert_with(|| {
            Arc::new(Link {
                server: server.clone(),
                connection: Mutex::new(None),
            })
        }))
    }
}

fn lock<T>(mutex: &SyncMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads who leads a topic from what a broker says of the cluster.
fn read(answer: MetadataAnswer) -> Result<Leaders, DeliverError> {
    let protocol = |message: &str| DeliverError::passing(ErrorClass::Protocol, message);
    let of_topic = answer.topic;
    let of_topic = of_topic.ok_or_else(|| protocol("the broker says nothing of the topic"))?;
    failure::none(of_topic.failure, None)?;
    bounded("brokers", answer.brokers.len(), BROKERS_MAX)?;
    bounded("partitions", of_topic.partitions.len(), PARTITIONS_MAX)?;
    let mut numbers = BTreeMap::new();
    let mut brokers = Vec::new();
    for broker in answer.brokers {
        if let Ok(port) = u16::try_from(broker.port)
            && let Ok(number) = u16::try_from(brokers.len())
        {
            numbers.insert(broker.node, number);
            brokers.push((broker.host, port));
        }
    }
    let mut partitions = of_topic.partitions;
    partitions.sort_by_key(|partition| partition.index);
    let mut indexes = partitions.iter().map(|partition| partition.index);
    // A key belongs to a partition by the number of all partitions, so none may be left out.
    if partitions.is_empty() || !(0..).zip(&mut indexes).all(|(at, index)| at == index) {
        return Err(protocol("the broker leaves partitions of the topic out"));
    }
    let leaders = partitions.iter();
    let leaders = leaders.map(|partition| numbers.get(&partition.leader).copied());
    Ok(Leaders {
        partitions: leaders.collect(),
        brokers,
    })
}

/// Refuses more than there may be.
fn bounded(what: &str, count: usize, max: usize) -> Result<(), DeliverError> {
    if count <= max {
        return Ok(());
    }
    let message = format!("the broker tells of {count} {what}, which exceeds the limit of {max}");
    Err(DeliverError::passing(ErrorClass::Protocol, message))
}

#[cfg(test)]
mod tests {
    use super::super::message::{Broker, PartitionAnswer, TopicAnswer};
    use super::*;

    fn answer(partitions: &[(i32, i32)]) -> MetadataAnswer {
        let partitions = partitions.iter();
        MetadataAnswer {
            brokers: vec![
                Broker {
                    node: 1,
                    host: "one".to_owned(),
                    port: 9092,
                },
                Broker {
                    node: 2,
                    host: "two".to_owned(),
                    port: 70_000,
                },
            ],
            topic: Some(TopicAnswer {
                failure: 0,
                partitions: partitions
                    .map(|&(index, leader)| PartitionAnswer { index, leader })
                    .collect(),
            }),
        }
    }

    #[test]
    fn leaders_are_read_in_order_of_partitions() {
        let leaders = read(answer(&[(1, -1), (0, 1), (2, 2)])).unwrap();
        assert_eq!(leaders.partitions(), 3);
        assert_eq!(leaders.of(0), Some(&("one".to_owned(), 9092)));
        // Nobody leads the second, and the third has a leader that is nowhere.
        assert_eq!(
            (leaders.of(1), leaders.of(2), leaders.of(3)),
            (None, None, None)
        );
    }

    #[test]
    fn what_leaves_partitions_out_is_not_believed() {
        for partitions in [&[][..], &[(1, 1)], &[(0, 1), (2, 1)], &[(0, 1), (0, 1)]] {
            let error = read(answer(partitions)).unwrap_err();
            assert_eq!(error.class, ErrorClass::Protocol, "{partitions:?}");
        }
        let silent = MetadataAnswer {
            topic: None,
            ..answer(&[(0, 1)])
        };
        assert_eq!(read(silent).unwrap_err().class, ErrorClass::Protocol);
    }

    /// A broker could name a long host once, have it lead each partition, and have it copied for
    /// each.
    #[test]
    fn what_a_broker_tells_is_remembered_once_and_has_bounds() {
        let leaders = read(answer(&[(0, 1), (1, 1)])).unwrap();
        assert!(std::ptr::eq(leaders.of(0).unwrap(), leaders.of(1).unwrap()));
        let all = |count: i32| -> Vec<_> { (0..count).map(|index| (index, 1)).collect() };
        assert_eq!(read(answer(&all(20_000))).unwrap().partitions(), 20_000);
        let error = read(answer(&all(20_001))).unwrap_err();
        assert_eq!(error.class, ErrorClass::Protocol);
        let said = "20001 partitions, which exceeds the limit of 20000";
        assert!(error.message.contains(said), "{error}");
        let mut crowd = answer(&[(0, 1)]);
        crowd.brokers = vec![crowd.brokers.remove(0); BROKERS_MAX + 1];
        let error = read(crowd).unwrap_err();
        assert!(error.message.contains("1001 brokers"), "{error}");
    }
}
