//! Where the versions of a UDF are: the script's file or folder of the configuration, and the folder of
//! the data directory in which every version that ran is kept.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, Result, bail};
use millrace_disk::{Disk, OpenMode, StdDisk, write_atomically};
use millrace_model::TransformFactory;
use millrace_pipeline::{VersionHistory, VersionStore, VersionText, choose_version};
use millrace_udf::{Opened, Script, Udf, UdfConfig, UdfCounters};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::data_dir::DataDir;
use crate::udf;

/// Largest file that is read here in bytes: more is damage.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The name of the history among the versions.
const HISTORY: &str = "history";

/// The versions of one pipeline's UDF.
pub struct UdfFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    settings: RwLock<config::Udf>,
    /// Where all versions count.
    counters: UdfCounters,
    /// The version that was loaded last.
    opened: Mutex<Option<Opened>>,
}

/// A version's scripts and the function that is called.
pub struct VersionParts {
    /// The scripts, in order.
    pub scripts: Vec<Script>,
    /// The function.
    pub function: String,
}

/// A version as it is kept: `HASH.json`.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    function: String,
    scripts: Vec<KeptScript>,
}

#[derive(Serialize, Deserialize)]
struct KeptScript {
    name: String,
    source: String,
}

impl UdfFiles {
    /// Those of a pipeline with these settings. Touches nothing.
    pub fn new(data: &DataDir, pipeline: &str, settings: &config::Udf) -> Self {
        let folder = data.udf_versions(pipeline);
        let settings = RwLock::new(settings.clone());
        let (counters, opened) = (UdfCounters::default(), Mutex::default());
        Self { disk: Arc::new(StdDisk), folder, settings, counters, opened }
    }

    /// The version that was loaded last; its counters are those of all versions.
    pub fn opened(&self) -> Option<Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The version that runs in a server.
    ///
    /// # Errors
    /// When it is not known, or its text cannot be read.
    pub fn running(&self) -> Result<VersionText, String> {
        let running = self.history()?.running;
        self.fetch(&running.ok_or("it is not known which version of its UDF runs")?)
    }

    /// The version that the next start would run.
    ///
    /// # Errors
    /// When there is none.
    pub fn next_to_run(&self) -> Result<VersionText, String> {
        choose_version(self).map(|chosen| chosen.version().clone())
    }

    /// What a version is made of.
    ///
    /// # Errors
    /// When its text is damaged.
    pub fn parts(version: &VersionText) -> Result<VersionParts> {
        let kept: Kept = serde_json::from_slice(&version.text).context("the kept version is damaged")?;
        let scripts = kept.scripts.into_iter().map(Script::from).collect();
        Ok(VersionParts { scripts, function: kept.function })
    }

    /// The settings.
    pub fn settings(&self) -> config::Udf {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the settings.
    pub fn configure(&self, settings: &config::Udf) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings.clone();
    }

    /// A version of these scripts; without a function, the configured one is called.
    ///
    /// # Errors
    /// When there is no function name.
    pub fn version(&self, function: Option<String>, scripts: Vec<Script>) -> Result<VersionText> {
        let settings = self.settings();
        let Some(function) = function.or_else(|| settings.function.clone()) else {
            bail!("udf.path without udf.function: say which function to call");
        };
        let kept = Kept {
            version: 1,
            function: function.clone(),
            scripts: scripts.iter().map(|script| KeptScript::from(script.clone())).collect(),
        };
        let udf_hash = UdfConfig { scripts, function, ..udf::limits(&settings)? }.hash().to_string();
        Ok(VersionText { udf_hash, text: serde_json::to_vec(&kept)? })
    }

