//! What the audit needs to know about a topic.

use std::ops::Range;

use millrace_model::{Bounds, Offset, ReadLimit, Source, SourceError, TopicId};

/// What a topic says about itself.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    /// Its permanent id.
    pub topic_id: TopicId,
    /// Its name.
    pub topic_name: String,
    /// What it holds.
    pub bounds: Bounds,
    /// The duplicates it has refused so far, `None` when it cannot say.
    pub duplicates: Option<u64>,
    /// Ranges inside its bounds that are not there.
    pub gaps: Vec<Range<Offset>>,
    /// Whatever else is wrong with it, for people: files that are damaged, reads that fail.
    pub damage: Vec<String>,
}

/// Limits of one read of a survey.
const SURVEY_LIMIT: ReadLimit = ReadLimit { messages_max: 8192, bytes_max: 4 << 20, end: None };

/// A survey names at most this many gaps and failures.
const SURVEY_FAULTS_MAX: usize = 20;

impl SourceFacts {
    /// The facts that a topic tells without being read.
    #[must_use]
    pub fn of(source: &dyn Source) -> Self {
        Self {
            topic_id: source.topic_id(),
            topic_name: source.topic_name().to_owned(),
            bounds: source.bounds(),
            duplicates: None,
            gaps: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// As [`of`](Self::of), and reads the topic from `from` (or its start, when that is later) to its
    /// end, with bounded memory, to find messages that are missing or cannot be read.
    #[must_use]
    pub fn survey(source: &dyn Source, from: Offset) -> Self {
        let mut facts = Self::of(source);
        let (mut position, end) = (from.max(facts.bounds.start), facts.bounds.end);
        while position < end && facts.gaps.len() + facts.damage.len() < SURVEY_FAULTS_MAX {
            match source.read(position, ReadLimit { end: Some(end), ..SURVEY_LIMIT }) {
                Ok(batch) => {
                    for message in batch.iter() {
                        if message.offset > position {
                            facts.gaps.push(position..message.offset);
                        }
                        position = message.offset.plus(1);
                    }
                    if batch.is_empty() {
                        facts.gaps.push(position..end);
                        break;
                    }
                }
                // Retention went on meanwhile: those are expired, not missing.
                Err(SourceError::Expired { start, .. }) if start > position => position = start,
                Err(error) => {
                    facts.damage.push(format!("at offset {position}: {error}"));
                    break;
                }
            }
        }
        facts
    }
}
