//! Reading `millrace.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::Config;

/// Where a configuration came from, so that it can be read again.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file; without one, defaults.
    pub file: Option<PathBuf>,
    /// What wins over the data directory in it.
    pub data_dir: Option<PathBuf>,
}

impl Origin {
    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Config> {
        load(self.file.as_deref(), self.data_dir.as_deref())
    }
}

/// The configuration in `file`, or the default one when there is none; `data_dir` wins over what it
/// says. Paths in it become relative to its folder.
///
/// # Errors
/// When the file cannot be read or is not a configuration; names the line, the key and the nearest
/// key that there is.
pub fn load(file: Option<&Path>, data_dir: Option<&Path>) -> Result<Config> {
    let mut config = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the configuration {}", file.display()))?;
            let mut config = parse(&text).with_context(|| format!("in {}", file.display()))?;
            resolve(&mut config, file.parent().unwrap_or(Path::new("")));
            config
        }
        None => Config::default(),
    };
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir.to_owned();
    }
    Ok(config)
}

/// The configuration in a text that is in no file; `data_dir` wins over what it says. Paths are as they are.
///
/// # Errors
/// As [`load`].
pub fn from_text(text: &str, data_dir: Option<&Path>) -> Result<Config> {
    let mut config = parse(text)?;
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir.to_owned();
    }
    Ok(config)
}

/// The text of a configuration file without its pipelines, its paths made absolute: what another
/// configuration can begin with, wherever it is put.
///
/// # Errors
/// When the file cannot be read or is no TOML.
pub fn rebased(file: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the configuration {}", file.display()))?;
    let mut table: toml::Table = toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let folder = std::path::absolute(file.parent().unwrap_or(Path::new("")))
        .with_context(|| format!("cannot tell where {} is", file.display()))?;
    for (section, key) in PATHS {
        let section = if section.is_empty() {
            Some(&mut table)
        } else {
            table.get_mut(section).and_then(toml::Value::as_table_mut)
        };
        if let Some(toml::Value::String(path)) = section.and_then(|section| section.get_mut(key)) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    }
    table.remove("pipeline");
    Ok(table)
}

/// The settings that are paths, outside of pipelines: section and key.
const PATHS: [(&str, &str); 7] = [
    ("", "data_dir"),
    ("", "gs_root"),
    ("server", "auth_token_file"),
    ("server", "postgres_users_file"),
    ("sql", "views"),
    ("sql", "prices_file"),
    ("sql", "pseudonym_key_file"),
];

fn parse(text: &str) -> Result<Config> {
    toml::from_str(text).map_err(|error| {
        let message = error.to_string();
        match suggestion(error.message()) {
            Some(nearest) => anyhow!("{}\ndid you mean `{nearest}`?", message.trim_end()),
            None => anyhow!("{}", message.trim_end()),
        }
    })
}

/// The expected key that is nearest to the unknown one, read off serde's message: "unknown field `x`,
/// expected one of `a`, `b`".
fn suggestion(message: &str) -> Option<&str> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let nearest = quoted.min_by_key(|known| strsim::damerau_levenshtein(unknown, known))?;
    (strsim::damerau_levenshtein(unknown, nearest) <= unknown.len() / 2).then_some(nearest)
}

fn resolve(config: &mut Config, folder: &Path) {
    let absolute = |path: &mut PathBuf| {
        if path.is_relative() {
            *path = folder.join(&*path);
        }
    };
    absolute(&mut config.data_dir);
    config.gs_root.iter_mut().for_each(absolute);
    config.server.auth_token_file.iter_mut().for_each(absolute);
    config.server.postgres_users_file.iter_mut().for_each(absolute);
    config.sql.views.iter_mut().for_each(absolute);
    config.sql.prices_file.iter_mut().for_each(absolute);
    config.sql.pseudonym_key_file.iter_mut().for_each(absolute);
    config.table.iter_mut().filter_map(|table| table.schema.as_mut()).for_each(absolute);
    for pipeline in &mut config.pipeline {
        pipeline.schema.iter_mut().for_each(absolute);
        if let Some(udf) = &mut pipeline.udf {
            udf.path.iter_mut().for_each(absolute);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        let config = parse("").unwrap();
        assert_eq!(config.server.otlp_grpc_port, 4317);
        assert_eq!(config.ingest.decompressed_bytes_max, 64 * 1024 * 1024);
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        for (text, nearest) in [
            ("data_dri = 'x'", "data_dir"),
            ("[server]\notlp_grpc_prot = 1", "otlp_grpc_port"),
            (
                "[[pipeline]]\nname = 'p'\ntopic = 't'\ntable = 'd.t'\n[pipeline.window]\nrow_max = 1",
                "rows_max",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("did you mean `{nearest}`?")), "{error}");
            assert!(error.contains("line "), "{error}");
        }
        let error = parse("zzz = 1").unwrap_err().to_string();
        assert!(error.contains("unknown field `zzz`") && !error.contains("did you mean"), "{error}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("millrace.toml");
        let text = "data_dir = 'data'\n[sql]\nviews = '/abs'\nprices_file = 'p.csv'\n[[pipeline]]\nname = 'pipe'\ntopic = 'top'\ntable = 'd.t'\nudf = { path = 'a.js', function = 'f' }";
        std::fs::File::create(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .unwrap();
        let config = load(Some(&file), None).unwrap();
        assert_eq!(config.data_dir, folder.path().join("data"));
        assert_eq!(config.sql.views, Some(PathBuf::from("/abs")));
        assert_eq!(config.sql.prices_file, Some(folder.path().join("p.csv")));
        assert_eq!(config.pipeline[0].udf.as_ref().unwrap().path, Some(folder.path().join("a.js")));
        assert_eq!(load(Some(&file), Some(Path::new("other"))).unwrap().data_dir, Path::new("other"));
    }
}
