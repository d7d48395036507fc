//! What the tests of this crate share: a port over tables in memory, and clients of it.
#![allow(dead_code, missing_docs)]

#[path = "../../../sql/tests/common/mod.rs"]
pub mod sql;

use std::net::SocketAddr;
use std::time::Duration;

use millrace_postgres::{Postgres, PostgresConfig};
use millrace_sql::EngineConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use sql::recorded::{entries, table};
use sql::{MemoryCatalog, catalog, engine};

/// A running port; it closes when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub close: Option<oneshot::Sender<()>>,
    pub served: JoinHandle<()>,
}

impl Server {
    pub async fn start(config: PostgresConfig, engine_config: EngineConfig) -> Self {
        Self::over(config, engine_config, full_catalog()).await
    }

    pub async fn over(config: PostgresConfig, engine_config: EngineConfig, tables: MemoryCatalog) -> Self {
        let postgres = Postgres::new(config, &engine(engine_config, tables)).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (close, closing) = oneshot::channel();
        let served = tokio::spawn(postgres.serve(listener, async {
            let _ = closing.await;
        }));
        Self { address, close: Some(close), served }
    }

    pub async fn default() -> Self {
        Self::start(PostgresConfig::default(), EngineConfig::default()).await
    }

    /// A client's settings for this port.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("ann").dbname("local");
        config.connect_timeout(Duration::from_secs(10));
        config
    }

    pub async fn connect(&self) -> Client {
        connect(&self.config()).await.unwrap()
    }
}

pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Small tables, and the recorded telemetry.
pub fn full_catalog() -> MemoryCatalog {
    catalog().with("telemetry", "gemini_raw_logs", table(&entries()))
}

/// A text's rows as lines: cells between ` | `, NULL as NULL.
pub async fn lines(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows
        .map(|row| {
            let cells = (0..row.len()).map(|index| row.get(index).unwrap_or("NULL"));
            cells.collect::<Vec<_>>().join(" | ")
        })
        .collect())
}

/// The five letters of an error, its message and its hint.
pub fn failure(error: &tokio_postgres::Error) -> (String, String, String) {
    match error.as_db_error() {
        Some(error) => (
            error.code().code().to_owned(),
            error.message().to_owned(),
            error.hint().unwrap_or_default().to_owned(),
        ),
        None => (String::new(), error.to_string(), String::new()),
    }
}

pub async fn code(client: &Client, sql: &str) -> String {
    match lines(client, sql).await {
        Ok(lines) => panic!("expected an error of {sql:.80}, got {} lines", lines.len()),
        Err(error) => {
            let failure = failure(&error);
            eprintln!("{sql:.60}: {failure:?}");
            failure.0
        }
    }
}

/// Waits until something holds; fails after half a minute.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
