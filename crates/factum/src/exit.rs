//! How a command ends: the failures that have an exit code of their own, and how they are told.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::client::Problem;
use crate::config::ConfigError;
use crate::output::note;

/// What the exit codes mean, for `--help` and the reference page.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage or configuration
  3    not found
  4    conflict: version, condition or duplicate id
  5    server unreachable
  6    stored data is damaged
  7    key missing, not valid or without the scope
  130  interrupted";

/// A failure that the command line itself finds.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command was called wrongly.
    #[error("{message}")]
    Usage { message: String, hint: String },
    /// What was asked for is not there.
    #[error("{message}")]
    NotFound { message: String, hint: String },
    /// No answer from the server.
    #[error("no answer from {url}")]
    Unreachable {
        url: String,
        #[source]
        source: io::Error,
    },
    /// The server cannot show that it is the one.
    #[error("the certificate of {url} is not trusted")]
    Untrusted {
        url: String,
        #[source]
        source: io::Error,
    },
    /// No server is known to run.
    #[error("no server is running on {data}")]
    NoServer { data: String },
    /// Stored data is damaged.
    #[error("{message}")]
    Damaged { message: String, hint: String },
    /// The command did part of its work and says how to go on.
    #[error("{message}")]
    Incomplete { message: String, hint: String },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    const fn exit(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::NotFound { .. } => 3,
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::NoServer { .. } => 5,
            Self::Damaged { .. } => 6,
            Self::Incomplete { .. } => 1,
            Self::Interrupted => 130,
        }
    }

    fn hint(&self) -> &str {
        match self {
            Self::Usage { hint, .. }
            | Self::NotFound { hint, .. }
            | Self::Incomplete { hint, .. }
            | Self::Damaged { hint, .. } => hint,
            Self::Unreachable { .. } => {
                "is the server running there? `factum doctor` looks at what is in the way"
            }
            Self::Untrusted { .. } => {
                "if it is the right server, trust its certificate with --cacert FILE"
            }
            Self::NoServer { .. } => {
                "start one with `factum serve`, or name one with --url or FACTUM_URL"
            }
            Self::Interrupted => "",
        }
    }
}

fn problem_exit(code: &str) -> u8 {
    match code {
        "not_found" => 3,
        "version_conflict" | "condition_failed" | "duplicate_event" | "last_admin_key" => 4,
        "corrupt" => 6,
        "unauthenticated" | "forbidden" => 7,
        _ => 1,
    }
}

fn problem_hint(code: &str) -> &'static str {
    match code {
        "unauthenticated" => {
            "give a key with --key or FACTUM_KEY; the first start of a server leaves one in <data>/admin.key"
        }
        "forbidden" => "the key lacks a scope; `factum keys create` makes one that has it",
        "last_admin_key" => "make another admin key first, or revoke it with --force",
        "version_conflict" => {
            "read the stream again, decide again, and append with the new version"
        }
        "outcome_unknown" => "repeat the command with the same ids: it appends nothing twice",
        "overloaded" | "rate_limited" => "the server is busy; try again in a moment",
        "storage_full" => "make room on the server's disk; writing resumes by itself",
        "store_failed" => "look at the server's log, then restart it; nothing acknowledged is lost",
        "lost_history" => {
            "the log was restored or repaired; start again from a position that it still has"
        }
        "ambiguous_aggregate" => "name the stream as TYPE/ID",
        _ => "",
    }
}

/// Tells whether a new connection may help.
pub(crate) fn may_come_back(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Failure>() {
        Some(failure) => matches!(
            failure,
            Failure::Unreachable { .. } | Failure::NoServer { .. }
        ),
        None => error
            .downcast_ref::<Problem>()
            .is_some_and(Problem::is_retryable),
    }
}

/// Tells whether nobody listens at the address.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Failure::Unreachable { source, .. }) => {
            source.kind() == io::ErrorKind::ConnectionRefused
        }
        Some(_) | None => false,
    }
}

/// The code and the words for a failure: exit code, message, error code, hint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The exit code.
    pub(crate) exit: u8,
    /// What went wrong.
    pub(crate) message: String,
    /// The server's error code.
    pub(crate) code: Option<String>,
    /// What to do.
    pub(crate) hint: String,
}

/// Puts a failure into words. `None` means that nobody listens any more, which is no failure.
pub(crate) fn tell(error: &anyhow::Error) -> Option<Told> {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) && error.downcast_ref::<Failure>().is_none() {
        return None;
    }
    let message = format!("{error:#}");
    if let Some(problem) = error.downcast_ref::<Problem>() {
        let exit = problem_exit(&problem.code);
        let hint = problem_hint(&problem.code).to_owned();
        let code = Some(problem.code.clone());
        return Some(Told {
            exit,
            message,
            code,
            hint,
        });
    }
    let (exit, hint) = if let Some(failure) = error.downcast_ref::<Failure>() {
        (failure.exit(), failure.hint().to_owned())
    } else if error.downcast_ref::<ConfigError>().is_some() {
        (2, "docs/configuration.md describes every key".to_owned())
    } else {
        (1, String::new())
    };
    Some(Told {
        exit,
        message,
        code: None,
        hint,
    })
}

/// Tells the user about a failure on standard error and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let Some(told) = tell(error) else {
        return ExitCode::SUCCESS;
    };
    let code = told
        .code
        .map_or_else(String::new, |code| format!(" ({code})"));
    note(format_args!("error: {}{code}", told.message));
    if !told.hint.is_empty() {
        note(format_args!(" hint: {}", told.hint));
    }
    ExitCode::from(told.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let exit = |error: anyhow::Error| tell(&error).map(|told| told.exit);
        let problem = |code: &str| Problem {
            status: 400,
            code: code.to_owned(),
            detail: "no".to_owned(),
            pointer: None,
            line: None,
        };
        assert_eq!(exit(problem("not_found").into()), Some(3));
        assert_eq!(exit(problem("version_conflict").into()), Some(4));
        assert_eq!(exit(problem("forbidden").into()), Some(7));
        assert_eq!(exit(problem("corrupt").into()), Some(6));
        assert_eq!(exit(Failure::Interrupted.into()), Some(130));
        assert_eq!(exit(anyhow::anyhow!("whatever")), Some(1));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(tell(&anyhow::Error::new(error).context("writing")), None);
    }
}
