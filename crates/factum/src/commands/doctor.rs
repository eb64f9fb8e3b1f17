//! `factum doctor`: looks at what could be in the way, and says what to do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use factum_model::{Clock as _, SystemClock, Timestamp};
use factum_store_postgres::Diagnosis;
use hyper::header::DATE;
use serde::Serialize;

use crate::cli::Context;
use crate::client::{Call, Client, Problem, target};
use crate::config::{data_dir, load};
use crate::exit::Failure;
use crate::machine::{OpenFiles, mount, sync_rates};
use crate::output::{Out, Tone, size};
use crate::rundir::{self, Server};
use crate::serving;

/// Check the data directory, the disk, the clock and the server
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look at this PostgreSQL too [default: postgres.url]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    check: &'static str,
    state: State,
    found: String,
    advice: &'static str,
}

#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn good(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, State::Good, found, "");
    }

    fn add(
        &mut self,
        check: &'static str,
        state: State,
        found: impl Into<String>,
        advice: &'static str,
    ) {
        let found = found.into();
        self.0.push(Check {
            check,
            state,
            found,
            advice,
        });
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let globals = &context.globals;
    let data = data_dir(
        globals.config.as_deref(),
        &context.environment,
        globals.data.as_deref(),
    )?;
    let mut checks = Checks::default();
    if directory(&data, &mut checks) {
        permissions(&data, &mut checks);
    }
    space(&data, &mut checks);
    file_system(&data, &mut checks);
    syncs(&data, &mut checks);
    clock(&mut checks);
    open_files(&mut checks);
    run_file(&data, &mut checks);
    postgres(&args, context, &mut checks).await?;
    server(context, &mut checks).await;
    let n_bad = checks
        .0
        .iter()
        .filter(|check| check.state == State::Bad)
        .count();
    write(&checks.0, &mut context.out)?;
    if n_bad == 0 {
        return Ok(());
    }
    Err(Failure::Incomplete {
        message: format!("{n_bad} of {} checks found something wrong", checks.0.len()),
        hint: String::new(),
    }
    .into())
}

fn write(checks: &[Check], out: &mut Out) -> std::io::Result<()> {
    if out.is_json() {
        return out.json(&checks);
    }
    for check in checks {
        let mark = match check.state {
            State::Good => out.paint(Tone::Good, "ok  "),
            State::Warning => out.paint(Tone::Warning, "look"),
            State::Bad => out.paint(Tone::Bad, "bad "),
        };
        out.line(format_args!("{mark}  {:<15} {}", check.check, check.found))?;
        if !check.advice.is_empty() {
            out.line(format_args!(
                "      {:<15} {}",
                "",
                out.paint(Tone::Faint, check.advice)
            ))?;
        }
    }
    Ok(())
}

/// How far two clocks may be apart before it is worth a word.
const CLOCK_TOLERANCE_US: i64 = 1_000_000;

/// Looks at the PostgreSQL that the configuration names.
async fn postgres(args: &Args, context: &Context, checks: &mut Checks) -> anyhow::Result<()> {
    const CHECK: &str = "postgresql";
    let globals = &context.globals;
    let flags: Vec<_> = args
        .postgres
        .iter()
        .map(|url| ("postgres.url".to_owned(), url.clone()))
        .collect();
    let loaded = load(globals.config.as_deref(), &context.environment, &flags)?;
    let Some(url) = &loaded.config.postgres_url else {
        return Ok(());
    };
    match serving::diagnose_postgres(&loaded.config, url).await {
        Ok(found) => found_postgres(&found, checks),
        Err(error) => checks.add(
            CHECK,
            State::Bad,
            format!("{url:?}: {error:#}"),
            "is it there, and may this role connect?",
        ),
    }
    Ok(())
}

fn found_postgres(found: &Diagnosis, checks: &mut Checks) {
    let (connections_max, connections) = found.connections;
    checks.good(
        "postgresql",
        format!(
            "version {}, as {}, {connections} of {connections_max} connections",
            found.server, found.role
        ),
    );
    if !found.is_durable {
        checks.add(
            "postgresql",
            State::Bad,
            "it acknowledges what is not on its disk",
            "set fsync and synchronous_commit to on",
        );
    }
    if !found.has_synchronous_standby {
        checks.good(
            "standby",
            "none confirms commits: a failover may lose the last of them",
        );
    }
    if found.clock_ahead_us.abs() > CLOCK_TOLERANCE_US {
        checks.add(
            "clocks",
            State::Warning,
            format!("{} ms apart", found.clock_ahead_us.abs() / 1000),
            "have the clocks of both machines set by NTP",
        );
    }
    if let Some(reason) = &found.not_ready {
        checks.add(
            "schema",
            State::Bad,
            reason.clone(),
            "`factum postgres init`",
        );
        return;
    }
    checks.good("schema", format!("{} events", found.n_events));
    if !found.may_append {
        checks.add(
            "role",
            State::Bad,
            format!("{} may not append", found.role),
            "`factum postgres init --application-role ROLE` as the owner",
        );
    } else if found.role_owns_tables {
        checks.add(
            "role",
            State::Warning,
            format!("{} may change the tables themselves", found.role),
            "let servers connect as a role of their own: `factum postgres init --application-role ROLE`",
        );
    } else {
        checks.good("role", format!("{} may read and append only", found.role));
    }
    if found.leaves_ready == 0 {
        checks.add(
            "partitions",
            State::Warning,
            "none stands ready",
            "a running server makes them",
        );
    }
}

