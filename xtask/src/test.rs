//! The tests, and what CI adds to them.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::run::{has, output, run, run_with, succeeds_within};
use crate::{codegen, licences, mcp, openapi, tidy};

/// Installs what the tests need, where that is possible, and runs them all.
pub(crate) fn test() -> anyhow::Result<()> {
    let start = Instant::now();
    install();
    static_checks()?;
    dynamic_checks()?;
    println!("\nall tests passed in {} s", start.elapsed().as_secs());
    Ok(())
}

/// Runs what CI runs.
pub(crate) fn ci() -> anyhow::Result<()> {
    test()?;
    if has("cargo", &["deny", "--version"]) {
        run(
            "cargo",
            &["deny", "--offline", "check", "licenses", "bans", "sources"],
        )?;
    } else {
        println!("cargo-deny is not installed; the licences were checked by `xtask` alone");
    }
    Ok(())
}

fn static_checks() -> anyhow::Result<()> {
    if has("cargo", &["fmt", "--version"]) {
        run("cargo", &["fmt", "--all", "--check"])?;
    } else {
        println!("skipped: rustfmt is not installed (rustup component add rustfmt)");
    }
    tidy::tidy()?;
    codegen::check()?;
    licences::check()?;
    if has("cargo", &["clippy", "--version"]) {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ];
        run("cargo", &arguments)?;
    } else {
        println!("skipped: clippy is not installed (rustup component add clippy)");
    }
    Ok(())
}

/// Kills the server again and again under load; see `crates/factum/tests/torture/`.
pub(crate) fn crash(rounds: &str) -> anyhow::Result<()> {
    let rounds: u64 = rounds.parse().context("the number of rounds")?;
    let arguments = [
        "test",
        "--package",
        "factum",
        "--test",
        "torture",
        "crash",
        "--",
        "--nocapture",
    ];
    run_with(
        "FACTUM_CRASH_ROUNDS",
        &rounds.to_string(),
        "cargo",
        &arguments,
    )
}

fn dynamic_checks() -> anyhow::Result<()> {
    run("cargo", &["test", "--workspace", "--doc", "--quiet"])?;
    openapi::openapi_if_possible()?;
    mcp::mcp_if_possible()?;
    if has("cargo", &["nextest", "--version"]) {
        run(
            "cargo",
            &["nextest", "run", "--workspace", "--no-fail-fast"],
        )
    } else {
        println!("cargo-nextest is not installed; the tests run under `cargo test`");
        run(
            "cargo",
            &[
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
            ],
        )
    }
}

/// How long the installation of one program may take.
const INSTALL_MAX: Duration = Duration::from_secs(120);

/// Programs that some tests use, and the Debian package that brings each.
const TOOLS: &[(&str, &str, &str)] = &[
    (
        "strace",
        "strace",
        "the tests that make the system refuse to sync",
    ),
    (
        INITDB,
        "postgresql",
        "the tests of the store on PostgreSQL, which fail",
    ),
    (
        "pgbouncer",
        "pgbouncer",
        "the tests of the store on PostgreSQL behind a pooler",
    ),
    (
        "nats-server",
        "nats-server",
        "the tests of delivery to NATS, which fail",
    ),
    (
        "redis-server",
        "redis-server",
        "the tests of delivery to Redis, which fail",
    ),
    (
        RABBITMQ,
        "rabbitmq-server",
        "the tests of delivery to RabbitMQ, which fail",
    ),
    (
        AIOSMTPD,
        "python3-aiosmtpd",
        "the tests of delivery by mail, which fail",
    ),
];

const INITDB: &str = "initdb";
const RABBITMQ: &str = "rabbitmq-server";
const AIOSMTPD: &str = "aiosmtpd";

fn is_installed(program: &str) -> bool {
    match program {
        // Debian keeps the programs of a server beside its version, not where programs are
        // looked for.
        INITDB => {
            let of_debian = "ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1";
            has(program, &["--version"]) || has("sh", &["-c", of_debian])
        }
        // Asked for its version, it would start.
        RABBITMQ => has("test", &["-e", "/usr/lib/rabbitmq/bin/rabbitmq-server"]),
        // The Python of the system has it, which need not be the first that is found.
        AIOSMTPD => has("/usr/bin/python3", &["-c", "import aiosmtpd"]),
        _ => has(program, &["--version"]),
    }
}

/// Installs what is missing, or says plainly what is not tested without it.
fn install() {
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|(program, ..)| !is_installed(program))
        .collect();
    if missing.is_empty() {
        return;
    }
    let may_install =
        output("id", &["-u"]).is_some_and(|id| id.trim() == "0") && has("apt-get", &["--version"]);
    for (program, package, what) in missing {
        // The list of packages may be missing or old, so it is fetched once before.
        let installed = may_install
            && succeeds_within(INSTALL_MAX, "apt-get", &["update", "-qq"])
            && succeeds_within(
                INSTALL_MAX,
                "apt-get",
                &["install", "-y", "-qq", "--no-install-recommends", package],
            );
        if installed {
            println!("installed {package}");
        } else {
            println!("skipped: {what}, because {program} is not installed (Debian: {package})");
        }
    }
}
