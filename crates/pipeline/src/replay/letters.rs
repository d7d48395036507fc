//! Reading a dead-letter table: its classes, the offsets that a selection means, whole dead letters.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::names::COLUMN_OFFSET;
use millrace_model::{MessageId, Micros, Offset, TopicId};
use millrace_table::{DeadLetter, LetterMessage, dead_letters};
use serde::{Deserialize, Serialize};

use super::signature::{ClassId, signature};
use super::{ReplayError, Stop};
use crate::{Scan, Sink, SinkError};

/// Most classes that are told apart; what is beyond counts under [`Classes::others`].
pub const CLASSES_MAX: usize = 10_000;

/// The columns that tell a failure without its message.
const FACTS: [&str; 7] =
    [COLUMN_OFFSET, "errorMessage", "stage", "error_class", "failed_at", "attempts", "udf_hash"];

/// The columns that make the message again, and what is needed to file it again.
const MESSAGE: [&str; 10] = [
    COLUMN_OFFSET,
    "timestamp",
    "payloadBytes",
    "attributes",
    "errorMessage",
    "topic",
    "ordering_key",
    "stage",
    "error_class",
    "attempts",
];

/// Which dead letters are meant. What is not said does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Those of this class.
    pub class: Option<ClassId>,
    /// Those that failed at this moment or later, the last time; microseconds since 1970 UTC.
    pub since_micros: Option<i64>,
    /// The one of this message.
    pub message: Option<u64>,
}

impl Selection {
    /// Whether it means everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn takes(&self, letter: &DeadLetter<'_>) -> bool {
        let late = self.since_micros.is_none_or(|since| letter.failed_at() >= Some(Micros(since)));
        late && self.class.as_ref().is_none_or(|class| class_of(letter).0 == *class)
    }

    fn range(&self, end: Offset) -> (Offset, Offset) {
        match self.message {
            Some(offset) => (Offset(offset), Offset(offset).plus(1).min(end)),
            None => (Offset::ZERO, end),
        }
    }
}

/// Dead letters that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Its id.
    pub id: ClassId,
    /// Where they failed.
    pub stage: String,
    /// The kind of failure.
    pub error_class: String,
    /// The error without what differs between messages.
    pub signature: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them failed, microseconds since 1970 UTC.
    pub first_seen_micros: i64,
    /// When the last of them failed.
    pub last_seen_micros: i64,
    /// The most attempts that one of them has behind it.
    pub attempts_most: i64,
    /// The message id of the newest.
    pub sample: String,
    /// Its error.
    pub sample_error: String,
}

/// All classes, those with the newest failure first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// The classes.
    pub classes: Vec<Class>,
    /// Dead letters of further classes, of which there are too many.
    pub others: u64,
}

/// The classes of a topic's dead letters before `end`.
pub(super) fn classes(
    sink: &dyn Sink,
    topic: TopicId,
    end: Offset,
    selection: &Selection,
) -> Result<Classes, SinkError> {
    let mut found: BTreeMap<ClassId, Class> = BTreeMap::new();
    let mut others = 0;
    each(sink, topic, selection.range(end), &FACTS, &mut |letter| {
        let Some(offset) = letter.offset().filter(|_| selection.takes(letter)) else { return true };
        let (id, signature) = class_of(letter);
        let failed_at = letter.failed_at().unwrap_or_default().0;
        if found.len() >= CLASSES_MAX && !found.contains_key(&id) {
            others += 1;
            return true;
        }
        let class = found.entry(id).or_insert_with_key(|id| Class {
            id: id.clone(),
            stage: letter.stage().to_owned(),
            error_class: letter.error_class().to_owned(),
            signature,
            count: 0,
            first_seen_micros: failed_at,
            last_seen_micros: i64::MIN,
            attempts_most: 0,
            sample: String::new(),
            sample_error: String::new(),
        });
        class.count += 1;
        class.first_seen_micros = class.first_seen_micros.min(failed_at);
        class.attempts_most = class.attempts_most.max(letter.attempts());
        if failed_at > class.last_seen_micros {
            class.last_seen_micros = failed_at;
            class.sample = MessageId { topic, offset }.to_string();
            letter.error_message().clone_into(&mut class.sample_error);
        }
        true
    })?;
    let mut classes: Vec<_> = found.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.last_seen_micros));
    Ok(Classes { classes, others })
}

