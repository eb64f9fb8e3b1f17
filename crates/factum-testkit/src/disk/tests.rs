use std::collections::BTreeSet;

use super::*;

fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let bytes = disk.bytes_of(&name).unwrap();
            (name, bytes)
        })
        .collect()
}

/// Returns the different disks that crashes leave after `work`, over many seeds.
fn survivors(work: impl Fn(&SimDisk)) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    (0..300)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            work(&disk);
            contents(&disk.restart())
        })
        .collect()
}

fn file(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    vec![("a".to_owned(), bytes.to_vec())]
}

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    let left = survivors(|disk| {
        let file = disk.create("a").unwrap();
        file.write_at(&[7; 1500], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
    });
    assert_eq!(left, BTreeSet::from([file(&[7; 1500])]));
}

#[test]
fn unsynced_sectors_survive_one_by_one() {
    let left = survivors(|disk| {
        let file = disk.create("a").unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[2; 1024], 0).unwrap();
    });
    let halves = |first, second| file(&[[first; 512], [second; 512]].concat());
    let all = [halves(1, 1), halves(1, 2), halves(2, 1), halves(2, 2)];
    assert_eq!(left, BTreeSet::from(all));
}

#[test]
fn unsynced_lengths_survive_in_part() {
    let left = survivors(|disk| {
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[3; 4], 0).unwrap();
    });
    let lengths: BTreeSet<_> = left.iter().map(|files| files[0].1.len()).collect();
    assert_eq!(lengths, BTreeSet::from([0, 1, 2, 3, 4]));
    assert!(left.contains(&file(&[3; 4])) && left.contains(&file(&[0; 4])));
}

#[test]
fn unsynced_names_survive_in_any_way_that_fits() {
    let left = survivors(|disk| {
        let new = disk.create("new").unwrap();
        new.write_at(b"n", 0).unwrap();
        new.sync_data().unwrap();
        disk.create("old").unwrap();
        disk.sync_dir().unwrap();
        disk.rename("new", "old").unwrap();
        disk.create("b").unwrap();
    });
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    let left: BTreeSet<_> = left.iter().map(|files| names(files)).collect();
    let expected = [
        &["b", "new", "old"][..],
        &["new", "old"],
        &["b", "old"],
        &["old"],
    ];
    let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(left, BTreeSet::from(expected));
}

#[test]
fn dead_handles_stay_dead_and_one_seed_gives_one_disk() {
    let crashed = || {
        let disk = SimDisk::new(11);
        disk.crash_after(3);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[1; 4000], 0).unwrap_err();
        assert!(disk.has_crashed());
        let survivor = disk.restart();
        file.read_at(&mut [0], 0).unwrap_err();
        disk.create("b").unwrap_err();
        assert_eq!(survivor.n_operations(), 0);
        survivor.create("b").unwrap();
        contents(&survivor)
    };
    assert_eq!(crashed(), crashed());
}

#[test]
fn faults_hit_the_operation_with_their_number() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    disk.fail(2, Fault::Full);
    disk.fail(3, Fault::ShortWrite);
    disk.fail(5, Fault::Io);
    let error = file.write_at(&[1; 2000], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.length().unwrap(), 0);
    file.write_at(&[1; 2000], 0).unwrap_err();
    assert!(file.length().unwrap() < 2000);
    file.write_at(&[1; 2000], 0).unwrap();
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.n_operations(), 6);
}

#[test]
fn lost_sync_is_seen_by_reads_and_by_no_later_sync() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a").unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[2; 512], 0).unwrap();
        disk.fail(disk.n_operations() + 1, Fault::LostSync);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.bytes_of("a").unwrap(), [2; 512]);
        lost += u32::from(disk.restart().bytes_of("a").unwrap() == [1; 512]);
    }
    assert!(lost > 0);
}

#[test]
fn a_full_disk_takes_overwrites_and_takes_more_when_there_is_space() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    disk.set_capacity(Some(1000));
    file.reserve(0, 1000).unwrap();
    file.write_at(&[1; 1000], 0).unwrap();
    let error = file.write_at(&[1; 2], 999).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(None);
    file.write_at(&[1; 2], 999).unwrap();
}

#[test]
fn zeroing_is_durable_and_syncs_nothing_else() {
    let left = survivors(|disk| {
        let file = disk.create("a").unwrap();
        file.write_at(&[1; 1536], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[2; 512], 1024).unwrap();
        file.zero(0, 1024).unwrap();
    });
    let with = |last| file(&[[0; 512], [0; 512], [last; 512]].concat());
    assert_eq!(left, BTreeSet::from([with(1), with(2)]));
}

#[test]
fn one_holder_at_a_time() {
    let disk = SimDisk::new(1);
    let guard = disk.lock("LOCK", "first").unwrap();
    assert!(matches!(
        disk.lock("LOCK", "second"),
        Err(LockError::Held { holder }) if holder == "first"
    ));
    drop(guard);
    let _second = disk.lock("LOCK", "second").unwrap();
    let _after_crash = disk.restart().lock("LOCK", "third").unwrap();
}

#[test]
fn lost_names_are_seen_and_covered_by_no_later_sync() {
    let mut left = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        disk.create("old").unwrap();
        disk.create("new").unwrap();
        disk.sync_dir().unwrap();
        disk.rename("new", "old").unwrap();
        disk.fail(disk.n_operations() + 1, Fault::LostNames);
        let error = disk.sync_dir().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.create("later").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["later", "old"]);
        left.insert(disk.restart().list().unwrap());
    }
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [names(&["later", "new", "old"]), names(&["later", "old"])];
    assert_eq!(left, BTreeSet::from(expected));
}

#[test]
fn a_read_fails_once_when_it_was_to() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(&[7; 4], 0).unwrap();
    disk.fail_read(disk.n_reads() + 2);
    let mut buffer = [0; 4];
    file.read_at(&mut buffer, 0).unwrap();
    file.read_at(&mut buffer, 0).unwrap_err();
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 4);
    assert_eq!((buffer, disk.n_reads()), ([7; 4], 3));
}
