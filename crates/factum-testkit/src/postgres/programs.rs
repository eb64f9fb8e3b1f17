//! Where PostgreSQL is installed, and as whom it runs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is said where PostgreSQL is missing.
const MISSING: &str =
    "PostgreSQL 14 or newer is not installed, and this test needs it (Debian: postgresql)";

/// The programs of one PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    directory: PathBuf,
    /// Who runs the server: it refuses to run as root.
    owner: Option<(u32, u32)>,
}

impl Programs {
    /// Finds the newest version that is installed.
    pub(super) fn find() -> Self {
        let mut places = Vec::new();
        if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
            places.extend(versions.flatten().filter_map(|version| {
                let number: u32 = version.file_name().to_str()?.parse().ok()?;
                (number >= 14).then(|| (number, version.path().join("bin")))
            }));
        }
        places.sort_unstable_by(|left, right| right.cmp(left));
        let places = places.into_iter().map(|(_, place)| place);
        let elsewhere = ["/usr/local/bin", "/usr/local/pgsql/bin", "/usr/bin"].map(PathBuf::from);
        let has_server = |place: &PathBuf| place.join("initdb").exists();
        let directory = places.chain(elsewhere).find(has_server);
        let directory = directory.unwrap_or_else(|| panic!("{MISSING}"));
        let owner = is_root().then(|| user("postgres"));
        Self { directory, owner }
    }

    /// Returns a program to be run as whoever runs the tests.
    #[expect(clippy::disallowed_methods, reason = "tests start processes")]
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join(name));
        command.current_dir("/");
        command
    }

    /// Returns a program to be run as the owner of the server's files.
    #[expect(clippy::disallowed_methods, reason = "tests start processes")]
    pub(super) fn owned(&self, program: &Path, before: &[&str]) -> Command {
        let mut words: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        if let Some((user, group)) = self.owner {
            words.push("setpriv".to_owned());
            words.extend([format!("--reuid={user}"), format!("--regid={group}")]);
            words.push("--clear-groups".to_owned());
        }
        words.push(program.to_string_lossy().into_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/");
        command
    }

    /// Returns the path of a program.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a directory for the owner of the server.
    pub(super) fn make_directory(&self, path: &Path) {
        fs::create_dir(path).unwrap();
        self.give(path);
    }

    /// Gives a file to the owner of the server.
    pub(super) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Returns the numbers of a user and its group.
fn user(name: &str) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let Some(line) = line else {
        panic!("{MISSING}")
    };
    let fields: Vec<_> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
