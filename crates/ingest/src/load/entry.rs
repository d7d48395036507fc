//! One unit of a file as messages.

use std::borrow::Cow;

use bytes::Bytes;
use millrace_model::DedupKey;

use crate::filter::{JsonEntry, parse_instant, routes_of};
use crate::ingest::{Encoding, Ingest, Signal};
use crate::json::{Kind, Reader, SyntaxError, writer};
use crate::map::EntryTime;

/// One message of a file, without its attributes.
pub(super) struct Loaded {
    pub(super) signal: Signal,
    /// A bit for each route that takes it.
    pub(super) routes: u64,
    pub(super) data: Bytes,
    pub(super) dedup_key: DedupKey,
}

/// What a unit gave.
#[derive(Default)]
pub(super) struct Units {
    pub(super) messages: Vec<Loaded>,
    /// Records that no topic can hold.
    pub(super) rejected: u64,
    /// Why it was refused in part, or taken as it is.
    pub(super) problem: Option<String>,
    pub(super) opaque: bool,
}

/// What is known of a JSON object from its top level.
#[derive(Default)]
struct Facts<'a> {
    log_name: Cow<'a, str>,
    timestamp: Option<Cow<'a, str>>,
    insert_id: Option<Cow<'a, str>>,
    has_insert_id: bool,
    has_receive_timestamp: bool,
    is_empty: bool,
    otlp: Option<Signal>,
}

/// Makes the messages of a unit whose first record has `ordinal` in `file`.
pub(super) fn messages(ingest: &Ingest, file: &[u8; 16], ordinal: u64, unit: &[u8]) -> Units {
    let text = match std::str::from_utf8(unit) {
        Ok(text) => text,
        Err(error) => return opaque(ingest, file, ordinal, unit, format!("not UTF-8: {error}")),
    };
    let facts = match facts(text) {
        Ok(facts) => facts,
        Err(error) => return opaque(ingest, file, ordinal, unit, format!("not a JSON object: {error}")),
    };
    if let Some(signal) = facts.otlp {
        return match otlp(ingest, signal, unit) {
            Ok(units) => units,
            Err(problem) => opaque(ingest, file, ordinal, unit, problem),
        };
    }
    let routes = routes_of(&ingest.config.routes, &JsonEntry(text));
    let (data, dedup_key) = entry(ingest, file, ordinal, text, &facts);
    Units { messages: vec![Loaded { signal: Signal::Logs, routes, data, dedup_key }], ..Units::default() }
}

fn opaque(ingest: &Ingest, file: &[u8; 16], ordinal: u64, unit: &[u8], problem: String) -> Units {
    let message = Loaded {
        signal: Signal::Logs,
        routes: routes_of(&ingest.config.routes, &JsonEntry("{}")),
        data: Bytes::copy_from_slice(unit),
        dedup_key: DedupKey(ingest.identity.loaded(file, ordinal)),
    };
    Units { messages: vec![message], problem: Some(problem), opaque: true, rejected: 0 }
}

fn otlp(ingest: &Ingest, signal: Signal, unit: &[u8]) -> Result<Units, String> {
    let mapped = ingest.prepare(signal, Encoding::Json, unit).map_err(|refusal| refusal.to_string())?;
    let rejected = mapped.rejected();
    let buffer = Bytes::from(mapped.buffer);
    let messages = mapped.records.into_iter().map(|record| Loaded {
        signal,
        routes: record.routes,
        data: buffer.slice(record.data),
        dedup_key: record.dedup_key,
    });
    let problem = (rejected > 0).then(|| format!("{rejected} records are too large or nested too deeply"));
    Ok(Units { messages: messages.collect(), rejected, problem, opaque: false })
}

fn facts(text: &str) -> Result<Facts<'_>, SyntaxError> {
    let mut facts = Facts { is_empty: true, ..Facts::default() };
    let mut reader = Reader::new(text);
    reader.enter_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first)? {
        facts.is_empty = false;
        let kind = reader.peek()?;
        let text = |reader: &mut Reader<'_>| -> Result<Option<String>, SyntaxError> {
            if kind == Kind::Text {
                Ok(Some(reader.text()?.into_owned()))
            } else {
                reader.skip(usize::MAX).map(|_| None)
            }
        };
        match key.as_ref() {
            "logName" => facts.log_name = text(&mut reader)?.unwrap_or_default().into(),
            "timestamp" => facts.timestamp = text(&mut reader)?.map(Cow::from),
            "insertId" => {
                facts.insert_id = text(&mut reader)?.filter(|id| !id.is_empty()).map(Cow::from);
                facts.has_insert_id = true;
            }
            key => {
                facts.has_receive_timestamp |= key == "receiveTimestamp";
                facts.otlp = match key {
                    _ if kind != Kind::Array => facts.otlp,
                    "resourceLogs" | "resource_logs" => Some(Signal::Logs),
                    "resourceMetrics" | "resource_metrics" => Some(Signal::Metrics),
                    "resourceSpans" | "resource_spans" => Some(Signal::Traces),
                    _ => facts.otlp,
                };
                reader.skip(usize::MAX)?;
            }
        }
    }
    reader.finish()?;
    Ok(facts)
}

/// A `LogEntry` as it came, with what it lacks added behind its last field.
fn entry(ingest: &Ingest, file: &[u8; 16], ordinal: u64, text: &str, facts: &Facts<'_>) -> (Bytes, DedupKey) {
    let place = ingest.identity.loaded(file, ordinal);
    let dedup_key = match &facts.insert_id {
        None => DedupKey(place),
        Some(insert_id) => {
            let time = match facts.timestamp.as_deref() {
                None => EntryTime::None,
                Some(text) => parse_instant(text)
                    .map_or(EntryTime::Text(text.as_bytes()), |(seconds, nanos)| {
                        EntryTime::Instant(seconds, nanos)
                    }),
            };
            ingest.identity.entry(&mut Vec::new(), facts.log_name.as_bytes(), time, insert_id.as_bytes())
        }
    };
    if facts.has_receive_timestamp && facts.has_insert_id {
        return (Bytes::copy_from_slice(text.as_bytes()), dedup_key);
    }
    let mut data = Vec::with_capacity(text.len() + 128);
    data.extend_from_slice(&text.as_bytes()[..text.len() - 1]);
    if !facts.is_empty {
        data.push(b',');
    }
    if !facts.has_insert_id {
        data.extend_from_slice(b"\"insertId\":\"");
        writer::hex(&mut data, &place);
        data.push(b'"');
    }
    if !facts.has_receive_timestamp {
        if !facts.has_insert_id {
            data.push(b',');
        }
        data.extend_from_slice(b"\"receiveTimestamp\":\"");
        writer::timestamp(&mut data, ingest.context().received_nanos);
        data.push(b'"');
    }
    data.push(b'}');
    (Bytes::from(data), dedup_key)
}
