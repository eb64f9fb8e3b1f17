//! The master key is rotated, also by a command that dies in the middle, and no secret is lost.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Server, factum, texts, until};
use crate::receiver::{Mood, Receiver, webhook};

const N_RULES: usize = 40;

fn start(data: &Path) -> Server {
    Server::start_with(data, &["--deliver-allow", "127.0.0.1"])
}

/// Runs `factum secrets` beside no server, and returns what it says.
fn secrets(data: &Path, act: &str) -> Value {
    let mut command = factum(data);
    let output = command.args(["secrets", act, "--json"]).output().unwrap();
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{act}: {out}{error}");
    serde_json::from_str(&out).unwrap()
}

fn n_keys(data: &Path) -> usize {
    let text = std::fs::read_to_string(data.join("master.key")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Begins to rotate, and dies as soon as the new key is there.
fn rotate_and_die(data: &Path) {
    let before = n_keys(data);
    let mut child = factum(data).args(["secrets", "rotate"]).spawn().unwrap();
    until("there is a new key", || {
        (n_keys(data) > before).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Checks that every rule sends, so that its secret can be opened.
fn all_send(server: &Server, receiver: &Receiver, n_events: usize) {
    server.run(&["append", "--type", "case.noted", "--stream", "case/1"]);
    for number in 0..N_RULES {
        let path = format!("/{number}");
        until("a rule sends", || {
            (receiver.taken(&path).len() == n_events).then_some(())
        });
    }
}

#[test]
fn a_rotation_that_dies_in_the_middle_is_finished_later_and_loses_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let receiver = Receiver::start(|_| Mood::Takes);
    let server = start(data);
    let refused = server.output(&["secrets", "list"], b"");
    assert_eq!(refused.status.code(), Some(2), "a server has the store");
    for number in 0..N_RULES {
        let rule = json!({
            "id": number.to_string(),
            "name": "a rule with a secret",
            "conditions": {"type": "eventType", "operator": "equals", "value": "case.noted"},
            "targets": [{"id": "t", "to": webhook(&receiver.url(&format!("/{number}")), 5000)}],
        });
        let file = data.join("rule.json");
        std::fs::write(&file, rule.to_string()).unwrap();
        server.run(&["rules", "apply", "-f", file.to_str().unwrap()]);
    }
    all_send(&server, &receiver, 1);
    assert_eq!(server.stop(), 0);
    assert_eq!(n_keys(data), 1);

    // How far it gets is chance; that it ends in the middle once is what this is about.
    let in_the_middle = (0..10).any(|_| {
        rotate_and_die(data);
        let listed = secrets(data, "list");
        let n_earlier = listed["rulesUnderEarlierKeys"].as_array().unwrap().len();
        assert_eq!(listed["rulesThatCannotBeOpened"], json!([]));
        assert_eq!(listed["rulesCurrent"], N_RULES - n_earlier);
        n_earlier > 0
    });
    assert!(in_the_middle, "every rotation was done before it died");
    let server = start(data);
    all_send(&server, &receiver, 2);
    assert_eq!(server.stop(), 0);

    let rotated = secrets(data, "rotate");
    assert_eq!(rotated["resealed"], N_RULES);
    let pruned = secrets(data, "prune");
    assert_eq!((n_keys(data), &pruned["resealed"]), (1, &json!(0)));
    assert_eq!(pruned["keys"].as_array().unwrap().len(), 1);
    let server = start(data);
    all_send(&server, &receiver, 3);
    assert_eq!(server.stop(), 0);
}
