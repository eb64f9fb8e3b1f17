//! What is known of the machine: processor, memory, file system, disk speed, time spent.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// How many files a process may have open, and how many it may allow itself; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) now: Option<u64>,
    pub(crate) at_most: Option<u64>,
}

impl OpenFiles {
    pub(crate) fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile);
        Self {
            now: limit.current,
            at_most: limit.maximum,
        }
    }

    /// Allows this process as many as it may. Each segment of the log has two or three open, and
    /// each connection one, so the usual 1,024 do not take a server far.
    pub(crate) fn raise() -> io::Result<Self> {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let current = maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
        Ok(Self::of_this_process())
    }
}

/// The machine, for reports.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many of its cores this process may use.
    pub(crate) n_cores: usize,
    /// The memory.
    pub(crate) memory_bytes: u64,
    /// The operating system.
    pub(crate) kernel: String,
    /// The file system of the data directory.
    pub(crate) file_system: String,
}

impl Machine {
    /// Looks at the machine. What cannot be found out is called unknown.
    pub(crate) fn of(data: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let uname = rustix::system::uname();
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            n_cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory_bytes().unwrap_or_default(),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            file_system: mount(data).map_or_else(unknown, |mount| mount.kind),
        }
    }
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = text.trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Where a path is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The kind of file system, such as ext4.
    pub(crate) kind: String,
    /// Where it is mounted.
    pub(crate) at: PathBuf,
}

impl Mount {
    /// Tells whether the files are on another machine, where locks and syncs promise less.
    pub(crate) fn is_network(&self) -> bool {
        let kind = self.kind.as_str();
        kind.starts_with("nfs")
            || ["cifs", "smb3", "9p", "ceph", "fuse.sshfs", "glusterfs"].contains(&kind)
    }

    /// Tells whether the files are gone after a restart of the machine.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

/// Returns where a path, or its nearest ancestor that exists, is mounted.
pub(crate) fn mount(path: &Path) -> Option<Mount> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute
        .ancestors()
        .find_map(|path| path.canonicalize().ok())?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount_in(&table, &existing)
}

fn mount_in(table: &str, path: &Path) -> Option<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let (places, kinds) = line.split_once(" - ")?;
        Some(Mount {
            at: PathBuf::from(places.split(' ').nth(4)?.replace("\\040", " ")),
            kind: kinds.split(' ').next()?.to_owned(),
        })
    });
    // Of two mounts at one place, the later one is on top.
    mounts
        .filter(|mount| path.starts_with(&mount.at))
        .max_by_key(|mount| mount.at.components().count())
}

/// How often a second the disk can make a small write durable.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncRates {
    /// 4 KiB over blocks that are already written.
    pub(crate) overwrite_per_s: f64,
    /// 4 KiB at the end of a growing file.
    pub(crate) append_per_s: f64,
}

const BLOCK_BYTES: usize = 4096;
const N_BLOCKS: u64 = 256;

/// Measures the disk under a directory, for about `time`.
pub(crate) fn sync_rates(dir: &Path, time: Duration) -> io::Result<SyncRates> {
    let path = dir.join(format!("factum-sync-rate-{}.tmp", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    let rates = measure(&file, time);
    fs::remove_file(&path)?;
    rates
}

fn measure(file: &File, time: Duration) -> io::Result<SyncRates> {
    let block = [0x5a; BLOCK_BYTES];
    for index in 0..N_BLOCKS {
        file.write_all_at(&block, index * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let overwrite_per_s = rate(time / 2, |n| {
        file.write_all_at(&block, n % N_BLOCKS * BLOCK_BYTES as u64)?;
        file.sync_data()
    })?;
    let append_per_s = rate(time / 2, |n| {
        file.write_all_at(&block, (N_BLOCKS + n) * BLOCK_BYTES as u64)?;
        file.sync_data()
    })?;
    Ok(SyncRates {
        overwrite_per_s,
        append_per_s,
    })
}

fn rate(time: Duration, mut act: impl FnMut(u64) -> io::Result<()>) -> io::Result<f64> {
    let started = now();
    let mut n_acts = 0;
    loop {
        act(n_acts)?;
        n_acts += 1;
        let passed = started.elapsed();
        if passed >= time {
            return Ok(per_second(n_acts, passed));
        }
    }
}

/// Returns a rate.
#[expect(clippy::cast_precision_loss, reason = "rates are for people")]
pub(crate) fn per_second(number: u64, time: Duration) -> f64 {
    number as f64 / time.as_secs_f64().max(1e-9)
}

/// Returns the present of a clock that never goes back.
#[expect(clippy::disallowed_methods, reason = "measurements are of real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns how much processor time a process has used, to a hundredth of a second.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, even parentheses.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis((user + system) * 1000 / ticks))
}

/// Returns how much memory a process has in use.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let text = field(&format!("/proc/{pid}/status"), "VmRSS")?;
    let kib: u64 = text.trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_holds_a_path() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda rw\n\
                     30 22 0:26 / /tmp rw shared:1 - tmpfs tmpfs rw\n\
                     31 22 0:27 / /mnt/a\\040b rw - nfs4 host:/x rw\n";
        let check = |path: &str, kind: &str| {
            assert_eq!(mount_in(table, Path::new(path)).unwrap().kind, kind);
        };
        check("/home/x", "ext4");
        check("/tmp/x", "tmpfs");
        check("/tmpx", "ext4");
        check("/mnt/a b/c", "nfs4");
        assert!(mount_in(table, Path::new("/mnt/a b")).unwrap().is_network());
    }

    #[test]
    fn a_process_may_allow_itself_as_many_files_as_the_system_grants() {
        let before = OpenFiles::of_this_process();
        let raised = OpenFiles::raise().unwrap();
        assert_eq!(raised.now, before.at_most);
        assert_eq!(raised.at_most, before.at_most);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_some());
        assert!(resident_bytes(pid).unwrap() > 1 << 20);
    }

    #[test]
    fn the_disk_has_a_rate() {
        let dir = tempfile::tempdir().unwrap();
        let rates = sync_rates(dir.path(), Duration::from_millis(20)).unwrap();
        assert!(rates.overwrite_per_s > 0.0 && rates.append_per_s > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
