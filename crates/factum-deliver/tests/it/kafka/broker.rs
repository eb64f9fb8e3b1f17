//! Brokers in this process that read and write the protocol with a codec that is not ours, check
//! what a producer says, and fail as a test wants.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use kafka_protocol::records::{Record, RecordBatchDecoder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::sasl::Sasl;

pub(crate) const TOPIC: &str = "events";

/// What goes wrong with the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with a failure, and not written.
    Answer(i16),
    /// The connection ends after it was written, before the answer.
    CutAfterWrite,
    /// It is written and never answered.
    Silence,
    /// The answer promises more bytes than anybody has.
    Endless,
    /// The answer is that to another request.
    OtherAnswer,
    /// The answer has a list that promises two thousand million elements.
    EndlessList,
    /// The answer has a long name, and as many partitions as go into a megabyte.
    Crowd,
}

/// How brokers are made.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) partitions: i32,
    pub(crate) brokers: usize,
    /// The newest versions that are offered: those of Kafka 4, or old ones.
    pub(crate) is_old: bool,
    /// Where brokers say that they are; this machine where it is `None`.
    pub(crate) advertised: Option<(&'static str, u16)>,
    /// How long a client is believed.
    pub(crate) lifetime_ms: i64,
    pub(crate) needs_password: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            partitions: 3,
            brokers: 1,
            is_old: false,
            advertised: None,
            lifetime_ms: 0,
            needs_password: false,
        }
    }
}

/// A record, and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) broker: usize,
    pub(crate) partition: i32,
    pub(crate) record: Record,
}

impl Written {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.record.headers.get(&StrBytes::from(name.to_owned()))?;
        Some(String::from_utf8(value.clone()?.to_vec()).unwrap())
    }
}

#[derive(Debug, Default)]
struct State {
    written: Vec<Written>,
    faults: VecDeque<Fault>,
    /// Which broker leads each partition; the first where it is not here.
    leaders: BTreeMap<i32, usize>,
    connections: usize,
    asked_for_leaders: usize,
    dead: Vec<usize>,
    offsets: BTreeMap<i32, i64>,
}

#[derive(Debug)]
struct Shared {
    setup: Setup,
    ports: Vec<u16>,
    state: Mutex<State>,
}

/// Brokers of one cluster. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Brokers {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Brokers {
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::with_tls(setup, None).await
    }

    pub(crate) async fn with_tls(setup: Setup, tls: Option<TlsAcceptor>) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..setup.brokers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports = listeners.iter().map(|l| l.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            setup,
            ports: ports.collect(),
            state: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            tasks.spawn(accept(number, listener, Arc::clone(&shared), tls.clone()));
        }
        Self {
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn port(&self, broker: usize) -> u16 {
        self.shared.ports[broker]
    }

    pub(crate) fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    pub(crate) fn lead(&self, partition: i32, broker: usize) {
        self.state().leaders.insert(partition, broker);
    }

    /// Has a broker answer nobody from now on.
    pub(crate) fn kill(&self, broker: usize) {
        self.state().dead.push(broker);
    }

    pub(crate) fn written(&self) -> Vec<Written> {
        self.state().written.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state().connections
    }

    pub(crate) fn asked_for_leaders(&self) -> usize {
        self.state().asked_for_leaders
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

async fn accept(
    number: usize,
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            shared.state.lock().unwrap().connections += 1;
            let served = Served {
                number,
                shared,
                sasl: Sasl::default(),
            };
            // A client that goes away is no matter.
            drop(served.serve(stream, tls).await);
        });
    }
}

/// One connection.
struct Served {
    number: usize,
    shared: Arc<Shared>,
    sasl: Sasl,
}

/// What to answer.
enum Reply {
    Answer(Bytes),
    Raw(Bytes),
    Never,
    Cut,
}

