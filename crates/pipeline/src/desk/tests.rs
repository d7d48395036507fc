//! The desk over tables and a folder of versions in memory.

use std::collections::BTreeMap;
use std::sync::Condvar;
use std::time::Duration;

use millrace_model::Offset;

use super::*;
use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, spec};
use crate::{PipelineConfig, PipelineParts, PipelineState};

/// The text of a version is its prefix; `broken` does not load, `worse` fails on every tenth message.
#[derive(Default)]
struct FakeStore(Mutex<Files>, Arc<Gate>);

#[derive(Default)]
struct Files {
    on_disk: Option<&'static str>,
    kept: BTreeMap<String, Vec<u8>>,
    history: VersionHistory,
    read_only: bool,
}

impl FakeStore {
    fn with<T>(&self, change: impl FnOnce(&mut Files) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn put(&self, text: &'static str) {
        self.with(|files| files.on_disk = Some(text));
    }

    fn write(&self, write: impl FnOnce(&mut Files)) -> Result<(), String> {
        self.with(|files| match files.read_only {
            true => Err("the disk is full".to_owned()),
            false => {
                write(files);
                Ok(())
            }
        })
    }
}

fn version(text: &str) -> VersionText {
    VersionText { udf_hash: format!("hash of {text}"), text: text.as_bytes().to_vec() }
}

impl VersionStore for FakeStore {
    fn on_disk(&self) -> Result<VersionText, String> {
        self.with(|files| files.on_disk).map(version).ok_or_else(|| "no file".to_owned())
    }

    fn load(&self, version: &VersionText) -> Result<Arc<dyn TransformFactory>, String> {
        Ok(match version.text.as_slice() {
            b"broken" => return Err("syntax error".to_owned()),
            b"worse" => FakeTransforms::new("worse ", |offset| match offset % 10 {
                0 => Fate::Fail,
                _ => Fate::Write,
            }),
            b"waits" => {
                let gate = Arc::clone(&self.1);
                FakeTransforms::new("waits ", move |_| {
                    gate.pass();
                    Fate::Write
                })
            }
            b"one" => FakeTransforms::new("one ", |_| Fate::Write),
            b"two" => FakeTransforms::new("two, ", |_| Fate::Write),
            _ => FakeTransforms::new("other ", |_| Fate::Write),
        })
    }

    fn keep(&self, version: &VersionText) -> Result<(), String> {
        self.write(|files| drop(files.kept.insert(version.udf_hash.clone(), version.text.clone())))
    }

    fn kept(&self) -> Result<Vec<String>, String> {
        Ok(self.with(|files| files.kept.keys().cloned().collect()))
    }

    fn fetch(&self, udf_hash: &str) -> Result<VersionText, String> {
        let text = self.with(|files| files.kept.get(udf_hash).cloned()).ok_or("not there")?;
        Ok(VersionText { udf_hash: udf_hash.to_owned(), text })
    }

    fn forget(&self, udf_hash: &str) -> Result<(), String> {
        self.write(|files| drop(files.kept.remove(udf_hash)))
    }

    fn history(&self) -> Result<VersionHistory, String> {
        Ok(self.with(|files| files.history.clone()))
    }

    fn write_history(&self, history: &VersionHistory) -> Result<(), String> {
        self.write(|files| files.history = history.clone())
    }
}

/// Transforms of the version `waits` stand still while it is closed.
#[derive(Default)]
struct Gate {
    /// Closed, and how many messages have come to it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.state.lock().unwrap().0 = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.0).unwrap());
    }

    fn wait_for(&self, messages: usize) {
        let state = self.state.lock().unwrap();
        let (_state, waited) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| state.1 < messages).unwrap();
        assert!(!waited.timed_out(), "no message came to the gate");
    }
}

/// How long anything may take before a test gives up: it bounds a failure only.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    store: Arc<FakeStore>,
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
}

impl World {
    fn new(on_disk: &'static str) -> Self {
        let store = Arc::new(FakeStore::default());
        store.put(on_disk);
        Self { store, source: FakeSource::new(100), rows: FakeSink::new("rows") }
    }

