//! Commit groups and records: the bytes of the log. The layout is in `docs/format/embedded.md`.

use bytes::Bytes;
use bytestring::ByteString;
use factum_model::{
    EventId, EventOrigin, NewEvent, Position, RecordedEvent, RecordedFields, SchemaVersion,
    SequenceNumber, Timestamp,
};
use factum_store::StoreId;

use crate::bytes_io::{Reader, Short, crc, padded, put};

/// The bytes of a segment header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// The bytes of a group header.
pub(crate) const GROUP_HEADER_BYTES: usize = 64;
/// The bytes of a record before its texts.
pub(crate) const RECORD_HEADER_BYTES: usize = 88;
/// The format that this code writes, and the only one so far that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"FCTMSEG1";
const GROUP_MAGIC: u64 = 0x5055_4f52_4754_4346;
const KIND_EVENT: u8 = 1;
const SEAL: u32 = 1;

const FLAG_LAST: u8 = 1;
const FLAG_TIMESTAMP_ASSIGNED: u8 = 2;
const FLAG_CORRELATION_INHERITED: u8 = 4;
const FLAG_CAUSATION: u8 = 8;
const FLAG_CORRELATION: u8 = 16;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end too early.
    #[error("the bytes end too early")]
    Short,
    /// The magic number is not there.
    #[error("no magic number")]
    Magic,
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The format is one that this version does not know.
    #[error("unknown format version {0}")]
    Version(u32),
    /// A length, kind, count or text is impossible.
    #[error("impossible {0}")]
    Content(&'static str),
}

impl From<Short> for FrameError {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}

/// The head of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    pub(crate) base: Position,
    pub(crate) generation: u32,
    pub(crate) salt: u64,
    pub(crate) first_group: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, 0, SEGMENT_MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.store_id.0);
        put(&mut bytes, 32, &self.base.get().to_le_bytes());
        put(&mut bytes, 40, &self.salt.to_le_bytes());
        put(&mut bytes, 48, &self.first_group.to_le_bytes());
        let sum = crc(&bytes[..60]);
        put(&mut bytes, 60, &sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        if reader.bytes(8)? != SEGMENT_MAGIC {
            return Err(FrameError::Magic);
        }
        let version = reader.u32()?;
        let generation = reader.u32()?;
        let store_id = StoreId(reader.array()?);
        let base = reader.u64()?;
        let (salt, first_group) = (reader.u64()?, reader.u64()?);
        let _zero = reader.u32()?;
        check_sum(bytes, 60, reader.u32()?)?;
        if version != FORMAT_VERSION {
            return Err(FrameError::Version(version));
        }
        let base = Position::new(base).ok_or(FrameError::Content("base position"))?;
        Ok(Self {
            store_id,
            base,
            generation,
            salt,
            first_group,
        })
    }
}

fn check_sum(bytes: &[u8], length: usize, expected: u32) -> Result<(), FrameError> {
    match bytes.get(..length) {
        Some(summed) if crc(summed) == expected => Ok(()),
        Some(_) => Err(FrameError::Checksum),
        None => Err(FrameError::Short),
    }
}

/// The head of a commit group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) number: u64,
    pub(crate) first: Position,
    pub(crate) n_records: u32,
    pub(crate) body_bytes: u32,
    pub(crate) recorded_at: i64,
    pub(crate) body_crc: u32,
    pub(crate) seal: bool,
    pub(crate) previous_chain: u64,
    /// The value that the next group carries as its `previous_chain`.
    pub(crate) chain: u64,
}

impl GroupHeader {
    /// Returns the eight bytes that every group of a segment starts with.
    pub(crate) const fn magic(salt: u64) -> [u8; 8] {
        (GROUP_MAGIC ^ salt).to_le_bytes()
    }

