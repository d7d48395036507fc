//! The Postgres wire: `psql`, drivers and dashboards connect here and read the tables and views.
//!
//! ```text
//! listen -> connection (limits on bytes and time) -> startup (who) -> simple, extended (how it asks)
//!        -> service (what it asks) -> statement (what it may) -> millrace_sql::Session
//! ```
//!
//! **Invariant:** this crate knows the wire, Postgres' catalogue and clients' habits, not where tables live
//! nor how rows got there: everything is read through `millrace_sql`'s sessions. No statement that writes
//! gets past `statement`, and none that does would get past a session.

#![expect(
    clippy::result_large_err,
    reason = "an error is the wire's own message, made once per failed statement and never on the way of rows"
)]
#![expect(clippy::large_futures, reason = "a connection is one spawned task, so its futures are boxed once")]

mod absent;
mod auth;
mod cancel;
mod connection;
mod counted;
mod cursor;
mod describe;
mod errors;
mod extended;
mod fitting;
mod limited;
mod listen;
mod parameters;
mod prepared;
mod rows;
mod server;
mod service;
mod session;
mod settings;
mod simple;
mod startup;
mod statement;
mod typed;

pub use auth::{Credentials, CredentialsError};
pub use listen::Postgres;
pub use server::{PostgresConfig, PostgresError};
