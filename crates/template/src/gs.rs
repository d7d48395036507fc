//! `gs://` paths on a machine without Cloud Storage: a folder with a folder for each bucket.

use std::path::{Path, PathBuf};

/// Where a path of a parameter leads on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, or a folder whose `.js` files are meant.
    Path(PathBuf),
    /// A pattern: every `.js` file under `folder` whose path below it [`matches`] `pattern`.
    Pattern {
        /// The deepest folder without a special character.
        folder: PathBuf,
        /// The rest.
        pattern: String,
    },
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GsError {
    /// No root is set.
    #[error(
        "{0} is in Cloud Storage, which is not read: copy its bucket to a folder DIR/<bucket> and set gs_root = DIR (--gs-root)"
    )]
    NoRoot(String),
    /// The path would leave the root, or names no object.
    #[error("{0:?} names no object: gs://<bucket>/<object>, without . and .. as parts")]
    NoObject(String),
    /// Another scheme.
    #[error("{0:?} is neither gs:// nor a path of this machine")]
    Scheme(String),
}

/// Places `text` (`gs://bucket/object`, a path, `file://` of one, or a pattern of these): `gs://b/x.js` is
/// `root/b/x.js`.
///
/// # Errors
/// When there is no root for a `gs://` path, or the path is not one.
pub fn locate(text: &str, root: Option<&Path>) -> Result<Location, GsError> {
    if let Some(rest) = text.strip_prefix("gs://") {
        let (bucket, object) = rest.split_once('/').unwrap_or((rest, ""));
        let parts_are_names =
            |path: &str| path.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."));
        // A backslash is a character of an object's name there and part of no file's name here.
        if bucket.is_empty() || object.is_empty() || !parts_are_names(rest) || rest.contains(['\\', '\0']) {
            return Err(GsError::NoObject(text.to_owned()));
        }
        let root = root.ok_or_else(|| GsError::NoRoot(text.to_owned()))?;
        return Ok(split(&root.join(bucket), object));
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.contains("://") || path.is_empty() || path.contains('\0') {
        return Err(GsError::Scheme(text.to_owned()));
    }
    Ok(split(Path::new(""), path))
}

/// The pattern of a path, if it has one, from its first part with a special character on.
fn split(base: &Path, path: &str) -> Location {
    let Some(special) = path.find(['*', '?', '[']) else { return Location::Path(base.join(path)) };
    let at = path[..special].rfind('/').map_or(0, |slash| slash + 1);
    Location::Pattern { folder: base.join(&path[..at]), pattern: path[at..].to_owned() }
}

/// Whether `path` (parts separated by `/`) matches a pattern of Beam's file systems: `*` and `?` within a
/// part, `**` over parts, `[abc]`, `[a-z]`, `[!a]`. A bracket that is never closed is itself.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    // The ends of the pattern that what was read of the path may have led to: no backtracking, so that no
    // pattern is slow.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip_stars(&pattern, &mut reached);
    for &character in &path {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|&at| reached[at]) {
            step(&pattern, at, character, &mut next);
        }
        skip_stars(&pattern, &mut next);
        reached = next;
    }
    reached[pattern.len()]
}

/// A star may also stand for nothing.
fn skip_stars(pattern: &[char], reached: &mut [bool]) {
    for at in 0..pattern.len() {
        if reached[at] && pattern[at] == '*' {
            reached[at + 1] = true;
        }
    }
}

fn step(pattern: &[char], at: usize, character: char, next: &mut [bool]) {
    match pattern[at] {
        '*' => {
            let double = pattern.get(at + 1) == Some(&'*') || (at > 0 && pattern[at - 1] == '*');
            if character != '/' || double {
                next[at] = true;
            }
        }
        '?' => next[at + 1] |= character != '/',
        '[' => match set(&pattern[at..]) {
            Some((length, negated, members)) => {
                let within = members.iter().any(|&(from, to)| (from..=to).contains(&character));
                next[at + length] |= character != '/' && within != negated;
            }
            None => next[at + 1] |= character == '[',
        },
        literal => next[at + 1] |= character == literal,
    }
}

/// A set of characters: its length in the pattern, whether it is negated, its ranges.
fn set(pattern: &[char]) -> Option<(usize, bool, Vec<(char, char)>)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let end = (first + 1..pattern.len()).find(|&at| pattern[at] == ']')?;
    let mut members = Vec::new();
    let mut at = first;
    while at < end {
        if at + 2 < end && pattern[at + 1] == '-' {
            members.push((pattern[at], pattern[at + 2]));
            at += 3;
        } else {
            members.push((pattern[at], pattern[at]));
            at += 1;
        }
    }
    Some((end + 1, negated, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_folders_below_the_root() {
        let root = Some(Path::new("/srv/gs"));
        let path = |text: &str| Location::Path(PathBuf::from(text));
        assert_eq!(locate("gs://b/udf/a.js", root), Ok(path("/srv/gs/b/udf/a.js")));
        assert_eq!(locate("udf/a.js", None), Ok(path("udf/a.js")));
        assert_eq!(locate("file:///udf/a.js", None), Ok(path("/udf/a.js")));
        let pattern = |folder: &str, pattern: &str| Location::Pattern {
            folder: PathBuf::from(folder),
            pattern: pattern.to_owned(),
        };
        assert_eq!(locate("gs://b/udf/v*/[ab].js", root), Ok(pattern("/srv/gs/b/udf/", "v*/[ab].js")));
        assert_eq!(locate("gs://b/*.js", root), Ok(pattern("/srv/gs/b/", "*.js")));
        assert_eq!(locate("*.js", None), Ok(pattern("", "*.js")));
    }

    #[test]
    fn no_path_leaves_the_root() {
        let root = Some(Path::new("/srv/gs"));
        for bad in [
            "gs://",
            "gs://b",
            "gs://b/",
            "gs://b/../c/a.js",
            "gs://../a.js",
            "gs://b//a.js",
            "gs://b/a\\b.js",
        ] {
            assert_eq!(locate(bad, root), Err(GsError::NoObject(bad.to_owned())), "{bad}");
        }
        assert_eq!(locate("gs://b/a.js", None), Err(GsError::NoRoot("gs://b/a.js".to_owned())));
        assert_eq!(locate("s3://b/a.js", root), Err(GsError::Scheme("s3://b/a.js".to_owned())));
    }

    #[test]
    fn patterns() {
        for (pattern, path) in [
            ("*.js", "a.js"),
            ("*.js", ".js"),
            ("a?.js", "ab.js"),
            ("**.js", "x/y/a.js"),
            ("**/a.js", "x/y/a.js"),
            ("v[0-9].js", "v7.js"),
            ("v[!0-9].js", "va.js"),
            ("a[b", "a[b"),
            ("*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.js", "x/a.js"),
            ("a?.js", "a.js"),
            ("a?b", "a/b"),
            ("v[0-9].js", "va.js"),
            ("*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaac"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
