//! The parts that messages of the Kafka protocol are made of.
//!
//! What is read comes from a stranger: nothing is set aside for a length before the bytes that it
//! promises are there.

use thiserror::Error;

/// What was read is no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer is no message of the Kafka protocol")]
pub(super) struct Malformed;

/// Writes a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn int8(&mut self, value: i8) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn uint32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes a length or a count. What is sent is far smaller than this can say.
    pub(super) fn count(&mut self, count: usize) {
        self.int32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.raw(text.as_bytes());
    }

    pub(super) fn no_text(&mut self) {
        self.int16(-1);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// Writes a number in zigzag, seven bits a byte.
    pub(super) fn varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// Writes bytes after their length in the short form.
    pub(super) fn short_bytes(&mut self, bytes: &[u8]) {
        self.varint(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        self.raw(bytes);
    }
}

/// Reads a message.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn flag(&mut self) -> Read<bool> {
        self.array::<1>().map(|[byte]| byte != 0)
    }

    pub(super) fn int16(&mut self) -> Read<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        match self.int32()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| Malformed)?),
        }
    }

    /// Reads a text, which may be none.
    pub(super) fn text(&mut self) -> Read<Option<&'a str>> {
        let length = self.int16()?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }

    /// Reads a list. Every element takes at least a byte, so there are no more than bytes.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = self.int32()?;
        let mut list = Vec::new();
        for _ in 0..count.max(0) {
            list.push(element(self)?);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_zigzag() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (64, &[128, 1]),
            (-64, &[127]),
            (300, &[0xd8, 4]),
            (i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut writer = Writer::default();
            writer.varint(value);
            assert_eq!(writer.into_bytes(), bytes, "{value}");
        }
    }

    #[test]
    fn a_promise_of_two_thousand_million_elements_costs_nothing() {
        let bytes = [i32::MAX.to_be_bytes(), [0; 4]].concat();
        let read = Reader::new(&bytes).list(Reader::int32);
        assert_eq!(read, Err(Malformed));
        let read = Reader::new(&bytes).bytes().map(<[u8]>::len);
        assert_eq!(read, Err(Malformed));
    }

    #[test]
    fn lengths_below_nothing_are_malformed() {
        assert_eq!(Reader::new(&[0xff, 0xfe]).text(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff]).text(), Ok(None));
        assert_eq!(Reader::new(&[0xff; 4]).bytes(), Ok(&[][..]));
        let bytes = (-2_i32).to_be_bytes();
        assert_eq!(Reader::new(&bytes).bytes(), Err(Malformed));
        assert_eq!(Reader::new(&[0, 2, 0xc3, 0x28]).text(), Err(Malformed));
    }
}
