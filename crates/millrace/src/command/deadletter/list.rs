//! `millrace deadletter list`.

use anyhow::Result;
use millrace_model::{MessageId, Micros};
use millrace_pipeline::replay::class_of;
use millrace_server::DeadLetterChoice;
use serde_json::{Value, json};

use super::failed;
use crate::cli::Format;
use crate::moment;
use crate::output;
use crate::reader::Reader;
use crate::replays::Replays;

/// Prints one line for each class, the one with the newest failure first.
///
/// # Errors
/// When a table cannot be read.
pub fn classes(replays: &Replays, choice: &DeadLetterChoice, limit: usize, format: Format) -> Result<()> {
    let answer = replays.classes(choice).map_err(failed)?;
    let mut classes: Vec<_> = answer
        .pipelines
        .iter()
        .flat_map(|of| of.answer.classes.iter().map(|class| (&of.table, class)))
        .collect();
    classes.sort_by_key(|(_, class)| std::cmp::Reverse(class.last_seen_micros));
    let rows: Vec<Vec<Value>> = classes
        .iter()
        .take(limit)
        .map(|(table, class)| {
            vec![
                json!(class.id),
                json!(class.count),
                json!(moment::text(Micros(class.first_seen_micros))),
                json!(moment::text(Micros(class.last_seen_micros))),
                json!(class.stage),
                json!(class.error_class),
                json!(class.signature),
                json!(class.attempts_most),
                json!(class.sample),
                json!(table),
            ]
        })
        .collect();
    let columns = [
        "class",
        "count",
        "first_seen",
        "last_seen",
        "stage",
        "error_class",
        "error",
        "attempts",
        "sample",
        "table",
    ];
    output::print(format, &columns, &rows)?;
    let others: u64 = answer.pipelines.iter().map(|of| of.answer.others).sum();
    if others > 0 {
        eprintln!("{others} more dead letters are of further classes");
    }
    Ok(())
}

/// Prints the newest dead letters one by one.
///
/// # Errors
/// When a table cannot be read.
pub fn each(reader: &Reader, choice: &DeadLetterChoice, limit: usize, format: Format) -> Result<()> {
    let replays = super::replays(&reader.config, &reader.pipelines);
    // The newest so far, the oldest of them first: memory does not grow with the table.
    let mut newest = std::collections::BTreeMap::new();
    let found = replays.each_of(choice, |replayer, topic, selection| {
        let table = replayer.tables().1.to_owned();
        replayer.each(topic, selection, &mut |letter| {
            let Some(offset) = letter.offset() else { return true };
            let failed_at = letter.failed_at().unwrap_or_default();
            let row = vec![
                json!(table),
                json!(moment::text(failed_at)),
                json!(MessageId { topic, offset }.to_string()),
                json!(class_of(letter).0),
                json!(letter.stage()),
                json!(letter.error_class()),
                json!(letter.attempts()),
                json!(letter.error_message()),
            ];
            newest.insert((failed_at, topic, offset), row);
            if newest.len() > limit {
                newest.pop_first();
            }
            true
        })
    });
    found.map_err(failed)?;
    let columns = ["table", "failed_at", "message_id", "class", "stage", "error_class", "attempts", "error"];
    output::print(format, &columns, &newest.into_values().rev().collect::<Vec<_>>())
}
