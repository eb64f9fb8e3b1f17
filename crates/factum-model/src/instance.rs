//! The names of agent instances: `{project}-{PS|MS}-{6 lower-case hex}`.
//!
//! The one definition of what such a name is, for whoever registers instances and for whoever keeps
//! others from their streams.

/// The aggregate type of the streams of agent instances.
pub const AGENT_SESSION_AGGREGATE_TYPE: &str = "agent_session";

/// The longest name of a project.
const PROJECT_CHARS_MAX: usize = 64;
/// How many hexadecimal digits end a name.
const HASH_CHARS: usize = 6;

/// The parts of the name of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceName<'a> {
    /// The project.
    pub project: &'a str,
    /// What the instance does: `PS` or `MS`.
    pub kind: &'a str,
    /// Six hexadecimal digits.
    pub hash: &'a str,
}

impl<'a> InstanceName<'a> {
    /// Takes a text apart; `None` when it is not the name of an instance.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '-');
        let (hash, kind, project) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = matches!(kind, "PS" | "MS") && Self::is_hash(hash);
        (is_name && Self::is_project(project)).then_some(Self {
            project,
            kind,
            hash,
        })
    }

    /// Tells whether a text is what a name ends with.
    fn is_hash(text: &str) -> bool {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == HASH_CHARS && text.bytes().all(digit)
    }

    /// Tells whether a text may name a project: letters, digits, `.`, `_` and `-`, not led by one
    /// of these three.
    #[must_use]
    pub fn is_project(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=PROJECT_CHARS_MAX).contains(&text.len())
            && text.bytes().all(plain)
            && text
                .bytes()
                .next()
                .is_some_and(|first| first.is_ascii_alphanumeric())
    }
}
