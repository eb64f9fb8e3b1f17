//! PgBouncer before the shared server, in transaction mode: the next transaction of a connection
//! may meet another backend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::programs::Programs;
use super::{Database, SUPERUSER, server};

/// How long it may take to start, in twentieths of a second.
const START_PATIENCE: u32 = 600;

/// A pooler of one test; it ends when this is dropped.
#[derive(Debug)]
pub struct Pooler {
    directory: PathBuf,
    process: Child,
}

impl Pooler {
    /// Starts a pooler before the server of a database, for some roles; `None` where PgBouncer is
    /// not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn before(database: &Database, roles: &[&str]) -> Option<Self> {
        let programs = Programs::find();
        let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from);
        let program = places.into_iter().find(|place| place.exists())?;
        let name = format!("factum-pooler-{}", database.name);
        let directory = std::env::temp_dir().join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        programs.make_directory(&directory);
        let users: String = roles
            .iter()
            .chain([&SUPERUSER])
            .map(|role| format!("\"{role}\" \"\"\n"))
            .collect();
        let here = directory.display();
        let sockets = database.sockets.display();
        // Few backends for many connections, so that they are shared all the time.
        let configuration = format!(
            "[databases]\n* = host={sockets}\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\n\
             unix_socket_dir = {here}\nauth_type = trust\nauth_file = {here}/users\n\
             pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\nlogfile = {here}/log\n"
        );
        for (file, text) in [("users", users), ("ini", configuration)] {
            let path = directory.join(file);
            fs::write(&path, text).unwrap();
            programs.give(&path);
        }
        let mut command = programs.owned(Path::new("setpriv"), &[]);
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("-q")
            .arg(directory.join("ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let this = Self { directory, process };
        this.wait();
        Some(this)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a process that starts says nothing when it is ready"
    )]
    fn wait(&self) {
        let socket = self.directory.join(".s.PGSQL.5432");
        for _ in 0..START_PATIENCE {
            if socket.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("PgBouncer does not start: {said}");
    }

    /// Returns the URL that connects to a database through this, as a role.
    #[must_use]
    pub fn url_as(&self, database: &Database, role: &str) -> String {
        server::url(&self.directory, role, &database.name)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}
