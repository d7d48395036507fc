//! The parts between the threads: a worker's work, the belt, the gathering of windows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_model::{
    ErrorClass, Failure, MessageBatch, Offset, ReadLimit, RowSink, Source, Stage, Transform,
    TransformFactory, UdfHash,
};
use millrace_table::Outcome;

use crate::WindowLimits;
use crate::belt::{Belt, Taken};
use crate::chunk::{Chunk, Transformed, Version};
use crate::fakes::{FakeSource, FakeTransforms, Fate, spec};
use crate::plan::FillLimits;
use crate::run::gather;
use crate::transform::transform_chunk;

const ALL: ReadLimit = ReadLimit { messages_max: usize::MAX, bytes_max: usize::MAX, end: None };

fn version(transforms: Arc<dyn TransformFactory>) -> Arc<Version> {
    Arc::new(Version::new(0, transforms, 1).unwrap())
}

/// Messages `start..end` of a topic, of which these are dead letters already.
fn chunk(start: u64, end: u64, already_dead: &[u64], version: &Arc<Version>) -> Chunk {
    let limit = ReadLimit { end: Some(Offset(end)), ..ALL };
    Chunk {
        start: Offset(start),
        end: Offset(end),
        batch: Arc::new(FakeSource::new(end).read(Offset(start), limit).unwrap()),
        already_dead: already_dead.iter().copied().map(Offset).collect(),
        ends_window: false,
        replayed: false,
        version: Arc::clone(version),
        read_at: Instant::now(),
    }
}

fn transformed(chunk: &Chunk) -> Result<Vec<Transformed>, String> {
    let mut parts = Vec::new();
    let mut transform = chunk.version.take()?;
    transform_chunk(&mut transform, &spec(), chunk, |part, last| {
        parts.push(part);
        assert_eq!(last, parts.last().is_some_and(|part| part.end == chunk.end));
        true
    })?;
    Ok(parts)
}

#[test]
fn dead_letters_are_not_shown_to_the_transform_again() {
    let judge = |offset| if [3, 4].contains(&offset) { Fate::Panic } else { Fate::Write };
    let parts = transformed(&chunk(2, 7, &[3, 4], &version(FakeTransforms::new("", judge)))).unwrap();
    use Outcome::{DeadLettered, Written};
    assert_eq!(parts[0].outcomes, [Written, DeadLettered, DeadLettered, Written, Written]);
    assert!(parts[0].failures.is_empty());
    assert_eq!((parts[0].tally.read, parts[0].tally.written, parts[0].tally.dead_lettered), (5, 3, 2));
}

/// Makes three megabytes of each message.
struct Inflate;

impl Transform for Inflate {
    fn transform(&mut self, batch: &MessageBatch, range: std::ops::Range<usize>, rows: &mut dyn RowSink) {
        let row = format!("{{\"id\": \"{}\"}}", "x".repeat(3 << 20));
        for index in range {
            if batch.get(index).offset.0 % 10 == 9 {
                let (message, stack) = ("y".repeat(3 << 20), None);
                rows.dead_letter(
                    index,
                    Failure { stage: Stage::Udf, class: ErrorClass::UdfThrew, message, stack },
                );
            } else {
                rows.put_json_row(index, &row).unwrap();
                rows.finish_row(index).unwrap();
            }
        }
    }
}

/// Forgets a message.
struct Forgetful;

impl Transform for Forgetful {
    fn transform(&mut self, _: &MessageBatch, range: std::ops::Range<usize>, rows: &mut dyn RowSink) {
        range.skip(1).for_each(|index| rows.filtered(index));
    }
}

struct Make<T>(fn() -> T);

impl<T: Transform + 'static> TransformFactory for Make<T> {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new((self.0)()))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        None
    }
}

#[test]
fn a_transform_that_inflates_its_messages_is_taken_in_parts() {
    let chunk = chunk(5, 65, &[6, 64], &version(Arc::new(Make(|| Inflate))));
    let parts = transformed(&chunk).unwrap();
    assert!(parts.len() >= 4, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.fill.built_bytes < 130 << 20), "parts are bounded");
    let mut position = chunk.start;
    for part in &parts {
        assert_eq!(part.start, position);
        position = part.end;
        assert_eq!(part.outcomes.len(), part.range.len());
    }
    let sum = |value: fn(&Transformed) -> u64| parts.iter().map(value).sum::<u64>();
    assert_eq!((position, sum(|part| part.tally.read)), (Offset(65), 60));
    // 9, 19, ... 59 and the two that were dead before.
    assert_eq!(sum(|part| part.tally.dead_lettered), 8);
    assert_eq!(sum(|part| part.failures.len() as u64), 6);
}

#[test]
fn a_transform_that_forgets_a_message_is_an_error() {
    assert!(transformed(&chunk(0, 5, &[], &version(Arc::new(Make(|| Forgetful))))).is_err());
}