    /// Reads a header and checks its own checksum, not that of the body.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != Self::magic(salt) {
            return Err(FrameError::Magic);
        }
        let (number, first) = (reader.u64()?, reader.u64()?);
        let (n_records, body_bytes) = (reader.u32()?, reader.u32()?);
        let recorded_at = reader.i64()?;
        let (body_crc, flags) = (reader.u32()?, reader.u32()?);
        let previous_chain = reader.u64()?;
        let _zero = reader.u32()?;
        let header_crc = reader.u32()?;
        check_sum(bytes, 60, header_crc)?;
        let first = Position::new(first).ok_or(FrameError::Content("first position"))?;
        if !body_bytes.is_multiple_of(8) || (n_records == 0) != (body_bytes == 0) {
            return Err(FrameError::Content("body length"));
        }
        if u64::from(n_records) * RECORD_HEADER_BYTES as u64 > u64::from(body_bytes) {
            return Err(FrameError::Content("number of records"));
        }
        Ok(Self {
            number,
            first,
            n_records,
            body_bytes,
            recorded_at,
            body_crc,
            seal: flags & SEAL != 0,
            previous_chain,
            chain: u64::from(header_crc) << 32 | u64::from(body_crc),
        })
    }

    /// Returns how many bytes the group takes, header and body.
    pub(crate) const fn group_bytes(&self) -> u64 {
        GROUP_HEADER_BYTES as u64 + self.body_bytes as u64
    }
}

/// A group on its way to the disk: room for the header, then records as they are decided.
#[derive(Debug)]
pub(crate) struct GroupBuilder {
    buffer: Vec<u8>,
    first: Position,
    n_records: u32,
    recorded_at: i64,
}

impl GroupBuilder {
    pub(crate) fn new(first: Position, recorded_at: i64) -> Self {
        let mut buffer = Vec::with_capacity(4096);
        buffer.resize(GROUP_HEADER_BYTES, 0);
        Self {
            buffer,
            first,
            n_records: 0,
            recorded_at,
        }
    }

    pub(crate) const fn n_records(&self) -> u32 {
        self.n_records
    }

    /// Returns how many bytes the group takes so far.
    pub(crate) const fn group_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Appends a record and returns where in the group it starts.
    pub(crate) fn push(&mut self, record: &RecordFields<'_>) -> usize {
        let start = self.buffer.len();
        record.encode(&mut self.buffer);
        self.n_records += 1;
        self.recorded_at = record.recorded_at.as_micros();
        start
    }

    /// Writes the header and returns the bytes of the group and its chain value. The bytes take no
    /// more memory than the group: they stay in the window of recent events.
    pub(crate) fn finish(mut self, number: u64, salt: u64, previous_chain: u64) -> (Bytes, u64) {
        let (header, body) = self.buffer.split_at_mut(GROUP_HEADER_BYTES);
        let body_crc = crc(body);
        // A group is cut long before it reaches four gigabytes.
        let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let flags = if self.n_records == 0 { SEAL } else { 0 };
        put(header, 0, &GroupHeader::magic(salt));
        put(header, 8, &number.to_le_bytes());
        put(header, 16, &self.first.get().to_le_bytes());
        put(header, 24, &self.n_records.to_le_bytes());
        put(header, 28, &body_bytes.to_le_bytes());
        put(header, 32, &self.recorded_at.to_le_bytes());
        put(header, 40, &body_crc.to_le_bytes());
        put(header, 44, &flags.to_le_bytes());
        put(header, 48, &previous_chain.to_le_bytes());
        let header_crc = crc(&header[..60]);
        put(header, 60, &header_crc.to_le_bytes());
        (
            Bytes::from(self.buffer.into_boxed_slice()),
            u64::from(header_crc) << 32 | u64::from(body_crc),
        )
    }
}

/// What the store adds to a proposed event to make a record of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordFields<'a> {
    pub(crate) event: &'a NewEvent,
    pub(crate) id: EventId,
    pub(crate) position: Position,
    pub(crate) sequence_number: SequenceNumber,
    pub(crate) recorded_at: Timestamp,
    /// The correlation id of the cause, where the writer gave none.
    pub(crate) inherited_correlation: Option<&'a str>,
    pub(crate) last_of_request: bool,
}

