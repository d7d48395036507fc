//! `millrace views`: what there is to query besides tables, and how it changes.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use millrace_server::{ViewList, ViewReport};
use millrace_sql::Engine;
use serde_json::{Value, json};

use crate::cli::{Format, Views};
use crate::client::Client;
use crate::config::Config;
use crate::data_dir::{DataDir, WriterLock};
use crate::reader::{Reader, with_hint};
use crate::tables::Tables;
use crate::{output, queries};

/// Stands before a text in which the pads of a secret key are left out.
const PADS_NOTE: &str = "-- ${pseudonym_inner_pad} and ${pseudonym_outer_pad} stand for the pads of the secret key: see sql/README.md.";

/// Lists, shows or verifies views, or changes them: through the server of this data directory when one
/// runs, else in this process.
///
/// # Errors
/// What is wrong with a view or its name, or with the way to the server.
pub fn views(config: &Config, command: &Views) -> Result<ExitCode> {
    match command {
        Views::List { format } => list(*format, &Place::to_read(config)?.list()?)?,
        Views::Show { name } => show(&Place::to_read(config)?.view(name)?),
        Views::Create { name, file, replace } => {
            let sql = text(file.as_deref())?;
            Place::to_write(config)?.create(name, &sql, *replace)?;
            println!("view {name} is there");
        }
        Views::Drop { name, if_exists } => match Place::to_write(config)?.remove(name)? {
            true => println!("view {name} is removed"),
            false if *if_exists => println!("there is no view {name}"),
            false => bail!("no view {name}: `millrace views list` names them"),
        },
        Views::Verify { format } => return verify(config, *format),
        Views::Refresh { name, all } => return refresh(&Place::to_write(config)?, name.as_deref(), *all),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where views are looked at and changed.
enum Place {
    /// A server that runs.
    Server(Client),
    /// The data directory, read as it is now; with its lock, when views are changed.
    Here { reader: Box<Reader>, engine: Engine, _lock: Option<WriterLock> },
    /// Nowhere yet: the views that would be there.
    Nowhere(Engine),
}

impl Place {
    fn to_read(config: &Config) -> Result<Self> {
        let data = DataDir::new(&config.data_dir);
        if let Some(server) = data.running_server()? {
            return Ok(Self::Server(Client::new(config, &server.http)?));
        }
        if data.must_exist().is_err() {
            return Ok(Self::Nowhere(Engine::new(queries::engine(config)?, Arc::new(Tables::new()))?));
        }
        let reader = Reader::open(config)?;
        let engine = reader.engine()?;
        Ok(Self::Here { reader: Box::new(reader), engine, _lock: None })
    }

    fn to_write(config: &Config) -> Result<Self> {
        let data = DataDir::new(&config.data_dir);
        if let Some(server) = data.running_server()? {
            return Ok(Self::Server(Client::new(config, &server.http)?));
        }
        let lock = data.lock()?;
        let reader = Reader::open(config)?;
        let engine = reader.engine()?;
        Ok(Self::Here { reader: Box::new(reader), engine, _lock: Some(lock) })
    }

    fn list(&self) -> Result<Vec<ViewReport>> {
        match self {
            Self::Server(client) => Ok(client.get::<ViewList>("/api/views")?.views),
            Self::Here { engine, .. } | Self::Nowhere(engine) => {
                Ok(engine.views().iter().map(ViewReport::brief).collect())
            }
        }
    }

    fn view(&self, name: &str) -> Result<ViewReport> {
        match self {
            Self::Server(client) => client.get(&path(name)?),
            Self::Here { engine, .. } | Self::Nowhere(engine) => {
                let view = engine.view(name);
                let missing = || format!("no view {name}: `millrace views list` names them");
                view.as_ref().map(ViewReport::whole).with_context(missing)
            }
        }
    }

    fn create(&self, name: &str, sql: &str, replace: bool) -> Result<()> {
        match self {
            Self::Server(client) => {
                let path = format!("{}?replace={replace}", path(name)?);
                client.put::<ViewReport>(&path, &json!({ "sql": sql })).map(|_| ())
            }
            Self::Here { reader, engine, .. } => {
                let made = reader.runtime.block_on(engine.create_view(name, sql, replace));
                made.map(|_| ()).map_err(|error| with_hint(&error))
            }
            Self::Nowhere(_) => nowhere(),
        }
    }

    fn remove(&self, name: &str) -> Result<bool> {
        match self {
            Self::Server(client) => client.delete(&path(name)?),
            Self::Here { reader, engine, .. } => {
                reader.runtime.block_on(engine.drop_view(name)).map_err(|error| with_hint(&error))
            }
            Self::Nowhere(_) => nowhere(),
        }
    }

    fn refresh(&self, name: &str) -> Result<()> {
        match self {
            Self::Server(client) => {
                let path = format!("{}/refresh", path(name)?);
                client.post::<ViewReport>(&path, &[("content-type", "application/json")], "").map(|_| ())
            }
            Self::Here { reader, engine, .. } => {
                let refreshed = reader.runtime.block_on(engine.refresh_view(name));
                refreshed.map(|_| ()).map_err(|error| with_hint(&error))
            }
            Self::Nowhere(_) => nowhere(),
        }
    }
}

fn nowhere<T>() -> Result<T> {
    bail!("there is no data directory yet")
}

/// The path of a view in the API; names that cannot be a view's are not sent, so they cannot be another
/// path either.
fn path(name: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with('.') {
        bail!("{name:?}: a view's name holds letters, digits and _ only");
    }
    Ok(format!("/api/views/{name}"))
}

fn text(file: Option<&Path>) -> Result<String> {
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            Ok(text)
        }
    }
}

