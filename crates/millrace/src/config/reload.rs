//! How a changed script is taken up: the part of `[pipeline.udf]` about it.

use std::time::Duration;

use anyhow::{Result, bail};
use millrace_pipeline::TrialPolicy;
use serde::Deserialize;

use super::Udf;

/// Seconds between two looks at the script's file, unless set.
const RELOAD_INTERVAL_SECONDS: u64 = 5;

/// Versions whose text is kept, unless set.
pub const VERSIONS_MAX: usize = 100;

/// On how much a new version is tried before it may run, and what is held against it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trial {
    /// Newest messages of the topic; 0: new versions are not tried.
    pub messages_max: usize,
    /// Payload bytes of them together.
    pub bytes_max: u64,
    /// Longest time that both versions may take together, in seconds.
    pub seconds_max: u64,
    /// By how much the share of messages that fail may rise, 0 to 1.
    pub error_rate_rise_max: f64,
}

impl Default for Trial {
    fn default() -> Self {
        let policy = TrialPolicy::default();
        Self {
            messages_max: policy.messages_max,
            bytes_max: policy.bytes_max,
            seconds_max: policy.time_max.as_secs(),
            error_rate_rise_max: policy.error_rate_rise_max,
        }
    }
}

impl Udf {
    /// How often the script's file is looked at while the server runs; `None`: never.
    ///
    /// # Errors
    /// When it is given twice.
    pub fn reload_interval(&self) -> Result<Option<Duration>> {
        let seconds = match (self.reload_interval_seconds, self.reload_interval_minutes) {
            (Some(_), Some(_)) => {
                bail!(
                    "udf.reload_interval_seconds and udf.reload_interval_minutes say the same: leave one out"
                )
            }
            (None, Some(minutes)) => minutes.saturating_mul(60),
            (seconds, None) => seconds.unwrap_or(RELOAD_INTERVAL_SECONDS),
        };
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// How a new version is tried.
    ///
    /// # Errors
    /// When a limit makes no sense.
    pub fn trial_policy(&self) -> Result<TrialPolicy> {
        let trial = &self.trial;
        if !(0.0..=1.0).contains(&trial.error_rate_rise_max) {
            bail!("udf.trial.error_rate_rise_max must be 0 to 1, it is {}", trial.error_rate_rise_max);
        }
        if self.versions_max < 2 {
            bail!("udf.versions_max must be 2 at least: the running version and the one before it");
        }
        Ok(TrialPolicy {
            messages_max: trial.messages_max,
            bytes_max: trial.bytes_max,
            time_max: Duration::from_secs(trial.seconds_max),
            error_rate_rise_max: trial.error_rate_rise_max,
        })
    }
}
