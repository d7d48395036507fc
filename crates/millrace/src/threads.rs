//! The threads that things run on, each kind with its priority.
//!
//! Producers wait for ingest, people for queries, nobody for refreshes. The system shares the cores out by
//! weight: on Linux a thread at nice 10 weighs about a tenth of one at 0, one at 19 an eightieth, so that a
//! query that computes for a minute leaves ingest its cores (`man 7 sched`, "The nice value").

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// What runs on some threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Taking what producers send, and keeping it.
    Ingest,
    /// Answering HTTP requests: reading queries and writing answers, not running them.
    Http,
    /// Running queries.
    Query,
    /// Refreshing materialised views.
    Refresh,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Http => "http",
            Self::Query => "query",
            Self::Refresh => "refresh",
        }
    }

    /// The nice value: 0 is the usual one, 19 gives way to everybody.
    fn nice(self) -> i32 {
        match self {
            Self::Ingest => 0,
            Self::Http => 5,
            Self::Query => 10,
            Self::Refresh => 19,
        }
    }
}

/// Starts threads for one kind of work.
///
/// # Errors
/// When the system has no more threads.
pub fn runtime(work: Work) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_name(work.name()).on_thread_start(move || give_way(work));
    match work {
        Work::Http => builder.worker_threads(2),
        Work::Refresh => builder.worker_threads(1),
        Work::Ingest | Work::Query => &mut builder,
    };
    builder.build().with_context(|| format!("cannot start the {} threads", work.name()))
}

/// Sets the priority of this thread, and with it of those that it will start. Elsewhere than on Linux it
/// would be that of the whole process.
pub fn give_way(work: Work) {
    if cfg!(target_os = "linux") && work.nice() > 0 {
        // Who may not lower it (some sandboxes) runs as before: slower for ingest, not wrong.
        let set = rustix::process::setpriority_process(None, work.nice());
        if let Err(error) = set {
            tracing::debug!(%error, work = work.name(), "cannot lower the priority of a thread");
        }
    }
}
