//! What Postgres clients look for around the tables: `pg_catalog`, `information_schema`, and functions that
//! say who and where one is.

mod functions;
mod information_schema;

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use millrace_sql::{Sessions, SqlError};

use crate::settings::Settings;
use information_schema::InformationSchema;

/// Puts the catalogue's schemas and functions into all sessions.
///
/// # Errors
/// When the library's tables cannot be read, which is a mistake of its or ours.
pub(crate) fn set_up(sessions: &Sessions) -> Result<(), SqlError> {
    let template = sessions.template();
    let project = sessions.engine().config().project.clone();
    setup_pg_catalog(template, &project, EmptyContextProvider).map_err(|failure| SqlError::of(&failure))?;
    if let Some(catalog) = template.catalog(&project) {
        let described = Arc::new(InformationSchema::new(sessions.clone(), &project));
        catalog.register_schema("information_schema", described).map_err(|failure| SqlError::of(&failure))?;
    }
    functions::common(template);
    Ok(())
}

/// Takes the catalogue's schemas away: they know the catalogue that they are in, and so would keep each other,
/// and the engine, for ever.
pub(crate) fn tear_down(sessions: &Sessions) {
    let project = &sessions.engine().config().project;
    if let Some(catalog) = sessions.template().catalog(project) {
        for schema in ["pg_catalog", "information_schema"] {
            // What is not there need not be taken away.
            let _ = catalog.deregister_schema(schema, true);
        }
    }
}

/// Puts the functions into a session that answer for this session only.
pub(crate) fn register(session: &SessionContext, settings: &Arc<Settings>, pid: i32) {
    functions::of_session(session, settings, pid);
}

/// Names without a schema are of the dataset that the search path leads to.
pub(crate) fn use_dataset(session: &SessionContext, settings: &Settings) {
    let dataset = settings.dataset();
    let state = session.state_ref();
    let mut state = state.write();
    if state.config_options().catalog.default_schema != dataset {
        state.config_mut().options_mut().catalog.default_schema = dataset;
    }
}
