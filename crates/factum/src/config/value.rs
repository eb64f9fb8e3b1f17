//! The kinds of values that a key can have, and how they are written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use factum_query::LeftOut;

/// A kind of value. Every source of configuration gives text; this reads it.
pub(crate) trait Setting: Sized {
    /// What the value must be, in words.
    const KIND: &'static str;

    /// Reads the value, or returns `None` when the text is not of this kind.
    fn read(text: &str) -> Option<Self>;
}

/// A number of bytes, such as `1048576` or `8 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl Bytes {
    /// Returns the number for use as a size in memory.
    pub(crate) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for Bytes {
    const KIND: &'static str = "a number of bytes, such as 1048576, 64KiB or 8MiB";

    fn read(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text);
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "tib" | "t" => 1 << 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }
}

/// A number of things, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl Setting for Count {
    const KIND: &'static str = "a number of at least 1";

    fn read(text: &str) -> Option<Self> {
        let number: usize = text.replace('_', "").parse().ok()?;
        (number > 0).then_some(Self(number))
    }
}

/// A time in milliseconds, such as `5000` or `5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) Duration);

impl Setting for Millis {
    const KIND: &'static str = "a time in milliseconds, such as 5000 or 5s";

    fn read(text: &str) -> Option<Self> {
        duration(text, "ms").map(Self)
    }
}

/// A time in microseconds, such as `200` or `1ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) Duration);

impl Setting for Micros {
    const KIND: &'static str = "a time in microseconds, such as 200 or 1ms";

    fn read(text: &str) -> Option<Self> {
        duration(text, "us").map(Self)
    }
}

fn duration(text: &str, unit_default: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().ok()?;
    match if unit.is_empty() { unit_default } else { unit } {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// Splits `8 MiB` into the digits, without underscores, and the unit.
fn split_unit(text: &str) -> (String, &str) {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.replace('_', ""), unit.trim())
}

impl Setting for SocketAddr {
    const KIND: &'static str = "an address and port, such as 127.0.0.1:7766 or [::1]:7766";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "a path";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }
}

impl Setting for Option<PathBuf> {
    const KIND: &'static str = "a path, or nothing";

    fn read(text: &str) -> Option<Self> {
        Some((!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn read(text: &str) -> Option<Self> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// A list of texts, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl Setting for List {
    const KIND: &'static str = "a list of texts";

    fn read(text: &str) -> Option<Self> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(Self(items.map(str::to_owned).collect()))
    }
}

/// Where a PostgreSQL is, with a password perhaps.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl(pub(crate) String);

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl Setting for Option<PostgresUrl> {
    const KIND: &'static str = "a URL such as postgresql://user@host:5432/database, or nothing";

    fn read(text: &str) -> Option<Self> {
        let is_url = ["postgresql://", "postgres://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        match text {
            "" => Some(None),
            url if is_url => Some(Some(PostgresUrl(url.to_owned()))),
            _ => None,
        }
    }
}

/// Returns a URL as people may see it.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mut shown = format!("{scheme}://");
    match place.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials
                .split_once(':')
                .map_or(credentials, |(user, _)| user);
            shown.push_str(user);
            shown.push('@');
            shown.push_str(host);
        }
        None => shown.push_str(place),
    }
    let parameters: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("password="))
        .collect();
    if !parameters.is_empty() {
        shown.push('?');
        shown.push_str(&parameters.join("&"));
    }
    shown
}

impl Setting for String {
    const KIND: &'static str = "a text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// What is left out of the index of payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOutList(pub(crate) Vec<LeftOut>);

/// The most rules that leave something out.
const LEFT_OUT_MAX: usize = 64;

impl Setting for LeftOutList {
    const KIND: &'static str = "at most 64 rules such as note.*:$.body";

    fn read(text: &str) -> Option<Self> {
        let List(rules) = List::read(text)?;
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| rule.parse().ok())
            .collect::<Option<_>>()?;
        (rules.len() <= LEFT_OUT_MAX).then_some(Self(rules))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people when a terminal reads them, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    const KIND: &'static str = "auto, human or json";

    fn read(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Which log lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLevel(pub(crate) String);

impl Setting for LogLevel {
    const KIND: &'static str =
        "error, warn, info, debug, trace, or directives such as info,factum_server=debug";

    fn read(text: &str) -> Option<Self> {
        tracing_subscriber::EnvFilter::try_new(text)
            .ok()
            .map(|_| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_binary_units() {
        let check = |text: &str, expected| assert_eq!(Bytes::read(text).map(|b| b.0), expected);
        check("1048576", Some(1 << 20));
        check("8 MiB", Some(8 << 20));
        check("1_000", Some(1000));
        check("2GiB", Some(2 << 30));
        check("8 MB", None);
        check("-1", None);
        check("99999999999TiB", None);
    }

    #[test]
    fn times_without_unit_take_the_unit_of_the_key() {
        assert_eq!(Millis::read("5").unwrap().0, Duration::from_millis(5));
        assert_eq!(Micros::read("5").unwrap().0, Duration::from_micros(5));
        assert_eq!(Micros::read("1ms").unwrap().0, Duration::from_millis(1));
        assert_eq!(Millis::read("5 years"), None);
    }

    #[test]
    fn a_count_of_zero_is_refused() {
        assert_eq!(Count::read("0"), None);
        assert_eq!(Count::read("10_000"), Some(Count(10_000)));
    }

    #[test]
    fn a_list_loses_spaces_and_empty_items() {
        let List(items) = List::read("https://a.example, ,https://b.example").unwrap();
        assert_eq!(items, ["https://a.example", "https://b.example"]);
    }
}
