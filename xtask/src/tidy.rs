//! `cargo xtask tidy`: house rules that neither the compiler nor clippy checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 500;
/// Files above this are listed: candidates for a split.
const FILE_LINES_NOTED: usize = 300;
/// Files whose text is checked; everything else (recordings, lock files, binaries) is data.
const TEXT_EXTENSIONS: [&str; 11] = ["rs", "md", "toml", "sh", "py", "sql", "js", "mjs", "ts", "tsx", "css"];
/// Files of the kinds above that count as source for the length limit.
const SOURCE_EXTENSIONS: [&str; 8] = ["rs", "sh", "py", "js", "mjs", "ts", "tsx", "css"];
/// Folders that hold no text of ours.
const SKIPPED_FOLDERS: [&str; 6] = [".git", "target", "node_modules", "testdata", "millrace-data", "dist"];

/// Fails when a rule is broken.
pub fn run() -> Result<()> {
    let findings = check(&workspace::root())?;
    for note in &findings.notes {
        println!("tidy: {note}");
    }
    for fault in &findings.faults {
        eprintln!("tidy: {fault}");
    }
    if !findings.faults.is_empty() {
        bail!("{} house rules broken", findings.faults.len());
    }
    println!("tidy: {} files keep the house rules", findings.files);
    Ok(())
}

#[derive(Default)]
struct Findings {
    files: usize,
    notes: Vec<String>,
    faults: Vec<String>,
    /// The names of metrics in the source.
    metrics: BTreeSet<String>,
}

fn check(root: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    check_folder(root, root, &mut findings)?;
    check_crates(root, &mut findings)?;
    let documented = fs::read_to_string(root.join("docs/metrics.md")).unwrap_or_default();
    let missing = findings.metrics.iter().filter(|name| !documented.contains(&format!("`{name}`")));
    let missing: Vec<String> = missing.map(|name| format!("docs/metrics.md does not name {name}")).collect();
    findings.faults.extend(missing);
    Ok(findings)
}

fn check_folder(root: &Path, folder: &Path, findings: &mut Findings) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                check_folder(root, &path, findings)?;
            }
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let is_text = TEXT_EXTENSIONS.contains(&extension.as_str())
            || name == "Makefile"
            || folder.file_name() == Some(".ci".as_ref());
        if is_text {
            let text = fs::read_to_string(&path).with_context(|| format!("{} is no text", path.display()))?;
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_text(&shown, &extension, &text, findings);
        }
    }
    Ok(())
}

/// What a text must not hold. Written in halves so that this file does not hold it either.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/home", "/"), concat!("index.crates", ".io")];
const UNFINISHED: [&str; 6] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ign", "ore"),
    concat!("dbg", "!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

fn check_text(shown: &str, extension: &str, text: &str, findings: &mut Findings) {
    findings.files += 1;
    let lines = text.lines().count();
    if SOURCE_EXTENSIONS.contains(&extension) {
        if lines > FILE_LINES_MAX {
            findings.faults.push(format!("{shown} has {lines} lines, at most {FILE_LINES_MAX}: split it"));
        } else if lines > FILE_LINES_NOTED {
            findings.notes.push(format!("{shown} has {lines} lines"));
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        if is_conflict_marker(line) {
            findings.faults.push(format!("{shown}:{number} is left over from a merge"));
        }
        for path in MACHINE_PATHS.iter().filter(|path| holds_path(line, path)) {
            findings.faults.push(format!("{shown}:{number} holds a path of some machine ({path})"));
        }
        if extension == "rs" {
            findings.metrics.extend(metric_names(line));
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                findings.faults.push(format!("{shown}:{number} is unfinished ({word})"));
            }
        }
    }
}

/// Whether a line is what git writes around two versions that it could not merge. The line between the two is
/// left out: it is also how Markdown underlines.
fn is_conflict_marker(line: &str) -> bool {
    ["<<<<<<< ", ">>>>>>> "].iter().any(|marker| line.starts_with(marker))
}

/// The metrics that a line of source names.
fn metric_names(line: &str) -> impl Iterator<Item = String> {
    let prefix = concat!("\"mill", "race_");
    line.match_indices(prefix).filter_map(|(at, _)| {
        let (name, _) = line[at + 1..].split_once('"')?;
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        plain.then(|| name.to_owned())
    })
}

/// Whether a line holds an absolute path: one that does not go on from a word before it.
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"_}-.)".contains(before))
    })
}

/// Every crate says what it must not know, and ARCHITECTURE.md names it.
fn check_crates(root: &Path, findings: &mut Findings) -> Result<()> {
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    if architecture.is_empty() {
        findings.faults.push("there is no ARCHITECTURE.md".to_owned());
    }
    for entry in fs::read_dir(root.join("crates")).context("cannot list crates")? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let top = ["src/lib.rs", "src/main.rs"]
            .into_iter()
            .find_map(|file| fs::read_to_string(folder.join(file)).ok());
        let Some(top) = top else {
            findings.faults.push(format!("crates/{name} has neither src/lib.rs nor src/main.rs"));
            continue;
        };
        if !states_invariant(&top) {
            findings.faults.push(format!("crates/{name} states no **Invariant:** in its top-level docs"));
        }
        if !architecture.is_empty() && !architecture.contains(&format!("crates/{name}")) {
            findings.faults.push(format!("ARCHITECTURE.md does not name crates/{name}"));
        }
    }
    Ok(())
}

fn states_invariant(top: &str) -> bool {
    top.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("**Invariant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(shown: &str, extension: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        check_text(shown, extension, text, &mut findings);
        findings.faults
    }

    #[test]
    fn machine_paths_and_unfinished_code_are_faults() {
        assert!(faults("a.rs", "rs", "let path = \"/tmp/x\"; // the lake's root/\n").is_empty());
        assert_eq!(faults("a.md", "md", &format!("see {}x\n", MACHINE_PATHS[0])).len(), 1);
        assert_eq!(faults("a.rs", "rs", &format!("{}x)\n", UNFINISHED[0])).len(), 1);
        assert!(faults("a.md", "md", &format!("table{}x\n", MACHINE_PATHS[1])).is_empty());
    }

    #[test]
    fn what_a_merge_left_over_is_a_fault() {
        let text = format!("a\n{} HEAD\nb\n=======\nc\n{} other\n", "<".repeat(7), ">".repeat(7));
        assert_eq!(faults("CHANGELOG.md", "md", &text).len(), 2);
        assert!(faults("a.md", "md", "Title\n=======\n").is_empty());
    }

    #[test]
    fn long_files_are_faults() {
        assert!(faults("a.rs", "rs", &"x\n".repeat(FILE_LINES_MAX)).is_empty());
        assert_eq!(faults("a.rs", "rs", &"x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
        assert!(faults("a.md", "md", &"x\n".repeat(FILE_LINES_MAX + 1)).is_empty());
    }

    #[test]
    fn the_invariant_belongs_to_the_docs_at_the_top() {
        assert!(states_invariant("//! A crate.\n//!\n//! **Invariant:** none.\nuse x;\n"));
        assert!(!states_invariant("//! A crate.\nuse x;\n//! **Invariant:** late.\n"));
    }
}
