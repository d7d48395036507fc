//! One load from start to end, on a thread of its own.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_model::limits::MESSAGE_BYTES_MAX;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::batch::{Batch, watermarks};
use super::entry::{self, Units};
use super::ledger::{Ledger, LedgerFile};
use super::splitter::Splitter;
use super::{Content, LoadError, LoadProgress, LoadReport, Loader, PROBLEMS_MAX};
use crate::Ingest;
use crate::ingest::Refusal;
use crate::limits::APPEND_BYTES_MAX;

/// How long a topic may refuse a load's messages before the load gives up.
const BUSY_MAX: Duration = Duration::from_secs(300);

/// Loads a file. Blocks; must run on a thread that may, inside a tokio runtime.
pub(super) fn run(
    loader: &Loader,
    content: &Content,
    topic: Option<usize>,
    progress: &dyn Fn(LoadProgress),
) -> Result<LoadReport, LoadError> {
    let (id, bytes_total) = identify(&loader.ingest, content)?;
    let file = hex::encode(id);
    let topic_name = topic.and_then(|place| loader.ingest.topics.get(place)).map(|(name, _)| name.as_str());
    let ledger_file = LedgerFile::new(loader, &file, topic_name);
    let ledger = ledger_file.read()?;
    let mut report = LoadReport { file, ..LoadReport::default() };
    if ledger.complete {
        report.records = ledger.next_ordinal;
        report.already_loaded = ledger.next_ordinal;
        return Ok(report);
    }
    let fresh = ledger == Ledger::default();
    let watermarks = if fresh { Vec::new() } else { watermarks(&loader.ingest, &report.file, &ledger)? };
    let run = Run {
        ingest: &loader.ingest,
        ledger_file,
        from: ledger.next_ordinal,
        watermarks,
        topic,
        id,
        report,
        batch: Batch::default(),
        in_flight: None,
        progress,
        bytes: 0,
        bytes_total,
    };
    run.all(content)
}

/// A file's id and its unpacked size. Reads all of it, so a damaged gzip is found before anything is
/// stored.
fn identify(ingest: &Ingest, content: &Content) -> Result<([u8; 16], u64), LoadError> {
    let read = || {
        let mut input = content.open()?;
        let mut hasher = ingest.identity.file_hasher();
        let (mut buffer, mut total) = (vec![0; 1 << 18], 0);
        loop {
            match input.read(&mut buffer)? {
                0 => break,
                length => {
                    hasher.update(&buffer[..length]);
                    total += length as u64;
                }
            }
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Ok((id, total))
    };
    read().map_err(|source| LoadError::Read { path: content.name.clone(), source })
}

struct Run<'r> {
    ingest: &'r Arc<Ingest>,
    ledger_file: LedgerFile<'r>,
    /// Records before this one are durable.
    from: u64,
    watermarks: Vec<Option<u64>>,
    topic: Option<usize>,
    id: [u8; 16],
    report: LoadReport,
    batch: Batch,
    /// The append of the batch before, while the next is gathered.
    in_flight: Option<JoinHandle<Result<(u64, u64), Refusal>>>,
    progress: &'r dyn Fn(LoadProgress),
    bytes: u64,
    bytes_total: u64,
}

