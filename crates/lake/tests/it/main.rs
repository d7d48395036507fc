//! The lake from outside, in one program: linking the libraries below takes longer than the tests.

mod common;
mod power_loss;
mod store;
mod table;
mod types;