/// Tells whether the directory is there.
fn directory(data: &Path, checks: &mut Checks) -> bool {
    const CHECK: &str = "data directory";
    let shown = data.display().to_string();
    match fs::metadata(data) {
        Ok(metadata) if metadata.is_dir() => {
            checks.good(CHECK, shown);
            true
        }
        Ok(_) => {
            checks.add(
                CHECK,
                State::Bad,
                format!("{shown} is not a directory"),
                "name another one with --data",
            );
            false
        }
        Err(error) => {
            let found = format!("{shown}: {error}");
            checks.add(
                CHECK,
                State::Warning,
                found,
                "`factum serve` makes it at its first start",
            );
            false
        }
    }
}

fn permissions(data: &Path, checks: &mut Checks) {
    use rustix::fs::Access;
    const CHECK: &str = "permissions";
    if rustix::fs::access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let advice = "run as the user who owns it, or give this user the right to write";
        checks.add(
            CHECK,
            State::Bad,
            "this user may not write to the data directory",
            advice,
        );
        return;
    }
    let key = fs::metadata(rundir::admin_key_file(data));
    match key.map(|key| key.mode() & 0o077) {
        Ok(0) | Err(_) => checks.good(CHECK, "this user may write"),
        Ok(_) => checks.add(
            CHECK,
            State::Bad,
            "admin.key can be read by others",
            "chmod 600 admin.key, then make a new key and revoke the old one",
        ),
    }
}

/// Below this, a server will soon stop writing.
const SPACE_MIN: u64 = 1 << 30;

fn space(data: &Path, checks: &mut Checks) {
    const CHECK: &str = "disk space";
    let existing = std::path::absolute(data).ok().and_then(|path| {
        path.ancestors()
            .find(|path| path.exists())
            .map(Path::to_owned)
    });
    let Some(Ok(stat)) = existing.map(|path| rustix::fs::statvfs(&path)) else {
        return checks.add(CHECK, State::Warning, "unknown", "");
    };
    let free = stat.f_bavail * stat.f_frsize;
    let found = format!(
        "{} free of {}",
        size(free),
        size(stat.f_blocks * stat.f_frsize)
    );
    if free < SPACE_MIN {
        let advice = "make room: a full disk stops writing until there is space again";
        checks.add(CHECK, State::Bad, found, advice);
    } else {
        checks.good(CHECK, found);
    }
}

fn file_system(data: &Path, checks: &mut Checks) {
    const CHECK: &str = "file system";
    match mount(data) {
        None => checks.add(CHECK, State::Warning, "unknown", ""),
        Some(mount) if mount.is_memory() => {
            let advice = "it is gone after a restart of the machine; use a disk";
            checks.add(
                CHECK,
                State::Warning,
                format!("{} is memory", mount.kind),
                advice,
            );
        }
        Some(mount) if mount.is_network() => {
            let advice = "locks and syncs promise less over a network; use a local disk";
            checks.add(
                CHECK,
                State::Bad,
                format!("{} is a network file system", mount.kind),
                advice,
            );
        }
        Some(mount) => checks.good(CHECK, format!("{} at {}", mount.kind, mount.at.display())),
    }
}

fn syncs(data: &Path, checks: &mut Checks) {
    const CHECK: &str = "durable writes";
    if !data.is_dir() {
        return;
    }
    match sync_rates(data, Duration::from_millis(500)) {
        Err(error) => checks.add(
            CHECK,
            State::Bad,
            error.to_string(),
            "the disk does not take writes",
        ),
        Ok(rates) => {
            let found = format!(
                "{:.0}/s over written blocks, {:.0}/s at the end of a growing file",
                rates.overwrite_per_s, rates.append_per_s
            );
            if rates.overwrite_per_s < 100.0 {
                let advice =
                    "one writer alone gets no more appends than this; many at once share them";
                checks.add(CHECK, State::Warning, found, advice);
            } else {
                checks.good(CHECK, found);
            }
        }
    }
}

