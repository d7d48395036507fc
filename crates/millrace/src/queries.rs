//! The configuration in the terms of the SQL engine.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use millrace_sql::{EngineConfig, PseudonymKey, Pseudonyms, ResultsConfig};

use crate::config::{self, Config};
use crate::data_dir::{DataDir, Spill};

/// Longer than any query runs: what is older in the folder of spilled data is nobody's.
const SPILL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The engine's settings, without a folder to spill to.
///
/// # Errors
/// When the folder of views that is named is not there, the key of pseudonyms cannot be used, or queries
/// may run longer than the files they read are kept.
pub fn engine(config: &Config) -> Result<EngineConfig> {
    let (data, sql) = (DataDir::new(&config.data_dir), &config.sql);
    if let Some(folder) = sql.views.as_ref().filter(|folder| !folder.is_dir()) {
        bail!("sql.views: there is no folder {}: make it, or leave the setting out", folder.display());
    }
    check_retention(config)?;
    Ok(EngineConfig {
        project: config.project.clone(),
        memory_bytes_max: sql.memory_bytes_max,
        spill_bytes_max: sql.spill_bytes_max,
        rows_max: sql.rows_max,
        timeout: Duration::from_secs(sql.timeout_seconds),
        queries_at_once_max: sql.queries_at_once_max,
        queries_waiting_max: sql.queries_waiting_max,
        prices_file: sql.prices_file.clone(),
        user_views_dir: Some(sql.views.clone().unwrap_or_else(|| data.views())),
        results: ResultsConfig {
            dir: Some(data.results()),
            rows_max: sql.materialized_rows_max,
            bytes_max: sql.materialized_bytes_max,
            refresh_memory_bytes_max: sql.refresh_memory_bytes_max,
            refresh_timeout: Duration::from_secs(sql.refresh_timeout_seconds),
            ..ResultsConfig::default()
        },
        pseudonyms: pseudonyms(config)?,
        partitions: std::thread::available_parallelism().map_or(1, usize::from),
        ..EngineConfig::default()
    })
}

/// A query reads the files of the moment that it began at, so these must stay for as long as it may run.
fn check_retention(config: &Config) -> Result<()> {
    let kept_seconds = config.lake.removed_file_retention_minutes.saturating_mul(60);
    for (setting, seconds) in [
        ("timeout_seconds", config.sql.timeout_seconds),
        ("refresh_timeout_seconds", config.sql.refresh_timeout_seconds),
    ] {
        if seconds > kept_seconds {
            bail!(
                "sql.{setting} is {seconds}, but files are removed {kept_seconds} seconds after their \
                 last use: raise lake.removed_file_retention_minutes, or lower it"
            );
        }
    }
    Ok(())
}

/// A folder to spill to, empty of what processes that died have left there.
///
/// # Errors
/// When it cannot be made.
pub fn spill_dir(data: &DataDir, whose: Spill) -> std::io::Result<PathBuf> {
    let folder = data.spill(whose);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    for entry in std::fs::read_dir(&folder)?.flatten() {
        let is_old = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            modified.and_then(|then| SystemTime::now().duration_since(then).ok()) > Some(SPILL_AGE_MAX)
        };
        if whose == Spill::Server || is_old() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(folder)
}

fn pseudonyms(config: &Config) -> Result<Pseudonyms> {
    match (config.sql.pseudonyms, &config.sql.pseudonym_key_file) {
        (config::Pseudonyms::Off, _) => Ok(Pseudonyms::Off),
        (config::Pseudonyms::Sha256, _) => Ok(Pseudonyms::Sha256),
        (config::Pseudonyms::Hmac, Some(path)) => Ok(Pseudonyms::Hmac(key(path)?)),
        (config::Pseudonyms::Hmac, None) => {
            bail!("sql.pseudonyms is \"hmac\": name the file of its key in sql.pseudonym_key_file")
        }
    }
}

/// The key in a file: its bytes, but for one line break at their end, which editors put there.
fn key(path: &Path) -> Result<PseudonymKey> {
    let what = || format!("sql.pseudonym_key_file {}", path.display());
    let mode =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", what()))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} may be read by others (mode {:03o}): chmod 600 it", what(), mode & 0o777);
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", what()))?;
    let key = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    PseudonymKey::new(key.strip_suffix(b"\r").unwrap_or(key))
        .with_context(|| format!("{}: make one with `head -c 32 /dev/urandom | xxd -p -c 64 > FILE`", what()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_long_private_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32, bytes: &[u8]| {
            let path = folder.path().join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(mode).open(&path).unwrap();
            std::io::Write::write_all(&mut file, bytes).unwrap();
            path
        };
        let good = key(&write("good", 0o600, &[b'k'; 32])).unwrap();
        assert_eq!(key(&write("line", 0o400, format!("{}\n", "k".repeat(32)).as_bytes())).unwrap(), good);
        let error = |path: &Path| format!("{:#}", key(path).unwrap_err());
        let open = error(&write("open", 0o644, &[b'k'; 32]));
        assert!(open.contains("may be read by others (mode 644): chmod 600"), "{open}");
        let short = error(&write("short", 0o600, b"0123456789"));
        assert!(short.contains("has 10 bytes, at least 32") && !short.contains("0123"), "{short}");
        assert!(error(&folder.path().join("none")).contains("cannot read"));
    }

    #[test]
    fn what_a_dead_server_spilled_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        for whose in [Spill::Server, Spill::Commands] {
            std::fs::create_dir_all(spill_dir(&data, whose).unwrap().join("left/behind")).unwrap();
            let left = spill_dir(&data, whose).unwrap().join("left").exists();
            assert_eq!(left, whose == Spill::Commands, "a command may be running");
        }
    }
}
