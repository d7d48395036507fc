//! `cargo xtask fuzz`: what libFuzzer makes up, for each parser that reads what strangers send. The targets
//! are in `fuzz/targets`, and what they check is in the crates' `fuzzing` modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use millrace_disk::{StdDisk, write_atomically};

use crate::workspace;

/// An input that takes longer than this is a fault, in seconds. The slowest seeds take milliseconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// More memory than this is a fault, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;
/// Larger recordings make every try slow.
const SEED_BYTES_MAX: u64 = 64 * 1024;
/// Which recordings the targets begin with, besides `fuzz/seeds/TARGET`: the target, a folder, a part of the
/// file's name, and what comes before the file's content.
const RECORDINGS: [(&str, &str, &str, &[u8]); 5] = [
    ("otlp_logs_protobuf", "otlp_grpc", "grpc_logs", b""),
    ("otlp_logs_json", "otlp_http_json", "http_logs", b""),
    ("otlp_signals", "otlp_grpc", "grpc_metrics", b"\0"),
    ("otlp_signals", "otlp_http_json", "http_metrics", b"\0"),
    ("otlp_signals", "otlp_grpc", "grpc_traces", b"\x01"),
];

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub struct FuzzArguments {
    /// The targets to run; all when none is named
    targets: Vec<String>,
    /// How long each runs, in seconds
    #[arg(long, default_value_t = 120)]
    seconds: u32,
}

/// Runs them one after the other; ends at the first that finds something.
pub fn run(arguments: &FuzzArguments) -> Result<()> {
    let folder = workspace::root().join("fuzz");
    let known = targets(&folder)?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no target {unknown}, there are {}", known.join(", "));
    }
    bring_cargo_fuzz()?;
    // The same versions are tried as are shipped.
    fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let target_directory = workspace::metadata()?.target_directory.join("fuzz");
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    for target in chosen {
        let seeds = plant(&folder, target)?;
        println!("fuzz: {target}, {} seconds from {seeds} seeds", arguments.seconds);
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target.as_str(), "--"]);
        command.arg(format!("-max_total_time={}", arguments.seconds));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        let dictionary = folder.join(format!("dictionaries/{target}.dict"));
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let status = command
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &target_directory)
            // The tool must find the nightly one by itself: cargo names its own to what it starts.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdin(Stdio::null())
            .status()
            .context("cannot run cargo fuzz")?;
        if !status.success() {
            bail!("{target} found something: the input is in fuzz/artifacts/{target}");
        }
    }
    println!("fuzz: {} targets found nothing", chosen.len());
    Ok(())
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let paths = files(&folder.join("targets"))?;
    Ok(paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

fn bring_cargo_fuzz() -> Result<()> {
    let is_there = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !is_there(&["+nightly", "--version"]) {
        bail!("libFuzzer needs a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if !is_there(&["+nightly", "fuzz", "--version"]) {
        let status = Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]).status()?;
        if !status.success() {
            bail!("cargo-fuzz cannot be installed");
        }
    }
    Ok(())
}

/// Puts a target's seeds into its corpus, where libFuzzer adds what it finds; says how many.
fn plant(folder: &Path, target: &str) -> Result<usize> {
    let corpus = folder.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut seeds: Vec<(PathBuf, &[u8])> = Vec::new();
    let own = folder.join("seeds").join(target);
    if own.is_dir() {
        seeds.extend(files(&own)?.into_iter().map(|path| (path, &b""[..])));
    }
    for (_, recordings, part, before) in RECORDINGS.iter().filter(|(of, ..)| *of == target) {
        let mut paths = files(&workspace::recordings().join(recordings))?;
        paths.retain(|path| path.to_string_lossy().contains(part));
        seeds.extend(paths.into_iter().map(|path| (path, *before)));
    }
    seeds.retain(|(path, _)| path.metadata().is_ok_and(|metadata| metadata.len() <= SEED_BYTES_MAX));
    for (path, before) in &seeds {
        let content = [*before, fs::read(path)?.as_slice()].concat();
        write_atomically(&StdDisk, &corpus.join(path.file_name().unwrap_or_default()), &content)?;
    }
    Ok(seeds.len())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_built_and_begins_with_something() {
        let folder = workspace::root().join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in targets(&folder).unwrap() {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
            let has_recordings = RECORDINGS.iter().any(|(of, ..)| *of == target);
            assert!(has_recordings || folder.join("seeds").join(&target).is_dir(), "{target}");
        }
    }
}
