//! The servers that a benchmark starts for itself, each in a process of its own, so that their
//! processor time can be told from the generator's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::lookup_host;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::{Scheme, Target};
use crate::exit::Failure;
use crate::rundir::{self, Server};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server to be measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The key for it.
    pub(crate) key: Option<String>,
    /// Its process, where it runs on this machine.
    pub(crate) pid: Option<u32>,
    /// Ends the process when the benchmark ends.
    child: Option<Child>,
}

impl Measured {
    /// Measures a server that runs already.
    pub(crate) async fn running(
        target: &Target,
        key: Option<String>,
        pid: Option<u32>,
    ) -> anyhow::Result<Self> {
        if target.scheme != Scheme::Http {
            return Err(Failure::Usage {
                message: "the load generator speaks plain HTTP only".to_owned(),
                hint: "give an http:// URL, or none to measure a server of its own".to_owned(),
            }
            .into());
        }
        Ok(Self {
            address: address(target).await?,
            key,
            pid,
            child: None,
        })
    }

    /// Starts `factum serve` on a directory.
    pub(crate) async fn factum(data: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--data").arg(data);
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "warn",
            "--log-format",
            "human",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting `factum serve`")?;
        let started = timeout(START_MAX, async {
            loop {
                if let Server::Running(file) = rundir::server(data) {
                    return Ok(file);
                }
                if let Some(status) = child.try_wait()? {
                    anyhow::bail!("`factum serve` ended with {status}");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        let file = started.await.context("`factum serve` did not start")??;
        let target = Target::parse(&file.url, None)?;
        Ok(Self {
            address: address(&target).await?,
            key: rundir::read_admin_key(data),
            pid: Some(file.pid),
            child: Some(child),
        })
    }

    /// Starts the bare echo server.
    pub(crate) async fn echo() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--echo-server"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting the echo server")?;
        let output = child
            .stdout
            .take()
            .context("the echo server has no output")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        timeout(START_MAX, output.read_line(&mut line))
            .await
            .context("the echo server did not start")??;
        let target = Target::parse(line.trim(), None)?;
        Ok(Self {
            address: address(&target).await?,
            key: None,
            pid: child.id(),
            child: Some(child),
        })
    }

    /// Ends a server that the benchmark started.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }
}

async fn address(target: &Target) -> anyhow::Result<SocketAddr> {
    let mut addresses = lookup_host((target.host.as_str(), target.port)).await?;
    addresses.next().context("the host has no address")
}
