//! One file for each command.

pub mod audit;
pub mod check;
pub mod connect;
pub mod deadletter;
pub mod generate;
pub mod lifecycle;
pub mod load;
pub mod log;
pub mod pubsub;
pub mod query;
pub mod rerun;
pub mod run;
pub mod send;
pub mod status;
pub mod template;
pub mod udf;
pub mod udf_versions;
pub mod views;
