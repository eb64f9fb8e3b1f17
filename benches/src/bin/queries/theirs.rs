//! PostgreSQL 15 in a directory of its own, with what an application would build on it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};
use tempfile::TempDir;

use crate::Outcome;
use crate::events::event;
use crate::machine;
use crate::questions::{Answer, Question};

const START_WITHIN: Duration = Duration::from_secs(120);
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "shared_buffers=4GB",
    "effective_cache_size=12GB",
    "maintenance_work_mem=1GB",
    "work_mem=64MB",
    "max_wal_size=8GB",
    "random_page_cost=1.1",
    "TimeZone=UTC",
];
const TABLE: &str = "CREATE TABLE events (position bigint NOT NULL, id uuid NOT NULL, type text NOT NULL,
  aggregate_type text NOT NULL, aggregate_id text NOT NULL, user_id text, tags text[], correlation text,
  ts timestamptz NOT NULL, recorded timestamptz NOT NULL, metadata jsonb NOT NULL, payload jsonb NOT NULL)";
const INDEXES: &[&str] = &[
    "ALTER TABLE events ADD PRIMARY KEY (position)",
    "ALTER TABLE events ADD UNIQUE (id)",
    "CREATE INDEX by_type ON events (type, position)",
    "CREATE INDEX by_stream ON events (aggregate_type, aggregate_id, position)",
    "CREATE INDEX by_user ON events (user_id, position)",
    "CREATE INDEX by_correlation ON events (correlation)",
    "CREATE INDEX by_ts ON events (ts)",
    "CREATE INDEX by_payload ON events USING gin (payload jsonb_path_ops)",
    "CREATE INDEX by_tag ON events USING gin (tags)",
    r#"CREATE INDEX by_word ON events USING gin (jsonb_to_tsvector('simple', payload, '["string"]'))"#,
    "VACUUM ANALYZE events",
];

/// A server with events in it.
pub struct Postgres {
    client: Option<Client>,
    server: Child,
    programs: PathBuf,
    /// Who owns its files: it refuses to run as root.
    owner: Option<(u32, u32)>,
    directory: TempDir,
    n_events: u64,
}

/// What loading took.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    pub copy: Duration,
    pub index: Duration,
}

