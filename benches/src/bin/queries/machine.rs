//! The machine: its memory, its page cache, temporary directories and child processes.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;

/// Makes a directory beside the sources, which are on a disk; `/tmp` may be memory.
pub fn temporary() -> Outcome<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?)
}

/// The memory of this process, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub resident: u64,
    pub resident_max: u64,
    /// Without pages of files.
    pub anonymous: u64,
}

impl Memory {
    pub fn now() -> Outcome<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let value = |name: &str| -> Outcome<u64> {
            let line = status.lines().find(|line| line.starts_with(name));
            let text = line
                .and_then(|line| line.split_whitespace().nth(1))
                .ok_or("no such line")?;
            Ok(text.parse::<u64>()? / 1024)
        };
        Ok(Self {
            resident: value("VmRSS")?,
            resident_max: value("VmHWM")?,
            anonymous: value("RssAnon")?,
        })
    }

    pub fn max(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            resident_max: self.resident_max.max(other.resident_max),
            anonymous: self.anonymous.max(other.anonymous),
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            resident,
            resident_max,
            anonymous,
        } = self;
        write!(
            f,
            "VmRSS {resident}, VmHWM {resident_max}, RssAnon {anonymous} MiB"
        )
    }
}

/// Empties the page cache; tells whether this process may.
pub fn drop_caches() -> bool {
    let synced = std::process::Command::new("sync").status();
    synced.is_ok_and(|status| status.success())
        && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Waits for a process to end; ends it when it takes too long.
pub fn wait(child: &mut Child, limit: Duration) -> Outcome<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("a process has not ended within {limit:?}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the machine in one line.
pub fn line() -> Outcome<String> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path));
    let cpu = read("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("?");
    let memory = read("/proc/meminfo")?;
    let total = memory
        .split_whitespace()
        .nth(1)
        .ok_or("no memory")?
        .parse::<u64>()?;
    let load = read("/proc/loadavg")?;
    let load = load
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ");
    Ok(format!(
        "{} x {model}, {:.0} GiB, Linux {}, load average {load}",
        std::thread::available_parallelism()?,
        total as f64 / f64::from(1 << 20),
        read("/proc/sys/kernel/osrelease")?.trim(),
    ))
}
