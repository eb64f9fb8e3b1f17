//! What CI and contributors run: tests, tidy checks, generated pages.
//!
//! `cargo xtask` without an argument lists the tasks.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for the terminal that runs other tools"
)]

mod codegen;
mod coverage;
mod errors;
mod kafka;
mod licences;
mod mcp;
mod metadata;
mod openapi;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::bail;

const USAGE: &str = "\
usage: cargo xtask TASK

  test               install what the tests need, where that is possible, and run them all
  ci                 what CI runs: fmt, clippy, tests, doctests, licences, tidy, generated pages
  tidy               checks that no other tool makes: arrows between crates, sizes, pages, words
  codegen [--check]  write the generated pages, or tell whether they are up to date
  crash [ROUNDS]     kill the server again and again under load, 500 times unless told otherwise
  openapi [SEED]     ask the server whatever its OpenAPI document allows, and what it does not
  mcp                the conformance suite and the official clients of the Model Context Protocol
  kafka              delivery to a broker of the Kafka protocol (installs tansu under target)
  coverage           line coverage of each crate (installs cargo-tarpaulin under target)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test::test(),
        ["ci"] => test::ci(),
        ["tidy"] => tidy::tidy(),
        ["codegen"] => codegen::write(),
        ["codegen", "--check"] => codegen::check(),
        ["crash"] => test::crash("500"),
        ["crash", rounds] => test::crash(rounds),
        ["openapi"] => openapi::openapi(None),
        ["openapi", seed] => openapi::openapi(Some(seed)),
        ["mcp"] => mcp::mcp(),
        ["kafka"] => kafka::kafka(),
        ["coverage"] => coverage::coverage(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => usage(&words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(words: &[&str]) -> anyhow::Result<()> {
    bail!("there is no task {:?}\n\n{USAGE}", words.join(" "))
}
