//! Hosts as they are written.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;
use url::Url;

/// A host of a definition: a name, or an address in its usual form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// A host, or the URL with it, is not written as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule}")]
pub(crate) struct InvalidHost {
    pub(crate) rule: &'static str,
}

const fn invalid(rule: &'static str) -> InvalidHost {
    InvalidHost { rule }
}

/// Addresses have many spellings that some programs read differently, or not as addresses at
/// all; one is enough.
const UNUSUAL: InvalidHost =
    invalid("must have an address in its usual form, such as 192.0.2.1 or [2001:db8::1]");

impl Host {
    /// Reads a host. An IPv6 address stands in brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidHost> {
        let parsed = url::Host::parse(text);
        match parsed.map_err(|_| invalid("must be a host name or an address"))? {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name.is_empty() || name.len() > 253 {
                    return Err(invalid("must be a host name of 1 to 253 characters"));
                }
                Ok(Self::Name(name.to_ascii_lowercase()))
            }
            url::Host::Ipv4(address) if address.to_string() == text => {
                Ok(Self::Address(address.into()))
            }
            url::Host::Ipv6(address) if is_usual(text, address) => {
                Ok(Self::Address(address.into()))
            }
            url::Host::Ipv4(_) | url::Host::Ipv6(_) => Err(UNUSUAL),
        }
    }

    /// Returns the host as certificates name it: without brackets.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// An IPv6 address has many usual forms; those with an IPv4 address in them are none.
fn is_usual(text: &str, address: Ipv6Addr) -> bool {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| !inner.contains('.') && inner.parse() == Ok(address))
}

/// Reads the URL of a webhook.
pub(crate) fn check_url(text: &str) -> Result<(Url, Host), InvalidHost> {
    if text.len() > 2048 {
        return Err(invalid("must have at most 2048 bytes"));
    }
    // The parser passes over some of these; others that read the same text do not.
    let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'\\';
    if !text.bytes().all(is_plain) {
        let rule = "must have no spaces, backslashes or characters beyond ASCII; encode them";
        return Err(invalid(rule));
    }
    let url = Url::parse(text).map_err(|_| invalid("must be an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("must begin with https:// or http://"));
    }
    let rest = text.split_once("://");
    let rest = rest
        .ok_or_else(|| invalid("must begin with https:// or http://"))?
        .1;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must have no user or password; use secretHeaders"));
    }
    if url.fragment().is_some() {
        return Err(invalid("must have no fragment"));
    }
    if url.port() == Some(0) {
        return Err(invalid("must have a port of 1 to 65535"));
    }
    // Read as it is written, since the parser has already turned other spellings into addresses.
    let bracket = authority.rfind(']').unwrap_or(0);
    let host = match authority.get(bracket..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => authority.get(..bracket + colon).unwrap_or_default(),
        None => authority,
    };
    let host = Host::parse(host)?;
    Ok((url, host))
}
