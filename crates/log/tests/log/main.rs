//! The log as its users see it, on the simulated disk wherever it does not have to be the real one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows them in test functions, these are their helpers"
)]

mod appending;
mod cursors;
mod damage;
mod failing;
mod fixture;
mod keeping;
mod machine;
mod production;
mod reading;
mod support;
