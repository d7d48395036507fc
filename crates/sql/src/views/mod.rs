//! Views: the built-in ones from `sql/`, embedded when the program is built, and the user's own files.

mod built_in;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use datafusion::sql::sqlparser::ast::Query;

use crate::config::{EngineConfig, Pseudonyms};
use crate::error::SqlError;
use crate::parse::parse_view;
use built_in::{BUILT_IN, PSEUDONYM_COLUMNS};

/// Largest view file.
const VIEW_BYTES_MAX: u64 = 1024 * 1024;

/// Where a view comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewOrigin {
    /// Part of the program.
    BuiltIn,
    /// A file of the user's.
    File(PathBuf),
}

/// A view as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInfo {
    /// Its name in the default dataset.
    pub name: String,
    /// Its file's text with the placeholders filled in, as BigQuery takes it.
    pub sql: String,
    /// Where it comes from.
    pub origin: ViewOrigin,
    /// Why it cannot be queried, when it cannot.
    pub error: Option<SqlError>,
}

/// One view; parsed when first asked for.
pub(crate) struct View {
    sql: String,
    origin: ViewOrigin,
    parsed: OnceLock<Result<Query, SqlError>>,
}

impl View {
    fn new(sql: String, origin: ViewOrigin) -> Self {
        Self { sql, origin, parsed: OnceLock::new() }
    }

    fn broken(origin: ViewOrigin, error: SqlError) -> Self {
        Self { sql: String::new(), origin, parsed: OnceLock::from(Err(error)) }
    }

    fn parsed(&self) -> &Result<Query, SqlError> {
        self.parsed.get_or_init(|| {
            let limit = usize::try_from(VIEW_BYTES_MAX).unwrap_or(usize::MAX);
            parse_view(&self.sql, limit).map(|(_, query)| query)
        })
    }

    /// The view's query.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub(crate) fn query(&self) -> Result<Query, SqlError> {
        self.parsed().clone()
    }
}

/// All views by name.
pub(crate) struct Views {
    views: BTreeMap<String, View>,
    /// The built-in ones in order, then the user's.
    order: Vec<String>,
}

impl Views {
    /// Fills in the built-in views and reads the user's folder. A broken user file is kept with its
    /// error, so that it stops nobody but who asks for it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn load(config: &EngineConfig) -> Result<Self, SqlError> {
        let mut views = Self { views: BTreeMap::new(), order: Vec::new() };
        for (name, template) in BUILT_IN {
            views.add((*name).to_owned(), View::new(fill(template, config), ViewOrigin::BuiltIn));
        }
        if let Some(folder) = &config.user_views_dir {
            for path in sql_files(folder)? {
                views.add_file(&path, config);
            }
        }
        Ok(views)
    }

    fn add(&mut self, name: String, view: View) {
        self.order.push(name.clone());
        self.views.insert(name, view);
    }

    fn add_file(&mut self, path: &Path, config: &EngineConfig) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let origin = ViewOrigin::File(path.to_owned());
        let refused = |reason: String| {
            View::broken(origin.clone(), SqlError::invalid(format!("{}: {reason}", path.display())))
        };
        let (name, view) =
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.is_empty() {
                (name, refused("a view's name holds letters, digits and _ only".to_owned()))
            } else if self.views.contains_key(&name) {
                (format!("{name}.sql"), refused(format!("there already is a view {name}")))
            } else {
                let view = match read(path) {
                    Ok(template) => View::new(fill(&template, config), origin.clone()),
                    Err(reason) => refused(reason),
                };
                (name, view)
            };
        self.add(name, view);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&View> {
        self.views.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    pub(crate) fn list(&self) -> Vec<ViewInfo> {
        self.order
            .iter()
            .filter_map(|name| self.views.get(name).map(|view| (name, view)))
            .map(|(name, view)| ViewInfo {
                name: name.clone(),
                sql: view.sql.clone(),
                origin: view.origin.clone(),
                error: view.parsed().as_ref().err().cloned(),
            })
            .collect()
    }
}

/// Fills in a template's placeholders, which `sql/README.md` lists.
fn fill(template: &str, config: &EngineConfig) -> String {
    let (user, columns) = match config.pseudonyms {
        Pseudonyms::Off => ("user_email", "*"),
        Pseudonyms::Sha256 => ("user_pseudonym", PSEUDONYM_COLUMNS.trim_end()),
    };
    template
        .replace("${user_columns}", columns)
        .replace("${user}", user)
        .replace("${project}", &config.project)
        .replace("${dataset}", &config.default_dataset)
}

fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, SqlError> {
    let failed = |error: std::io::Error| {
        SqlError::internal(format!("cannot read the folder of views {}: {error}", folder.display()))
            .hint("check the path and its permissions")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > VIEW_BYTES_MAX {
        return Err(format!("the file has {size} bytes, the limit is {VIEW_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
