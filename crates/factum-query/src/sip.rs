//! SipHash-1-3 (Aumasson and Bernstein) of a number, some bytes and a tag, without a buffer.

/// Returns the hash of the eight bytes of `parent`, little end first, then `bytes`, then `tag`.
pub(crate) fn hash(key: (u64, u64), parent: u64, bytes: &[u8], tag: u8) -> u64 {
    let mut state = State {
        v0: key.0 ^ 0x736f_6d65_7073_6575,
        v1: key.1 ^ 0x646f_7261_6e64_6f6d,
        v2: key.0 ^ 0x6c79_6765_6e65_7261,
        v3: key.1 ^ 0x7465_6462_7974_6573,
    };
    state.block(parent);
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        state.block(u64::from_le_bytes(*chunk));
        rest = after;
    }
    let shift = rest.len() * 8;
    let mut last = short(rest) | u64::from(tag) << shift;
    let length = (bytes.len() as u64 + 9) << 56;
    if shift == 56 {
        state.block(last);
        last = 0;
    }
    state.block(last | length);
    state.finish()
}

/// Returns the number that up to seven bytes make, little end first, without a loop.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two overlap where there are fewer than eight, in bytes that are the same.
        let shift = (bytes.len() - 4) * 8;
        return u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << shift;
    }
    match *bytes {
        [first] => u64::from(first),
        [first, second] => u64::from(u16::from_le_bytes([first, second])),
        [first, second, third] => u64::from(u32::from_le_bytes([first, second, third, 0])),
        _ => 0,
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    const fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    const fn block(&mut self, block: u64) {
        self.v3 ^= block;
        self.round();
        self.v0 ^= block;
    }

    #[inline]
    const fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_another_implementation(
            key in any::<(u64, u64)>(),
            parent in any::<u64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            tag in any::<u8>(),
        ) {
            let mut other = SipHasher13::new_with_keys(key.0, key.1);
            other.write(&parent.to_le_bytes());
            other.write(&bytes);
            other.write(&[tag]);
            prop_assert_eq!(hash(key, parent, &bytes, tag), other.finish());
        }
    }
}
