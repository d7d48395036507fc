//! The lake's promise under power loss, process death, failing syncs and full disks: a commit is whole
//! or absent, marks and rows agree, and the table always opens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::common::{TOPIC, all_offsets, eager, open, position, query_number, window};
use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, DiskFile, Entry, OpenMode};
use millrace_lake::{Lake, LakeTable};
use millrace_model::Offset;
use millrace_pipeline::{Sink as _, SinkError};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Commit {
        rows: u64,
        days: u64,
    },
    Maintain,
    FailSyncs(u32),
    FailWrites(u32),
    /// The process stops after that many disk operations; nothing works until it is restarted.
    HaltAfter(u64),
    FillDisk(u64),
    FreeDisk,
    LosePower,
    Kill,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..12_u64, 1..8_u64).prop_map(|(rows, days)| Step::Commit { rows, days }),
        4 => Just(Step::Maintain),
        2 => (1..4_u32).prop_map(Step::FailSyncs),
        1 => (1..3_u32).prop_map(Step::FailWrites),
        2 => (0..60_u64).prop_map(Step::HaltAfter),
        1 => (0..6000_u64).prop_map(Step::FillDisk),
        1 => Just(Step::FreeDisk),
        2 => Just(Step::LosePower),
        2 => Just(Step::Kill),
        1 => Just(Step::Reopen),
    ]
}

/// A pipeline in small: it knows only what the table tells it.
struct Pipeline {
    disk: SimDisk,
    open: Option<(Arc<Lake>, Arc<LakeTable>)>,
    /// Where the table is at least: acknowledged, or read back.
    known: u64,
    /// Where it is at most.
    possible: u64,
    /// Whether the table must be asked before the next commit.
    in_doubt: bool,
    halted: bool,
}

impl Pipeline {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        Self { disk, open: None, known: 0, possible: 0, in_doubt: true, halted: false }
    }

    /// Opens the lake if it is closed; a fault may prevent it, but only while there is one.
    fn table(&mut self) -> Option<Arc<LakeTable>> {
        if self.open.is_none() {
            let lake = Lake::open(eager(Arc::new(self.disk.process()))).unwrap();
            let table = lake.table_of("telemetry", "events", crate::common::schema()).ok()?;
            self.open = Some((lake, table));
        }
        self.open.as_ref().map(|(_, table)| Arc::clone(table))
    }

    /// Asks the table where it is.
    fn ask(&mut self) -> Option<u64> {
        let table = self.table()?;
        let marks = table.marks().ok()?;
        let position = marks.get("test/position").copied().unwrap_or(0) as u64;
        assert_eq!(marks.get("test/written").copied().unwrap_or(0) as u64, position);
        assert!(
            (self.known..=self.possible).contains(&position),
            "{position} of {}..={}",
            self.known,
            self.possible
        );
        (self.known, self.possible, self.in_doubt) = (position, position, false);
        assert_eq!(all_offsets(&table), (0..position).collect::<Vec<_>>());
        Some(position)
    }

    fn commit(&mut self, rows: u64, days: u64) {
        if self.in_doubt && self.ask().is_none() {
            return;
        }
        let Some(table) = self.table() else { return };
        let end = self.known + rows;
        self.possible = end;
        match table.commit(&window(self.known..end, |offset| Some((offset % days) as i32))) {
            Ok(()) => self.known = end,
            Err(SinkError::Retry { .. }) => self.in_doubt = true,
            Err(other) => panic!("{other}"),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Commit { rows, days } => self.commit(*rows, *days),
            Step::Maintain => {
                if let Some(table) = self.table() {
                    // A fault may stop it; that nothing is lost then is what the next question shows.
                    let _ = table.maintain_now();
                    self.in_doubt = true;
                }
            }
            Step::FailSyncs(count) => self.disk.fail_next_syncs(*count),
            Step::FailWrites(count) => self.disk.fail_writes(*count),
            Step::HaltAfter(operations) => {
                self.disk.halt_after(*operations);
                self.halted = true;
            }
            Step::FillDisk(bytes) => self.disk.set_free_bytes(Some(*bytes)),
            Step::FreeDisk => self.disk.set_free_bytes(None),
            Step::LosePower | Step::Kill => {
                if matches!(step, Step::Kill) {
                    self.disk.kill();
                } else {
                    self.disk.crash();
                }
                self.open = None;
                (self.in_doubt, self.halted) = (true, false);
            }
            Step::Reopen => {
                self.open = None;
                self.in_doubt = true;
            }
        }
    }

    /// With all faults gone, the table opens, answers, takes a commit and shows all rows once.
    fn heal(&mut self, power: bool) {
        self.disk.set_free_bytes(None);
        self.disk.fail_next_syncs(0);
        self.disk.fail_writes(0);
        self.run(if power { &Step::LosePower } else { &Step::Kill });
        assert!(self.ask().is_some(), "the table does not open");
        self.commit(3, 2);
        let table = self.table().unwrap();
        table.maintain_now().unwrap();
        let position = self.ask().unwrap() as i64;
        assert_eq!(query_number(&table, "select count(*) from events"), position);
        let sum = query_number(
            &table,
            "select coalesce(sum(_offset), 0) from events where \"timestamp\" is not null",
        );
        assert_eq!(sum, (0..position).sum::<i64>());
    }
}

/// Few in everyday runs; `PROPTEST_CASES=1000` for a thorough one.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_commit_is_whole_or_absent(
        seed: u64,
        steps in prop::collection::vec(step(), 1..40),
        power: bool,
    ) {
        let mut pipeline = Pipeline::new(seed);
        for step in &steps {
            pipeline.run(step);
            // What a reader sees at any moment is a whole table.
            if !pipeline.halted && pipeline.open.is_some() && !matches!(step, Step::FailSyncs(_) | Step::FailWrites(_)) {
                pipeline.ask();
            }
        }
        pipeline.heal(power);
    }
}

