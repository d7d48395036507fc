//! Where versions come from and are kept, as the desk sees it.

use std::sync::Arc;

use millrace_model::TransformFactory;

use crate::VersionHistory;

/// A version as text: not loaded, and what is in the text is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionText {
    /// The version.
    pub udf_hash: String,
    /// Its text, as the store keeps it.
    pub text: Vec<u8>,
}

/// Where versions come from and are kept. Errors are texts for the operator.
pub trait VersionStore: Send + Sync {
    /// What lies in the script's file or folder now.
    ///
    /// # Errors
    /// When it cannot be read.
    fn on_disk(&self) -> Result<VersionText, String>;

    /// Compiles a version.
    ///
    /// # Errors
    /// What is wrong with it.
    fn load(&self, version: &VersionText) -> Result<Arc<dyn TransformFactory>, String>;

    /// Keeps a version's text; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self, version: &VersionText) -> Result<(), String>;

    /// The hashes of all kept versions.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn kept(&self) -> Result<Vec<String>, String>;

    /// A kept version.
    ///
    /// # Errors
    /// When it is not there or damaged.
    fn fetch(&self, udf_hash: &str) -> Result<VersionText, String>;

    /// Removes a kept version's text.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn forget(&self, udf_hash: &str) -> Result<(), String>;

    /// The history; an empty one when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    fn history(&self) -> Result<VersionHistory, String>;

    /// Replaces the history; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written: it is as before then.
    fn write_history(&self, history: &VersionHistory) -> Result<(), String>;
}