impl Served {
    async fn serve(mut self, stream: TcpStream, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
        match tls {
            Some(tls) => {
                let mut stream = tls.accept(stream).await?;
                self.answer_all(&mut stream).await
            }
            None => {
                let mut stream = stream;
                self.answer_all(&mut stream).await
            }
        }
    }

    async fn answer_all(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        loop {
            let length = stream.read_u32().await?;
            let mut request = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut request).await?;
            if self.state().dead.contains(&self.number) {
                return Ok(());
            }
            match self.answer(Bytes::from(request)) {
                Reply::Answer(answer) => {
                    let length = u32::try_from(answer.len()).unwrap();
                    stream.write_u32(length).await?;
                    stream.write_all(&answer).await?;
                }
                Reply::Raw(bytes) => stream.write_all(&bytes).await?,
                Reply::Never => {}
                Reply::Cut => return Ok(()),
            }
            stream.flush().await?;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    fn answer(&mut self, mut request: Bytes) -> Reply {
        let key = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let api = ApiKey::try_from(key).unwrap();
        let header_version = api.request_header_version(version);
        let header = RequestHeader::decode(&mut request, header_version).unwrap();
        assert_eq!(header.client_id.unwrap().as_str(), "factum");
        let offered = self.offered().into_iter().find(|(of, ..)| *of == api);
        let (_, oldest, newest) = offered.unwrap();
        assert!((oldest..=newest).contains(&version), "{api:?} {version}");
        let is_open = matches!(
            api,
            ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate
        );
        if self.shared.setup.needs_password && !is_open && !self.sasl.is_done() {
            return Reply::Cut;
        }
        let mut answer = BytesMut::new();
        let reply = ResponseHeader::default().with_correlation_id(header.correlation_id);
        let reply_version = api.response_header_version(version);
        reply.encode(&mut answer, reply_version).unwrap();
        let done = match api {
            ApiKey::ApiVersions => self.versions().encode(&mut answer, version),
            ApiKey::SaslHandshake => {
                let request = SaslHandshakeRequest::decode(&mut request, version).unwrap();
                self.handshake(&request).encode(&mut answer, version)
            }
            ApiKey::SaslAuthenticate => {
                let request = SaslAuthenticateRequest::decode(&mut request, version).unwrap();
                let lifetime = self.shared.setup.lifetime_ms;
                let said = self.sasl.answer(&request.auth_bytes, lifetime);
                said.encode(&mut answer, version)
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut request, version).unwrap();
                self.metadata(&request).encode(&mut answer, version)
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut request, version).unwrap();
                let fault = self.state().faults.pop_front();
                let produced = self.produce(request, fault);
                match fault {
                    Some(Fault::CutAfterWrite) => return Reply::Cut,
                    Some(Fault::Silence) => return Reply::Never,
                    Some(Fault::Endless) => return Reply::Raw(Bytes::from_static(&[0xff; 64])),
                    Some(Fault::OtherAnswer) => answer[3] ^= 1,
                    Some(Fault::EndlessList) => {
                        answer.extend_from_slice(&i32::MAX.to_be_bytes());
                        return Reply::Answer(answer.freeze());
                    }
                    Some(Fault::Crowd) => {
                        answer.extend_from_slice(&crowd(8000));
                        return Reply::Answer(answer.freeze());
                    }
                    Some(Fault::Answer(_)) | None => {}
                }
                produced.encode(&mut answer, version)
            }
            other => panic!("a producer asks for {other:?}"),
        };
        done.unwrap();
        Reply::Answer(answer.freeze())
    }

    fn offered(&self) -> Vec<(ApiKey, i16, i16)> {
        let newest = |old, new| if self.shared.setup.is_old { old } else { new };
        vec![
            (ApiKey::ApiVersions, 0, newest(0, 4)),
            (ApiKey::Metadata, 0, newest(4, 13)),
            (ApiKey::Produce, 3, newest(3, 13)),
            (ApiKey::SaslHandshake, 0, 1),
            (ApiKey::SaslAuthenticate, 0, newest(0, 2)),
        ]
    }

    fn versions(&self) -> ApiVersionsResponse {
        let offered = self.offered().into_iter().map(|(api, oldest, newest)| {
            let version = ApiVersion::default().with_api_key(api as i16);
            version.with_min_version(oldest).with_max_version(newest)
        });
        ApiVersionsResponse::default().with_api_keys(offered.collect())
    }

    fn handshake(&mut self, request: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        let known = self.sasl.begin(request.mechanism.as_str());
        let answer = SaslHandshakeResponse::default();
        let mechanisms = Sasl::MECHANISMS.map(StrBytes::from_static_str);
        answer
            .with_error_code(if known { 0 } else { 33 })
            .with_mechanisms(mechanisms.to_vec())
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        assert!(!request.allow_auto_topic_creation);
        let mut state = self.state();
        state.asked_for_leaders += 1;
        let setup = &self.shared.setup;
        let brokers = self.shared.ports.iter().enumerate().map(|(number, port)| {
            let (host, port) = setup.advertised.unwrap_or(("127.0.0.1", *port));
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(i32::try_from(number).unwrap()))
                .with_host(StrBytes::from_static_str(host))
                .with_port(i32::from(port))
        });
        let node = |broker: usize| BrokerId(i32::try_from(broker).unwrap_or(-1));
        let partitions = (0..setup.partitions).map(|index| {
            let leader = *state.leaders.get(&index).unwrap_or(&0);
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node(leader))
                .with_replica_nodes(vec![BrokerId(0), BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(0)])
        });
        let topics = request.topics.as_ref().unwrap().iter().map(|asked| {
            let name = asked.name.clone().unwrap();
            let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
            match name.as_str() {
                TOPIC => topic.with_partitions(partitions.clone().collect()),
                "forbidden" => topic.with_error_code(29),
                _ => topic.with_error_code(3),
            }
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(topics.collect())
    }

    fn produce(&self, request: ProduceRequest, fault: Option<Fault>) -> ProduceResponse {
        assert_eq!((request.acks, request.transactional_id), (-1, None));
        assert!(request.timeout_ms > 0);
        let mut state = self.state();
        let topics = request.topic_data.into_iter().map(|topic| {
            assert_eq!(topic.name, TopicName(StrBytes::from_static_str(TOPIC)));
            let partitions = topic.partition_data.into_iter().map(|data| {
                let answer = PartitionProduceResponse::default().with_index(data.index);
                let leader = *state.leaders.get(&data.index).unwrap_or(&0);
                if leader != self.number {
                    return answer.with_error_code(6);
                }
                if let Some(Fault::Answer(code)) = fault {
                    let said = StrBytes::from_static_str("as the test wants");
                    return answer.with_error_code(code).with_error_message(Some(said));
                }
                let mut batch = data.records.unwrap();
                // Refuses what has a wrong length or checksum.
                let batch = RecordBatchDecoder::decode(&mut batch).unwrap();
                for record in batch.records {
                    state.written.push(Written {
                        broker: self.number,
                        partition: data.index,
                        record,
                    });
                }
                let offset = state.offsets.entry(data.index).or_default();
                *offset += 1;
                answer.with_base_offset(*offset - 1)
            });
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_partition_responses(partitions.collect())
        });
        ProduceResponse::default().with_responses(topics.collect())
    }
}

/// What old brokers answer to a record, with much that nobody asked for.
fn crowd(name_bytes: usize) -> Vec<u8> {
    const PARTITIONS: i32 = 45_000;
    let mut bytes = 1_i32.to_be_bytes().to_vec();
    bytes.extend(i16::try_from(name_bytes).unwrap().to_be_bytes());
    bytes.extend(vec![b'x'; name_bytes]);
    bytes.extend(PARTITIONS.to_be_bytes());
    for partition in 0..PARTITIONS {
        bytes.extend(partition.to_be_bytes());
        bytes.extend([0; 18]);
    }
    bytes.extend([0; 4]);
    bytes
}
