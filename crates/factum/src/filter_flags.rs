//! The flags that say which events are meant, named like the parameters of `GET /v1/events`.

use serde::Deserialize;

use crate::client::{Call, Client, Query, encode_segment};
use crate::exit::Failure;

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterFlags {
    /// Any filter as people write it, as in: payload.country=DE payload.amount>10000 "credit check"
    #[arg(long = "where", value_name = "FILTER")]
    pub(crate) text: Option<String>,
    /// Event types or patterns: * is one segment, a final > is the rest (form.*, submission.>)
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub(crate) types: Vec<String>,
    /// Aggregate types
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub(crate) aggregate_types: Vec<String>,
    /// Aggregate ids, under whatever type
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) aggregate_ids: Vec<String>,
    /// Event ids
    #[arg(long, value_name = "UUID", value_delimiter = ',')]
    pub(crate) ids: Vec<String>,
    /// Tags; the event has all of them
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// The conversation
    #[arg(long, value_name = "ID")]
    pub(crate) correlation_id: Option<String>,
    /// The event that caused it
    #[arg(long, value_name = "UUID")]
    pub(crate) causation_id: Option<String>,
    /// The user
    #[arg(long, value_name = "ID")]
    pub(crate) user_id: Option<String>,
    /// The first instant at which it was recorded
    #[arg(long, value_name = "TIME")]
    pub(crate) recorded_from: Option<String>,
    /// The first instant after it was recorded
    #[arg(long, value_name = "TIME")]
    pub(crate) recorded_to: Option<String>,
}

impl FilterFlags {
    /// Adds the conditions to a query string.
    pub(crate) fn add_to(&self, query: &mut Query) {
        for (name, values) in self.lists() {
            query.add_list(name, values);
        }
        for (name, value) in self.texts() {
            query.add_some(name, value);
        }
    }

    /// Refuses conditions where a whole stream is read.
    pub(crate) fn none_beside_a_stream(&self) -> Result<(), Failure> {
        if *self == Self::default() {
            return Ok(());
        }
        Err(Failure::Usage {
            message: "a stream is read whole; filters are for the log".to_owned(),
            hint: "leave STREAM out and use --aggregate-types and --aggregate-ids instead"
                .to_owned(),
        })
    }

    fn lists(&self) -> [(&'static str, &[String]); 5] {
        [
            ("types", &self.types),
            ("aggregateTypes", &self.aggregate_types),
            ("aggregateIds", &self.aggregate_ids),
            ("ids", &self.ids),
            ("tags", &self.tags),
        ]
    }

    fn texts(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("q", self.text.as_deref()),
            ("correlationId", self.correlation_id.as_deref()),
            ("causationId", self.causation_id.as_deref()),
            ("userId", self.user_id.as_deref()),
            ("recordedFrom", self.recorded_from.as_deref()),
            ("recordedTo", self.recorded_to.as_deref()),
        ]
    }
}

/// A stream as people write it: `TYPE/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamName {
    /// The kind of aggregate.
    pub(crate) aggregate_type: String,
    /// The aggregate.
    pub(crate) aggregate_id: String,
}

impl std::str::FromStr for StreamName {
    type Err = &'static str;

    /// Splits at the first slash: ids may have slashes of their own.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.split_once('/') {
            Some((aggregate_type, aggregate_id))
                if !aggregate_type.is_empty() && !aggregate_id.is_empty() =>
            {
                Ok(Self {
                    aggregate_type: aggregate_type.to_owned(),
                    aggregate_id: aggregate_id.to_owned(),
                })
            }
            Some(_) | None => Err("a stream is written as TYPE/ID, such as submission/s-1"),
        }
    }
}

/// A stream to be read: `TYPE/ID`, or the id alone where it stands under one type only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamArgument {
    /// The whole name.
    Name(StreamName),
    /// The id alone.
    Id(String),
}

impl std::str::FromStr for StreamArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.contains('/') || text.is_empty() {
            return text.parse().map(Self::Name);
        }
        Ok(Self::Id(text.to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aggregate {
    aggregate_type: String,
    aggregate_id: String,
}

impl StreamArgument {
    /// Returns the name; asks the server for the type where only the id is given.
    pub(crate) async fn resolve(self, client: &mut Client) -> anyhow::Result<StreamName> {
        let id = match self {
            Self::Name(name) => return Ok(name),
            Self::Id(id) => id,
        };
        let path = format!("/v1/aggregates/{}", encode_segment(&id));
        let found: Aggregate = client.send(Call::get(path)).await?.json().await?;
        Ok(StreamName {
            aggregate_type: found.aggregate_type,
            aggregate_id: found.aggregate_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_the_parameters_of_the_log() {
        let flags = FilterFlags {
            types: vec!["form.*".to_owned(), "x".to_owned()],
            user_id: Some("u 1".to_owned()),
            ..FilterFlags::default()
        };
        let mut query = Query::default();
        flags.add_to(&mut query);
        assert_eq!(query.as_str(), "?types=form.*,x&userId=u%201");
    }

    #[test]
    fn a_stream_splits_at_the_first_slash() {
        let stream: StreamName = "repository/octo/hello".parse().unwrap();
        assert_eq!(stream.aggregate_type, "repository");
        assert_eq!(stream.aggregate_id, "octo/hello");
        assert!("repository".parse::<StreamName>().is_err());
        assert!("/x".parse::<StreamName>().is_err());
    }
}