    /// A server's start: the pipeline on the chosen version, and its desk.
    fn start(&self) -> (Arc<ManagedPipeline>, VersionDesk) {
        let chosen = choose_version(self.store.as_ref()).unwrap();
        let parts = PipelineParts {
            source: self.source.clone(),
            spec: spec(),
            rows: self.rows.clone(),
            dead_letters: FakeSink::new("rows_dead"),
        };
        let mut config =
            PipelineConfig { idle_wait: Duration::from_millis(5), ..PipelineConfig::new("main") };
        config.window.age_max = Duration::from_millis(5);
        let transforms = Arc::clone(&chosen.transforms);
        let written_down = chosen.write_down("main", self.store.as_ref()).unwrap();
        assert!(self.store.with(|files| files.history.running.is_some()), "written down before it runs");
        let pipeline = Arc::new(ManagedPipeline::start(config, transforms, parts));
        let config = DeskConfig { versions_max: 10, ..DeskConfig::default() };
        let desk = VersionDesk::open(Arc::clone(&pipeline), self.store.clone(), written_down, config);
        (pipeline, desk)
    }

    /// What the next messages are made into.
    fn next_row(&self, pipeline: &ManagedPipeline) -> String {
        self.source.append(1);
        let end = self.source.with(|state| state.messages.len() as u64);
        assert!(pipeline.pipeline().unwrap().wait_for(Offset(end), PATIENCE));
        self.rows.with(|state| state.rows.last().unwrap().1.clone())
    }
}

fn acts(desk: &VersionDesk) -> Vec<&'static str> {
    desk.history().events.iter().map(|event| event.act.as_str()).collect()
}

#[test]
fn a_changed_file_is_tried_and_taken_up_or_refused_once() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    assert!(world.next_row(&pipeline).starts_with("one "));
    assert_eq!(desk.news(), None);
    for bad in ["worse", "broken"] {
        world.store.put(bad);
        assert_eq!(desk.news(), Some(format!("hash of {bad}")));
        assert!(matches!(desk.reload(VersionAct::Reload), Err(DeskError::Refused { .. })));
        assert_eq!(desk.news(), None, "not again until it changes");
        assert!(desk.note().is_some_and(|note| note.contains("refused")));
        assert!(world.next_row(&pipeline).starts_with("one "));
    }
    world.store.put("two");
    let change = desk.reload(VersionAct::Reload).unwrap();
    assert_eq!(change.previous.as_deref(), Some("hash of one"));
    assert!(change.trial.is_some_and(|trial| trial.comparison.changed_rows >= 100));
    assert!(world.next_row(&pipeline).starts_with("two, "));
    assert_eq!((desk.note(), desk.news()), (None, None));
    assert_eq!(acts(&desk), ["start", "refused", "refused", "reload"]);
    assert!(matches!(desk.reload(VersionAct::Reload), Err(DeskError::RunsAlready(_))));
    world.store.with(|files| files.on_disk = None);
    assert_eq!((desk.news(), desk.note().as_deref()), (None, Some("no file")));
    world.store.put("two");
    assert_eq!((desk.news(), desk.note()), (None, None));
}

#[test]
fn a_rollback_holds_over_restarts_until_the_file_changes() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.store.put("two");
    desk.reload(VersionAct::Reload).unwrap();
    assert_eq!(desk.rollback(None).unwrap().udf_hash, "hash of one");
    assert!(world.next_row(&pipeline).starts_with("one "));
    assert_eq!(desk.news(), None);
    for _ in 0..2 {
        drop(pipeline.pipeline().unwrap().end());
        let (again, desk) = world.start();
        assert!(world.next_row(&again).starts_with("one "));
        assert_eq!(desk.news(), None);
        assert!(desk.note().is_some_and(|note| note.contains("passed over")), "{:?}", desk.note());
        again.pipeline().unwrap().end();
    }
    world.store.put("three");
    let (again, desk) = world.start();
    assert!(world.next_row(&again).starts_with("other "));
    assert_eq!(acts(&desk), ["start", "reload", "rollback", "start", "start"]);
}

#[test]
fn a_start_on_a_broken_file_goes_on_with_the_version_that_ran_last() {
    let world = World::new("broken");
    assert_eq!(choose_version(world.store.as_ref()).err().as_deref(), Some("syntax error"));
    world.store.put("one");
    let (pipeline, _desk) = world.start();
    pipeline.pipeline().unwrap().end();
    for on_disk in [Some("broken"), None] {
        world.store.with(|files| files.on_disk = on_disk);
        let (again, desk) = world.start();
        assert!(world.next_row(&again).starts_with("one "));
        assert!(desk.note().is_some() && acts(&desk).contains(&"refused"));
        again.pipeline().unwrap().end();
    }
    world.store.put("two");
    assert_eq!(world.start().1.note(), None);
}

