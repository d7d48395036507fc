//! Views: the built-in ones from `sql/`, embedded when the program is built, and the user's own files.

mod built_in;
mod definition;
mod folder;
mod options;
mod store;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use crate::PLANNING_STACK_BYTES;
use crate::error::SqlError;
use crate::pseudonyms;
pub(crate) use built_in::BUILT_IN;
use folder::ViewFile;
use template::Template;

pub(crate) use definition::Definition;
pub use options::Materialized;
pub(crate) use store::ViewStore;

/// Where a view comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewOrigin {
    /// Part of the program.
    BuiltIn,
    /// A file of the user's.
    File(PathBuf),
}

/// One view; parsed when first asked for.
pub(crate) struct View {
    pub(crate) sql: String,
    pub(crate) origin: ViewOrigin,
    definition: OnceLock<Result<Definition, SqlError>>,
}

impl View {
    fn new(sql: String, origin: ViewOrigin) -> Self {
        Self { sql, origin, definition: OnceLock::new() }
    }

    fn broken(origin: ViewOrigin, error: SqlError) -> Self {
        Self { sql: String::new(), origin, definition: OnceLock::from(Err(error)) }
    }

    /// What its text says.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub(crate) fn definition(&self) -> Result<&Definition, SqlError> {
        let parse = || {
            let mut definition = stacker::grow(PLANNING_STACK_BYTES, || definition::parse(&self.sql))?;
            if self.origin == ViewOrigin::BuiltIn {
                pseudonyms::take_pads_out(&mut definition.query);
            }
            Ok(definition)
        };
        self.definition.get_or_init(parse).as_ref().map_err(Clone::clone)
    }

    /// How its result is kept, when it is a materialised view.
    pub(crate) fn materialized(&self) -> Option<Materialized> {
        self.definition().ok()?.materialized
    }

    /// A number that is another when the text is.
    pub(crate) fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }
}

/// All views by name, at one moment. A query keeps the ones that it began with.
pub(crate) struct Views {
    views: BTreeMap<String, Arc<View>>,
    /// The built-in ones in order, then the user's.
    order: Vec<String>,
}

impl Views {
    /// The views that are part of the program.
    fn built_in(template: &Template) -> Self {
        let mut views = Self { views: BTreeMap::new(), order: Vec::new() };
        for (name, text) in BUILT_IN {
            views.add((*name).to_owned(), View::new(template.fill(text), ViewOrigin::BuiltIn));
        }
        views
    }

    /// These views and the user's files. A broken file is kept with its error, so that it stops nobody
    /// but who asks for it.
    fn with_files(&self, template: &Template, files: &[ViewFile]) -> Self {
        let mut views = Self { views: self.views.clone(), order: self.order.clone() };
        for file in files {
            views.add_file(template, file);
        }
        views
    }

    fn add(&mut self, name: String, view: View) {
        self.order.push(name.clone());
        self.views.insert(name, Arc::new(view));
    }

    fn add_file(&mut self, template: &Template, file: &ViewFile) {
        let path = &file.path;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let origin = ViewOrigin::File(path.clone());
        let refused = |reason: &str| {
            View::broken(origin.clone(), SqlError::invalid(format!("{}: {reason}", path.display())))
        };
        let (name, view) = if let Some(rule) = name_violation(&name) {
            (name, refused(rule))
        } else if self.views.contains_key(&name) {
            (format!("{name}.sql"), refused(&format!("there already is a view {name}")))
        } else {
            let view = match &file.text {
                Ok(text) => View::new(template.fill(text), origin.clone()),
                Err(reason) => refused(reason),
            };
            (name, view)
        };
        self.add(name, view);
    }

    /// The same views with one more, or another in its place.
    fn with(&self, name: &str, view: View) -> Self {
        let order = self.order.iter().filter(|known| *known != name).cloned().collect();
        let mut changed = Self { views: self.views.clone(), order };
        changed.add(name.to_owned(), view);
        changed
    }

    pub(crate) fn get(&self, name: &str) -> Option<&View> {
        self.views.get(name).map(Arc::as_ref)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    /// All views in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &View)> {
        self.order.iter().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }
}

/// Longest name: with `.sql` and the suffix of temporary files it still is a file name.
const NAME_BYTES_MAX: usize = 200;

/// Why a view cannot have a name; `None` when it can.
pub(crate) fn name_violation(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match name {
        "" => Some("a view needs a name"),
        _ if !name.bytes().all(allowed) => Some("a view's name holds letters, digits and _ only"),
        _ if name.len() > NAME_BYTES_MAX => Some("a view's name has at most 200 letters"),
        _ => None,
    }
}

/// Where a user's view of a name is kept.
fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sql"))
}
