//! `millrace views`: what there is to query besides tables.

use anyhow::{Result, bail};
use millrace_sql::{Engine, ViewOrigin};
use serde_json::json;
use std::sync::Arc;

use crate::cli::Views;
use crate::config::Config;
use crate::tables::Tables;
use crate::{output, settings};

/// Lists the views, or shows the SQL of one.
///
/// # Errors
/// When a view of the user's cannot be read, or there is none of that name.
pub fn views(config: &Config, command: &Views) -> Result<()> {
    let engine = Engine::new(settings::engine(config), Arc::new(Tables::new()))?;
    let views = engine.views();
    match command {
        Views::List { format } => {
            let rows: Vec<_> = views
                .iter()
                .map(|view| {
                    vec![
                        json!(view.name),
                        json!(origin(&view.origin)),
                        json!(view.error.as_ref().map(ToString::to_string)),
                    ]
                })
                .collect();
            output::print(*format, &["name", "origin", "error"], &rows)
        }
        Views::Show { name } => {
            let Some(view) = views.iter().find(|view| view.name.eq_ignore_ascii_case(name)) else {
                bail!("no view {name}: `millrace views list` names them");
            };
            println!("{}", view.sql.trim_end());
            Ok(())
        }
    }
}

/// Where a view comes from, for people.
fn origin(origin: &ViewOrigin) -> String {
    match origin {
        ViewOrigin::BuiltIn => "built in".to_owned(),
        ViewOrigin::File(path) => path.display().to_string(),
    }
}
