//! Scripts from files: one, all of a folder, or all that a pattern matches.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Script;

/// Most bytes of all scripts of a UDF together.
pub const SCRIPTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most scripts of a UDF.
pub const SCRIPTS_MAX: usize = 1_000;

/// Why scripts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScriptFileError {
    /// A file or folder cannot be read, or is not text.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The pattern is none.
    #[error("{pattern:?} is not a pattern: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no script.
    #[error("no .js file in {}", .0.display())]
    None(PathBuf),
    /// Python.
    #[error("{} is Python: UDFs are JavaScript here", .0.display())]
    Python(PathBuf),
    /// There are too many, or they are too long.
    #[error(
        "the scripts in {} are more than {SCRIPTS_MAX} or have more than {SCRIPTS_BYTES_MAX} bytes: is that \
         the right folder?",
        .0.display()
    )]
    TooMuch(PathBuf),
}

/// Reads the scripts at a path, in order of name: a file, whatever it is called; all `.js` files of a
/// folder, those of its subfolders not included; or all `.js` files that a pattern with `*`, `?`, `[...]`
/// or `**` (folders below, too) matches. A file whose name looks like a pattern is a file.
///
/// # Errors
/// When something cannot be read, or there is nothing to read.
pub fn read_scripts(path: &Path) -> Result<Vec<Script>, ScriptFileError> {
    if path.extension().is_some_and(|extension| extension == "py") {
        return Err(ScriptFileError::Python(path.to_owned()));
    }
    let (base, files) = if path.is_dir() {
        (path.to_owned(), js_files(folder_entries(path)?))
    } else if path.is_file() || !is_pattern(path) {
        (path.parent().unwrap_or(Path::new("")).to_owned(), vec![path.to_owned()])
    } else {
        (fixed_part(path), js_files(matches(path)?))
    };
    if files.is_empty() {
        return Err(ScriptFileError::None(path.to_owned()));
    }
    if files.len() > SCRIPTS_MAX {
        return Err(ScriptFileError::TooMuch(path.to_owned()));
    }
    let mut scripts = Vec::with_capacity(files.len());
    let mut bytes_left = SCRIPTS_BYTES_MAX;
    for file in files {
        let source = read(&file, bytes_left)
            .map_err(|error| ScriptFileError::Read { path: file.clone(), error })?
            .ok_or_else(|| ScriptFileError::TooMuch(path.to_owned()))?;
        bytes_left -= source.len();
        let name = file.strip_prefix(&base).unwrap_or(&file).to_string_lossy().into_owned();
        scripts.push(Script { name, source });
    }
    Ok(scripts)
}

/// The text, without its byte order mark, which some editors write; `None` when it is too long.
fn read(file: &Path, bytes_max: usize) -> io::Result<Option<String>> {
    let mut text = String::new();
    File::open(file)?.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    if text.len() > bytes_max {
        return Ok(None);
    }
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}

fn folder_entries(folder: &Path) -> Result<Vec<PathBuf>, ScriptFileError> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| ScriptFileError::Read { path: folder.to_owned(), error })
}

fn matches(path: &Path) -> Result<Vec<PathBuf>, ScriptFileError> {
    let pattern = path.to_string_lossy().into_owned();
    let found = glob::glob(&pattern)
        .map_err(|error| ScriptFileError::Pattern { pattern, reason: error.msg.to_owned() })?;
    found
        .collect::<Result<_, _>>()
        .map_err(|error| ScriptFileError::Read { path: error.path().to_owned(), error: error.into() })
}

/// Those that are `.js` files, in order of name.
fn js_files(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "js") && path.is_file());
    paths.sort();
    paths
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// The folders of a pattern before its first wildcard.
fn fixed_part(pattern: &Path) -> PathBuf {
    pattern.iter().take_while(|part| !is_pattern(Path::new(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        read_scripts(path).unwrap().into_iter().map(|script| script.name).collect()
    }

    fn write(path: &Path, text: &[u8]) {
        let mut file = File::create(path).unwrap();
        io::Write::write_all(&mut file, text).unwrap();
    }

    #[test]
    fn a_file_a_folder_and_a_pattern_give_their_scripts_in_order_of_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("sub/deep.js")).unwrap();
        for name in ["b.js", "a.js", "10.js", "note.txt", "c.jsx", "transform", "sub/z.js", "sub/[x].js"] {
            write(&at(name), b"var x;");
        }
        assert_eq!(names(folder.path()), ["10.js", "a.js", "b.js"]);
        assert_eq!(names(&at("?.js")), ["a.js", "b.js"]);
        assert_eq!(names(&at("**/*")), ["10.js", "a.js", "b.js", "sub/[x].js", "sub/z.js"]);
        assert_eq!(names(&at("transform")), ["transform"]);
        assert_eq!(names(&at("sub/[x].js")), ["[x].js"]);
        for missing in ["none", "none/*.js", "*.mjs"] {
            let error = read_scripts(&at(missing)).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        assert!(matches!(read_scripts(&at("udf.py")), Err(ScriptFileError::Python(_))));
        assert!(matches!(read_scripts(&at("***")), Err(ScriptFileError::Pattern { .. })));
    }

    #[test]
    fn a_byte_order_mark_goes_and_what_is_no_text_or_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.js");
        write(&file, b"\xef\xbb\xbfvar x;\r\n");
        assert_eq!(read_scripts(&file).unwrap()[0].source, "var x;\r\n");
        write(&file, b"var x = '\xff'");
        assert!(matches!(read_scripts(&file), Err(ScriptFileError::Read { .. })));
        write(&file, &vec![b' '; SCRIPTS_BYTES_MAX + 1]);
        assert!(matches!(read_scripts(folder.path()), Err(ScriptFileError::TooMuch(_))));
    }
}
