//! The requests of a producer, and their answers.
//!
//! Of each the versions that every broker since Kafka 2.1 speaks, Kafka 4 included; none of them has
//! the flexible form.

use super::wire::{Malformed, Reader, Writer};

/// The longest name of a topic, by what brokers allow.
pub(super) const TOPIC_BYTES_MAX: usize = 249;
/// The longest host, by what names of the domain name system allow.
const HOST_BYTES_MAX: usize = 255;
/// The most requests that a broker may say that it knows; Kafka 4 knows fewer than a hundred.
const APIS_MAX: usize = 1000;

/// A request of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) name: &'static str,
    pub(super) key: i16,
    /// The oldest and the newest version that is spoken here.
    pub(super) oldest: i16,
    pub(super) newest: i16,
}

/// A request and what is answered to it.
pub(super) trait Request {
    const API: Api;
    type Answer;

    fn write(&self, version: i16, to: &mut Writer);

    /// Reads the answer, and keeps of it no more than was asked for.
    fn read(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed>;
}

/// Asks which versions a broker speaks.
#[derive(Debug)]
pub(super) struct ApiVersions;

impl Request for ApiVersions {
    const API: Api = Api {
        name: "ApiVersions",
        key: 18,
        oldest: 0,
        newest: 0,
    };
    /// A failure, and the oldest and the newest version by request.
    type Answer = (i16, Vec<(i16, i16, i16)>);

    fn write(&self, _: i16, _: &mut Writer) {}

    fn read(&self, _: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed> {
        let failure = from.int16()?;
        let versions = from.list(|from| Ok((from.int16()?, from.int16()?, from.int16()?)))?;
        if versions.len() > APIS_MAX {
            return Err(Malformed);
        }
        Ok((failure, versions))
    }
}

/// Says how the client will show who it is.
#[derive(Debug)]
pub(super) struct SaslHandshake(pub(super) &'static str);

impl Request for SaslHandshake {
    const API: Api = Api {
        name: "SaslHandshake",
        key: 17,
        oldest: 1,
        newest: 1,
    };
    /// A failure, and the ways that the broker knows.
    type Answer = (i16, Vec<String>);

    fn write(&self, _: i16, to: &mut Writer) {
        to.text(self.0);
    }

    fn read(&self, _: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed> {
        let failure = from.int16()?;
        let known = from.list(|from| Ok(from.text()?.unwrap_or_default().to_owned()))?;
        Ok((failure, known))
    }
}

/// A word of the client in showing who it is.
#[derive(Debug)]
pub(super) struct SaslAuthenticate<'a>(pub(super) &'a [u8]);

/// A word of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SaslAnswer {
    pub(super) failure: i16,
    pub(super) message: Option<String>,
    pub(super) said: Vec<u8>,
    /// For how many milliseconds the client is believed; 0 means for ever.
    pub(super) lifetime_ms: i64,
}

impl Request for SaslAuthenticate<'_> {
    const API: Api = Api {
        name: "SaslAuthenticate",
        key: 36,
        oldest: 0,
        newest: 1,
    };
    type Answer = SaslAnswer;

    fn write(&self, _: i16, to: &mut Writer) {
        to.bytes(self.0);
    }

