//! The placeholders of views, which `sql/README.md` lists.

use super::built_in::PSEUDONYM_COLUMNS;
use crate::config::{EngineConfig, Pseudonyms};

/// What `gemini_analytics_view` selects of its rows under keyed pseudonyms. The key's pads stay
/// placeholders: see [`crate::pseudonyms`].
const KEYED_PSEUDONYM_COLUMNS: &str = include_str!("../../../../sql/pseudonyms/hmac.sql");

/// Fills in what a configuration says.
#[derive(Debug, Clone)]
pub(super) struct Template {
    project: String,
    dataset: String,
    user: &'static str,
    user_columns: &'static str,
}

impl Template {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let (user, user_columns) = match config.pseudonyms {
            Pseudonyms::Off => ("user_email", "*"),
            Pseudonyms::Sha256 => ("user_pseudonym", PSEUDONYM_COLUMNS.trim_end()),
            Pseudonyms::Hmac(_) => ("user_pseudonym", KEYED_PSEUDONYM_COLUMNS.trim_end()),
        };
        Self { project: config.project.clone(), dataset: config.default_dataset.clone(), user, user_columns }
    }

    pub(super) fn dataset(&self) -> &str {
        &self.dataset
    }

    pub(super) fn fill(&self, template: &str) -> String {
        template
            .replace("${user_columns}", self.user_columns)
            .replace("${user}", self.user)
            .replace("${project}", &self.project)
            .replace("${dataset}", &self.dataset)
    }
}
