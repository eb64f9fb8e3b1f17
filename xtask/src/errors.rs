//! The pages about error codes: one for each code, and their index.
//!
//! The code, whether a repeat helps, and the list come from the registry; the words are here.

use std::path::PathBuf;

use factum_model::ErrorCode;

/// What a page says beside what the registry knows: HTTP status, meaning, causes, what to do.
struct Words {
    status: u16,
    meaning: &'static str,
    causes: &'static [&'static str],
    remedy: &'static str,
}

const fn words(
    status: u16,
    meaning: &'static str,
    causes: &'static [&'static str],
    remedy: &'static str,
) -> Words {
    Words {
        status,
        meaning,
        causes,
        remedy,
    }
}

#[expect(clippy::too_many_lines, reason = "one table")]
const fn words_of(code: ErrorCode) -> Words {
    match code {
        ErrorCode::InvalidRequest => words(
            400,
            "The request is not one that the endpoint understands. Nothing was done.",
            &[
                "the body is not JSON, or not UTF-8",
                "a field is missing, unknown or stands twice",
                "a parameter is not a number, a time or one of its words",
            ],
            "Read `pointer` and `detail`: they name the field, the rule and the value.",
        ),
        ErrorCode::InvalidEvent => words(
            422,
            "A field of an event breaks a rule. Nothing of the request was appended.",
            &[
                "a name is too long or has a character that is not allowed",
                "payload or metadata is no object, has a key twice, or the escape `\\u0000`",
                "a timestamp is not RFC 3339 with a zone",
            ],
            "Correct the field that `pointer` names and send the request again.",
        ),
        ErrorCode::InvalidFilter => words(
            400,
            "A filter or a query parameter breaks a rule.",
            &[
                "an event type pattern is malformed: `>` may only be last",
                "a time range ends before it begins",
                "too many values, or nested too deeply",
                "an append condition asks for something that no index knows",
            ],
            "Correct what `detail` names.",
        ),
        ErrorCode::InvalidRule => words(
            422,
            "The definition of a rule or of one of its targets breaks a rule. Nothing was changed.",
            &[
                "a field is missing, unknown, or has a value that it cannot have",
                "an expression, a path, a pattern or a template cannot be compiled",
                "an expression may cost more than it may",
                "a target is one that the operator does not allow",
            ],
            "Correct what `detail` says of the field that `pointer` names.",
        ),
        ErrorCode::LimitExceeded => words(
            413,
            "Something is larger, longer, deeper or more than a limit allows. Nothing was done.",
            &[
                "an event is larger than `limits.event_bytes`",
                "a request has too many events or bytes",
                "a page is larger than 1,000 events",
            ],
            "Send less at once (`/v1/events/bulk` takes a stream of any length), or have the limit raised in the configuration.",
        ),
        ErrorCode::VersionConflict => words(
            409,
            "A stream is not at the version that the writer expected. Nothing was appended.",
            &[
                "another writer appended to the stream first",
                "the writer read an old state",
            ],
            "Read the stream from `actualVersion`, decide again, and send with the new version. A repeat of a request that did go through is not a conflict: with the same event ids it answers with the original receipt.",
        ),
        ErrorCode::ConditionFailed => words(
            409,
            "An event that matches the append condition was appended after the position that the writer named. Nothing was appended.",
            &["another writer was first"],
            "Read what the condition asks for again, decide again, and send with the new position.",
        ),
        ErrorCode::DuplicateEvent => words(
            409,
            "An event id is taken by an event with other content, stands twice in the request, or only part of the request is there already. Nothing was appended.",
            &[
                "an id was made for two events",
                "a repeated request was changed",
            ],
            "Use a new id for a new event. Repeat a request unchanged.",
        ),
        ErrorCode::ReservedName => words(
            403,
            "The name belongs to the engine: aggregate type `factum`, event types that begin with `factum.`. Or it is that of an agent instance (aggregate type `agent_session`, an id like `shop-PS-0a1b2c`), whose stream agent sessions write alone.",
            &[
                "an application appends to the engine's own streams",
                "an application appends to the stream of an agent instance",
                "sessions are imported with a key that is not `admin`",
            ],
            "Choose another name. Report what an instance does with `POST /v1/sessions/{id}/events`, `/heartbeat` and `/commands`, or with the tools `mcp_meta_*`. Import sessions with a key that is `admin`.",
        ),
        ErrorCode::OutcomeUnknown => words(
            503,
            "The disk or the connection failed before it was known whether the events are durable.",
            &[
                "a sync failed",
                "the store stopped while the request was under way",
            ],
            "Repeat the request with the ids that `ids` gives. If the events are there, it answers with their receipt; if not, it appends them.",
        ),
        ErrorCode::Overloaded => words(
            503,
            "A queue is full, or the server has no open files left to begin a new segment. Nothing was done.",
            &[
                "more is appended than the disk can sync",
                "connections take all the files that the process may have open",
            ],
            "Wait as long as `Retry-After` says. Send batches; they cost the disk less. If files are short, \
             `factum doctor` says how many\nthere may be, and `factum_segments_delayed_total` grows; raise \
             `LimitNOFILE=` or `ulimit -n`.",
        ),
        ErrorCode::StorageFull => words(
            507,
            "The disk is full. Nothing was appended; reads go on.",
            &["the disk of the data directory is full, or a quota is reached"],
            "Make space. Appends resume by themselves within a second or so.",
        ),
        ErrorCode::StoreFailed => words(
            503,
            "A write, sync or read of the disk failed. The store takes no more appends until it is opened again; reads go on as far as they can.",
            &[
                "the disk or its cable is failing",
                "a network volume went away",
            ],
            "Look at the server's log and at the disk, then restart. Nothing that was acknowledged is lost by the restart.",
        ),
        ErrorCode::Unavailable => words(
            503,
            "The database of the store cannot be reached, or has not answered in time. Nothing was done.",
            &[
                "PostgreSQL is stopped, starting, or failing over to another server",
                "the network between this server and PostgreSQL is interrupted",
                "PostgreSQL has no connection left, or a question took it too long",
            ],
            "Repeat the request as `Retry-After` says; the server connects again by itself. `factum_postgres_connections_lost_total` \
             counts what was lost.",
        ),
        ErrorCode::ReadOnly => words(
            403,
            "The store is open for reading only.",
            &["the server was started to read around damage"],
            "Repair the store or restore a backup, and start without the option.",
        ),
        ErrorCode::ShuttingDown => words(
            503,
            "The server is stopping. Nothing was done.",
            &["an operator stopped or restarted it"],
            "Repeat the request, with the same event ids, when it is back.",
        ),
        ErrorCode::Corrupt => words(
            500,
            "Stored bytes do not match their checksum. They are not served, and nothing is left out in silence.",
            &[
                "the disk returned other bytes than were written",
                "a file of the data directory is missing, or is of another store",
                "a restore into the directory was interrupted: restore the backup again, into the \
                 same directory",
            ],
            "Run `factum verify`, then `factum restore` from a backup, or `factum repair`.",
        ),
        ErrorCode::Locked => words(
            503,
            "Another process has the data directory open.",
            &[
                "a server is running on it",
                "a second one was started by mistake",
            ],
            "Use the server that is running, or stop it first. The message names its process.",
        ),
        ErrorCode::StateConflict => words(
            409,
            "Something that the engine keeps beside the log is not as the request expects. Nothing was changed.",
            &[
                "somebody else has changed it since it was read",
                "the time of a claim was up, and another worker has taken the work",
            ],
            "Read it again and decide anew. A worker drops what it did: the work is another's now.",
        ),
        ErrorCode::LeaseLost => words(
            409,
            "The lease is no longer held under the epoch that was presented. Nothing was changed.",
            &[
                "it was not renewed in time",
                "it was released, or granted to somebody else",
            ],
            "Stop the work that the lease was for, and acquire it again.",
        ),
        ErrorCode::AlreadyExists => words(
            409,
            "Something is there under that name already. Nothing was changed.",
            &["the same request was sent before, and its answer was lost"],
            "Look at what is there; change it, or take another name.",
        ),
        ErrorCode::NotFound => words(
            404,
            "Nothing is there under that name.",
            &[
                "the id, stream or path does not exist",
                "the credentials may not see it",
            ],
            "Check the name.",
        ),
        ErrorCode::AmbiguousAggregate => words(
            409,
            "The aggregate id exists under several aggregate types.",
            &["an id was given without its type"],
            "Name the type: `types` lists them.",
        ),
        ErrorCode::InvalidCursor => words(
            400,
            "The text is not a cursor.",
            &["it was cut or changed", "it is of a later version"],
            "Use the cursor as it came, or a position.",
        ),
        ErrorCode::ForeignCursor => words(
            400,
            "The cursor is of another store.",
            &["a client talks to another server than before"],
            "Start from a position of this store.",
        ),
        ErrorCode::LostHistory => words(
            410,
            "The cursor points into a history that a restore or a repair has cut off.",
            &["the store was restored from a backup older than the cursor"],
            "Go on from `resumeAt`, the last position that both histories share, and drop what was derived from later events.",
        ),
        ErrorCode::Unauthenticated => words(
            401,
            "The request has no credentials, or they are not valid.",
            &[
                "no `Authorization: Bearer` header",
                "the key is unknown, expired or revoked",
            ],
            "Send a valid API key. `factum keys create` makes one.",
        ),
        ErrorCode::Forbidden => words(
            403,
            "The credentials do not allow this.",
            &["the key lacks the scope that the endpoint asks for"],
            "Use a key with the scope that `detail` names.",
        ),
        ErrorCode::LastAdminKey => words(
            409,
            "The key is the last one that administers the server. It was not revoked.",
            &[
                "no other key with the scope admin works: there is none, or it was revoked, or it has expired",
            ],
            "Make another admin key first. To revoke it all the same, send `force=true` \
             (`factum keys revoke --force`); after that only `factum serve --new-admin-key`, on the \
             machine of the server, makes another.",
        ),
        ErrorCode::Timeout => words(
            408,
            "The request took longer than its time limit.",
            &["the client sent too slowly", "the server is overloaded"],
            "Repeat it, appends with the same event ids.",
        ),
        ErrorCode::RateLimited => words(
            429,
            "Too many requests, connections or subscriptions.",
            &["a limit of the configuration is reached"],
            "Wait as long as `Retry-After` says, or have the limit raised.",
        ),
        ErrorCode::MethodNotAllowed => words(
            405,
            "The endpoint does not know the method.",
            &["a wrong method"],
            "Use one that the `Allow` header lists.",
        ),
        ErrorCode::UnsupportedMediaType => words(
            415,
            "The body is of a media type, or under an encoding, that the endpoint does not read.",
            &[
                "`Content-Type` is missing or wrong",
                "`Content-Encoding` is not gzip or zstd",
            ],
            "Send JSON as `application/json`, lines as `application/x-ndjson`.",
        ),
        ErrorCode::NotAcceptable => words(
            406,
            "None of the media types that the client accepts can be given.",
            &["a narrow `Accept` header"],
            "Accept `application/json`.",
        ),
        ErrorCode::UnknownEventType => words(
            422,
            "The event type is none of those that are known here. Nothing was recorded.",
            &[
                "an agent emits an event of a type that is not among the 23 of sessions",
                "the catalogue is strict (`catalogue.strict`), and the type is not in it",
            ],
            "`factum catalogue list` and `GET /v1/catalogue` name the types.",
        ),
        ErrorCode::ContextOutOfRange => words(
            422,
            "A share of a context is not one of 0 to 100 per cent. Nothing was recorded.",
            &[
                "tokens were sent in place of per cent",
                "the share was worked out with another window",
            ],
            "Send the share of the context that is used, from 0 to 100.",
        ),
        ErrorCode::InvalidInstanceId => words(
            400,
            "The text is no id of an agent instance.",
            &["a project or the beginning of an id was sent where a whole id is needed"],
            "An id is like `shop-PS-0a1b2c`: project, `PS` or `MS`, six lower-case hexadecimal digits. `GET /v1/sessions` lists the instances.",
        ),
        ErrorCode::InstanceNotFound => words(
            404,
            "There is no such agent instance, or none that the hint means.",
            &[
                "the id is of another server",
                "the instance was never registered",
                "a hint means instances that are in memory; older closed ones are found by their whole id only",
            ],
            "List the instances with `GET /v1/sessions`, or register one.",
        ),
        ErrorCode::InstanceClosed => words(
            409,
            "The agent instance is closed. It takes no more events and nobody takes over from it. Nothing was recorded.",
            &["it was closed before, perhaps by another client"],
            "Register a new instance. What the closed one did can still be read.",
        ),
        ErrorCode::InstanceActive => words(
            409,
            "The agent instance sends heartbeats, so nobody else takes over from it. Nothing was recorded.",
            &[
                "it is still at work",
                "it ended less than two minutes ago (`sessions.stale_ms`)",
            ],
            "Wait until it is stale, close it, or send `force`.",
        ),
        ErrorCode::Internal => words(
            500,
            "A fault of the engine itself. The log of the server has the details, under the request id.",
            &["a bug"],
            "Report it with the request id. Repeating may help.",
        ),
    }
}

