//! What is changed in a running server while it is about to be killed: its script, versions and limits, and
//! what became of its dead letters.

use std::path::Path;

use anyhow::{Context, Result};

use super::plan::Live;
use super::setup;
use crate::children::OwnedChild;
use crate::server::Launch;

/// Begins a change. What it answers goes on by itself and is to be ended after the server; whether it
/// was done by then does not matter: every message must have one fate all the same.
pub fn begin(change: Live, revision: u32, directory: &Path, launch: &Launch) -> Result<Option<OwnedChild>> {
    let command: &[&str] = match change {
        Live::Nothing => return Ok(None),
        Live::Script => {
            setup::put_script(directory, revision)?;
            &["udf", "reload"]
        }
        Live::Rollback => &["udf", "rollback"],
        Live::Promote => {
            let path = directory.join("shadow.js");
            setup::put_script_at(&path, revision)?;
            let path = path.to_str().context("the temporary directory's name is not UTF-8")?;
            // Refused or cut off, there is nothing to promote: that must do no harm either.
            launch.output(&["udf", "shadow", path])?;
            &["udf", "promote"]
        }
        Live::Update => {
            setup::put_config(directory, revision)?;
            &["update"]
        }
        Live::Replay => {
            let path = directory.join("replay.js");
            // Even revisions make rows of the flipping kind, so there is something to commit.
            setup::put_script_at(&path, revision * 2)?;
            let path = path.to_str().context("the temporary directory's name is not UTF-8")?;
            return launch.spawn(&["deadletter", "replay", "--udf", path]).map(Some);
        }
        Live::Drain => {
            launch.output(&["cancel"])?;
            &["resume"]
        }
    };
    launch.spawn(command).map(Some)
}