/// Scenario: at every single disk operation of a commit, the process dies or the power goes.
/// Guarantees: the window is there wholly or not at all, together with its marks, and the next commit
/// goes through; both outcomes occur.
#[test]
fn a_commit_interrupted_anywhere_is_whole_or_absent() {
    let operations = {
        let disk = SimDisk::new(0);
        let (_lake, table) = open(eager(Arc::new(disk.process())));
        table.commit(&window(0..5, |_| Some(1))).unwrap();
        let before = disk.operations();
        table.commit(&window(5..15, |offset| Some((offset % 3) as i32))).unwrap();
        disk.operations() - before
    };
    let (mut whole, mut absent) = (0, 0);
    for (seed, stop) in (0..=operations).flat_map(|stop| [(stop, stop), (stop + 1000, stop)]) {
        let disk = SimDisk::new(seed);
        let (lake, table) = open(eager(Arc::new(disk.process())));
        table.commit(&window(0..5, |_| Some(1))).unwrap();
        disk.halt_after(stop);
        let answered = table.commit(&window(5..15, |offset| Some((offset % 3) as i32))).is_ok();
        if seed % 2 == 0 {
            disk.crash()
        } else {
            disk.kill()
        }
        drop((lake, table));
        let (_lake, table) = open(eager(Arc::new(disk.process())));
        let found = position(&table);
        assert!(found == 15 || (found == 5 && !answered), "stopped at {stop}: {found}, answered {answered}");
        assert_eq!(all_offsets(&table), (0..found).collect::<Vec<_>>());
        table.commit(&window(found..20, |_| None)).unwrap();
        assert_eq!(all_offsets(&table), (0..20).collect::<Vec<_>>());
        if found == 15 { whole += 1 } else { absent += 1 }
    }
    assert!(whole > 0 && absent > 0, "{whole} whole, {absent} absent");
}

/// Scenario: the disk is full, then has room; a sync fails, then works.
/// Guarantees: the commit reports an error, nothing of it is visible, and the same window goes through
/// afterwards in the same process.
#[test]
fn a_full_disk_and_a_failing_sync_pass() {
    let disk = SimDisk::new(3);
    let (_lake, table) = open(eager(Arc::new(disk.process())));
    table.commit(&window(0..5, |_| Some(1))).unwrap();
    disk.set_free_bytes(Some(100));
    assert!(matches!(table.commit(&window(5..9, |_| Some(1))), Err(SinkError::Retry { .. })));
    assert_eq!(position(&table), 5, "a full disk can still be read");
    assert_eq!(all_offsets(&table), (0..5).collect::<Vec<_>>());
    disk.set_free_bytes(None);
    for failing in 1..6 {
        disk.fail_next_syncs(failing);
        let start = position_when_possible(&table);
        let _ = table.commit(&window(start..start + 4, |_| Some(1)));
        disk.fail_next_syncs(0);
        let now = position(&table);
        assert!(now == start || now == start + 4);
        assert_eq!(all_offsets(&table), (0..now).collect::<Vec<_>>());
    }
    let start = position(&table);
    table.commit(&window(start..start + 4, |_| Some(1))).unwrap();
    disk.crash();
    let (_lake, table) = open(eager(Arc::new(disk.process())));
    assert_eq!(all_offsets(&table), (0..start + 4).collect::<Vec<_>>());
}

fn position_when_possible(table: &LakeTable) -> u64 {
    (0..10).find_map(|_| table.marks().ok()).unwrap().get("test/position").copied().unwrap() as u64
}

/// A disk that says yes to some syncs and does nothing.
#[derive(Clone)]
struct Forgetful {
    disk: SimDisk,
    files: bool,
    directories: bool,
}

struct ForgetfulFile(Arc<dyn DiskFile>);

impl DiskFile for ForgetfulFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Forgetful {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(if self.files { Arc::new(ForgetfulFile(file)) } else { file })
    }
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.disk.entry(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.read_dir(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.directories { Ok(()) } else { self.disk.sync_dir(path) }
    }
}

/// Scenario: the same commits on disks that leave out the syncs of files, of directories, or none.
/// Guarantees: these tests can fail: without either kind of sync, acknowledged rows are lost or damaged
/// at some power loss; with both, never.
#[test]
fn leaving_out_a_sync_would_be_noticed() {
    let losses = |files: bool, directories: bool| {
        let lost = |seed: u64| {
            let disk = SimDisk::new(seed);
            let forgetful = Forgetful { disk: disk.process(), files, directories };
            let (lake, table) = open(eager(Arc::new(forgetful)));
            table.commit(&window(0..5, |_| Some(1))).unwrap();
            table.commit(&window(5..9, |offset| Some((offset % 2) as i32))).unwrap();
            disk.crash();
            drop((lake, table));
            let lake = Lake::open(eager(Arc::new(disk.process()))).unwrap();
            let Ok(table) = lake.table_of("telemetry", "events", crate::common::schema()) else {
                return true;
            };
            !table.offsets(TOPIC, Offset::ZERO, Offset(9)).is_ok_and(|found| found.len() == 9)
        };
        (0..12).filter(|seed| lost(*seed)).count()
    };
    assert_eq!(losses(false, false), 0);
    assert!(losses(true, false) > 0, "syncs of files");
    assert!(losses(false, true) > 0, "syncs of directories");
}
