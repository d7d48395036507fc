//! The views as they are now, and how they change: by commands, or by hand in the user's folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use millrace_disk::{Disk as _, StdDisk, write_atomically};

use super::folder::Listing;
use super::template::Template;
use super::{View, ViewOrigin, Views, file_of, name_violation};
use crate::config::EngineConfig;
use crate::error::{Code, SqlError};

/// Least time between two looks at the folder: a file put there by hand is a view within that time.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct ViewStore {
    template: Template,
    built_in: Views,
    folder: Option<PathBuf>,
    snapshot: RwLock<Arc<Views>>,
    /// Held while the folder is read or written.
    seen: Mutex<Seen>,
}

/// What was last seen of the folder.
struct Seen {
    at: Instant,
    listing: Listing,
}

impl ViewStore {
    /// The built-in views and those in the user's folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn open(config: &EngineConfig) -> Result<Self, SqlError> {
        let template = Template::new(config);
        let built_in = Views::built_in(&template);
        let seen = Seen { at: Instant::now(), listing: Listing::default() };
        let store = Self {
            snapshot: RwLock::new(Arc::new(built_in.with_files(&template, &[]))),
            template,
            built_in,
            folder: config.user_views_dir.clone(),
            seen: Mutex::new(seen),
        };
        store.reload(&mut lock(&store.seen))?;
        Ok(store)
    }

    /// The views now. Looks at the folder now and then: blocks for as long as that takes.
    pub(crate) fn current(&self) -> Arc<Views> {
        // Who finds it locked leaves the look to who holds it.
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= CHECK_INTERVAL
            && let Err(error) = self.reload(&mut seen)
        {
            metrics::counter!("millrace_views_folder_errors_total").increment(1);
            tracing::warn!(%error, "the views stay as they were");
        }
        self.snapshot()
    }

    fn snapshot(&self) -> Arc<Views> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what has changed in the folder.
    fn reload(&self, seen: &mut Seen) -> Result<(), SqlError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        seen.at = Instant::now();
        let listing = Listing::of(folder)?;
        if listing != seen.listing {
            let views = self.built_in.with_files(&self.template, &listing.read());
            *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(views);
            seen.listing = listing;
        }
        Ok(())
    }

    /// Makes a view of the user's, or another in its place, when `check` finds nothing wrong with all
    /// views as they would then be. It is durable and there for the next query when this returns.
    ///
    /// # Errors
    /// A name that is not allowed or taken, a text that is no view or names another, what `check` says,
    /// a folder that cannot be written.
    pub(crate) fn create(
        &self,
        name: &str,
        text: &str,
        replace: bool,
        check: impl FnOnce(&Views) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let folder = self.folder.as_ref().ok_or_else(|| {
            SqlError::invalid("there is no folder for views").hint("set sql.views in the configuration")
        })?;
        if let Some(rule) = name_violation(name) {
            return Err(SqlError::invalid(format!("{name:?}: {rule}")));
        }
        let mut seen = lock(&self.seen);
        self.reload(&mut seen)?;
        let views = self.snapshot();
        refuse_taken(&views, name, replace)?;
        let path = file_of(folder, name);
        let view = View::new(self.template.fill(text), ViewOrigin::File(path.clone()));
        self.check_name(&view, name)?;
        check(&views.with(name, view))?;
        StdDisk
            .create_dir_all(folder)
            .and_then(|()| write_atomically(&StdDisk, &path, text.as_bytes()))
            .map_err(|error| SqlError::internal(format!("cannot write {}: {error}", path.display())))?;
        // A look that does not depend on the file system's clock being finer than two writes.
        seen.listing = Listing::default();
        self.reload(&mut seen)
    }

    /// A file that names a view names this one.
    fn check_name(&self, view: &View, name: &str) -> Result<(), SqlError> {
        let named = match view.definition()?.path.as_slice() {
            [] => return Ok(()),
            [view] => view == name,
            [dataset, view] | [_, dataset, view] => *dataset == self.template.dataset() && view == name,
            _ => false,
        };
        if named {
            return Ok(());
        }
        let (path, dataset) = (view.definition()?.path.join("."), self.template.dataset());
        Err(SqlError::invalid(format!("the text makes the view {path}, not {dataset}.{name}"))
            .hint(format!("write CREATE OR REPLACE VIEW {dataset}.{name} AS ..., or only the query")))
    }

    /// Removes a view of the user's, when `check` finds nothing against it. Answers whether there was
    /// one.
    ///
    /// # Errors
    /// A built-in view, what `check` says, a folder that cannot be written.
    pub(crate) fn remove(
        &self,
        name: &str,
        check: impl FnOnce(&Views) -> Result<(), SqlError>,
    ) -> Result<bool, SqlError> {
        let mut seen = lock(&self.seen);
        self.reload(&mut seen)?;
        let views = self.snapshot();
        let Some(view) = views.get(name) else { return Ok(false) };
        let ViewOrigin::File(path) = &view.origin else {
            return Err(SqlError::new(Code::ReadOnly, format!("view {name} is built in and stays")));
        };
        check(&views)?;
        let folder = path.parent().unwrap_or(path);
        StdDisk
            .remove_file(path)
            .and_then(|()| StdDisk.sync_dir(folder))
            .map_err(|error| SqlError::internal(format!("cannot remove {}: {error}", path.display())))?;
        self.reload(&mut seen)?;
        Ok(true)
    }
}

fn refuse_taken(views: &Views, name: &str, replace: bool) -> Result<(), SqlError> {
    let Some((known, view)) = views.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        return Ok(());
    };
    let taken = |message: String| SqlError::new(Code::AlreadyExists, message);
    match &view.origin {
        ViewOrigin::BuiltIn => {
            Err(taken(format!("there is a built-in view {known}")).hint("choose another name"))
        }
        ViewOrigin::File(_) if known != name => Err(taken(format!("there already is a view {known}"))
            .hint("choose a name that differs in more than its case")),
        ViewOrigin::File(_) if !replace => Err(taken(format!("there already is a view {known}"))
            .hint("ask for it to be replaced (--replace), or choose another name")),
        ViewOrigin::File(_) => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
