//! Which version a pipeline starts with.

use std::sync::Arc;

use millrace_model::{Micros, TransformFactory};

use super::store::{VersionStore, VersionText};
use crate::meters::count_version;
use crate::{VersionAct, VersionHistory};

/// Why the script's file is not what runs after an operator chose another version.
pub(super) const WAITS: &str = "the script's file was passed over and waits for its next change";

/// The version to start a pipeline with.
pub struct Chosen {
    /// It, loaded.
    pub transforms: Arc<dyn TransformFactory>,
    version: VersionText,
    history: VersionHistory,
    /// What lies in the script's file, when it can be read.
    on_disk: Option<String>,
    /// Why it is not what lies in the script's file, when it is not.
    reason: Option<String>,
    /// Whether that was found out just now.
    refused: bool,
}

/// The history of a version that was written down as the one that runs from now on.
pub struct WrittenDown {
    pub(super) history: VersionHistory,
    /// Why it is not what lies in the script's file, when it is not.
    pub(super) note: Option<String>,
    /// Why the script's file cannot be read, when it cannot.
    pub(super) unreadable: Option<String>,
}

impl Chosen {
    /// The version with its text.
    #[must_use]
    pub fn version(&self) -> &VersionText {
        &self.version
    }

    /// Keeps the version and writes down that `pipeline` runs it from now on: to be called before it does.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn write_down(self, pipeline: &str, store: &dyn VersionStore) -> Result<WrittenDown, String> {
        let Self { version, mut history, on_disk, reason, refused, .. } = self;
        let (hash, now) = (version.udf_hash.as_str(), Micros::now());
        let before = history.clone();
        if let (true, Some(reason)) = (refused, &reason) {
            tracing::error!(pipeline, running = hash, %reason, "the script is refused: the version that ran last goes on");
            history.note_refused(on_disk.as_deref().unwrap_or("unreadable"), reason.clone(), now);
            count_version(pipeline, VersionAct::Refused);
        }
        store.keep(&version)?;
        let last = history.events.iter().rfind(|event| event.act != VersionAct::Refused);
        let is_known = last.is_some_and(|event| event.act == VersionAct::Start && event.udf_hash == hash);
        if is_known && history.running.as_deref() == Some(hash) {
            history.found_on_disk(on_disk.as_deref());
        } else {
            history.adopt(VersionAct::Start, hash, on_disk.as_deref(), reason.clone(), now);
        }
        // A start on what ran before writes nothing: it is quick, and works on a full disk.
        if history != before {
            store.write_history(&history)?;
        }
        let (note, unreadable) = if on_disk.is_some() { (reason, None) } else { (None, reason) };
        Ok(WrittenDown { history, note, unreadable })
    }
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
