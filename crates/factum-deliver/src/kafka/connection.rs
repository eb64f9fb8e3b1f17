//! A connection to one broker: which versions it speaks, who we are, one request at a time.

use std::fmt;
use std::io;
use std::time::Duration;

use factum_engine::{DeliverError, ErrorClass};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::failure::{self, said};
use super::message::{ApiVersions, Request, SaslAnswer, SaslAuthenticate, SaslHandshake};
use super::scram::{Begun, Hash};
use super::wire::{Malformed, Reader, Writer};
use crate::secret::Plain;
use crate::server::Server;
use crate::stream::{Stream, dial};

/// The most bytes that an answer may have: the leaders of some ten thousand partitions.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Connections that nobody has used for this long are closed; brokers close them after a while
/// too, and a request that meets a closed connection fails.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
const CLIENT: &str = "factum";

/// How the client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who the client is.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) mechanism: Mechanism,
    pub(super) username: String,
    pub(super) password: Plain,
}

/// A connection that a broker has answered on. Dropping it closes it.
pub(super) struct Connection {
    stream: Stream,
    /// The oldest and the newest version that the broker speaks, by request.
    versions: Vec<(i16, i16, i16)>,
    last_id: i32,
    /// Whether the broker has answered nothing yet but what it answers to everybody.
    is_stranger: bool,
    used: Instant,
    /// When the broker stops to believe who we are.
    until: Option<Instant>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Connects to a server and says who we are.
    pub(super) async fn open(
        server: &Server,
        credentials: Option<&Credentials>,
    ) -> Result<Self, DeliverError> {
        let mut connection = Self {
            stream: dial(server).await?,
            versions: vec![(ApiVersions::API.key, 0, 0)],
            last_id: 0,
            is_stranger: false,
            used: Instant::now(),
            until: None,
        };
        let (failure, versions) = connection.ask(&ApiVersions).await?;
        failure::none(failure, None)?;
        connection.versions = versions;
        match credentials {
            Some(credentials) => connection.authenticate(credentials).await?,
            None => connection.is_stranger = true,
        }
        Ok(connection)
    }

    /// Tells whether the broker can be expected to answer still.
    pub(super) fn is_fresh(&self) -> bool {
        let now = Instant::now();
        now.duration_since(self.used) < IDLE_TIME_MAX && self.until.is_none_or(|until| now < until)
    }

    /// Sends a request and waits for its answer. A connection on which this failed, or was given
    /// up, is of no more use.
    pub(super) async fn ask<R: Request>(&mut self, request: &R) -> Result<R::Answer, DeliverError> {
        let version = self.version::<R>()?;
        self.last_id = self.last_id.wrapping_add(1);
        let mut frame = Writer::default();
        frame.int16(R::API.key);
        frame.int16(version);
        frame.int32(self.last_id);
        frame.text(CLIENT);
        request.write(version, &mut frame);
        let frame = Zeroizing::new(frame.into_bytes());
        let answer = self.exchange(&frame).await;
        let answer = answer.map_err(|error| match error.kind() {
            _ if !self.is_stranger => broken(error),
            // That is how brokers answer to who does not say who they are where they have to.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => {
                let message = "the broker closed the connection when it was asked for more than \
                    its versions; it may want a username and a password";
                DeliverError::passing(ErrorClass::Authentication, message).because(error)
            }
            _ => broken(error),
        })?;
        self.is_stranger = false;
        self.used = Instant::now();
        let read = || -> Result<_, Malformed> {
            let mut answer = Reader::new(&answer);
            if answer.int32()? != self.last_id {
                return Err(Malformed);
            }
            request.read(version, &mut answer)
        };
        read().map_err(|error| {
            DeliverError::passing(ErrorClass::Protocol, error.to_string()).because(error)
        })
    }

    fn version<R: Request>(&self) -> Result<i16, DeliverError> {
        let api = R::API;
        let spoken = self.versions.iter().find(|(key, ..)| *key == api.key);
        let newest = spoken.map(|(_, oldest, newest)| (*oldest, api.newest.min(*newest)));
        match newest {
            Some((oldest, newest)) if newest >= oldest.max(api.oldest) => Ok(newest),
            Some(_) | None => {
                let message = format!(
                    "the broker speaks no version {} to {} of {}",
                    api.oldest, api.newest, api.name
                );
                Err(DeliverError::passing(ErrorClass::Protocol, message))
            }
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(request.len()).map_err(io::Error::other)?;
        let frame = Zeroizing::new([&length.to_be_bytes(), request].concat());
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        let length = self.stream.read_u32().await?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            let said = format!(
                "an answer of {length} bytes exceeds the limit of {ANSWER_BYTES_MAX}, or is none"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, said));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), DeliverError> {
        let mechanism = credentials.mechanism.name();
        let (failure, known) = self.ask(&SaslHandshake(mechanism)).await?;
        if failure != 0 {
            let known = said(&known.join(", "));
            let message = format!("the broker does not take {mechanism}, but {known}");
            return Err(DeliverError::passing(ErrorClass::Authentication, message));
        }
        let password = &credentials.password;
        let username = &credentials.username;
        let hash = match credentials.mechanism {
            Mechanism::Plain => {
                let word = format!("\0{username}\0{}", password.reveal());
                let word = Zeroizing::new(word.into_bytes());
                return self.say(&word).await.map(drop);
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let distrust = |why: &'static str| DeliverError::passing(ErrorClass::Authentication, why);
        let begun = Begun::new(hash, username).map_err(distrust)?;
        let challenge = self.say(&begun.first()).await?;
        let (last, expected) = begun.answer(password, &challenge).map_err(distrust)?;
        let signature = self.say(&last).await?;
        expected.check(&signature).map_err(distrust)
    }

    async fn say(&mut self, word: &[u8]) -> Result<Vec<u8>, DeliverError> {
        let SaslAnswer {
            failure,
            message,
            said,
            lifetime_ms,
        } = self.ask(&SaslAuthenticate(word)).await?;
        failure::none(failure, message.as_deref())?;
        if let Some(millis) = u64::try_from(lifetime_ms).ok().filter(|millis| *millis > 0) {
            // Ends a little earlier here than there, so that no request meets the end.
            self.until = Instant::now().checked_add(Duration::from_millis(millis / 10 * 9));
        }
        Ok(said)
    }
}

fn broken(error: io::Error) -> DeliverError {
    let class = match error.kind() {
        io::ErrorKind::InvalidData => ErrorClass::Protocol,
        _ => ErrorClass::Connect,
    };
    let message = match class {
        ErrorClass::Protocol => error.to_string(),
        _ => format!("the connection broke before the answer: {error}"),
    };
    DeliverError::passing(class, message).because(error)
}
