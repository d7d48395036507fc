//! Where things are: the workspace, its metadata, the built binary, the recordings.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace's top folder: the nearest above the current one that holds a `Cargo.lock`. Not the
/// folder that this program was built in: clones share a target folder, and that one may be gone.
pub fn root() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&here).to_owned()
}

/// The recorded Gemini CLI telemetry.
pub fn recordings() -> PathBuf {
    root().join("testdata/gemini-cli")
}

/// The dependency graph as cargo resolves it for this machine. Limited to the machine's platform
/// because cargo would otherwise want to download the crates of all others.
pub fn metadata() -> Result<Metadata> {
    let platform = host_platform()?;
    MetadataCommand::new()
        .current_dir(root())
        .other_options(["--filter-platform".to_owned(), platform])
        .exec()
        .context("cargo metadata failed")
}

fn host_platform() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc -vV")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV printed no UTF-8")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The release binary: the one given, else the one built from the sources as they are now.
pub fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return path.canonicalize().with_context(|| format!("no binary at {}", path.display()));
    }
    // With `--workspace` cargo picks the same features as everywhere else in `make`, so nothing is
    // built twice.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--workspace", "--bin", "millrace"])
        .current_dir(root())
        .status()
        .context("cannot run cargo build")?;
    if !status.success() {
        bail!("cargo build --release failed");
    }
    let target = target_directory()?;
    let path = target.join("release/millrace");
    path.canonicalize().with_context(|| format!("cargo build left no binary at {}", path.display()))
}

fn target_directory() -> Result<PathBuf> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf())
}
