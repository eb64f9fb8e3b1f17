//! PostgreSQL for tests: one throw-away server for all test processes, a database for each test.
//!
//! Whoever comes first starts the server, behind a lock. Every process that uses it holds a shared
//! lock for its life; a watchdog beside the server stops it, and removes all that it wrote, when
//! nobody has held that lock for half a minute. So nothing has to be set up before the tests or
//! cleared away after them, however they end.
//!
//! The server does not sync: it is for tests of what is said and kept, not of power loss.

mod pooler;
mod programs;
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::postgres::pooler::Pooler;
use crate::postgres::programs::Programs;
pub use crate::postgres::server::PrivateServer;

/// The user to whom everything in the server belongs.
pub const SUPERUSER: &str = "postgres";

/// A database of its own, which is dropped with this.
#[derive(Debug)]
pub struct Database {
    programs: Programs,
    sockets: PathBuf,
    name: String,
}

impl Database {
    /// Makes an empty database in the shared server, and starts that where it does not run yet.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start within two minutes.
    #[must_use]
    pub fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let programs = Programs::find();
        let sockets = server::shared(&programs);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = Self {
            programs,
            sockets,
            name: format!("test_{}_{number}", std::process::id()),
        };
        let name = &database.name;
        // What a process with the same number left behind when it was killed goes first.
        for sql in [
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            format!("CREATE DATABASE {name} TEMPLATE template0"),
        ] {
            database.run("postgres", SUPERUSER, &sql).unwrap();
        }
        database
    }

    /// Returns the URL that connects to the database as its owner.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as(SUPERUSER)
    }

    /// Returns the URL that connects to the database as a role.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        server::url(&self.sockets, role, &self.name)
    }

    /// Returns the directory of the server's socket.
    #[must_use]
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Runs statements with psql, as a role, and returns what it prints: rows without a header,
    /// columns with `|` between them.
    ///
    /// # Errors
    /// What psql says when a statement fails.
    pub fn psql_as(&self, role: &str, sql: &str) -> Result<String, String> {
        self.run(&self.name, role, sql)
    }

    /// Runs statements with psql, as the owner of everything.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_as(SUPERUSER, sql).unwrap()
    }

    fn run(&self, database: &str, role: &str, sql: &str) -> Result<String, String> {
        server::psql(&self.programs, &self.sockets, (role, database), sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // If the server is gone already, so is the database.
        drop(self.run("postgres", SUPERUSER, &sql));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_apart_and_empty() {
        let (one, other) = (Database::create(), Database::create());
        one.psql("CREATE TABLE here (n int); INSERT INTO here VALUES (7)");
        assert_eq!(one.psql("SELECT n FROM here"), "7");
        let refused = other.psql_as(SUPERUSER, "SELECT n FROM here");
        assert!(refused.unwrap_err().contains("does not exist"));
    }
}
