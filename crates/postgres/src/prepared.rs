//! Prepared statements, and how many of them a connection may hold.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::DataType;
use pgwire::error::ErrorInfo;

use crate::errors::{error, hinted, state};
use crate::parameters::Parameter;

/// Prepared statements, or bound ones, of one connection.
const NAMES_MAX: usize = 1000;
/// Bytes of the texts and values that they are made of.
const HELD_BYTES_MAX: usize = 16 << 20;
/// A plan is over a snapshot of its tables; an older one is made anew.
const PLAN_AGE_MAX: Duration = Duration::from_secs(1);
/// The plans of longer texts are not kept: they take many times the bytes.
const PLANNED_TEXT_BYTES_MAX: usize = 64 << 10;

/// A prepared statement. Its text is kept, not its tree: each run reads what tables hold then, so it is
/// planned again.
pub(crate) struct Prepared {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Parameter>,
    /// The types of parameters that the statement itself does not tell.
    pub(crate) casts: BTreeMap<usize, DataType>,
    /// The columns of its rows, when it gives rows.
    pub(crate) schema: Option<SchemaRef>,
    /// The plan that it was described by, for a run right after.
    fresh: Mutex<Option<(Instant, LogicalPlan)>>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Prepared").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Prepared {
    /// A statement without rows and parameters.
    pub(crate) fn bare(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            parameters: Vec::new(),
            casts: BTreeMap::new(),
            schema: None,
            fresh: Mutex::default(),
        }
    }

    /// Keeps the plan for a run right after.
    pub(crate) fn keep(&mut self, plan: LogicalPlan) {
        if self.sql.len() <= PLANNED_TEXT_BYTES_MAX {
            self.fresh = Mutex::new(Some((Instant::now(), plan)));
        }
    }

    /// The kept plan, once, and not when it is old.
    pub(crate) fn fresh(&self) -> Option<LogicalPlan> {
        let kept = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.filter(|(made, _)| made.elapsed() < PLAN_AGE_MAX).map(|(_, plan)| plan)
    }
}

/// The names of what a connection holds, each with its bytes.
#[derive(Debug)]
pub(crate) struct Held {
    what: &'static str,
    bytes: Mutex<BTreeMap<String, usize>>,
}

impl Held {
    /// Nothing yet; `what` it will be, for errors.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, bytes: Mutex::default() }
    }

    /// Adds one, in place of what has the name.
    ///
    /// # Errors
    /// When there are too many, or when they are too large together.
    pub(crate) fn add(&self, name: &str, bytes: usize) -> Result<(), ErrorInfo> {
        let mut held = self.lock();
        let before = held.get(name).copied();
        let sum = held.values().sum::<usize>() - before.unwrap_or_default() + bytes;
        if (before.is_none() && held.len() >= NAMES_MAX) || sum > HELD_BYTES_MAX {
            let message =
                format!("a connection may hold {NAMES_MAX} {} of {HELD_BYTES_MAX} bytes together", self.what);
            return Err(hinted(error(state::LIMIT_EXCEEDED, message), "close some, or reconnect"));
        }
        held.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Forgets one.
    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Forgets all, and says which they were.
    pub(crate) fn take_all(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock()).into_keys().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_holds_only_so_much() {
        let held = Held::new("prepared statements");
        for index in 0..NAMES_MAX {
            held.add(&index.to_string(), 10).unwrap();
        }
        held.add("0", 20).unwrap();
        assert_eq!(held.add("more", 10).unwrap_err().code, "53400");
        held.remove("1");
        held.add("more", 10).unwrap();
        assert_eq!(held.add("more", HELD_BYTES_MAX).unwrap_err().code, "53400");
        assert_eq!(held.take_all().len(), NAMES_MAX);
        held.add("more", HELD_BYTES_MAX).unwrap();
    }
}