impl RecordFields<'_> {
    fn correlation(&self) -> Option<&str> {
        self.event
            .correlation_id
            .as_ref()
            .map(|id| id.as_str())
            .or(self.inherited_correlation)
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let inherited = self.event.correlation_id.is_none() && self.inherited_correlation.is_some();
        flag(self.last_of_request, FLAG_LAST)
            | flag(self.event.timestamp.is_none(), FLAG_TIMESTAMP_ASSIGNED)
            | flag(inherited, FLAG_CORRELATION_INHERITED)
            | flag(self.event.causation_id.is_some(), FLAG_CAUSATION)
            | flag(self.correlation().is_some(), FLAG_CORRELATION)
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        let event = self.event;
        let timestamp = event.timestamp.unwrap_or(self.recorded_at);
        let texts = [
            event.event_type.as_str(),
            event.stream.aggregate_type.as_str(),
            event.stream.aggregate_id.as_str(),
            self.correlation().unwrap_or_default(),
            event.metadata.as_str(),
            event.payload.as_str(),
        ];
        let length = RECORD_HEADER_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        buffer.reserve(padded(length));
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&cut_u32(length).to_le_bytes());
        buffer.extend_from_slice(&self.position.get().to_le_bytes());
        buffer.extend_from_slice(&self.sequence_number.get().to_le_bytes());
        buffer.extend_from_slice(&timestamp.as_micros().to_le_bytes());
        buffer.extend_from_slice(&self.recorded_at.as_micros().to_le_bytes());
        buffer.extend_from_slice(self.id.as_bytes());
        buffer.extend_from_slice(&event.causation_id.map_or([0; 16], |id| *id.as_bytes()));
        buffer.extend_from_slice(&event.schema_version.get().to_le_bytes());
        // The rules for names keep these lengths within their integers.
        let short = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
        let medium = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
        buffer.extend_from_slice(&[KIND_EVENT, self.flags(), short(texts[0]), short(texts[1])]);
        buffer.extend_from_slice(&medium(texts[2]));
        buffer.extend_from_slice(&medium(texts[3]));
        buffer.extend_from_slice(&cut_u32(texts[4].len()).to_le_bytes());
        for text in texts {
            buffer.extend_from_slice(text.as_bytes());
        }
        let sum = crc(buffer.get(start + 4..).unwrap_or_default());
        put(buffer, start, &sum.to_le_bytes());
        buffer.resize(start + padded(length), 0);
    }
}

/// Lengths are checked against limits of megabytes before they come here.
fn cut_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The fixed part of a record, read without looking at its texts or its checksum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordHead {
    pub(crate) sum: u32,
    pub(crate) length: usize,
}

impl RecordHead {
    /// Reads how long the record at the start of `bytes` is.
    pub(crate) fn peek(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        let sum = reader.u32()?;
        let length = reader.u32()? as usize;
        if length < RECORD_HEADER_BYTES {
            return Err(FrameError::Content("record length"));
        }
        Ok(Self { sum, length })
    }
}

/// Reads the record that starts at `at`, checks its checksum, and shares its texts with `bytes`.
pub(crate) fn decode_record(bytes: &Bytes, at: usize) -> Result<RecordedEvent, FrameError> {
    let head = RecordHead::peek(bytes.get(at..).ok_or(FrameError::Short)?)?;
    let record = bytes.get(at..at + head.length).ok_or(FrameError::Short)?;
    if crc(record.get(4..).unwrap_or_default()) != head.sum {
        return Err(FrameError::Checksum);
    }
    let mut reader = Reader::new(record);
    reader.bytes(8)?;
    let (position, sequence) = (reader.u64()?, reader.u64()?);
    let (timestamp, recorded_at) = (reader.i64()?, reader.i64()?);
    let (id, causation) = (reader.array()?, reader.array()?);
    let schema_version = reader.u32()?;
    let (kind, flags) = (reader.u8()?, reader.u8()?);
    let (type_bytes, aggregate_type_bytes) = (reader.u8()?, reader.u8()?);
    let (aggregate_id_bytes, correlation_bytes) = (reader.u16()?, reader.u16()?);
    let metadata_bytes = reader.u32()? as usize;
    if kind != KIND_EVENT {
        return Err(FrameError::Content("record kind"));
    }
    let lengths = [
        usize::from(type_bytes),
        usize::from(aggregate_type_bytes),
        usize::from(aggregate_id_bytes),
        usize::from(correlation_bytes),
        metadata_bytes,
    ];
    if lengths.iter().sum::<usize>() > reader.remaining() {
        return Err(FrameError::Content("text length"));
    }
    let text = bytes.slice(at + RECORD_HEADER_BYTES..at + head.length);
    let text = ByteString::try_from(text).map_err(|_| FrameError::Content("text"))?;
    let fields = RecordedFields {
        id: EventId::from_bytes(id),
        position: Position::new(position).ok_or(FrameError::Content("position"))?,
        sequence_number: SequenceNumber::new(sequence).ok_or(FrameError::Content("sequence"))?,
        recorded_at: Timestamp::from_micros(recorded_at).ok_or(FrameError::Content("time"))?,
        timestamp: Timestamp::from_micros(timestamp).ok_or(FrameError::Content("time"))?,
        schema_version: SchemaVersion::new(schema_version)
            .ok_or(FrameError::Content("schema version"))?,
        origin: EventOrigin {
            timestamp_assigned: flags & FLAG_TIMESTAMP_ASSIGNED != 0,
            correlation_inherited: flags & FLAG_CORRELATION_INHERITED != 0,
        },
        causation_id: (flags & FLAG_CAUSATION != 0).then(|| EventId::from_bytes(causation)),
        correlation_id: (flags & FLAG_CORRELATION != 0).then_some(""),
        event_type: "",
        aggregate_type: "",
        aggregate_id: "",
        metadata: "",
        payload: "",
    };
    Ok(RecordedEvent::from_shared(fields, text, lengths))
}

