//! Views as people manage them: listed, shown, made, removed, verified.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_model::Micros;

use crate::PLANNING_STACK_BYTES;
use crate::engine::{Engine, Inner};
use crate::error::{Code, SqlError, from_datafusion};
use crate::optimize::optimize;
use crate::parse::point_out;
use crate::results::{ResultInfo, refuse_varying};
use crate::views::{View, ViewOrigin, Views};

/// A view as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInfo {
    /// Its name in the default dataset.
    pub name: String,
    /// Its file's text with the placeholders filled in, as BigQuery takes it; but for those of a secret
    /// key, which stay.
    pub sql: String,
    /// Where it comes from.
    pub origin: ViewOrigin,
    /// What is kept of its result, when it is a materialised view.
    pub result: Option<ResultInfo>,
    /// Why it cannot be queried, as far as its text alone tells.
    pub error: Option<SqlError>,
}

/// What [`Engine::verify_views`] found about one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewCheck {
    /// The view.
    pub name: String,
    /// Why it cannot be queried, if it cannot.
    pub error: Option<SqlError>,
}

impl Engine {
    /// All views: the built-in ones, each after those it stands on, then the user's. Looks at files:
    /// blocks for as long as that takes.
    #[must_use]
    pub fn views(&self) -> Vec<ViewInfo> {
        let inner = self.inner();
        let views = inner.views.current();
        views.iter().map(|(name, view)| inner.view_info(name, view, &views)).collect()
    }

    /// One view, its name in any case. Blocks as [`Self::views`].
    #[must_use]
    pub fn view(&self, name: &str) -> Option<ViewInfo> {
        let inner = self.inner();
        let views = inner.views.current();
        let (name, view) = views.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(inner.view_info(name, view, &views))
    }

    /// Makes a view of the user's out of a text (a query, or CREATE [OR REPLACE] [MATERIALIZED] VIEW).
    /// It is durable and there for the next query when this returns.
    ///
    /// # Errors
    /// A name that is not allowed or taken; a text that is no view, names another one, or cannot be
    /// planned over the present tables; a folder that cannot be written.
    pub async fn create_view(&self, name: &str, sql: &str, replace: bool) -> Result<ViewInfo, SqlError> {
        let (inner, name, sql) = (Arc::clone(self.inner()), name.to_owned(), sql.to_owned());
        let made = on_planning_stack(move || {
            inner.views.create(&name, &sql, replace, |views| inner.check_new(&name, views))?;
            inner.remove_orphans();
            inner.views_changed();
            Ok(name)
        });
        let name = made.await?;
        self.view(&name).ok_or_else(|| SqlError::internal(format!("view {name} is gone again")))
    }

    /// Removes a view of the user's. Answers whether there was one.
    ///
    /// # Errors
    /// When it is built in, other views stand on it, or its file cannot be removed.
    pub async fn drop_view(&self, name: &str) -> Result<bool, SqlError> {
        let (inner, name) = (Arc::clone(self.inner()), name.to_owned());
        on_planning_stack(move || {
            let removed = inner.views.remove(&name, |views| inner.refuse_needed(&name, views))?;
            inner.remove_orphans();
            Ok(removed)
        })
        .await
    }

    /// Plans every view over the present tables, in order.
    ///
    /// # Errors
    /// Faults of ours only; what is wrong with a view is in its answer.
    pub async fn verify_views(&self) -> Result<Vec<ViewCheck>, SqlError> {
        let inner = Arc::clone(self.inner());
        on_planning_stack(move || {
            let views = inner.views.current();
            let check = |name: &str| inner.try_view(name, &views).err();
            Ok(views.names().map(|name| ViewCheck { name: name.to_owned(), error: check(name) }).collect())
        })
        .await
    }
}

async fn on_planning_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let done = tokio::task::spawn_blocking(move || stacker::grow(PLANNING_STACK_BYTES, work));
    done.await.map_err(|_| SqlError::internal("the query planner failed on a view"))?
}

impl Inner {
    fn view_info(&self, name: &str, view: &View, views: &Views) -> ViewInfo {
        let now = Micros::now().0;
        let result =
            view.materialized().map(|kept| self.results.info(name, kept, views, self.catalog.as_ref(), now));
        ViewInfo {
            name: name.to_owned(),
            sql: view.sql.clone(),
            origin: view.origin.clone(),
            result,
            error: view.definition().err(),
        }
    }

    /// Plans a view from its tables as far as queries are, and answers the views that it stands on.
    fn try_view(&self, name: &str, views: &Views) -> Result<BTreeSet<String>, SqlError> {
        let state = self.state();
        let planner = self.planner(views, &state);
        let (plan, _) = planner.plan_view(name)?;
        optimize(&plan, &state).map_err(|error| from_datafusion(&error))?;
        let (used, _) = planner.used();
        let view = views.get(name).ok_or_else(|| SqlError::internal("a view is gone that was planned"))?;
        if view.materialized().is_some() {
            refuse_varying(name, used.iter().filter_map(|name| Some((name.as_str(), views.get(name)?))))?;
        }
        Ok(used)
    }

    /// What is wrong with a new view among the others.
    fn check_new(&self, name: &str, views: &Views) -> Result<(), SqlError> {
        let dataset = &self.config.default_dataset;
        if let Some(table) =
            self.catalog.tables(dataset).into_iter().find(|table| table.eq_ignore_ascii_case(name))
        {
            return Err(SqlError::new(Code::AlreadyExists, format!("there is a table {dataset}.{table}"))
                .hint("choose another name"));
        }
        self.try_view(name, views).map(|_| ()).map_err(|error| {
            // Who makes a view looks at its text: the complaint is about that, and says where in it.
            let own = error.message.strip_prefix(&format!("view {name}: ")).map(str::to_owned);
            match (own, views.get(name)) {
                (Some(message), Some(view)) => point_out(SqlError { message, ..error }, &view.sql),
                _ => error,
            }
        })
    }

    /// Refuses to take a view away from those that stand on it.
    fn refuse_needed(&self, name: &str, views: &Views) -> Result<(), SqlError> {
        // A view that cannot be planned loses nothing more.
        let stands_on = |other: &str| self.try_view(other, views).is_ok_and(|used| used.contains(name));
        let dependents: Vec<_> = views.names().filter(|other| *other != name && stands_on(other)).collect();
        match dependents.as_slice() {
            [] => Ok(()),
            dependents => {
                Err(SqlError::invalid(format!("view {name} is needed by {}", dependents.join(", ")))
                    .hint("drop these first, or replace the view"))
            }
        }
    }
}