/// A belt with chunks of ten messages on it, transformed out of order.
fn belt(chunks: u64) -> Belt {
    let belt = Belt::new(1 << 30, 1 << 20);
    let version = version(FakeTransforms::new("", |_| Fate::Write));
    for number in 0..chunks {
        belt.put(chunk(number * 10, number * 10 + 10, &[], &version));
    }
    let mut taken: Vec<_> = (0..chunks).filter_map(|_| belt.take_work()).collect();
    taken.reverse();
    for (number, chunk) in taken {
        let mut transform = chunk.version.take().unwrap();
        transform_chunk(&mut transform, &spec(), &chunk, |part, last| belt.put_done(number, part, last))
            .unwrap();
    }
    belt
}

fn limits(rows_max: usize, bytes_max: usize, built_bytes_max: usize) -> FillLimits {
    FillLimits { window: WindowLimits { rows_max, bytes_max, age_max: Duration::ZERO }, built_bytes_max }
}

const NO_LIMIT: usize = usize::MAX >> 1;

#[test]
fn a_window_that_has_aged_on_the_belt_takes_everything_up_to_its_limits() {
    let end = |limits: FillLimits| gather(&belt(20), &limits).unwrap().end;
    assert_eq!(end(limits(NO_LIMIT, NO_LIMIT, NO_LIMIT)), Offset(200));
    assert_eq!(end(limits(100, NO_LIMIT, NO_LIMIT)), Offset(100));
    assert_eq!(end(limits(105, NO_LIMIT, NO_LIMIT)), Offset(100));
    // Ten messages of two bytes, then of three.
    assert_eq!(end(limits(NO_LIMIT, 81, NO_LIMIT)), Offset(30));
    assert_eq!(end(limits(NO_LIMIT, 1, NO_LIMIT)), Offset(10));
    assert_eq!(end(limits(NO_LIMIT, NO_LIMIT, 1)), Offset(10));
}

#[test]
fn a_belt_gives_back_in_order_and_ends_when_it_is_closed() {
    let belt = belt(3);
    let take = |wanted: bool| match belt.take_done(Some(Instant::now()), |_| wanted) {
        Taken::Chunk(part) => part.end.0,
        Taken::Refused => 1,
        Taken::TimedOut => 2,
        Taken::End => 3,
    };
    assert_eq!([take(false), take(true), take(true), take(true), take(true)], [1, 10, 20, 30, 2]);
    belt.put(chunk(30, 40, &[], &version(FakeTransforms::new("", |_| Fate::Write))));
    belt.close(true);
    assert_eq!(take(true), 3, "what no worker had begun is forgotten");
    assert!(belt.take_work().is_none());
}

#[test]
fn a_belt_waits_for_the_next_in_order() {
    let belt = Belt::new(1 << 30, 1 << 20);
    let version = version(FakeTransforms::new("", |_| Fate::Write));
    (0..2).for_each(|number| belt.put(chunk(number * 10, number * 10 + 10, &[], &version)));
    let work: Vec<_> = (0..2).filter_map(|_| belt.take_work()).collect();
    let finish = |(number, chunk): &(u64, Chunk)| {
        let mut transform = chunk.version.take().unwrap();
        transform_chunk(&mut transform, &spec(), chunk, |part, last| belt.put_done(*number, part, last))
            .unwrap();
    };
    finish(&work[1]);
    assert!(matches!(belt.take_done(Some(Instant::now()), |_| true), Taken::TimedOut));
    finish(&work[0]);
    for end in [10, 20] {
        assert!(matches!(belt.take_done(None, |_| true), Taken::Chunk(part) if part.end == Offset(end)));
    }
}

#[test]
fn a_window_never_mixes_versions() {
    let belt = Belt::new(1 << 30, 1 << 20);
    for number in 0..4 {
        let transforms = FakeTransforms::new("", |_| Fate::Write);
        let version = Arc::new(Version::new(number / 2, transforms, 1).unwrap());
        belt.put(chunk(number * 10, number * 10 + 10, &[], &version));
        let Some((number, chunk)) = belt.take_work() else { panic!("no work") };
        let mut transform = version.take().unwrap();
        transform_chunk(&mut transform, &spec(), &chunk, |part, last| belt.put_done(number, part, last))
            .unwrap();
    }
    belt.close(false);
    let end = || gather(&belt, &limits(NO_LIMIT, NO_LIMIT, NO_LIMIT)).unwrap().end.0;
    assert_eq!([end(), end()], [20, 40]);
}

#[test]
fn a_full_belt_has_no_room_until_something_is_taken() {
    let belt = Belt::new(1 << 30, 10);
    let version = version(FakeTransforms::new("", |_| Fate::Write));
    assert!(belt.wait_room(Duration::ZERO));
    belt.put(chunk(0, 10, &[], &version));
    assert!(!belt.wait_room(Duration::ZERO));
    let (number, chunk) = belt.take_work().unwrap();
    let mut transform = chunk.version.take().unwrap();
    transform_chunk(&mut transform, &spec(), &chunk, |part, last| belt.put_done(number, part, last)).unwrap();
    assert!(!belt.wait_room(Duration::ZERO));
    assert!(matches!(belt.take_done(None, |_| true), Taken::Chunk(_)));
    assert!(belt.wait_room(Duration::from_secs(30)));
    belt.abort();
    assert!(!belt.wait_room(Duration::from_secs(30)));
}
