//! Which version a pipeline starts with.

use std::sync::Arc;

use millrace_model::TransformFactory;

use super::store::{VersionStore, VersionText};
use crate::VersionHistory;

/// Why the script's file is not what runs after an operator chose another version.
pub(super) const WAITS: &str = "the script's file was passed over and waits for its next change";

/// The version to start a pipeline with.
pub struct Chosen {
    /// It, loaded.
    pub transforms: Arc<dyn TransformFactory>,
    pub(super) version: VersionText,
    pub(super) history: VersionHistory,
    /// What lies in the script's file, when it can be read.
    pub(super) on_disk: Option<String>,
    /// Why it is not what lies in the script's file, when it is not.
    pub(super) reason: Option<String>,
    /// Whether that was found out just now.
    pub(super) refused: bool,
}

/// Chooses the version to start with: what lies in the script's file, unless it was passed over, or
/// does not load while the version that ran last still does.
///
/// # Errors
/// When neither can be loaded.
pub fn choose_version(store: &dyn VersionStore) -> Result<Chosen, String> {
    let history = store.history()?;
    let found = store.on_disk();
    let on_disk = found.as_ref().ok().map(|version| version.udf_hash.clone());
    let choose = |version: VersionText, transforms, reason, refused| {
        Ok(Chosen {
            transforms,
            version,
            history: history.clone(),
            on_disk: on_disk.clone(),
            reason,
            refused,
        })
    };
    let ran_last = |hash: &str| {
        let version = store.fetch(hash)?;
        let transforms = store.load(&version)?;
        Ok::<_, String>((version, transforms))
    };
    if let Some(kept) = on_disk.as_deref().and_then(|on_disk| history.start_instead(on_disk)) {
        match ran_last(kept) {
            Ok((version, transforms)) => return choose(version, transforms, Some(WAITS.to_owned()), false),
            Err(error) => tracing::error!(udf_hash = kept, %error, "the version that ran last is not usable"),
        }
    }
    let error = match found.and_then(|version| Ok((store.load(&version)?, version))) {
        Ok((transforms, version)) => return choose(version, transforms, None, false),
        Err(error) => error,
    };
    match history.running.as_deref().map(ran_last) {
        Some(Ok((version, transforms))) => choose(version, transforms, Some(error), true),
        Some(Err(_)) | None => Err(error),
    }
}