fn list(format: Format, views: &[ViewReport]) -> Result<()> {
    let row = |view: &ViewReport| -> Vec<Value> {
        let kept = view.materialized.as_ref();
        let error = view.error.as_ref().or(kept.and_then(|kept| kept.error.as_ref()));
        vec![
            json!(view.name),
            json!(view.origin),
            json!(kept.map(|kept| &kept.freshness)),
            json!(kept.and_then(|kept| kept.last_refresh.as_ref())),
            json!(kept.and_then(|kept| kept.age_seconds).map(f64::round)),
            json!(kept.and_then(|kept| kept.rows)),
            json!(error),
        ]
    };
    let columns = ["name", "origin", "materialized", "last_refresh", "age_seconds", "rows", "error"];
    output::print(format, &columns, &views.iter().map(row).collect::<Vec<_>>())
}

fn show(view: &ViewReport) {
    let sql = view.sql.as_deref().unwrap_or_default().trim_end();
    if sql.contains("${pseudonym_") {
        println!("{PADS_NOTE}");
    }
    println!("{sql}");
}

/// Reads only, so it looks at the files itself, also beside a server.
fn verify(config: &Config, format: Format) -> Result<ExitCode> {
    let reader = Reader::open(config)?;
    let engine = reader.engine()?;
    let checks = reader.runtime.block_on(engine.verify_views()).map_err(|error| with_hint(&error))?;
    let rows: Vec<_> = checks
        .iter()
        .map(|check| {
            let error = check.error.as_ref();
            vec![
                json!(check.name),
                json!(error.is_none()),
                json!(error.map(ToString::to_string)),
                json!(error.and_then(|error| error.hint.as_ref())),
            ]
        })
        .collect();
    output::print(format, &["name", "ok", "error", "hint"], &rows)?;
    let good = checks.iter().all(|check| check.error.is_none());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One that fails does not keep the others from being refreshed.
fn refresh(place: &Place, name: Option<&str>, all: bool) -> Result<ExitCode> {
    let views = place.list()?;
    let materialized = views.iter().filter(|view| view.materialized.is_some()).map(|view| view.name.as_str());
    let names: Vec<&str> = if all { materialized.collect() } else { name.into_iter().collect() };
    let mut good = true;
    for name in names {
        match place.refresh(name).and_then(|()| place.view(name)) {
            Ok(view) => {
                let rows = view.materialized.and_then(|kept| kept.rows).unwrap_or(0);
                println!("view {name} is refreshed: {rows} rows");
            }
            Err(error) if all => {
                eprintln!("error: {error:#}");
                good = false;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