    fn read(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed> {
        Ok(SaslAnswer {
            failure: from.int16()?,
            message: from.text()?.map(str::to_owned),
            said: from.bytes()?.to_owned(),
            lifetime_ms: if version >= 1 { from.int64()? } else { 0 },
        })
    }
}

/// Asks who leads the partitions of a topic. Makes no topic.
#[derive(Debug)]
pub(super) struct Metadata<'a>(pub(super) &'a str);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetadataAnswer {
    pub(super) brokers: Vec<Broker>,
    /// What is said of the topic; `None` if nothing is.
    pub(super) topic: Option<TopicAnswer>,
}

/// A broker, where it says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) node: i32,
    pub(super) host: String,
    pub(super) port: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicAnswer {
    pub(super) failure: i16,
    pub(super) partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionAnswer {
    pub(super) index: i32,
    /// The node that leads it; below 0 if nobody does.
    pub(super) leader: i32,
}

impl Request for Metadata<'_> {
    const API: Api = Api {
        name: "Metadata",
        key: 3,
        oldest: 4,
        newest: 7,
    };
    type Answer = MetadataAnswer;

    fn write(&self, _: i16, to: &mut Writer) {
        to.count(1);
        to.text(self.0);
        to.int8(0);
    }

    fn read(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed> {
        from.int32()?;
        let brokers = from.list(|from| {
            let broker = Broker {
                node: from.int32()?,
                host: short(from.text()?, HOST_BYTES_MAX)?.to_owned(),
                port: from.int32()?,
            };
            from.text()?;
            Ok(broker)
        })?;
        from.text()?;
        from.int32()?;
        let mut topic = None;
        from.list(|from| {
            let failure = from.int16()?;
            let name = short(from.text()?, TOPIC_BYTES_MAX)?;
            from.flag()?;
            let partitions = from.list(|from| partition(version, from))?;
            if name == self.0 && topic.is_none() {
                topic = Some(TopicAnswer {
                    failure,
                    partitions,
                });
            }
            Ok(())
        })?;
        Ok(MetadataAnswer { brokers, topic })
    }
}

/// Returns a text that is no longer than it may be; nothing is an empty one.
fn short(text: Option<&str>, bytes_max: usize) -> Result<&str, Malformed> {
    let text = text.unwrap_or_default();
    if text.len() > bytes_max {
        return Err(Malformed);
    }
    Ok(text)
}

fn partition(version: i16, from: &mut Reader<'_>) -> Result<PartitionAnswer, Malformed> {
    // Its failure says why it has no leader, or that a replica is missing, which is no matter here.
    from.int16()?;
    let partition = PartitionAnswer {
        index: from.int32()?,
        leader: from.int32()?,
    };
    if version >= 7 {
        from.int32()?;
    }
    from.list(Reader::int32)?;
    from.list(Reader::int32)?;
    if version >= 5 {
        from.list(Reader::int32)?;
    }
    Ok(partition)
}

/// Appends one batch to one partition, and has the answer wait for all replicas in sync.
#[derive(Debug)]
pub(super) struct Produce<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    /// How long the broker may wait for the replicas.
    pub(super) timeout_ms: i32,
    pub(super) batch: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProduceAnswer {
    pub(super) failure: i16,
    pub(super) offset: i64,
    pub(super) message: Option<String>,
}

const ALL_IN_SYNC: i16 = -1;

impl Request for Produce<'_> {
    const API: Api = Api {
        name: "Produce",
        key: 0,
        oldest: 3,
        newest: 8,
    };
    /// What is said of the batch; `None` if nothing is.
    type Answer = Option<ProduceAnswer>;

    fn write(&self, _: i16, to: &mut Writer) {
        to.no_text();
        to.int16(ALL_IN_SYNC);
        to.int32(self.timeout_ms);
        to.count(1);
        to.text(self.topic);
        to.count(1);
        to.int32(self.partition);
        to.bytes(self.batch);
    }

    fn read(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Answer, Malformed> {
        let mut of_batch = None;
        from.list(|from| {
            let topic = short(from.text()?, TOPIC_BYTES_MAX)?;
            from.list(|from| {
                let partition = from.int32()?;
                let answer = produced(version, from)?;
                // Whatever else is there was not asked for, and there may be much of it.
                if topic == self.topic && partition == self.partition && of_batch.is_none() {
                    of_batch = Some(answer.owned());
                }
                Ok(())
            })
        })?;
        Ok(of_batch)
    }
}

/// An answer of which nothing is copied yet.
struct Produced<'a> {
    failure: i16,
    offset: i64,
    message: Option<&'a str>,
}

impl Produced<'_> {
    fn owned(&self) -> ProduceAnswer {
        ProduceAnswer {
            failure: self.failure,
            offset: self.offset,
            message: self.message.map(str::to_owned),
        }
    }
}

