//! The files in a data directory that tell local commands of the server that runs on it.
//!
//! `server.json` names its URL, process id and version while it runs; `admin.key` holds the key
//! that the first start made, readable by its owner only.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What `server.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Where the server listens, for this machine.
    pub(crate) url: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
}

/// What is known of the server of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Server {
    /// There is no run file.
    None,
    /// The run file is of a process that is gone.
    Stale(RunFile),
    /// The process of the run file lives.
    Running(RunFile),
}

/// Returns the path of the run file.
pub(crate) fn run_file(data: &Path) -> PathBuf {
    data.join("server.json")
}

/// Returns the path of the admin key.
pub(crate) fn admin_key_file(data: &Path) -> PathBuf {
    data.join("admin.key")
}

/// Looks for the server of a data directory. A run file that cannot be read counts as none.
pub(crate) fn server(data: &Path) -> Server {
    let read = || {
        let text = fs::read(run_file(data)).ok()?;
        serde_json::from_slice::<RunFile>(&text).ok()
    };
    match read() {
        None => Server::None,
        Some(file) if lives(file.pid) => Server::Running(file),
        Some(file) => Server::Stale(file),
    }
}

/// Tells whether a process lives, also when it is another user's.
fn lives(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    }
}

/// Writes the run file, whole or not at all.
pub(crate) fn write_run_file(data: &Path, file: &RunFile) -> io::Result<()> {
    let mut text = serde_json::to_vec(file)?;
    text.push(b'\n');
    write_atomically(&run_file(data), &text, 0o644)
}

/// Removes the run file, if it is still the one of this process.
pub(crate) fn remove_run_file(data: &Path, pid: u32) -> io::Result<()> {
    match server(data) {
        Server::Running(file) | Server::Stale(file) if file.pid == pid => {
            fs::remove_file(run_file(data))
        }
        Server::None | Server::Stale(_) | Server::Running(_) => Ok(()),
    }
}

/// Writes the admin key, readable by its owner only.
pub(crate) fn write_admin_key(data: &Path, key: &str) -> io::Result<()> {
    write_atomically(&admin_key_file(data), format!("{key}\n").as_bytes(), 0o600)
}

/// Reads the admin key, if there is one that this user may read.
pub(crate) fn read_admin_key(data: &Path) -> Option<String> {
    let text = fs::read_to_string(admin_key_file(data)).ok()?;
    let key = text.trim();
    (!key.is_empty()).then(|| key.to_owned())
}

fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension("draft");
    // A draft of an earlier crash could have another mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent()
        .map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_run_file_of_this_process_is_running_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(server(dir.path()), Server::None);
        let file = RunFile {
            url: "http://127.0.0.1:1".to_owned(),
            pid: std::process::id(),
            version: "0".to_owned(),
        };
        write_run_file(dir.path(), &file).unwrap();
        assert_eq!(server(dir.path()), Server::Running(file.clone()));
        remove_run_file(dir.path(), file.pid + 1).unwrap();
        assert_eq!(server(dir.path()), Server::Running(file.clone()));
        remove_run_file(dir.path(), file.pid).unwrap();
        assert_eq!(server(dir.path()), Server::None);
    }

    #[test]
    fn the_run_file_of_a_gone_process_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let file = RunFile {
            url: String::new(),
            // Linux gives no process id this large.
            pid: i32::MAX as u32,
            version: String::new(),
        };
        write_run_file(dir.path(), &file).unwrap();
        assert_eq!(server(dir.path()), Server::Stale(file));
    }

    #[test]
    fn the_admin_key_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        write_admin_key(dir.path(), "fct_x").unwrap();
        write_admin_key(dir.path(), "fct_y").unwrap();
        let mode = fs::metadata(admin_key_file(dir.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_admin_key(dir.path()).as_deref(), Some("fct_y"));
    }
}
