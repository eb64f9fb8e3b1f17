//! A broker of the Kafka protocol for the tests of delivery.

use anyhow::ensure;

use crate::run::{has, root, run};

const TANSU: &str = "0.6.0";

/// Installs the broker under `target/` if it is not there yet, and runs the tests that need it.
///
/// It is no part of `test`, since building it takes longer than all tests together.
pub(crate) fn kafka() -> anyhow::Result<()> {
    let directory = root().join("target/tools");
    let program = directory.join("bin/tansu");
    if !has(&program.display().to_string(), &["--help"]) {
        let directory = directory.display().to_string();
        let version = format!("tansu@{TANSU}");
        run(
            "cargo",
            &[
                "install",
                "--locked",
                "--no-default-features",
                "--features",
                "dynostore",
                "--root",
                &directory,
                &version,
            ],
        )?;
    }
    ensure!(program.exists(), "there is no {}", program.display());
    run(
        "cargo",
        &[
            "test",
            "--package",
            "factum-deliver",
            "--test",
            "it",
            "kafka",
        ],
    )
}
