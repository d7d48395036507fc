//! The lake from outside, in one program: linking the libraries below takes longer than the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod amend;
mod common;
mod power_loss;
mod store;
mod table;
mod typed;
mod types;