/// The messages that a selection means.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub offsets: BTreeSet<Offset>,
    /// Those that have been tried too often.
    pub exhausted: u64,
    /// Those that were beyond `messages_max`: the highest offsets.
    pub beyond: u64,
}

/// Selects dead letters before `end` that have been tried less than `attempts_max` times.
pub(super) fn select(
    sink: &dyn Sink,
    topic: TopicId,
    end: Offset,
    selection: &Selection,
    attempts_max: i64,
    messages_max: usize,
    stop: &Stop,
) -> Result<Selected, ReplayError> {
    let mut selected = Selected::default();
    each(sink, topic, selection.range(end), &FACTS, &mut |letter| {
        if stop.is_asked() {
            return false;
        }
        let Some(offset) = letter.offset().filter(|_| selection.takes(letter)) else { return true };
        if letter.attempts() >= attempts_max {
            selected.exhausted += 1;
        } else {
            selected.offsets.insert(offset);
        }
        if selected.offsets.len() > messages_max {
            selected.offsets.pop_last();
            selected.beyond += 1;
        }
        true
    })?;
    // Whoever asked waits for it, and nothing may be begun on what was found so far.
    if stop.is_asked() { Err(ReplayError::Stopped) } else { Ok(selected) }
}

/// Whole dead letters by offset.
pub(super) type Letters = BTreeMap<Offset, LetterMessage>;

/// Reads the dead letters of `wanted` (ascending). With `bytes_max`, only as many from the first on as weigh
/// that much, but at least one; answers them and how many of `wanted` that covers, those included that are
/// not there any more.
pub(super) fn fetch(
    sink: &dyn Sink,
    topic: TopicId,
    wanted: &[Offset],
    bytes_max: usize,
) -> Result<(Letters, usize), SinkError> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok((Letters::new(), 0)) };
    let mut letters = Letters::new();
    let mut bytes = 0;
    // Where what was left out begins.
    let mut cut: Option<Offset> = None;
    each(sink, topic, (*first, last.plus(1)), &MESSAGE, &mut |letter| {
        let offset = letter.offset().filter(|offset| wanted.binary_search(offset).is_ok());
        if offset.is_none_or(|offset| cut.is_some_and(|cut| offset >= cut)) {
            return true;
        }
        match LetterMessage::of(letter) {
            Ok(Some(message)) => {
                bytes += message.bytes();
                if let Some(twice) = letters.insert(message.offset, message) {
                    bytes -= twice.bytes();
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(table = sink.table(), offset = ?offset, %error, "not a dead letter of ours: left alone");
            }
        }
        while bytes > bytes_max && letters.len() > 1 {
            let Some((offset, left_out)) = letters.pop_last() else { break };
            bytes -= left_out.bytes();
            cut = Some(offset);
        }
        true
    })?;
    let covered = cut.map_or(wanted.len(), |cut| wanted.partition_point(|offset| *offset < cut));
    Ok((letters, covered))
}

/// Shows the dead letters of a range, with all columns, as long as `take` answers true.
pub(super) fn whole(
    sink: &dyn Sink,
    topic: TopicId,
    end: Offset,
    selection: &Selection,
    take: &mut dyn FnMut(&DeadLetter<'_>) -> bool,
) -> Result<(), SinkError> {
    each(sink, topic, selection.range(end), &[], &mut |letter| !selection.takes(letter) || take(letter))
}

fn each(
    sink: &dyn Sink,
    topic: TopicId,
    (start, end): (Offset, Offset),
    columns: &[&str],
    take: &mut dyn FnMut(&DeadLetter<'_>) -> bool,
) -> Result<(), SinkError> {
    let scan = Scan { topic, start, end, columns };
    sink.scan(&scan, &mut |rows| dead_letters(rows).all(|letter| take(&letter)))
}

/// The class of a dead letter, and its signature.
pub fn class_of(letter: &DeadLetter<'_>) -> (ClassId, String) {
    let signature = signature(letter.error_message());
    (ClassId::of(letter.stage(), letter.error_class(), &signature), signature)
}