impl Postgres {
    /// Starts a server and loads events into it.
    pub fn load(n_events: u64) -> Outcome<(Self, Loaded)> {
        let places = ["/usr/lib/postgresql/15/bin", "/usr/local/bin", "/usr/bin"];
        let programs = places.into_iter().map(PathBuf::from);
        let programs = programs
            .into_iter()
            .find(|place| place.join("initdb").exists());
        let programs = programs.ok_or("PostgreSQL is not installed")?;
        let directory = machine::temporary()?;
        let owner = owner(directory.path())?;
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group))?;
        }
        let mut initdb = program(&programs, owner, "initdb");
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-locale",
            "-E",
            "UTF8",
            "-D",
        ]);
        let mut initdb = initdb
            .arg(directory.path().join("data"))
            .stdout(Stdio::null())
            .spawn()?;
        if !machine::wait(&mut initdb, START_WITHIN)?.success() {
            return Err("initdb failed".into());
        }
        let server = start(&programs, owner, directory.path())?;
        let mut this = Self {
            client: None,
            server,
            programs,
            owner,
            directory,
            n_events,
        };
        this.connect()?;
        let loaded = this.fill()?;
        Ok((this, loaded))
    }

    /// Returns a URL that connects to the server.
    pub fn url(&self) -> String {
        let socket = self.directory.path().display().to_string();
        let socket = socket.replace('%', "%25").replace('/', "%2F");
        format!("postgresql://postgres@{socket}/postgres")
    }

    /// Has the server learn what is in its tables.
    pub fn analyze(&mut self) -> Outcome<()> {
        let client = self.client()?;
        // Each alone: VACUUM runs in no transaction.
        for statement in [
            "RESET statement_timeout",
            "VACUUM ANALYZE",
            "SET statement_timeout = '60s'",
        ] {
            client.batch_execute(statement)?;
        }
        Ok(())
    }

    fn connect(&mut self) -> Outcome<()> {
        let mut config = Config::new();
        config
            .host_path(self.directory.path())
            .user("postgres")
            .dbname("postgres");
        config.connect_timeout(Duration::from_secs(10));
        let start = Instant::now();
        loop {
            match config.connect(NoTls) {
                Ok(client) => {
                    self.client = Some(client);
                    return Ok(());
                }
                Err(error) if start.elapsed() > START_WITHIN => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn client(&mut self) -> Outcome<&mut Client> {
        self.client.as_mut().ok_or_else(|| "not connected".into())
    }

    fn fill(&mut self) -> Outcome<Loaded> {
        let n_events = self.n_events;
        let client = self.client()?;
        client.batch_execute("SET statement_timeout = '30min'")?;
        client.batch_execute(TABLE)?;
        let start = Instant::now();
        let mut copy = client.copy_in("COPY events FROM STDIN")?;
        let mut rows = String::new();
        for number in 0..n_events {
            event(number, n_events)?.write_row(number + 1, &mut rows)?;
            if rows.len() > 1 << 16 {
                copy.write_all(rows.as_bytes())?;
                rows.clear();
            }
        }
        copy.write_all(rows.as_bytes())?;
        copy.finish()?;
        let copied = start.elapsed();
        for statement in INDEXES {
            client.batch_execute(statement)?;
        }
        client.batch_execute("CHECKPOINT")?;
        client.batch_execute("SET statement_timeout = '60s'")?;
        Ok(Loaded {
            copy: copied,
            index: start.elapsed() - copied,
        })
    }

    /// Restarts the server, connects, and touches the table, so that its catalogue is read.
    pub fn restart(&mut self) -> Outcome<()> {
        drop(self.client.take());
        self.stop()?;
        self.server = start(&self.programs, self.owner, self.directory.path())?;
        self.connect()?;
        let client = self.client()?;
        client.batch_execute("SET statement_timeout = '60s'")?;
        client.simple_query("SELECT * FROM events WHERE position = 0")?;
        Ok(())
    }

    fn stop(&mut self) -> Outcome<()> {
        let mut stop = program(&self.programs, self.owner, "pg_ctl");
        stop.args(["stop", "-w", "-t", "60", "-m", "fast", "-D"])
            .arg(self.directory.path().join("data"));
        machine::wait(&mut stop.stdout(Stdio::null()).spawn()?, START_WITHIN)?;
        machine::wait(&mut self.server, START_WITHIN)?;
        Ok(())
    }

    /// Returns how many bytes the table and each index have for an event.
    pub fn bytes(&mut self) -> Outcome<String> {
        let n_events = self.n_events as f64;
        let rows = self.client()?.query(
            "SELECT 'table', pg_table_size('events') UNION ALL
             SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index
             WHERE indrelid = 'events'::regclass UNION ALL SELECT 'all', pg_total_relation_size('events')",
            &[],
        )?;
        let each = |row: &postgres::Row| {
            let (name, bytes): (String, i64) = (row.get(0), row.get(1));
            format!("{name} {:.1}", bytes as f64 / n_events)
        };
        Ok(rows.iter().map(each).collect::<Vec<_>>().join(", "))
    }

    /// Asks with other values each round; `None` when the answer takes more than a minute.
    pub fn ask_round(
        &mut self,
        question: Question,
        round: u64,
    ) -> Outcome<Option<(Answer, Duration)>> {
        let sql = question.sql(round, self.n_events)?;
        let client = self.client()?;
        let start = Instant::now();
        let messages = match client.simple_query(&sql) {
            Ok(messages) => messages,
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let took = start.elapsed();
        let rows: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect();
        Ok(Some((answer(question, &rows)?, took)))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.client.take());
        if let Err(error) = self.stop() {
            println!("PostgreSQL did not stop: {error}");
        }
    }
}

fn answer(question: Question, rows: &[&SimpleQueryRow]) -> Outcome<Answer> {
    let number = |row: &SimpleQueryRow, column: usize| -> Outcome<u64> {
        Ok(row.get(column).ok_or("a number is missing")?.parse()?)
    };
    let numbers = rows.iter().map(|row| number(row, 0));
    Ok(match question {
        Question::Equalities
        | Question::Newest
        | Question::Window
        | Question::Words
        | Question::Auditor
        | Question::Stream
        | Question::Id => Answer::Events(numbers.collect::<Outcome<_>>()?),
        Question::TotalOfType | Question::TotalOfCountry => {
            Answer::Total(numbers.sum::<Outcome<u64>>()?)
        }
        Question::Days | Question::DaysOfType => {
            let groups = rows.iter().map(|row| {
                Ok((
                    row.get(0).ok_or("a day is missing")?.to_owned(),
                    number(row, 1)?,
                ))
            });
            Answer::Groups(groups.collect::<Outcome<_>>()?)
        }
    })
}

/// Returns as whom the server runs, if this process is root.
fn owner(directory: &Path) -> Outcome<Option<(u32, u32)>> {
    if std::fs::metadata(directory)?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.ok_or("there is no user postgres")?.split(':').skip(2);
    let mut number = || -> Outcome<u32> { Ok(fields.next().ok_or("no number")?.parse()?) };
    Ok(Some((number()?, number()?)))
}

/// A program of PostgreSQL that ends when this process does.
fn program(programs: &Path, owner: Option<(u32, u32)>, name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if let Some((user, group)) = owner {
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"));
        command.arg("--clear-groups");
    }
    command.arg(programs.join(name)).current_dir("/");
    command
}

fn start(programs: &Path, owner: Option<(u32, u32)>, directory: &Path) -> Outcome<Child> {
    let mut command = program(programs, owner, "postgres");
    command
        .arg("-D")
        .arg(directory.join("data"))
        .arg("-k")
        .arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    let log = File::create(directory.join("log"))?;
    Ok(command.stdout(Stdio::null()).stderr(log).spawn()?)
}
