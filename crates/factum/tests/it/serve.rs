//! The server's life: start, second start, stop, crash.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Server, factum, texts};

#[test]
fn the_first_start_makes_a_key_for_its_owner_only_and_the_second_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let file = data.join("admin.key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("fct_"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), 0);
    assert!(!data.join("server.json").exists());
    let server = Server::start(&data);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    server.run(&["read"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_second_server_on_the_directory_is_refused_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let second = factum(dir.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let (_, errors) = texts(&second);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("server.json")).unwrap()).unwrap();
    assert!(errors.contains(&run["pid"].to_string()), "{errors}");
    // The first one is still there, and still found.
    server.run(&["read"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn tls_is_spoken_with_a_certificate_that_the_client_is_told_to_trust() {
    let dir = tempfile::tempdir().unwrap();
    let cert = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls-cert.pem");
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls-key.pem");
    let data = dir.path().join("data");
    let server = Server::start_with(&data, &["--tls-cert", cert, "--tls-key", key]);
    server.run(&[
        "append", "--type", "a.b", "--stream", "a/1", "--cacert", cert,
    ]);
    assert_eq!(
        server
            .run(&["read", "a/1", "--json", "--cacert", cert])
            .lines()
            .count(),
        1
    );
    let output = server.output(&["read"], b"");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(server.run(&["read", "a/1", "--json"]).lines().count(), 1);
    server.run(&["verify"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_backup_is_restored_elsewhere_with_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let [data, copy, other] = ["data", "copy", "other"].map(|name| dir.path().join(name));
    let server = Server::start(&data);
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    server.run(&["backup", copy.to_str().unwrap()]);
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    assert_eq!(server.stop(), 0);
    let run = |arguments: &[&str]| {
        let output = factum(&other).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            texts(&output).1
        );
    };
    run(&["restore", copy.to_str().unwrap()]);
    run(&["verify"]);
    // The key file is not part of a backup, so whoever owns the directory makes another key.
    let server = Server::start_with(&other, &["--new-admin-key"]);
    assert_eq!(server.run(&["read", "a/1", "--json"]).lines().count(), 1);
    assert_eq!(server.stop(), 0);
}
