use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn what_is_sealed_opens_for_its_purpose_only() {
    let key = MasterKey::from_text(&STANDARD.encode([1; 32])).unwrap();
    let sealed = key.seal(b"top secret", "a").unwrap();
    assert_eq!(key.open(&sealed, "a").unwrap(), b"top secret");
    assert!(key.open(&sealed, "b").is_err());
    assert_ne!(key.seal(b"top secret", "a").unwrap(), sealed);
    let other = MasterKey::from_text(&STANDARD.encode([2; 32])).unwrap();
    assert!(
        other
            .open(&sealed, "a")
            .unwrap_err()
            .message
            .contains("not known")
    );
    let empty = key.seal(b"", "a").unwrap();
    assert_eq!(key.open(&empty, "a").unwrap(), b"");
}

/// What one version sealed, every later one opens.
#[test]
fn the_format_stays() {
    let key = MasterKey::from_text(&STANDARD.encode([1; 32])).unwrap();
    assert_eq!(key.key_ids(), ["002bf721"]);
    let sealed = "sealed1.002bf721.qjn7NnLP75fds5TI16OUD6RgUYvn6C5mbP_K7YnXl4WSqcdt";
    assert_eq!(key.open(sealed, "purpose").unwrap(), b"a secret");
}

#[test]
fn whatever_is_changed_does_not_open() {
    let key = MasterKey::from_text(&STANDARD.encode([1; 32])).unwrap();
    let sealed = key.seal(b"top secret", "a").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character has bits that stand for nothing.
        let same = URL_SAFE_NO_PAD
            .decode(changed.rsplit('.').next().unwrap())
            .ok()
            == URL_SAFE_NO_PAD
                .decode(sealed.rsplit('.').next().unwrap())
                .ok();
        assert!(key.open(&changed, "a").is_err() || same, "{at}");
    }
    for wrong in [
        "",
        ".",
        "sealed1",
        "sealed1.x",
        "sealed1.x.y.z",
        "sealed1.002bf721.",
        "sealed2.002bf721.AA",
    ] {
        assert!(key.open(wrong, "a").is_err(), "{wrong}");
    }
}

#[test]
fn a_new_key_seals_and_the_old_one_still_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let key = MasterKey::open_or_create(&path).unwrap();
    let old = key.seal(b"1", "a").unwrap();
    let id = key.rotate().unwrap();
    let new = key.seal(b"2", "a").unwrap();
    assert!(new.contains(&id) && key.is_current(&new) && !key.is_current(&old));
    let again = MasterKey::open_or_create(&path).unwrap();
    assert_eq!(again.key_ids(), key.key_ids());
    assert_eq!(again.open(&old, "a").unwrap(), b"1");
    assert_eq!(again.open(&new, "a").unwrap(), b"2");
    for _ in 2..KEYS_MAX {
        key.rotate().unwrap();
    }
    assert!(matches!(
        key.rotate(),
        Err(MasterKeyError::Count { count: 17 })
    ));
    assert!(
        MasterKey::from_text(&STANDARD.encode([1; 32]))
            .unwrap()
            .rotate()
            .is_err()
    );
}

#[test]
fn earlier_keys_are_forgotten_on_demand_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let key = MasterKey::open_or_create(&path).unwrap();
    let old = key.seal(b"1", "a").unwrap();
    key.rotate().unwrap();
    let new = key.seal(b"2", "a").unwrap();
    let id = key.key_ids()[0].clone();
    assert_eq!(key.forget_earlier(&id).unwrap(), 1);
    assert!(key.open(&old, "a").is_err());
    let again = MasterKey::open_or_create(&path).unwrap();
    assert_eq!(again.key_ids(), key.key_ids());
    assert_eq!(again.open(&new, "a").unwrap(), b"2");
    assert_eq!(key.forget_earlier(&id).unwrap(), 0);
}

#[test]
fn a_key_that_was_changed_elsewhere_is_found_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let here = MasterKey::open_or_create(&path).unwrap();
    let there = MasterKey::open_or_create(&path).unwrap();
    let id = there.rotate().unwrap();
    let sealed = there.seal(b"1", "a").unwrap();
    assert_eq!(here.open(&sealed, "a").unwrap(), b"1");
    assert_eq!(here.key_ids().first(), Some(&id));
    // A key that another process has added is not lost when one is added here.
    there.rotate().unwrap();
    here.rotate().unwrap();
    assert_eq!(here.key_ids().len(), 4);
}

/// A server sealed with the key that it had read when it started, although that one had been
/// forgotten since: the secret was on no disk that could open it.
#[test]
fn nothing_is_sealed_under_a_key_that_was_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let server = MasterKey::open_or_create(&path).unwrap();
    let command = MasterKey::open_or_create(&path).unwrap();
    let id = command.rotate().unwrap();
    assert_eq!(command.forget_earlier(&id).unwrap(), 1);
    let sealed = server.seal(b"1", "a").unwrap();
    assert!(server.is_current(&sealed));
    let again = MasterKey::open_or_create(&path).unwrap();
    assert_eq!(again.open(&sealed, "a").unwrap(), b"1");
    // A key that is on no disk any more seals nothing either.
    fs::remove_file(&path).unwrap();
    let error = server.seal(b"1", "a").unwrap_err();
    assert_eq!(error.message, "the master key cannot be read");
}

