//! What two versions made of the same messages, side by side: counts, and a bounded sample of what
//! differs.

use std::collections::BTreeMap;

use millrace_model::MessageBatch;
use millrace_table::{BuiltRows, Outcome};
use serde::{Deserialize, Serialize};

use super::cells::{ColumnChange, changed_columns, cut};

/// Most differences that are kept in full.
pub const SAMPLES_MAX: usize = 20;

/// How many messages had each fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Became rows.
    pub rows: u64,
    /// Were left out by the UDF.
    pub filtered: u64,
    /// Would be dead letters.
    pub failed: u64,
}

impl Fates {
    /// The share of messages that failed, 0 to 1; 0 of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn error_rate(&self) -> f64 {
        let all = self.rows + self.filtered + self.failed;
        if all == 0 { 0.0 } else { self.failed as f64 / all as f64 }
    }
}

/// One message of which the two versions made something different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The message's offset in its topic.
    pub offset: u64,
    /// Its fate in the old version: `row`, `filtered` or `failed: CLASS`.
    pub old: String,
    /// Its fate in the new version.
    pub new: String,
    /// The old version's error, cut to 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_error: Option<String>,
    /// The new version's error, cut likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_error: Option<String>,
    /// Where both are rows: the columns that differ, sixteen at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnChange>,
}

/// Two versions side by side. Filled with [`add`](Self::add); its size does not grow with the messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Messages compared.
    pub messages: u64,
    /// Those with the same row, or both filtered, or both failed with the same class of error.
    pub same: u64,
    /// Those that are rows in both, but not the same row.
    pub changed_rows: u64,
    /// Fates in the old version.
    pub old: Fates,
    /// Fates in the new version.
    pub new: Fates,
    /// How many messages went from which fate to which other, as `row -> failed: udf_threw`.
    pub changes: BTreeMap<String, u64>,
    /// In how many changed rows each column differs.
    pub columns: BTreeMap<String, u64>,
    /// The first differences of each kind of change, [`SAMPLES_MAX`] in all.
    pub samples: Vec<Difference>,
    /// Differences that are counted but not among the samples.
    pub samples_left_out: u64,
}

impl Comparison {
    /// Compares what was made of the same messages of `batch`, from index `first` on: both must have
    /// as many outcomes, and rows of the same table.
    pub fn add(&mut self, batch: &MessageBatch, first: usize, old: &BuiltRows, new: &BuiltRows) {
        self.messages += old.outcomes.len() as u64;
        count(&mut self.old, &old.outcomes);
        count(&mut self.new, &new.outcomes);
        // The usual case by far: nothing differs, and whole columns are compared at once.
        if old.failures.is_empty() && old.outcomes == new.outcomes && old.rows == new.rows {
            self.same += old.outcomes.len() as u64;
            return;
        }
        let (mut old_row, mut new_row) = (0, 0);
        for (index, (was, is)) in old.outcomes.iter().zip(&new.outcomes).enumerate() {
            let message = first + index;
            let fates = (fate(old, message, *was), fate(new, message, *is));
            let columns = match (was, is) {
                (Outcome::Written, Outcome::Written) => {
                    changed_columns(&old.rows, old_row, &new.rows, new_row)
                }
                _ => Vec::new(),
            };
            old_row += usize::from(*was == Outcome::Written);
            new_row += usize::from(*is == Outcome::Written);
            if fates.0.label == fates.1.label && columns.is_empty() {
                self.same += 1;
            } else {
                self.differs(batch.get(message).offset.0, fates, columns);
            }
        }
    }

    /// Adds what another comparison of the same two versions has found in later messages.
    pub fn merge(&mut self, later: Self) {
        self.messages += later.messages;
        self.same += later.same;
        self.changed_rows += later.changed_rows;
        for (sum, more) in [(&mut self.old, later.old), (&mut self.new, later.new)] {
            sum.rows += more.rows;
            sum.filtered += more.filtered;
            sum.failed += more.failed;
        }
        for (sum, more) in [(&mut self.changes, later.changes), (&mut self.columns, later.columns)] {
            more.into_iter().for_each(|(key, count)| *sum.entry(key).or_default() += count);
        }
        self.samples_left_out += later.samples_left_out;
        later.samples.into_iter().for_each(|sample| self.sample(sample));
    }

    /// Keeps a difference in full, when there is room. Each kind of change gets its samples, however late
    /// it comes.
    fn sample(&mut self, sample: Difference) {
        let is_alike = |other: &&Difference| (&other.old, &other.new) == (&sample.old, &sample.new);
        let alike = self.samples.iter().filter(is_alike).count();
        if alike < SAMPLES_OF_A_KIND_MAX && self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples_left_out += 1;
        }
    }

    /// Whether the two versions did the same with every message.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.same == self.messages
    }

    fn differs(&mut self, offset: u64, (old, new): (Fate<'_>, Fate<'_>), columns: Vec<ColumnChange>) {
        if !columns.is_empty() {
            self.changed_rows += 1;
            for change in &columns {
                *self.columns.entry(change.column.clone()).or_default() += 1;
            }
        }
        *self.changes.entry(format!("{} -> {}", old.label, new.label)).or_default() += 1;
        self.sample(Difference {
            offset,
            old: old.label,
            new: new.label,
            old_error: old.error.map(|text| cut(text, ERROR_BYTES_MAX)),
            new_error: new.error.map(|text| cut(text, ERROR_BYTES_MAX)),
            columns: columns.into_iter().take(COLUMNS_PER_SAMPLE_MAX).collect(),
        });
    }
}

const SAMPLES_OF_A_KIND_MAX: usize = SAMPLES_MAX / 4;
const ERROR_BYTES_MAX: usize = 500;
const COLUMNS_PER_SAMPLE_MAX: usize = 16;

struct Fate<'a> {
    label: String,
    error: Option<&'a str>,
}

fn fate(built: &BuiltRows, message: usize, outcome: Outcome) -> Fate<'_> {
    match outcome {
        Outcome::Written => Fate { label: "row".to_owned(), error: None },
        Outcome::Filtered => Fate { label: "filtered".to_owned(), error: None },
        Outcome::DeadLettered => {
            let found = built.failures.binary_search_by_key(&message, |(index, _)| *index);
            let failure = found.ok().map(|at| &built.failures[at].1);
            Fate {
                label: format!("failed: {}", failure.map_or("unknown", |failure| failure.class.as_str())),
                error: failure.map(|failure| failure.message.as_str()),
            }
        }
    }
}

fn count(fates: &mut Fates, outcomes: &[Outcome]) {
    for outcome in outcomes {
        match outcome {
            Outcome::Written => fates.rows += 1,
            Outcome::Filtered => fates.filtered += 1,
            Outcome::DeadLettered => fates.failed += 1,
        }
    }
}