#[test]
fn a_shadow_is_promoted_when_it_does_no_worse_or_when_it_is_forced() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    assert!(matches!(desk.promote(false), Err(DeskError::NoShadow)));
    assert!(matches!(desk.start_shadow(version("broken")), Err(DeskError::Refused { .. })));
    desk.start_shadow(version("worse")).unwrap();
    assert!(matches!(desk.promote(false), Err(DeskError::Refused { .. })));
    assert_eq!(desk.shadow().map(|(hash, _)| hash).as_deref(), Some("hash of worse"), "it stays");
    desk.promote(true).unwrap();
    assert!(desk.shadow().is_none());
    desk.start_shadow(version("two")).unwrap();
    desk.promote(false).unwrap();
    assert!(world.next_row(&pipeline).starts_with("two, "));
    // The file has what ran before the promotion: it must not come back by itself.
    assert_eq!(desk.news(), None);
    assert_eq!(acts(&desk), ["start", "refused", "promote", "promote"]);
    desk.start_shadow(version("one")).unwrap();
    assert_eq!(desk.stop_shadow().unwrap().0, "hash of one");
    assert!(matches!(desk.stop_shadow(), Err(DeskError::NoShadow)));
}

#[test]
fn what_cannot_be_written_down_does_not_run() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.store.put("two");
    world.store.with(|files| files.read_only = true);
    assert!(matches!(desk.reload(VersionAct::Reload), Err(DeskError::Store(_))));
    assert!(world.next_row(&pipeline).starts_with("one "));
    assert_eq!(acts(&desk), ["start"]);
    world.store.with(|files| files.read_only = false);
    assert_eq!(desk.news().as_deref(), Some("hash of two"), "it is tried again");
}

#[test]
fn old_versions_are_forgotten_aloud() {
    let world = World::new("one");
    let (_pipeline, desk) = world.start();
    desk.configure(DeskConfig { versions_max: 2, ..DeskConfig::default() });
    for text in ["two", "three", "four"] {
        world.store.put(text);
        desk.reload(VersionAct::Reload).unwrap();
    }
    assert_eq!(desk.kept().unwrap(), ["hash of four", "hash of three"]);
    assert_eq!(acts(&desk).iter().filter(|act| **act == "forgotten").count(), 2);
}

#[test]
fn other_settings_are_taken_up_without_losing_or_doubling_a_message() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    for workers in [1, 3, 2] {
        world.source.append(200);
        pipeline.reconfigure(PipelineConfig { workers, ..pipeline.config() }).unwrap();
        assert_eq!(pipeline.status().unwrap().workers, workers);
    }
    assert!(pipeline.reconfigure(PipelineConfig { workers: 0, ..pipeline.config() }).is_err());
    assert_eq!(pipeline.status().unwrap().workers, 2, "it runs as before");
    world.next_row(&pipeline);
    let mut offsets = world.rows.all_offsets();
    offsets.dedup();
    assert_eq!(offsets, (0..701).collect::<Vec<_>>());

    pipeline.request_drain();
    assert_eq!(pipeline.pipeline().unwrap().drain(), PipelineState::Stopped);
    // What is changed while it is down holds when it comes back.
    world.store.put("two");
    desk.reload(VersionAct::Reload).unwrap();
    pipeline.reconfigure(PipelineConfig { workers: 1, ..pipeline.config() }).unwrap();
    assert!(pipeline.pipeline().unwrap().state().is_over());
    pipeline.resume().unwrap();
    assert!(world.next_row(&pipeline).starts_with("two, "));
    assert_eq!(pipeline.status().unwrap().workers, 1);
    pipeline.request_cancel();
    pipeline.pipeline().unwrap().end();
    pipeline.resume().unwrap();
    pipeline.resume().unwrap();
    world.next_row(&pipeline);
    assert_eq!(world.rows.all_offsets().len(), 703);
}

#[test]
fn what_was_passed_over_while_the_watcher_waited_is_no_news() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    desk.start_shadow(version("waits")).unwrap();
    world.store.1.set(true);
    std::thread::scope(|scope| {
        let promoted = scope.spawn(|| desk.promote(false));
        world.store.1.wait_for(1);
        // The file changes while the promotion is being tried, and is looked at.
        world.store.put("two");
        let looked = scope.spawn(|| desk.take_news(VersionAct::Reload));
        world.store.1.set(false);
        assert_eq!(promoted.join().unwrap().unwrap().udf_hash, "hash of waits");
        assert!(matches!(looked.join().unwrap(), Ok(None)), "the promotion has passed it over");
    });
    assert!(world.next_row(&pipeline).starts_with("waits "));
    assert_eq!(desk.reload(VersionAct::Reload).unwrap().udf_hash, "hash of two", "who asks for it gets it");
}