fn clock(checks: &mut Checks) {
    const CHECK: &str = "clock";
    let now = SystemClock.now();
    // Before the program was written, or a lifetime after it.
    let plausible = ["2026-01-01T00:00:00Z", "2100-01-01T00:00:00Z"].map(str::parse::<Timestamp>);
    let fits = matches!(plausible, [Ok(first), Ok(last)] if first <= now && now < last);
    if fits {
        checks.good(CHECK, now.to_string());
    } else {
        checks.add(
            CHECK,
            State::Bad,
            now.to_string(),
            "set the clock: recordedAt never goes back again",
        );
    }
}

/// A server with fewer runs out of them: each connection takes one, each segment of the log three.
const OPEN_FILES_MIN: u64 = 4096;

fn open_files(checks: &mut Checks) {
    const CHECK: &str = "open files";
    let limits = OpenFiles::of_this_process();
    let shown =
        |limit: Option<u64>| limit.map_or_else(|| "any number".to_owned(), |n| n.to_string());
    let found = format!(
        "{} for a process, which `factum serve` raises to {}",
        shown(limits.now),
        shown(limits.at_most)
    );
    if limits.at_most.is_some_and(|limit| limit < OPEN_FILES_MIN) {
        let advice = "each connection takes one, each 256 MB of log three: raise the hard limit with \
                      LimitNOFILE= or `ulimit -Hn 65536`";
        checks.add(CHECK, State::Warning, found, advice);
    } else {
        checks.good(CHECK, found);
    }
}

fn run_file(data: &Path, checks: &mut Checks) {
    const CHECK: &str = "run file";
    match rundir::server(data) {
        Server::None => checks.good(CHECK, "no server runs on the data directory"),
        Server::Running(file) => {
            let found = format!("version {} runs as process {}", file.version, file.pid);
            checks.good(CHECK, found);
        }
        Server::Stale(file) => {
            let found = format!("process {} is gone and did not clean up", file.pid);
            checks.add(
                CHECK,
                State::Warning,
                found,
                "the next start replaces it, and nothing acknowledged is lost",
            );
        }
    }
}

async fn server(context: &Context, checks: &mut Checks) {
    const CHECK: &str = "server";
    let (target, key) = match target(context) {
        Ok(found) => found,
        Err(error) => {
            return checks.add(
                CHECK,
                State::Warning,
                format!("{error:#}"),
                "start one with `factum serve`",
            );
        }
    };
    let has_key = key.is_some();
    let mut client = match Client::new(target, key.as_deref()) {
        Ok(client) => client,
        Err(error) => return checks.add(CHECK, State::Bad, format!("{error:#}"), ""),
    };
    match client.send(Call::get("/readyz")).await {
        Ok(answer) => {
            checks.good(CHECK, format!("{} is ready", client.url()));
            server_clock(answer.headers().get(DATE), checks);
        }
        Err(error) => {
            let advice = "is the URL right, and does a firewall let it through?";
            return checks.add(CHECK, State::Bad, format!("{error:#}"), advice);
        }
    }
    key_check(&mut client, has_key, checks).await;
}

/// A larger difference makes timestamps of writer and store tell different stories.
const CLOCK_DIFFERENCE_MAX: i64 = 5;

fn server_clock(date: Option<&hyper::header::HeaderValue>, checks: &mut Checks) {
    let Some(theirs) = date.and_then(|date| http_date_seconds(date.to_str().ok()?)) else {
        return;
    };
    let ours = SystemClock.now().as_micros() / 1_000_000;
    let difference = (ours - theirs).abs();
    if difference > CLOCK_DIFFERENCE_MAX {
        let found = format!("this clock and the server's are {difference} s apart");
        checks.add(
            "server's clock",
            State::Warning,
            found,
            "let both follow a time server",
        );
    }
}

/// Reads `Sat, 21 Nov 2026 07:19:17 GMT` as seconds since 1970.
fn http_date_seconds(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month)? / 3 + 1;
    let instant: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(instant.as_micros() / 1_000_000)
}

async fn key_check(client: &mut Client, has_key: bool, checks: &mut Checks) {
    const CHECK: &str = "key";
    match client.send(Call::get("/v1/events?limit=1")).await {
        Ok(_) if has_key => checks.good(CHECK, "the server takes it"),
        Ok(_) => checks.add(
            CHECK,
            State::Warning,
            "the server asks for none",
            "anyone who reaches it can do anything; start it without --insecure-no-auth",
        ),
        Err(error) => {
            let advice = match error
                .downcast_ref::<Problem>()
                .map(|problem| problem.status)
            {
                Some(401) => "give one with --key or FACTUM_KEY",
                Some(403) => "it may not read; that can be as it should be",
                Some(_) | None => "",
            };
            checks.add(CHECK, State::Bad, format!("{error:#}"), advice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(http_date_seconds("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(
            http_date_seconds("Sat, 21 Nov 2026 07:19:17 GMT"),
            Some(1_795_245_557)
        );
        assert_eq!(http_date_seconds("yesterday"), None);
    }
}