    fn config(&self, version: &VersionText) -> Result<UdfConfig> {
        let VersionParts { scripts, function } = Self::parts(version)?;
        Ok(UdfConfig { scripts, function, ..udf::limits(&self.settings())? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let read = || -> Result<Option<Vec<u8>>> {
            let Some(entry) = self.disk.entry(&path)? else { return Ok(None) };
            if entry.len > FILE_BYTES_MAX {
                bail!("it has {} bytes: that is damage", entry.len);
            }
            let mut bytes = vec![0; usize::try_from(entry.len)?];
            let read = self.disk.open(&path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
            bytes.truncate(read);
            Ok(Some(bytes))
        };
        read().with_context(|| format!("cannot read {}", path.display()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let write = || {
            self.disk.create_dir_all(&self.folder)?;
            write_atomically(self.disk.as_ref(), &path, bytes)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

impl From<Script> for KeptScript {
    fn from(script: Script) -> Self {
        Self { name: script.name, source: script.source }
    }
}

impl From<KeptScript> for Script {
    fn from(script: KeptScript) -> Self {
        Self { name: script.name, source: script.source }
    }
}

impl VersionStore for UdfFiles {
    fn on_disk(&self) -> Result<VersionText, String> {
        let scripts = udf::scripts(self.settings().path.as_deref()).map_err(|error| error.to_string())?;
        self.version(None, scripts).map_err(text)
    }

    fn load(&self, version: &VersionText) -> Result<Arc<dyn TransformFactory>, String> {
        let config = self.config(version).map_err(text)?;
        let loaded = Udf::load_counting(config, &self.counters).map_err(|error| error.to_string())?;
        let opened = Opened::Udf(loaded);
        let factory = opened.factory();
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(factory)
    }

    fn keep(&self, version: &VersionText) -> Result<(), String> {
        match self.fetch(&version.udf_hash) {
            Ok(_) => Ok(()),
            // Not there, or damaged: this is what it should be.
            Err(_) => self.write(&version.udf_hash, &version.text).map_err(text),
        }
    }

    fn kept(&self) -> Result<Vec<String>, String> {
        match self.disk.read_dir(&self.folder) {
            Ok(entries) => Ok(entries
                .into_iter()
                .filter_map(|entry| Some(entry.name.strip_suffix(".json")?.to_owned()))
                .filter(|name| name != HISTORY)
                .collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(format!("cannot list {}: {error}", self.folder.display())),
        }
    }

    fn fetch(&self, udf_hash: &str) -> Result<VersionText, String> {
        let found = self.read(udf_hash).map_err(text)?;
        let version = VersionText {
            udf_hash: udf_hash.to_owned(),
            text: found.ok_or_else(|| format!("version {udf_hash} is not kept any more"))?,
        };
        // What a rollback or restart runs must be what is asked for.
        let config = self.config(&version).map_err(text)?;
        if config.hash().to_string() != udf_hash {
            return Err(format!(
                "{} is damaged: its content is another version",
                self.path(udf_hash).display()
            ));
        }
        Ok(version)
    }

    fn forget(&self, udf_hash: &str) -> Result<(), String> {
        let removed =
            self.disk.remove_file(&self.path(udf_hash)).and_then(|()| self.disk.sync_dir(&self.folder));
        removed.map_err(|error| format!("cannot remove {}: {error}", self.path(udf_hash).display()))
    }

    fn history(&self) -> Result<VersionHistory, String> {
        let Some(bytes) = self.read(HISTORY).map_err(text)? else { return Ok(VersionHistory::default()) };
        // It decides nothing that cannot be decided anew: a pipeline must not stand still for it.
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::error!(file = %self.path(HISTORY).display(), %error, "the history of versions is damaged: it begins anew");
            VersionHistory::default()
        }))
    }

    fn write_history(&self, history: &VersionHistory) -> Result<(), String> {
        let bytes = serde_json::to_vec(history).map_err(|error| error.to_string())?;
        self.write(HISTORY, &bytes).map_err(text)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Origin};

    fn udf() -> config::Udf {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("millrace.toml");
        let text = "[[pipeline]]\nname = 'pipe'\ntopic = 'top'\ntable = 'd.t'\nudf = { function = 'f' }";
        std::fs::File::create(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .unwrap();
        let config: Config = Origin { file: Some(file), data_dir: None }.load().unwrap();
        config.pipeline[0].udf.clone().unwrap()
    }

    #[test]
    fn versions_and_history_are_kept_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        let files = UdfFiles::new(&data, "pipe", &udf());
        assert_eq!((files.kept(), files.history()), (Ok(Vec::new()), Ok(VersionHistory::default())));
        let script = |source: &str| vec![Script { name: "s.js".to_owned(), source: source.to_owned() }];
        let version = files.version(None, script("function f(s) { return s }")).unwrap();
        files.keep(&version).unwrap();
        files.keep(&version).unwrap();
        assert_eq!(files.kept(), Ok(vec![version.udf_hash.clone()]));
        assert_eq!(files.fetch(&version.udf_hash), Ok(version.clone()));
        assert!(files.load(&version).is_ok());

        let other = files.version(Some("g".to_owned()), script("function f(s) { return s }")).unwrap();
        assert_ne!(other.udf_hash, version.udf_hash, "the function is part of the version");
        assert!(files.load(&other).err().is_some_and(|error| error.contains("define no function `g`")));
        files.write(&version.udf_hash, &other.text).unwrap();
        assert!(files.fetch(&version.udf_hash).err().is_some_and(|error| error.contains("damaged")));
        files.keep(&version).unwrap();
        assert_eq!(files.fetch(&version.udf_hash), Ok(version.clone()), "a damaged one is written again");
        files.forget(&version.udf_hash).unwrap();
        assert!(files.fetch(&version.udf_hash).is_err());

        let mut history = VersionHistory::default();
        history.refuse(&version.udf_hash, "worse".to_owned(), millrace_model::Micros(1));
        files.write_history(&history).unwrap();
        assert_eq!(files.history(), Ok(history));
        files.write(HISTORY, b"{").unwrap();
        assert_eq!(files.history(), Ok(VersionHistory::default()));
    }
}
