//! The results of materialised views: where they are kept and when they may be read instead of being
//! computed.
//!
//! A stored result is read when it is of the view's present definition, and either the tables below have
//! not changed since, or it is not older than the view's `max_staleness`. In every other case the view is
//! computed from its tables. So a stored result makes a query faster and never other than BigQuery's
//! documentation allows
//! (<https://cloud.google.com/bigquery/docs/materialized-views-create#data_staleness>).

mod file;
mod refresh;
mod schedule;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::catalog::TableProvider;
use sha2::{Digest as _, Sha256};

use crate::catalog::Catalog;
use crate::config::{EngineConfig, Pseudonyms, ResultsConfig};
use crate::error::SqlError;
use crate::session::{Session, SessionLimits};
use crate::views::{Materialized, Views};
use file::ResultFile;
pub use refresh::Refreshed;
pub(crate) use refresh::refuse_varying;
use schedule::Attempt;

/// What the names of stored results end in.
const EXTENSION: &str = "result";

/// See the module.
pub(crate) struct Results {
    config: ResultsConfig,
    /// Tells keys of pseudonyms apart: another key makes another result.
    key: String,
    /// Those looked for so far; `None`: there is none, or it is not whole.
    known: Mutex<BTreeMap<String, Option<Arc<ResultFile>>>>,
    /// How the newest refresh of each view went, in this process.
    attempts: Mutex<BTreeMap<String, Attempt>>,
    /// One refresh at a time.
    turn: tokio::sync::Mutex<()>,
    /// Told when there may be something to refresh.
    changed: tokio::sync::Notify,
    session: Session,
}

/// A stored result that may be read.
pub(crate) struct StoredResult(Arc<ResultFile>);

impl StoredResult {
    /// The names of its columns as results show them.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &String> {
        self.0.facts().columns.iter()
    }

    /// Its rows as a table.
    ///
    /// # Errors
    /// Mistakes of ours only.
    pub(crate) fn provider(&self) -> Result<Arc<dyn TableProvider>, SqlError> {
        table::provider(&self.0)
    }
}

/// How a stored result stands to the tables below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing is stored, or what is stored is of another definition: the view is computed.
    Missing,
    /// The tables have not changed since: it is read.
    Current,
    /// The tables have changed, or may have, and it is within `max_staleness`: it is read.
    WithinLimit,
    /// The tables have changed, or may have, and it is too old: the view is computed.
    OutOfDate,
}

impl Freshness {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Current => "current",
            Self::WithinLimit => "within limit",
            Self::OutOfDate => "out of date",
        }
    }

    fn is_readable(self) -> bool {
        matches!(self, Self::Current | Self::WithinLimit)
    }
}

/// What is known of a materialised view's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultInfo {
    /// How it is to be kept.
    pub kept: Materialized,
    /// How it stands to its tables.
    pub freshness: Freshness,
    /// The moment that it shows, microseconds since 1970 UTC.
    pub refreshed_micros: Option<i64>,
    /// How long ago that was.
    pub age: Option<Duration>,
    /// Its rows.
    pub rows: Option<u64>,
    /// Its bytes on disk.
    pub bytes: Option<u64>,
    /// Why the newest refresh failed, when it did.
    pub error: Option<SqlError>,
}

impl ResultInfo {
    /// The moment that the result shows, in RFC 3339 with seconds, UTC.
    #[must_use]
    pub fn refreshed_at(&self) -> Option<String> {
        let moment = chrono::DateTime::from_timestamp_micros(self.refreshed_micros?)?;
        Some(moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }
}

impl Results {
    /// # Errors
    /// When the spill folder cannot be used.
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, SqlError> {
        let key = match &config.pseudonyms {
            Pseudonyms::Hmac(key) => key.fingerprint(),
            Pseudonyms::Off | Pseudonyms::Sha256 => String::new(),
        };
        let session = Session::new(&SessionLimits {
            memory_bytes_max: config.results.refresh_memory_bytes_max,
            spill_dir: config.spill_dir.as_deref(),
            spill_bytes_max: config.spill_bytes_max,
            // Slow and steady: refreshes give way to queries.
            partitions: 1,
        })?;
        Ok(Self {
            config: config.results.clone(),
            key,
            known: Mutex::default(),
            attempts: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            changed: tokio::sync::Notify::new(),
            session,
        })
    }

