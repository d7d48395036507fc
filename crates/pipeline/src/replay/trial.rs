//! What a replay would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_model::{MessageId, Offset, TopicId, TransformFactory};
use millrace_table::{LetterMessage, Outcome};
use serde::{Deserialize, Serialize};

use super::batch::{Bench, Outcomes};
use super::letters::{self, Letters, Selection};
use super::signature::{ClassId, signature};
use super::transcript::{TriedOutcome, try_message};
use super::{CLASSES_MAX, ReplayError, Replayer, Stop};

/// Samples of each outcome.
const SAMPLES_MAX: usize = 3;

/// Longest payload or output in a sample, in bytes.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;

/// What a replay would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Dead letters that it would show to the UDF.
    pub selected: u64,
    /// Of these, how many would become rows.
    pub written: u64,
    /// How many the UDF would leave out.
    pub filtered: u64,
    /// How many would fail again.
    pub failed: u64,
    /// Dead letters that would be left out because they have been tried too often.
    pub exhausted: u64,
    /// Dead letters that would be left out because one replay takes only so many.
    pub beyond: u64,
    /// The same by class, as they failed before, the largest first.
    pub classes: Vec<ClassOutcome>,
    /// Those that would fail again, by the class that they would be of.
    pub failing: Vec<ClassOutcome>,
    /// A few of each outcome.
    pub samples: Vec<Sample>,
}

/// What would become of the dead letters of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassOutcome {
    /// The class.
    pub id: ClassId,
    /// Its error.
    pub signature: String,
    /// Rows.
    pub written: u64,
    /// Left out.
    pub filtered: u64,
    /// Dead letters again.
    pub failed: u64,
}

/// One dead letter, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its message id.
    pub message_id: String,
    /// `written`, `filtered` or `failed`.
    pub outcome: String,
    /// The payload as text, cut to 16 KiB.
    pub payload: String,
    /// The error that it has now.
    pub error_before: String,
    /// The row as the UDF would give it, JSON text, cut likewise.
    pub output: Option<String>,
    /// The error that it would have.
    pub error: Option<String>,
}

impl Replayer {
    /// Shows the dead letters that `selection` means to a UDF and says what would become of them. Changes
    /// nothing, so it may run beside a replay.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn trial(
        &self,
        topic: TopicId,
        selection: &Selection,
        transforms: Arc<dyn TransformFactory>,
        stop: &Stop,
    ) -> Result<Trial, ReplayError> {
        let version = self.version(transforms)?;
        let mut bench = Bench::new(topic, Arc::clone(&self.spec), version)?;
        let selected = self.select(topic, selection, stop)?;
        let mut trial = Trial { exhausted: selected.exhausted, beyond: selected.beyond, ..Trial::default() };
        let mut tables = Tables::default();
        let offsets: Vec<_> = selected.offsets.into_iter().collect();
        let mut from = 0;
        while from < offsets.len() {
            if stop.is_asked() {
                return Err(ReplayError::Stopped);
            }
            let to = offsets.len().min(from + self.limits.batch_messages_max.max(1));
            let wanted = &offsets[from..to];
            let sink = self.dead_letters.as_ref();
            let (letters, mut covered) = letters::fetch(sink, topic, wanted, self.limits.batch_bytes_max)?;
            let (outcomes, rest) =
                bench.transform(&letters, &BTreeSet::new(), self.limits.built_bytes_max, stop)?;
            if let Some(rest) = rest {
                covered = wanted.partition_point(|offset| *offset < rest);
            }
            if let Some(outcomes) = outcomes {
                tables.count(&letters, &outcomes, &mut trial);
                sample(&mut bench, &letters, &outcomes, &mut trial)?;
            }
            from += covered.max(1);
        }
        (trial.classes, trial.failing) = (sorted(tables.before), sorted(tables.after));
        Ok(trial)
    }
}

#[derive(Default)]
struct Tables {
    before: BTreeMap<ClassId, ClassOutcome>,
    after: BTreeMap<ClassId, ClassOutcome>,
}

