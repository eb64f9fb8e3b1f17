//! Servers whose log is in PostgreSQL.

use factum_testkit::postgres::{Database, PrivateServer};
use serde_json::json;

use crate::harness::{Server, factum, texts, until};

/// Returns a database that was set up with the program.
pub(crate) fn initialised() -> Database {
    let database = Database::create();
    init(&["--postgres", &database.url()]);
    database
}

fn init(arguments: &[&str]) -> String {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = factum(nowhere.path());
    let output = command.args(["postgres", "init"]).args(arguments).output();
    let output = output.unwrap();
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{arguments:?}: {out}{error}");
    out
}

fn append(server: &Server, number: u64) -> serde_json::Value {
    let payload = json!({"number": number}).to_string();
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    let event = ["append", "--type", "node.worked", "--stream", "node/1"];
    server.json(&[&event[..], &["--payload", &payload, "--id", &id]].concat())
}

#[test]
fn a_database_that_is_not_set_up_is_refused_with_the_way_to_do_it() {
    let database = Database::create();
    let dir = tempfile::tempdir().unwrap();
    let url = database.url();
    let output = factum(dir.path())
        .args(["serve", "--postgres", &url])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, error) = texts(&output);
    assert!(
        error.contains("is not set up; run `factum postgres init`"),
        "{error}"
    );
}

#[test]
fn the_doctor_tells_what_a_database_lacks() {
    let database = Database::create();
    let dir = tempfile::tempdir().unwrap();
    let look = |url: &str| {
        let output = factum(dir.path())
            .args(["doctor", "--json", "--postgres", url])
            .output()
            .unwrap();
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        move |name: &str| {
            let checks = checks.as_array().unwrap();
            let found = checks.iter().find(|check| check["check"] == name);
            found.map(|check| check["state"].as_str().unwrap().to_owned())
        }
    };
    let before = look(&database.url());
    assert_eq!(before("schema").as_deref(), Some("bad"));
    let role = format!("app_{}", std::process::id());
    init(&["--postgres", &database.url(), "--application-role", &role]);
    let as_owner = look(&database.url());
    assert_eq!(as_owner("schema").as_deref(), Some("good"));
    assert_eq!(as_owner("role").as_deref(), Some("warning"));
    let as_application = look(&database.url_as(&role));
    assert_eq!(as_application("role").as_deref(), Some("good"));
    let nowhere = look("postgresql://nobody@127.0.0.1:1/x");
    assert_eq!(nowhere("postgresql").as_deref(), Some("bad"));
}

#[test]
fn the_sql_that_is_printed_sets_a_database_up() {
    let sql = init(&["--print", "--leaves", "daily"]);
    let database = Database::create();
    database.psql(&sql);
    // What is there already stays as it is.
    let again = init(&["--postgres", &database.url()]);
    assert!(again.contains("schema factum"), "{again}");
    assert_eq!(
        database.psql("SELECT leaf_policy FROM factum.logs").trim(),
        "daily"
    );
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--postgres", &database.url()]);
    // The first event is that of the admin key.
    assert_eq!(append(&server, 1)["position"], 2);
    assert_eq!(server.stop(), 0);
}

#[test]
fn two_nodes_have_one_log_and_one_set_of_keys() {
    let database = initialised();
    let url = database.url();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = dirs
        .each_ref()
        .map(|dir| Server::start_with(dir.path(), &["--postgres", &url]));
    let key = std::fs::read_to_string(dirs[0].path().join("admin.key")).unwrap();
    assert!(!dirs[1].path().join("admin.key").exists());
    let receipt = append(&first, 1);
    let cursor = receipt["cursor"].as_str().unwrap();
    let with_key = |arguments: &[&str]| second.json(&[arguments, &["--key", key.trim()]].concat());
    // It may be told of the append a moment later.
    let counted = until("the second node sees the event", || {
        let counted = with_key(&["count", "type:node.worked"]);
        (counted["total"] == 1).then_some(counted)
    });
    assert_eq!(counted["total"], 1);
    let id = "00000000-0000-4000-8000-000000000002";
    let event = [
        "append",
        "--type",
        "node.worked",
        "--stream",
        "node/1",
        "--id",
        id,
    ];
    assert_eq!(with_key(&event)["sequenceNumber"], 2);
    let seen = first.run(&["tail", "--json", "--after", cursor, "--limit", "1"]);
    assert!(seen.contains(id), "{seen}");
    second.kill();
    assert_eq!(append(&first, 3)["sequenceNumber"], 3);
    assert_eq!(first.stop(), 0);
}

#[test]
fn a_server_goes_on_after_its_database_was_restarted() {
    let mut postgres = PrivateServer::start();
    init(&["--postgres", &postgres.url()]);
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--postgres", &postgres.url()];
    let server = Server::start_with(dir.path(), &arguments);
    assert_eq!(append(&server, 1)["sequenceNumber"], 1);
    postgres.stop_immediately();
    postgres.resume();
    // Which error an append gives meanwhile depends on the moment; its repetition resolves it.
    let event = [
        "append",
        "--type",
        "node.worked",
        "--stream",
        "node/1",
        "--json",
    ];
    let event = [
        &event[..],
        &["--id", "00000000-0000-4000-8000-000000000002"],
    ]
    .concat();
    let receipt = until("appends are taken again", || {
        let output = server.output(&event, b"");
        output.status.success().then(|| texts(&output).0)
    });
    assert!(receipt.contains("\"sequenceNumber\":2"), "{receipt}");
    let made = server.json(&["keys", "create", "reader", "--scopes", "read"]);
    let secret = made["secret"].as_str().unwrap().to_owned();
    until("a key that is made now is known", || {
        let output = server.output(&["count", "type:node.worked", "--key", &secret], b"");
        output.status.success().then_some(())
    });
    assert_eq!(server.stop(), 0);
}
