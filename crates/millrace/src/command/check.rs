//! `millrace check`: whether a configuration would run.

use anyhow::Result;

use crate::config::{self, Config};

/// Checks everything that can be checked without starting: keys, names, schemas, scripts, filters,
/// views, ports and credentials.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(config: &Config) -> Result<()> {
    let summary = config::check(config)?;
    println!("{summary}");
    Ok(())
}
