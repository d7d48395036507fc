//! Records of a file gathered to appends: at most one a topic, so that every topic takes the file's
//! ordinals in order.

use bytes::Bytes;
use millrace_model::{AttributeBlock, NewMessage, Source};

use super::entry::Loaded;
use super::ledger::Ledger;
use super::{ATTRIBUTE_FILE, ATTRIBUTE_ORDINAL, LoadError};
use crate::Ingest;

/// What goes to the topics together.
#[derive(Default)]
pub(super) struct Batch {
    /// For each topic's place its messages.
    pub(super) appends: Vec<(usize, Vec<NewMessage>)>,
    pub(super) bytes: usize,
    /// Behind the batch's last record.
    pub(super) next_ordinal: u64,
}

impl Batch {
    /// Adds a record to those of its topics that have not got it yet.
    pub(super) fn add(
        &mut self,
        ingest: &Ingest,
        topic: Option<usize>,
        file: &str,
        ordinal: u64,
        loaded: &Loaded,
        watermarks: &[Option<u64>],
    ) -> Result<bool, LoadError> {
        let topics = match topic {
            Some(place) if loaded.signal == crate::Signal::Logs => 1 << place,
            _ => ingest.topics_of(loaded.signal, loaded.routes),
        };
        if loaded.routes == 0 && topic.is_none() && loaded.signal == crate::Signal::Logs {
            ingest.totals.unrouted(1);
        }
        let number = ordinal.to_string();
        let attributes = AttributeBlock::pack([(ATTRIBUTE_FILE, file), (ATTRIBUTE_ORDINAL, number.as_str())]);
        let attributes = attributes.map_err(|error| LoadError::Internal(error.to_string()))?;
        let mut added = false;
        for place in (0..ingest.topics.len()).filter(|place| topics >> place & 1 == 1) {
            if watermarks.get(place).copied().flatten().is_some_and(|seen| ordinal <= seen) {
                continue;
            }
            added = true;
            let message = NewMessage {
                data: loaded.data.clone(),
                attributes: attributes.clone(),
                ordering_key: Bytes::new(),
                dedup_key: Some(loaded.dedup_key),
            };
            self.bytes += message.size_bytes();
            match self.appends.iter_mut().find(|(known, _)| *known == place) {
                Some((_, messages)) => messages.push(message),
                None => self.appends.push((place, vec![message])),
            }
        }
        Ok(added)
    }
}

/// For each topic the highest ordinal of the file that it holds behind its mark: what an interrupted
/// load had stored and not written down.
pub(super) fn watermarks(
    ingest: &Ingest,
    file: &str,
    ledger: &Ledger,
) -> Result<Vec<Option<u64>>, LoadError> {
    let sources = ingest.topics.iter().map(|(_, topic)| topic.source());
    sources.map(|source| watermark(source, file, ledger)).collect()
}

fn watermark(source: &dyn Source, file: &str, ledger: &Ledger) -> Result<Option<u64>, LoadError> {
    let bounds = source.bounds();
    let id = source.topic_id();
    let mark = ledger.marks.iter().find(|(topic, _)| *topic == id).map_or(bounds.start, |&(_, end)| end);
    let mut from = mark.max(bounds.start);
    let mut highest = None;
    while from < bounds.end {
        let limit =
            millrace_model::ReadLimit { messages_max: 65_536, bytes_max: 8 << 20, end: Some(bounds.end) };
        let batch = source.read(from, limit).map_err(|error| LoadError::Scan(error.to_string()))?;
        let Some(next) = batch.next_offset() else { break };
        for message in batch.iter() {
            let value =
                |key: &str| message.attributes.clone().find(|(name, _)| *name == key).map(|(_, value)| value);
            if value(ATTRIBUTE_FILE) == Some(file) {
                highest = highest.max(value(ATTRIBUTE_ORDINAL).and_then(|ordinal| ordinal.parse().ok()));
            }
        }
        from = next;
    }
    Ok(highest)
}
