//! The built-in views over the recorded telemetry and what is made by hand, against expectations computed
//! from the raw JSON in Rust, not by SQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod analytics_view;
mod cost;
mod events;
mod expect;
mod hostile;
mod made;
mod pseudonyms;
mod requests;
mod sessions;
mod spellings;
mod tools;
mod user_files;
