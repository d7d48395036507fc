//! `millrace deadletter export`: dead letters as lines of a file.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_model::{MessageId, TopicId};
use millrace_pipeline::replay::class_of;
use millrace_server::DeadLetterChoice;
use millrace_table::DeadLetter;
use serde_json::{Map, Value, json};

use super::{failed, reading};
use crate::config::Config;
use crate::moment;
use crate::out_file::OutFile;
use crate::reader::Reader;

/// Writes them.
///
/// # Errors
/// When the tables cannot be read or the file cannot be written.
pub fn export(
    config: &Config,
    choice: &DeadLetterChoice,
    output: Option<&Path>,
    payloads: bool,
) -> Result<()> {
    let reader = Reader::open(config)?;
    match output.filter(|path| *path != Path::new("-")) {
        None => write(config, &reader, choice, payloads, &mut io::stdout().lock()),
        Some(path) => {
            let mut file = BufWriter::new(OutFile::create(path)?);
            write(config, &reader, choice, payloads, &mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
        }
    }
}

fn write(
    config: &Config,
    reader: &Reader,
    choice: &DeadLetterChoice,
    payloads: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let (mut written, mut left_out) = (0_u64, 0_u64);
    let mut outcome = Ok(());
    let found = reading(config, reader).each_of(choice, |replayer, topic, selection| {
        replayer.each(topic, selection, &mut |letter| {
            let line = if payloads { payload(letter) } else { Some(whole(topic, letter).to_string()) };
            match line {
                Some(line) => {
                    written += 1;
                    outcome = writeln!(out, "{line}");
                }
                None => left_out += 1,
            }
            outcome.is_ok()
        })
    });
    outcome.and_then(|()| out.flush()).context("cannot write dead letters")?;
    found.map_err(failed)?;
    if left_out > 0 {
        eprintln!("{written} payloads written; {left_out} left out, which are no single lines of text");
    }
    Ok(())
}

/// A payload that is one line of text.
fn payload(letter: &DeadLetter<'_>) -> Option<String> {
    let text = std::str::from_utf8(letter.payload()).ok()?;
    (!text.is_empty() && !text.contains(['\n', '\r'])).then(|| text.to_owned())
}

/// Everything about a dead letter. Bytes that are no text are in `payload_base64`.
fn whole(topic: TopicId, letter: &DeadLetter<'_>) -> Value {
    let attributes: Map<String, Value> =
        letter.attributes().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let payload = letter.payload();
    let text = std::str::from_utf8(payload).ok();
    json!({
        "message_id": letter.offset().map(|offset| MessageId { topic, offset }.to_string()),
        "topic": letter.topic_name(),
        "offset": letter.offset().map(|offset| offset.0),
        "publish_time": letter.publish_time().map(moment::text),
        "attributes": attributes,
        "ordering_key": letter.ordering_key(),
        "payload": text,
        "payload_base64": text.is_none().then(|| STANDARD.encode(payload)),
        "class": class_of(letter).0,
        "stage": letter.stage(),
        "error_class": letter.error_class(),
        "error": letter.error_message(),
        "stack": letter.stack(),
        "udf_hash": letter.udf_hash(),
        "attempts": letter.attempts(),
        "failed_at": letter.failed_at().map(moment::text),
    })
}