    fn path(&self, view: &str) -> Option<PathBuf> {
        Some(self.config.dir.as_ref()?.join(format!("{view}.{EXTENSION}")))
    }

    /// What is stored of a view, of whatever definition. Looks at the disk once.
    fn stored(&self, view: &str) -> Option<Arc<ResultFile>> {
        let path = self.path(view)?;
        let mut known = lock(&self.known);
        known.entry(view.to_owned()).or_insert_with(|| ResultFile::open(&path).map(Arc::new)).clone()
    }

    /// Forgets what is stored of a view, so that the disk is looked at again.
    fn forget(&self, view: &str) {
        lock(&self.known).remove(view);
    }

    /// The result of a materialised view, when it may be read instead of being computed.
    pub(crate) fn usable(
        &self,
        view: &str,
        kept: Materialized,
        views: &Views,
        catalog: &dyn Catalog,
        now_micros: i64,
    ) -> Option<StoredResult> {
        let stored = self.stored(view)?;
        let freshness = self.freshness(&stored, view, kept, views, catalog, now_micros);
        freshness.is_readable().then_some(StoredResult(stored))
    }

    fn freshness(
        &self,
        stored: &ResultFile,
        view: &str,
        kept: Materialized,
        views: &Views,
        catalog: &dyn Catalog,
        now_micros: i64,
    ) -> Freshness {
        let facts = stored.facts();
        let definition = self.definition(facts.views.iter().map(String::as_str), views);
        if facts.view != view || definition.as_deref() != Some(facts.definition.as_str()) {
            return Freshness::Missing;
        }
        if unchanged(&facts.tables, catalog) {
            return Freshness::Current;
        }
        match (kept.max_staleness, age(facts.refreshed_micros, now_micros)) {
            (Some(limit), Some(age)) if age <= limit => Freshness::WithinLimit,
            _ => Freshness::OutOfDate,
        }
    }

    /// What is known of a materialised view's result.
    pub(crate) fn info(
        &self,
        view: &str,
        kept: Materialized,
        views: &Views,
        catalog: &dyn Catalog,
        now_micros: i64,
    ) -> ResultInfo {
        let stored = self.stored(view);
        let freshness = stored.as_ref().map_or(Freshness::Missing, |stored| {
            self.freshness(stored, view, kept, views, catalog, now_micros)
        });
        let stored = stored.filter(|_| freshness != Freshness::Missing);
        let refreshed_micros = stored.as_ref().map(|stored| stored.facts().refreshed_micros);
        ResultInfo {
            kept,
            freshness,
            refreshed_micros,
            age: refreshed_micros.and_then(|then| age(then, now_micros)),
            rows: stored.as_ref().map(|stored| stored.rows()),
            bytes: stored.as_ref().map(|stored| stored.bytes()),
            error: lock(&self.attempts).get(view).and_then(|attempt| attempt.error.clone()),
        }
    }

    /// A digest of everything but rows that a result depends on: the text of these views, the key of
    /// pseudonyms, and the program, whose functions may be mended. `None` when a view is not there.
    fn definition<'a>(&self, names: impl Iterator<Item = &'a str>, views: &Views) -> Option<String> {
        let names: BTreeSet<&str> = names.collect();
        let mut digest = Sha256::new();
        digest.update(format!("{}\n{}\n", env!("CARGO_PKG_VERSION"), self.key));
        for name in names {
            digest.update(format!("{name} {}\n", views.get(name)?.digest()));
        }
        Some(hex::encode(digest.finalize()))
    }
}

/// Whether tables are as they were at these versions.
fn unchanged(tables: &BTreeMap<String, Option<u64>>, catalog: &dyn Catalog) -> bool {
    tables.iter().all(|(path, then)| {
        let now = path.split_once('.').and_then(|(dataset, name)| catalog.version(dataset, name));
        then.is_some() && now == *then
    })
}

/// The time between two moments; `None` when the clock has gone back meanwhile, and nothing is known.
fn age(then_micros: i64, now_micros: i64) -> Option<Duration> {
    u64::try_from(now_micros.checked_sub(then_micros)?).ok().map(Duration::from_micros)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
