//! One open table: a sink for pipelines, a provider for queries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use deltalake_core::kernel::Add;
use millrace_model::names::COLUMN_EVENT_DAY;
use millrace_model::{Offset, TopicId};
use millrace_pipeline::{Amendment, Commit, Scan, Sink, SinkError};

use crate::amend;
use crate::committer::{Committer, Request};
use crate::core::{Reserved, TableCore, lock};
use crate::error::LakeError;
use crate::maintenance::{self, Maintained, Upkeep};
use crate::metric;
use crate::partition;
use crate::provider::TableSnapshot;
use crate::state::TableState;
use crate::store::SyncedStore;

/// How often an amendment begins again because compaction was faster.
const AMEND_TRIES_MAX: u32 = 5;

/// A Delta table, open for writing or only for reading. Calls block, except [`provider`](Self::provider)
/// and [`stats`](Self::stats), and are not made from the runtime's own threads.
pub struct LakeTable {
    core: Arc<TableCore>,
    store: SyncedStore,
    /// `None` when the lake only reads, or is shut down.
    committer: Mutex<Option<Arc<Committer>>>,
    upkeep: Upkeep,
}

/// A table in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LakeTableStats {
    /// The newest committed version.
    pub version: u64,
    /// Data files.
    pub files: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that the table does not refer to any more and that vacuum has not removed yet.
    pub removed_files: usize,
}

impl LakeTable {
    pub(crate) fn new(core: TableCore, store: SyncedStore, writing: bool) -> Result<Self, LakeError> {
        let core = Arc::new(core);
        let upkeep = Upkeep::new(core.state().checkpoint);
        let committer = writing.then(|| Committer::start(Arc::clone(&core))).transpose()?.map(Arc::new);
        Ok(Self { core, store, committer: Mutex::new(committer), upkeep })
    }