/// Returns the pages.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let page = |code: &ErrorCode| (PathBuf::from(format!("docs/errors/{code}.md")), page(*code));
    let mut pages: Vec<_> = ErrorCode::ALL.iter().map(page).collect();
    pages.push((PathBuf::from("docs/errors/README.md"), index()));
    pages
}

fn page(code: ErrorCode) -> String {
    let words = words_of(code);
    let causes: Vec<_> = words
        .causes
        .iter()
        .map(|cause| format!("- {cause}"))
        .collect();
    let repeat = if code.is_retryable() {
        "The same request may succeed later."
    } else {
        "The same request fails again."
    };
    format!(
        "# {code}\n\nHTTP status {}. {repeat}\n\n{}\n\n## Causes\n\n{}\n\n## What to do\n\n{}\n",
        words.status,
        words.meaning,
        causes.join("\n"),
        words.remedy
    )
}

fn index() -> String {
    let row = |code: &ErrorCode| {
        let repeat = if code.is_retryable() { "yes" } else { "no" };
        format!(
            "| [{code}]({code}.md) | {} | {repeat} |\n",
            words_of(*code).status
        )
    };
    let rows: String = ErrorCode::ALL.iter().map(row).collect();
    format!(
        "# Error codes\n\nEvery error of the HTTP API is a problem document (RFC 9457) with a `code` \
         from this list.\nA code that was shipped is never used for anything else.\n\n\
         | code | HTTP status | a repeat may help |\n|---|---|---|\n{rows}"
    )
}