#[test]
fn a_stop_and_a_rollback_interrupt_a_trial_between_two_messages() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.store.put("two");
    desk.reload(VersionAct::Reload).unwrap();
    world.store.put("waits");
    world.store.1.set(true);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| desk.reload(VersionAct::Reload));
        world.store.1.wait_for(1);
        let back = scope.spawn(|| desk.rollback(None));
        while desk.rollbacks_waiting.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        world.store.1.set(false);
        assert!(matches!(reload.join().unwrap(), Err(DeskError::Interrupted(_))));
        assert_eq!(back.join().unwrap().unwrap().udf_hash, "hash of one");
    });
    assert_eq!(world.store.1.state.lock().unwrap().1, 1, "one message was shown, and no other");
    assert!(world.next_row(&pipeline).starts_with("one "));
    assert_eq!(desk.news(), None, "what lay there when it was gone back is passed over");

    world.store.put("three");
    desk.start_shadow(version("two")).unwrap();
    desk.request_stop();
    assert!(matches!(desk.reload(VersionAct::Reload), Err(DeskError::Stopping)));
    assert!(matches!(desk.promote(true), Err(DeskError::Stopping)));
    desk.stop();
    assert!(desk.shadow().is_none());
    assert_eq!(acts(&desk), ["start", "reload", "rollback"], "nothing is held against what was not tried");
}

#[test]
fn a_trial_that_cannot_be_made_is_made_again() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.next_row(&pipeline);
    world.store.put("two");
    world.source.with(|state| state.reads_to_fail = 1);
    // The pipeline may be the one whose read fails: then nothing stands in the way.
    let mut tries = 0;
    while let Err(error) = desk.take_news(VersionAct::Reload) {
        assert!(matches!(error, DeskError::NotTried { .. }), "{error}");
        assert!(desk.note().is_some_and(|note| note.contains("could not be tried")));
        tries += 1;
        assert!(tries < 2, "the read fails once");
    }
    assert!(world.next_row(&pipeline).starts_with("two, "));
    assert_eq!(acts(&desk), ["start", "reload"]);
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_is_no_news_when_it_is_back() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.store.put("two");
    desk.reload(VersionAct::Reload).unwrap();
    world.store.with(|files| files.on_disk = None);
    desk.rollback(None).unwrap();
    pipeline.pipeline().unwrap().end();
    let (pipeline, desk) = world.start();
    assert_eq!((desk.news(), desk.note().as_deref()), (None, Some("no file")));
    world.store.put("two");
    assert_eq!(desk.news(), None, "the rollback holds");
    assert!(world.next_row(&pipeline).starts_with("one "));
    assert!(desk.note().is_none_or(|note| note != "no file"), "it can be read again");
    world.store.put("three");
    assert!(desk.news().is_some());
}

#[test]
fn other_settings_with_another_script_try_it_also_when_it_was_passed_over() {
    let world = World::new("one");
    let (pipeline, desk) = world.start();
    world.store.put("worse");
    assert!(matches!(desk.refit(true), Err(DeskError::Refused { .. })));
    assert!(matches!(desk.refit(true), Err(DeskError::Refused { .. })), "not taken for the running one");
    assert!(matches!(desk.refit(false), Ok(None)), "limits may change beside a file that was refused");
    world.store.with(|files| files.on_disk = None);
    assert!(matches!(desk.refit(true), Err(DeskError::Store(_))));
    world.store.put("two");
    assert_eq!(desk.refit(false).unwrap().unwrap().udf_hash, "hash of two");
    assert!(world.next_row(&pipeline).starts_with("two, "));
    assert_eq!(acts(&desk), ["start", "refused", "refused", "update"]);
}

#[test]
fn who_is_on_the_way_to_the_end_is_called_back_and_nobody_once_closed() {
    let world = World::new("one");
    let (pipeline, _desk) = world.start();
    world.rows.with(|state| state.gate_closed = true);
    world.source.append(100);
    world.rows.wait_until(|state| state.begun > 0);
    pipeline.request_drain();
    assert_eq!(pipeline.pipeline().unwrap().state(), PipelineState::Draining);
    std::thread::scope(|scope| {
        let resumed = scope.spawn(|| pipeline.resume());
        world.rows.with(|state| state.gate_closed = false);
        resumed.join().unwrap().unwrap();
    });
    assert_eq!(pipeline.pipeline().unwrap().state(), PipelineState::Running);
    world.next_row(&pipeline);
    let mut offsets = world.rows.all_offsets();
    offsets.dedup();
    assert_eq!(offsets, (0..201).collect::<Vec<_>>());

    pipeline.close();
    assert!(pipeline.reconfigure(pipeline.config()).is_err());
    pipeline.pipeline().unwrap().end();
    assert!(pipeline.resume().is_err(), "a server that ends starts nothing");
}