/// Everything was found to be sealed under one key, and then another one was kept.
#[test]
fn the_key_that_is_kept_is_the_one_that_was_looked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let here = MasterKey::open_or_create(&path).unwrap();
    let checked = here.rotate().unwrap();
    let sealed = here.seal(b"1", "a").unwrap();
    let other = MasterKey::open_or_create(&path).unwrap();
    let newer = other.rotate().unwrap();
    let error = here.forget_earlier(&checked).unwrap_err();
    assert!(
        matches!(&error, MasterKeyError::Changed { expected, found } if *expected == checked && *found == newer),
        "{error}"
    );
    let again = MasterKey::open_or_create(&path).unwrap();
    assert_eq!(again.open(&sealed, "a").unwrap(), b"1");
    assert_eq!(again.key_ids().len(), 3);
}

#[test]
fn one_process_at_a_time_changes_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let key = MasterKey::open_or_create(&path).unwrap();
    let id = key.key_ids()[0].clone();
    let held = Held::new(&path).unwrap();
    assert!(matches!(key.rotate(), Err(MasterKeyError::Busy { .. })));
    let error = key.forget_earlier(&id).unwrap_err();
    assert!(matches!(error, MasterKeyError::Busy { .. }), "{error}");
    // Sealing and opening go on meanwhile.
    let sealed = key.seal(b"1", "a").unwrap();
    assert_eq!(key.open(&sealed, "a").unwrap(), b"1");
    drop(held);
    key.rotate().unwrap();
}

/// A rotation by the superuser left a file that the user of the server could not read.
#[test]
fn the_file_stays_with_whom_it_belongs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let key = MasterKey::open_or_create(&path).unwrap();
    let is_superuser = fs::metadata(directory.path()).unwrap().uid() == 0;
    if is_superuser {
        std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).unwrap();
        let id = key.rotate().unwrap();
        key.forget_earlier(&id).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 54_321));
        assert_eq!(metadata.mode() & 0o777, 0o600);
    } else {
        // Who may not give it to its owner changes nothing, and leaves nothing.
        let error = file::write_beside(&path, "x", Some(file::Owner { user: 0, group: 0 }));
        assert!(matches!(error, Err(MasterKeyError::Owner { user: 0, .. })));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_a_change_that_died_has_left_is_removed_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let key = MasterKey::open_or_create(&path).unwrap();
    let mut id = key.key_ids()[0].clone();
    let others = [
        "master.key.copy",
        "master.key.0123456789ABCDEF",
        "other.key.0123456789abcdef",
    ];
    for name in others {
        fs::write(directory.path().join(name), "mine").unwrap();
    }
    for act in ["prune", "rotate", "prune"] {
        let left = directory.path().join("master.key.0123456789abcdef");
        fs::copy(&path, &left).unwrap();
        match act {
            "rotate" => id = key.rotate().unwrap(),
            _ => assert!(key.forget_earlier(&id).is_ok()),
        }
        assert!(!left.exists(), "{act}");
    }
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1 + others.len()
    );
    // What cannot replace the file is not left either.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "x").unwrap();
    let held = Held::new(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(held.replace("y").is_err());
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1 + others.len()
    );
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    MasterKey::open_or_create(&path).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    MasterKey::open_or_create(&path).unwrap().rotate().unwrap();
    assert_eq!(mode(), 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = MasterKey::open_or_create(&path).unwrap_err();
    assert!(matches!(error, MasterKeyError::Exposed { mode: 0o640, .. }));
}

#[test]
fn many_who_start_at_once_have_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let ids = std::thread::scope(|scope| {
        let open = || scope.spawn(|| MasterKey::open_or_create(&path).unwrap().key_ids());
        let threads: Vec<_> = (0..8).map(|_| open()).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(ids.iter().all(|other| *other == ids[0]));
}

#[test]
fn texts_that_are_no_keys_are_refused_by_line() {
    let good = STANDARD.encode([1; 32]);
    for (text, line) in [
        (format!("# a\n\n{good}\nx"), 4),
        (STANDARD.encode([1; 31]), 1),
    ] {
        let error = MasterKey::from_text(&text).unwrap_err();
        assert!(
            matches!(error, MasterKeyError::Text { line: at } if at == line),
            "{error}"
        );
    }
    let error = MasterKey::from_text("# nothing\n").unwrap_err();
    assert!(matches!(error, MasterKeyError::Count { count: 0 }));
    assert!(!format!("{:?}", MasterKey::from_text(&good).unwrap()).contains(&good[..8]));
}