    /// The table's columns, the hidden ones included.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.core.schema)
    }

    /// The newest committed snapshot for queries. Cheap; the snapshot stays what it is.
    #[must_use]
    pub fn provider(&self) -> Arc<dyn TableProvider> {
        self.snapshot().all
    }

    /// The same, and its rows in parts by what hidden columns they have.
    #[must_use]
    pub fn snapshot(&self) -> TableSnapshot {
        TableSnapshot::new(&self.core, &self.core.state(), &self.store)
    }

    /// The newest committed version in figures.
    #[must_use]
    pub fn stats(&self) -> LakeTableStats {
        let state = self.core.state();
        LakeTableStats {
            version: state.version,
            files: state.files.len(),
            rows: state.rows(),
            bytes: state.bytes(),
            removed_files: state.tombstones.len(),
        }
    }

    /// Takes up what the writing process has committed since; for processes that only read.
    ///
    /// # Errors
    /// When the log cannot be read, or the table was changed to contradict its declaration.
    pub fn refresh(&self) -> Result<(), LakeError> {
        if lock(&self.committer).is_some() {
            return Ok(());
        }
        self.core.refresh()
    }

    /// One round of maintenance now: compaction, checkpoint, vacuum, log clean-up, as far as due.
    ///
    /// # Errors
    /// When a step fails; what was done before stays done.
    pub fn maintain_now(&self) -> Result<Maintained, LakeError> {
        let committer = self.committer("maintenance")?;
        self.upkeep.run(&self.core, &committer)
    }

    pub(crate) fn maintain(&self) {
        match self.maintain_now() {
            Ok(_) | Err(LakeError::Closed | LakeError::Conflict(_) | LakeError::ReadOnly(_)) => {}
            Err(error) => maintenance::failed(&self.core.label, &error),
        }
    }

    /// Ends the committer, behind the requests already sent.
    pub(crate) fn close(&self) {
        drop(lock(&self.committer).take());
    }

    fn committer(&self, act: &'static str) -> Result<Arc<Committer>, LakeError> {
        match &*lock(&self.committer) {
            Some(committer) => Ok(Arc::clone(committer)),
            None if self.core.config.read_only => Err(LakeError::ReadOnly(act)),
            None => Err(LakeError::Closed),
        }
    }

    /// Writes the rows of a commit into files, one per partition, each durable when this returns.
    fn write_files(&self, commit: &Commit) -> Result<(Vec<Add>, Vec<Reserved>), LakeError> {
        let rows: Vec<_> = commit.rows.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
        let (mut adds, mut reserved) = (Vec::new(), Vec::new());
        if rows.is_empty() {
            return Ok((adds, reserved));
        }
        for batch in &rows {
            same_columns(&self.core.declared, &batch.schema())?;
        }
        let day_column = self.core.declared.index_of(COLUMN_EVENT_DAY)?;
        for partition in partition::split(&rows, day_column, self.core.config.partition_files_max)? {
            let rows = self.core.writer.to_file_rows(&partition.pieces)?;
            let file = self.core.reserve(partition.day)?;
            let batches = rows.iter().cloned().map(Ok);
            adds.push(self.core.writer.write(&file.path, partition.day, &rows, batches, true)?);
            reserved.push(file);
        }
        Ok((adds, reserved))
    }

    fn try_commit(&self, commit: &Commit) -> Result<(), LakeError> {
        let committer = self.committer("a commit")?;
        let began = Instant::now();
        let (adds, _reserved) = self.write_files(commit)?;
        let marks = commit.marks.iter().map(|mark| (mark.app_id.clone(), mark.version)).collect();
        committer.ask(|reply| Request::Append { adds, marks, reply })?;
        metric::commit(&self.core.label, began.elapsed());
        Ok(())
    }

    fn try_amend(&self, amendment: &Amendment) -> Result<(), LakeError> {
        let committer = self.committer("a commit")?;
        let began = Instant::now();
        let (put_in, _reserved) = self.write_files(&amendment.commit)?;
        let mut tries = 0;
        loop {
            let state = self.core.state();
            let rewrite = match amend::rewrite(&self.core, &state, amendment.topic, &amendment.removed) {
                // Vacuum may have overtaken a long read: the newer state names other files.
                Err(LakeError::Damaged { .. })
                    if tries < AMEND_TRIES_MAX && self.core.state().version > state.version =>
                {
                    tries += 1;
                    continue;
                }
                rewritten => rewritten?,
            };
            let adds = rewrite.new.into_iter().chain(put_in.iter().cloned()).collect();
            let marks =
                amendment.commit.marks.iter().map(|mark| (mark.app_id.clone(), mark.version)).collect();
            match committer.ask(|reply| Request::Amend { old: rewrite.old, adds, marks, reply }) {
                // Compaction has put one of the files together with others meanwhile.
                Err(LakeError::Conflict(_)) if tries < AMEND_TRIES_MAX => tries += 1,
                done => {
                    done?;
                    break;
                }
            }
        }
        metric::commit(&self.core.label, began.elapsed());
        Ok(())
    }

    fn state_on_disk(&self) -> Result<Arc<TableState>, LakeError> {
        match self.committer("marks") {
            Ok(committer) => committer.ask(|reply| Request::Reload { reply }),
            Err(LakeError::ReadOnly(_)) => self.core.reload(),
            Err(error) => Err(error),
        }
    }

    fn find_offsets(&self, topic: TopicId, start: Offset, end: Offset) -> Result<Vec<Offset>, LakeError> {
        let mut state = self.core.state();
        loop {
            match self.offsets_in(&state, topic, start, end) {
                // Vacuum may have overtaken a very long read: the newer state names other files.
                Err(damaged @ LakeError::Damaged { .. }) => {
                    self.refresh()?;
                    let newer = self.core.state();
                    if newer.version == state.version {
                        return Err(damaged);
                    }
                    state = newer;
                }
                other => return other,
            }
        }
    }

    fn offsets_in(
        &self,
        state: &TableState,
        topic: TopicId,
        start: Offset,
        end: Offset,
    ) -> Result<Vec<Offset>, LakeError> {
        let (topic, range) = (topic.to_string(), start..end);
        let mut found = Vec::new();
        for file in amend::files_of(&self.core, state, &topic, &range)? {
            self.core.reader.offsets(&file, &topic, &range, &mut found)?;
        }
        found.sort_unstable();
        Ok(found)
    }

    fn sink_error(&self, error: &LakeError) -> SinkError {
        let table = self.core.label.clone();
        let reason = error.to_string();
        match error {
            LakeError::Io { .. }
            | LakeError::Parquet { .. }
            | LakeError::Taken { .. }
            | LakeError::Conflict(_)
            | LakeError::Log { .. } => SinkError::Retry { table, reason },
            LakeError::Name(_)
            | LakeError::Schema { .. }
            | LakeError::Unsupported { .. }
            | LakeError::Damaged { .. }
            | LakeError::Missing(_)
            | LakeError::ReadOnly(_)
            | LakeError::Closed
            | LakeError::Arrow(_) => SinkError::Broken { table, reason },
        }
    }
}

impl Sink for LakeTable {
    fn table(&self) -> &str {
        &self.core.label
    }

    fn marks(&self) -> Result<BTreeMap<String, i64>, SinkError> {
        let state = self.state_on_disk().map_err(|error| self.sink_error(&error))?;
        Ok((*state.marks).clone())
    }

    fn offsets(&self, topic: TopicId, start: Offset, end: Offset) -> Result<Vec<Offset>, SinkError> {
        self.find_offsets(topic, start, end).map_err(|error| self.sink_error(&error))
    }

    fn commit(&self, commit: &Commit) -> Result<(), SinkError> {
        self.try_commit(commit).map_err(|error| self.sink_error(&error))
    }

    fn amend(&self, amendment: &Amendment) -> Result<(), SinkError> {
        self.try_amend(amendment).map_err(|error| self.sink_error(&error))
    }

    fn scan(&self, scan: &Scan<'_>, take: &mut dyn FnMut(&RecordBatch) -> bool) -> Result<(), SinkError> {
        amend::scan(&self.core, &self.core.state(), scan, take).map_err(|error| self.sink_error(&error))
    }
}

/// Rows must have the table's columns by name and type, in its order; descriptions may differ.
fn same_columns(table: &SchemaRef, rows: &SchemaRef) -> Result<(), arrow::error::ArrowError> {
    let columns = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if columns(table) == columns(rows) {
        return Ok(());
    }
    Err(arrow::error::ArrowError::SchemaError(format!("rows of {rows} for a table of {table}")))
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LakeTable").field("table", &self.core.label).finish_non_exhaustive()
    }
}