impl Run<'_> {
    fn all(mut self, content: &Content) -> Result<LoadReport, LoadError> {
        let unreadable = |source| LoadError::Read { path: content.name.clone(), source };
        let input = content.open().map_err(unreadable)?;
        let mut splitter = Splitter::new(input, self.ingest.config.decompressed_bytes_max);
        loop {
            self.bytes = splitter.bytes_read;
            let Some(unit) = splitter.next().map_err(unreadable)? else { break };
            let line = unit.line;
            match unit.bytes {
                Some(bytes) => {
                    let units = entry::messages(self.ingest, &self.id, self.report.records, bytes);
                    self.take(line, &units)?;
                }
                None => {
                    let bytes_max = self.ingest.config.decompressed_bytes_max;
                    self.reject(line, 1, format!("longer than {bytes_max} bytes"));
                    self.report.records += 1;
                }
            }
        }
        self.send()?;
        self.settle()?;
        let next_ordinal = self.report.records;
        self.ledger_file.write(&Ledger { next_ordinal, complete: true, marks: Vec::new() })?;
        self.report_progress();
        Ok(self.report)
    }

    fn report_progress(&self) {
        let (bytes, bytes_total, records) = (self.bytes, self.bytes_total, self.report.records);
        (self.progress)(LoadProgress { bytes, bytes_total, records });
    }

    fn problem(&mut self, line: u64, reason: String) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push((line, reason));
        }
    }

    fn reject(&mut self, line: u64, count: u64, reason: String) {
        self.report.rejected += count;
        self.ingest.totals.rejected("load", count);
        self.problem(line, reason);
    }

    /// Takes the records of one unit. Refused ones have no ordinal of their own: they are refused again
    /// whenever the file is read.
    fn take(&mut self, line: u64, units: &Units) -> Result<(), LoadError> {
        self.report.opaque += u64::from(units.opaque);
        if units.rejected > 0 {
            self.report.rejected += units.rejected;
        }
        if let Some(problem) = &units.problem {
            self.problem(line, problem.clone());
        }
        for loaded in &units.messages {
            let ordinal = self.report.records;
            self.report.records += 1;
            if loaded.data.len() > MESSAGE_BYTES_MAX - ATTRIBUTES_ROOM_BYTES {
                self.reject(
                    line,
                    1,
                    format!("a record has {} bytes, a message holds {MESSAGE_BYTES_MAX}", loaded.data.len()),
                );
                continue;
            }
            if ordinal < self.from {
                self.report.already_loaded += 1;
                continue;
            }
            let file = &self.report.file;
            if !self.batch.add(self.ingest, self.topic, file, ordinal, loaded, &self.watermarks)? {
                self.report.already_loaded += 1;
            }
            self.batch.next_ordinal = ordinal + 1;
            if self.batch.bytes >= APPEND_BYTES_MAX {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Sends the batch off, after the one before is durable and the ledger says where this one begins.
    fn send(&mut self) -> Result<(), LoadError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.appends.is_empty() {
            return Ok(());
        }
        self.settle()?;
        self.keep()?;
        self.from = batch.next_ordinal;
        let ingest = Arc::clone(self.ingest);
        self.in_flight = Some(Handle::current().spawn(append(ingest, batch)));
        self.report_progress();
        Ok(())
    }

    /// Writes down where the next batch begins and where the topics end before it. Not while it begins
    /// before what an interrupted load had stored already: the marks of then are needed to know that.
    fn keep(&self) -> Result<(), LoadError> {
        let seen = self.watermarks.iter().flatten().max();
        if seen.is_some_and(|&seen| self.from <= seen) {
            return Ok(());
        }
        let sources = self.ingest.topics.iter().map(|(_, topic)| topic.source());
        let marks = sources.map(|source| (source.topic_id(), source.bounds().end)).collect();
        let ledger = Ledger { next_ordinal: self.from, complete: false, marks };
        self.ledger_file.write(&ledger)
    }

    /// Waits for the batch in flight.
    fn settle(&mut self) -> Result<(), LoadError> {
        let Some(task) = self.in_flight.take() else { return Ok(()) };
        let result = Handle::current().block_on(task);
        match result.map_err(|error| LoadError::Internal(error.to_string()))? {
            Ok((messages, duplicates)) => {
                self.report.added += messages - duplicates;
                self.report.duplicates += duplicates;
                Ok(())
            }
            Err(refusal) => {
                Err(LoadError::Refused { records: self.report.records, reason: refusal.to_string() })
            }
        }
    }
}

/// Room for the attributes beside a message's payload.
const ATTRIBUTES_ROOM_BYTES: usize = 256;

/// Appends a batch, again and again while the topics have no room.
async fn append(ingest: Arc<Ingest>, batch: Batch) -> Result<(u64, u64), Refusal> {
    let messages = batch.appends.iter().map(|(_, messages)| messages.len() as u64).sum();
    let start = Instant::now();
    let mut pending = batch.appends;
    let mut duplicates = 0;
    loop {
        let mut rest = Vec::new();
        let mut busy = None;
        for (place, messages) in pending {
            match ingest.append(vec![(place, messages.clone())]).await {
                Ok(count) => duplicates += count,
                Err(Refusal::Busy { reason, retry_after }) => {
                    rest.push((place, messages));
                    busy = Some((reason, retry_after));
                }
                Err(refusal) => return Err(refusal),
            }
        }
        let Some((reason, retry_after)) = busy else { return Ok((messages, duplicates)) };
        if start.elapsed() > BUSY_MAX {
            return Err(Refusal::Busy { reason, retry_after });
        }
        tokio::time::sleep(retry_after.min(Duration::from_secs(5))).await;
        pending = rest;
    }
}