fn produced<'a>(version: i16, from: &mut Reader<'a>) -> Result<Produced<'a>, Malformed> {
    let mut answer = Produced {
        failure: from.int16()?,
        offset: from.int64()?,
        message: None,
    };
    from.int64()?;
    if version >= 5 {
        from.int64()?;
    }
    if version >= 8 {
        let mut of_records = None;
        from.list(|from| {
            from.int32()?;
            let said = from.text()?;
            of_records = of_records.or(said);
            Ok(())
        })?;
        answer.message = of_records.or(from.text()?);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads bytes as the answer to each request in each version, and counts what could be read.
    fn read_all(bytes: &[u8]) -> usize {
        fn read<R: Request>(request: &R, bytes: &[u8]) -> usize {
            let versions = R::API.oldest..=R::API.newest;
            versions
                .filter(|version| request.read(*version, &mut Reader::new(bytes)).is_ok())
                .count()
        }
        read(&ApiVersions, bytes)
            + read(&SaslHandshake("PLAIN"), bytes)
            + read(&SaslAuthenticate(&[]), bytes)
            + read(&Metadata("events"), bytes)
            + read(&PRODUCE, bytes)
    }

    const PRODUCE: Produce<'_> = Produce {
        topic: "events",
        partition: 7,
        timeout_ms: 1,
        batch: &[],
    };

    /// Writes the answer to a batch, which may speak of other topics and partitions too.
    fn produce_answer(topics: &[&str], partitions: i32) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.count(topics.len());
        for topic in topics {
            bytes.text(topic);
            bytes.int32(partitions);
            for partition in 0..partitions {
                bytes.int32(partition);
                bytes.int16(0);
                bytes.int64(i64::from(partition) * 10);
                bytes.int64(-1);
            }
        }
        bytes.into_bytes()
    }

    /// One answer of a megabyte with a long name and fifty thousand partitions led to a copy of the
    /// name for each partition, and so to more memory than a machine may have.
    #[test]
    fn an_answer_is_kept_only_as_far_as_it_was_asked_for() {
        let read = |bytes: &[u8]| PRODUCE.read(3, &mut Reader::new(bytes));
        let answer = read(&produce_answer(&["other", "events"], 20_000)).unwrap();
        let expected = ProduceAnswer {
            failure: 0,
            offset: 70,
            message: None,
        };
        assert_eq!(answer, Some(expected));
        assert_eq!(read(&produce_answer(&["other"], 20)).unwrap(), None);
        assert_eq!(read(&produce_answer(&["events"], 7)).unwrap(), None);
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        assert_eq!(read(&produce_answer(&[&long], 1)), Err(Malformed));
        assert_eq!(read(&produce_answer(&[&long[1..]], 1)), Ok(None));
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        let answer = |host: usize, topic: usize| {
            let mut bytes = Writer::default();
            bytes.int32(0);
            bytes.count(1);
            bytes.int32(1);
            bytes.text(&"h".repeat(host));
            bytes.int32(9092);
            bytes.no_text();
            bytes.no_text();
            bytes.int32(1);
            bytes.count(1);
            bytes.int16(0);
            bytes.text(&"t".repeat(topic));
            bytes.int8(0);
            bytes.count(0);
            let bytes = bytes.into_bytes();
            Metadata("t").read(4, &mut Reader::new(&bytes))
        };
        assert!(answer(HOST_BYTES_MAX, 1).unwrap().topic.is_some());
        assert_eq!(answer(HOST_BYTES_MAX, TOPIC_BYTES_MAX).unwrap().topic, None);
        assert_eq!(answer(HOST_BYTES_MAX + 1, 1), Err(Malformed));
        assert_eq!(answer(1, TOPIC_BYTES_MAX + 1), Err(Malformed));
    }

    #[test]
    fn nothing_that_a_broker_sends_does_harm() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut n_read = 0;
        for round in 0..20_000 {
            let bytes: Vec<u8> = (0..round % 64)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let [value, kind, ..] = seed.to_le_bytes();
                    // Small numbers and -1 are what leads further into a message.
                    match kind % 4 {
                        0 => value,
                        1 => 0xff,
                        2 => value % 3,
                        _ => 0,
                    }
                })
                .collect();
            n_read += read_all(&bytes);
        }
        // Some are messages, so that this reads more than the beginnings.
        assert!(n_read > 1000, "{n_read}");
    }
}
