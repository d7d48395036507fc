//! `gs://` paths on a machine without Cloud Storage: a folder with a folder for each bucket.

use std::path::{Path, PathBuf};

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
/// `root/b/x.js`. What a pattern matches is for whoever reads the scripts.
///
/// # Errors
/// When there is no root for a `gs://` path, or the path is not one.
pub fn locate(text: &str, root: Option<&Path>) -> Result<PathBuf, GsError> {
    if let Some(rest) = text.strip_prefix("gs://") {
        let (bucket, object) = rest.split_once('/').unwrap_or((rest, ""));
        let parts_are_names =
            |path: &str| path.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."));
        // A backslash is a character of an object's name there and part of no file's name here.
        if bucket.is_empty() || object.is_empty() || !parts_are_names(rest) || rest.contains(['\\', '\0']) {
            return Err(GsError::NoObject(text.to_owned()));
        }
        let root = root.ok_or_else(|| GsError::NoRoot(text.to_owned()))?;
        return Ok(root.join(rest));
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.contains("://") || path.is_empty() || path.contains('\0') {
        return Err(GsError::Scheme(text.to_owned()));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_folders_below_the_root() {
        let root = Some(Path::new("/srv/gs"));
        for (text, path) in [
            ("gs://b/udf/a.js", "/srv/gs/b/udf/a.js"),
            ("gs://b/udf/", "/srv/gs/b/udf/"),
            ("gs://b/v*/[ab].js", "/srv/gs/b/v*/[ab].js"),
            ("udf/*.js", "udf/*.js"),
            ("file:///udf/a.js", "/udf/a.js"),
        ] {
            assert_eq!(locate(text, root), Ok(PathBuf::from(path)), "{text}");
        }
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
}