impl Tables {
    fn count(&mut self, letters: &Letters, outcomes: &Outcomes, trial: &mut Trial) {
        for (offset, outcome) in outcomes.outcomes() {
            trial.selected += 1;
            let facts = letters.get(&offset).map(|letter| &letter.facts);
            let class = facts.and_then(|facts| {
                class_in(&mut self.before, &facts.stage, &facts.error_class, &facts.error_message)
            });
            let mut nowhere = 0;
            let (sum, of_class): (&mut u64, &mut u64) = match (outcome, class) {
                (Outcome::Written, class) => {
                    (&mut trial.written, class.map_or(&mut nowhere, |class| &mut class.written))
                }
                (Outcome::Filtered, class) => {
                    (&mut trial.filtered, class.map_or(&mut nowhere, |class| &mut class.filtered))
                }
                (Outcome::DeadLettered, class) => {
                    (&mut trial.failed, class.map_or(&mut nowhere, |class| &mut class.failed))
                }
            };
            *sum += 1;
            *of_class += 1;
        }
        for (_, failure) in outcomes.failures() {
            let (stage, class) = (failure.stage.as_str(), failure.class.as_str());
            if let Some(class) = class_in(&mut self.after, stage, class, &failure.message) {
                class.failed += 1;
            }
        }
    }
}

fn class_in<'a>(
    classes: &'a mut BTreeMap<ClassId, ClassOutcome>,
    stage: &str,
    error_class: &str,
    message: &str,
) -> Option<&'a mut ClassOutcome> {
    let signature = signature(message);
    let id = ClassId::of(stage, error_class, &signature);
    if classes.len() >= CLASSES_MAX && !classes.contains_key(&id) {
        return None;
    }
    let class = classes.entry(id).or_insert_with_key(|id| ClassOutcome {
        id: id.clone(),
        signature,
        written: 0,
        filtered: 0,
        failed: 0,
    });
    Some(class)
}

fn sorted(classes: BTreeMap<ClassId, ClassOutcome>) -> Vec<ClassOutcome> {
    let mut classes: Vec<_> = classes.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.written + class.filtered + class.failed));
    classes
}

/// Keeps a few of each outcome, shown to the transform once more by themselves to see what it gives.
fn sample(
    bench: &mut Bench,
    letters: &Letters,
    outcomes: &Outcomes,
    trial: &mut Trial,
) -> Result<(), ReplayError> {
    for (offset, outcome) in outcomes.outcomes() {
        let word = match outcome {
            Outcome::Written => "written",
            Outcome::Filtered => "filtered",
            Outcome::DeadLettered => "failed",
        };
        let enough = trial.samples.iter().filter(|sample| sample.outcome == word).count() >= SAMPLES_MAX;
        let Some(letter) = letters.get(&offset).filter(|_| !enough) else { continue };
        trial.samples.push(one(bench, offset, letter, word)?);
    }
    Ok(())
}

fn one(
    bench: &mut Bench,
    offset: Offset,
    letter: &LetterMessage,
    outcome: &str,
) -> Result<Sample, ReplayError> {
    let (topic, spec) = (bench.topic, Arc::clone(&bench.spec));
    let batch = Arc::new(LetterMessage::batch(topic, [letter]));
    let tried = try_message(bench.one(), &spec, &batch, 0);
    let (output, error) = match tried {
        Ok(tried) => match tried.outcome {
            TriedOutcome::Failed(failure) => (tried.output, Some(failure.message)),
            TriedOutcome::Written | TriedOutcome::Filtered => (tried.output, None),
        },
        // The batch's outcome stands: there a panic is one message's failure.
        Err(text) => (None, Some(text)),
    };
    Ok(Sample {
        message_id: MessageId { topic, offset }.to_string(),
        outcome: outcome.to_owned(),
        payload: cut(&String::from_utf8_lossy(letter.data())),
        error_before: letter.facts.error_message.clone(),
        output: output.as_deref().map(cut),
        error,
    })
}

fn cut(text: &str) -> String {
    if text.len() <= SAMPLE_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(SAMPLE_BYTES_MAX);
    format!("{}... ({} more bytes)", &text[..end], text.len() - end)
}
