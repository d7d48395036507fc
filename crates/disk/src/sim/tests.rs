//! The crash model must be able to do everything it is there for: a test on a kind disk proves nothing.

use std::collections::BTreeSet;

use super::*;
use crate::{publish, write_atomically};

const SEEDS: u64 = 300;

fn file(disk: &SimDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let count = file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(count, bytes.len());
    Some(bytes)
}

/// Scenario: two unsynced writes to a synced file of a synced name, then the power goes, over many seeds.
/// Guarantees: every fate occurs: both kept, both lost, the later kept without the earlier, a prefix,
/// a hole inside one write; and never a byte that nobody wrote.
#[test]
fn unsynced_writes_are_lost_torn_and_reordered() {
    let (first, second) = (vec![1_u8; 2000], vec![2_u8; 2000]);
    let mut fates = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let handle = file(&disk, "f");
        disk.sync_dir(Path::new("")).unwrap();
        handle.write_all_at(&first, 0).unwrap();
        handle.write_all_at(&second, 2000).unwrap();
        disk.crash();
        assert!(handle.len().is_err(), "handles die");
        let after = content(&disk, "f").unwrap();
        let ones = after.iter().take(2000).filter(|byte| **byte == 1).count();
        let twos = after.iter().skip(2000).filter(|byte| **byte == 2).count();
        let hole = after.iter().take(2000).skip_while(|byte| **byte == 0).any(|byte| *byte == 0);
        assert!(after.iter().all(|byte| *byte <= 2));
        fates.insert(match (ones, twos) {
            (2000, 2000) => "both",
            (0, 0) => "none",
            (0, 2000) => "later only",
            (_, _) if hole && ones > 0 => "hole",
            (1..2000, _) => "prefix",
            _ => "other",
        });
    }
    let wanted = ["both", "hole", "later only", "none", "other", "prefix"];
    assert_eq!(fates.into_iter().collect::<Vec<_>>(), wanted);
}

/// Scenario: synced data and names; a process that dies; a name that was never synced.
/// Guarantees: synced things survive the power, everything written survives the process, and a file's
/// sync does not save its name.
#[test]
fn synced_things_survive() {
    let mut lost_names = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let handle = file(&disk, "kept");
        handle.write_all_at(b"synced", 0).unwrap();
        handle.sync_data().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        let nameless = file(&disk, "nameless");
        nameless.write_all_at(b"x", 0).unwrap();
        nameless.sync_data().unwrap();
        disk.kill();
        assert_eq!(content(&disk, "nameless").unwrap(), b"x");
        disk.crash();
        assert_eq!(content(&disk, "kept").unwrap(), b"synced");
        lost_names += usize::from(content(&disk, "nameless").is_none());
    }
    assert!(lost_names > 0 && lost_names < SEEDS as usize);
}

/// Scenario: a sync fails, the next one on the same file succeeds, then the power goes.
/// Guarantees: the data was readable all along, may be gone all the same, and is safe once written again.
#[test]
fn a_sync_after_a_failed_sync_saves_nothing() {
    let (mut lost, mut saved) = (0, 0);
    for seed in 0..SEEDS {
        for rewrite in [false, true] {
            let disk = SimDisk::new(seed);
            let handle = file(&disk, "f");
            disk.sync_dir(Path::new("")).unwrap();
            handle.write_all_at(b"data", 0).unwrap();
            disk.fail_next_syncs(1);
            handle.sync_data().unwrap_err();
            assert_eq!(content(&disk, "f").unwrap(), b"data");
            if rewrite {
                handle.write_all_at(b"data", 0).unwrap();
            }
            handle.sync_data().unwrap();
            disk.crash();
            let intact = content(&disk, "f").unwrap() == b"data";
            assert!(intact || !rewrite);
            lost += usize::from(!intact);
            saved += usize::from(intact && !rewrite);
        }
    }
    assert!(lost > 0 && saved > 0);
}

/// Scenario: files are replaced and published with the helpers while the process stops at every
/// possible operation, and the power goes.
/// Guarantees: a replaced file is the old or the new one, whole; a published one is whole or absent,
/// and what a call that returned did is there; a taken name is never replaced.
#[test]
fn whole_files_or_none() {
    let path = Path::new("d/file");
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new("d")).unwrap();
        write_atomically(&disk, path, b"old").unwrap();
        disk.halt_after(seed % 6 + 1);
        let done = write_atomically(&disk.process(), path, b"newer").is_ok();
        disk.crash();
        let after = content(&disk, "d/file").unwrap();
        assert!(after == b"newer" || (after == b"old" && !done), "seed {seed}: {after:?}");
        write_atomically(&disk, path, b"third").unwrap();

        disk.halt_after(seed % 5 + 1);
        let process = disk.process();
        let published = process
            .open(Path::new("d/t"), OpenMode::CreateNew)
            .and_then(|file| file.write_all_at(b"whole", 0).and_then(|()| file.sync_data()))
            .and_then(|()| publish(&process, Path::new("d/t"), Path::new("d/final")));
        disk.crash();
        match content(&disk, "d/final") {
            Some(bytes) => assert_eq!(bytes, b"whole"),
            None => assert!(published.is_err()),
        }
    }
    let disk = SimDisk::new(0);
    write_atomically(&disk, Path::new("a"), b"1").unwrap();
    write_atomically(&disk, Path::new("b"), b"2").unwrap();
    let taken = publish(&disk, Path::new("a"), Path::new("b")).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(content(&disk, "b").unwrap(), b"2");
}

/// Scenario: the disk fills up, a write breaks, room comes back.
/// Guarantees: a full disk takes a part and says so, overwriting needs no room, removing gives room.
#[test]
fn a_full_disk_takes_what_fits() {
    let disk = SimDisk::new(7);
    let (one, two) = (file(&disk, "one"), file(&disk, "two"));
    one.write_all_at(&[1; 10], 0).unwrap();
    disk.set_free_bytes(Some(4));
    let full = two.write_all_at(&[2; 10], 0).unwrap_err();
    assert_eq!((full.kind(), two.len().unwrap()), (io::ErrorKind::StorageFull, 4));
    one.write_all_at(&[3; 10], 0).unwrap();
    disk.remove_file(Path::new("one")).unwrap();
    two.write_all_at(&[2; 10], 0).unwrap();
    disk.set_free_bytes(None);
    disk.fail_writes(1);
    two.write_all_at(&[4; 10], 10).unwrap_err();
    two.write_all_at(&[4; 100], 10).unwrap();
}

/// Scenario: a process's view and its handles are used after that process has died.
/// Guarantees: they can change nothing; the view of the test itself lives on; the same seed gives the
/// same disk.
#[test]
fn the_dead_do_nothing() {
    let run = || {
        let disk = SimDisk::new(99);
        let process = disk.process();
        let handle = file(&process, "f");
        disk.halt_after(3);
        while handle.write_all_at(&[7; 700], 0).is_ok() {}
        assert!(disk.entry(Path::new("f")).is_err(), "halted for all until the crash");
        disk.crash();
        assert!(process.open(Path::new("f"), OpenMode::Read).is_err());
        assert!(handle.write_all_at(b"x", 0).is_err());
        content(&disk, "f")
    };
    assert_eq!(run(), run());
}
