//! Counting how statements end.

use std::future::Future;

use pgwire::error::{PgWireError, PgWireResult};

use crate::errors::state;

/// Does the work of one statement and counts its end.
pub(crate) async fn counted<T>(work: impl Future<Output = PgWireResult<T>>) -> PgWireResult<T> {
    let done = work.await;
    let outcome = match &done {
        Ok(_) => "ok",
        Err(failure) => outcome(failure),
    };
    metrics::counter!("millrace_postgres_queries_total", "outcome" => outcome).increment(1);
    done
}

fn outcome(failure: &PgWireError) -> &'static str {
    match failure {
        PgWireError::UserError(info) => match info.code.as_str() {
            "57014" => "stopped",
            state::READ_ONLY => "refused",
            state::LIMIT_EXCEEDED | "54000" | "54001" => "over_limit",
            state::INTERNAL => "internal_error",
            _ => "failed",
        },
        PgWireError::IoError(_) => "connection_lost",
        _ => "failed",
    }
}
