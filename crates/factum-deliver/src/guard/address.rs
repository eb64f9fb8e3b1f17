//! Which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses, such as 10.1.0.0/16; a single address is a block too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    first: IpAddr,
    prefix: u8,
}

impl Block {
    /// Reads an address, or an address and the length of a prefix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|&prefix| prefix <= longest)?,
            None => longest,
        };
        Some(Self { first, prefix })
    }

    pub(super) fn contains(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                is_in_v4(address, first, u32::from(self.prefix))
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                is_in_v6(address, first, u32::from(self.prefix))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn is_in_v4(address: Ipv4Addr, first: Ipv4Addr, prefix: u32) -> bool {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    (address.to_bits() ^ first.to_bits()) & mask == 0
}

fn is_in_v6(address: Ipv6Addr, first: Ipv6Addr, prefix: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    (address.to_bits() ^ first.to_bits()) & mask == 0
}

/// Blocks of IPv4 that are not public, after the registry of special addresses, and one that a
/// cloud uses for its own services.
const NOT_PUBLIC_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a shared address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([168, 63, 129, 16], 32, "a metadata address"),
    ([169, 254, 0, 0], 16, "a link-local or metadata address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a reserved address"),
    ([192, 0, 2, 0], 24, "an address for documentation"),
    ([192, 88, 99, 0], 24, "a relay between protocols"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "an address for benchmarks"),
    ([198, 51, 100, 0], 24, "an address for documentation"),
    ([203, 0, 113, 0], 24, "an address for documentation"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];

/// Blocks within 2000::/3, which alone is public, that are not.
const NOT_PUBLIC_V6: &[([u16; 2], u32, &str)] = &[
    ([0x2001, 0], 23, "an address of a protocol, such as Teredo"),
    ([0x2001, 0xdb8], 32, "an address for documentation"),
    ([0x2002, 0], 16, "an IPv4 address as 6to4"),
    ([0x3fff, 0], 20, "an address for documentation"),
];

/// Blocks beside 2000::/3, to say what they are.
const OTHER_V6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "an unspecified address"),
    (
        [0, 0, 0, 0, 0, 0xffff, 0, 0],
        96,
        "an IPv4 address mapped to IPv6",
    ),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "an IPv4 address within IPv6"),
    (
        [0x64, 0xff9b, 0, 0, 0, 0, 0, 0],
        96,
        "an IPv4 address behind NAT64",
    ),
    (
        [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
        48,
        "an IPv4 address behind NAT64",
    ),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
];

/// Says what an address is if it is not public, or returns `None`.
pub(super) fn why_not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => NOT_PUBLIC_V4
            .iter()
            .find(|(first, prefix, _)| is_in_v4(address, Ipv4Addr::from(*first), *prefix))
            .map(|&(.., what)| what),
        IpAddr::V6(address) => why_not_public_v6(address),
    }
}

fn why_not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let start = |[a, b]: [u16; 2]| Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0);
    if is_in_v6(address, start([0x2000, 0]), 3) {
        return NOT_PUBLIC_V6
            .iter()
            .find(|(first, prefix, _)| is_in_v6(address, start(*first), *prefix))
            .map(|&(.., what)| what);
    }
    let known = OTHER_V6
        .iter()
        .find(|(first, prefix, _)| is_in_v6(address, Ipv6Addr::from(*first), *prefix));
    Some(known.map_or("not a public address", |&(.., what)| what))
}