#[cfg(test)]
mod tests {
    use factum_model::{JsonObject, StreamId};

    use super::*;

    fn event() -> NewEvent {
        NewEvent {
            correlation_id: Some("case".parse().unwrap()),
            causation_id: Some(EventId::from_bytes([9; 16])),
            metadata: JsonObject::parse(r#"{ "tags":["x"] }"#).unwrap(),
            ..NewEvent::new(
                "form.opened".parse().unwrap(),
                StreamId::new("form".parse().unwrap(), "ä-1".parse().unwrap()),
                JsonObject::parse(r#"{"x": 1.0}"#).unwrap(),
            )
        }
    }

    fn group() -> (Bytes, u64) {
        let event = event();
        let mut builder = GroupBuilder::new(Position::FIRST, 0);
        for (position, last) in [(1, false), (2, true)] {
            builder.push(&RecordFields {
                event: &event,
                id: EventId::from_bytes([position; 16]),
                position: Position::new(position.into()).unwrap(),
                sequence_number: SequenceNumber::new(position.into()).unwrap(),
                recorded_at: Timestamp::from_micros(77).unwrap(),
                inherited_correlation: None,
                last_of_request: last,
            });
        }
        builder.finish(5, 42, 43)
    }

    #[test]
    fn a_group_comes_back_whole() {
        let (bytes, chain) = group();
        let header = GroupHeader::decode(&bytes, 42).unwrap();
        assert_eq!(
            (header.number, header.n_records, header.chain),
            (5, 2, chain)
        );
        assert_eq!(
            (header.previous_chain, header.recorded_at, header.seal),
            (43, 77, false)
        );
        assert_eq!(header.group_bytes(), bytes.len() as u64);
        assert_eq!(header.body_crc, crc(&bytes[64..]));
        let first = decode_record(&bytes, 64).unwrap();
        let second = 64 + padded(RecordHead::peek(&bytes[64..]).unwrap().length);
        let second = decode_record(&bytes, second).unwrap();
        assert_eq!((first.position.get(), second.position.get()), (1, 2));
        assert_eq!(
            (first.aggregate_id(), first.payload()),
            ("ä-1", r#"{"x": 1.0}"#)
        );
        assert_eq!(
            (first.correlation_id(), first.metadata()),
            (Some("case"), r#"{ "tags":["x"] }"#)
        );
        assert!(second.origin.timestamp_assigned && !second.origin.correlation_inherited);
        assert_eq!(second.causation_id, Some(EventId::from_bytes([9; 16])));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (bytes, _) = group();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = match GroupHeader::decode(&damaged, 42) {
                Err(_) => true,
                Ok(header) => header.body_crc != crc(&damaged[64..]),
            };
            assert!(found, "bit {bit}");
        }
    }

    #[test]
    fn segment_headers_come_back_whole() {
        let header = SegmentHeader {
            store_id: StoreId([3; 16]),
            base: Position::new(9).unwrap(),
            generation: 2,
            salt: 8,
            first_group: 7,
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        bytes[50] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(FrameError::Checksum));
    }
}
