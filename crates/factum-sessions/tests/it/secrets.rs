//! Secrets of many kinds go in, and are nowhere afterwards.

use std::path::{Path, PathBuf};

use factum_testkit::agents::Call;
use factum_testkit::agents::secrets::{KEPT, SECRETS, everywhere, named, texts};
use memchr::memmem;
use serde_json::json;

use crate::harness::{Place, done};

fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn assert_nowhere(place: &Place) {
    let mut contents: Vec<(String, Vec<u8>)> = all_files(place.directory())
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    if let Some(rows) = place.rows() {
        contents.push(("the database".to_owned(), rows.into_bytes()));
    }
    let mut found_what_is_kept = false;
    for (place, bytes) in &contents {
        found_what_is_kept |= memmem::find(bytes, KEPT.as_bytes()).is_some();
        for secret in texts() {
            let found = memmem::find(bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
    assert!(found_what_is_kept, "the search finds what is there");
}

pub(crate) async fn no_secret_reaches_the_disk(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    assert!(SECRETS.len() >= 20);
    for (_, secret, text) in SECRETS {
        let text = text.replace("{}", secret);
        for call in everywhere(&id, &text) {
            let answer = done(&node.sessions, call).await.unwrap();
            // Closing has a word to say too.
            if let Some(other) = answer["instance_id"]
                .as_str()
                .filter(|other| **other != *id)
            {
                let close = json!({ "instance_id": other, "reason": text });
                let close = Call::new("mcp_meta_close_instance", close);
                done(&node.sessions, close).await.unwrap();
            }
        }
    }
    for call in named(&id) {
        done(&node.sessions, call).await.unwrap();
    }
    node.advance(130);
    let resume = json!({ "instance_id_hint": id, "resumed_by": "password=member-hunter2-a" });
    let resume = Call::new("mcp_meta_resume_instance", resume);
    let answer = done(&node.sessions, resume).await.unwrap().to_string();
    for (kind, secret, _) in SECRETS {
        assert!(!answer.contains(secret), "{kind}");
    }
    assert!(node.sessions.metrics().redacted_total > 20);
    assert_nowhere(place);
    node.stop().await;
    assert_nowhere(place);
}

pub(crate) async fn what_is_refused_repeats_no_secret(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let secret = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv";
    let errors = [
        node.emit(&id, "commit_created", json!({ "message": secret }))
            .await
            .unwrap_err(),
        node.emit(
            &id,
            "pr_created",
            json!({ "pr_url": secret, "pr_number": secret, "title": "x" }),
        )
        .await
        .unwrap_err(),
    ];
    for error in errors {
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}
