//! What all connections share.

use std::sync::Arc;
use std::time::Duration;

use millrace_sql::{Engine, Sessions, SqlError};

use crate::auth::{Credentials, CredentialsError, Passwords};
use crate::cancel::Registry;
use crate::session;
use crate::startup::DatabaseNames;

/// Settings of the port; each limit has its unit in its name.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Who may log in.
    pub credentials: Credentials,
    /// Open connections at once; further ones are told so and closed.
    pub connections_max: u32,
    /// How long a statement in hand may go on once the port is closing.
    pub drain_timeout: Duration,
    /// How long a client may take from connecting to being logged in.
    pub startup_timeout: Duration,
    /// How long a client may leave what it asked for unread.
    pub write_stall_max: Duration,
    /// Largest message of a client, in bytes.
    pub message_bytes_max: usize,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            credentials: Credentials::Trust,
            connections_max: 64,
            drain_timeout: Duration::from_secs(5),
            startup_timeout: Duration::from_secs(10),
            write_stall_max: Duration::from_secs(60),
            message_bytes_max: 2 << 20,
        }
    }
}

/// Why the port does not open.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// What is wrong with who may log in.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What is wrong with the sessions.
    #[error("cannot set up Postgres sessions: {0}")]
    Sessions(#[from] SqlError),
}

/// What all connections of a port share.
pub(crate) struct Shared {
    pub(crate) config: PostgresConfig,
    pub(crate) sessions: Sessions,
    pub(crate) registry: Arc<Registry>,
    /// `None`: everybody is trusted.
    pub(crate) passwords: Option<Arc<Passwords>>,
    pub(crate) names: DatabaseNames,
    /// Longest text of a statement, in bytes.
    pub(crate) statement_bytes_max: usize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        session::tear_down(&self.sessions);
    }
}

impl Shared {
    pub(crate) fn new(config: PostgresConfig, engine: &Engine) -> Result<Self, PostgresError> {
        let passwords = Passwords::new(&config.credentials)?.map(Arc::new);
        let sessions = engine.sessions()?;
        session::set_up(&sessions)?;
        let engine = engine.config();
        Ok(Self {
            config,
            sessions,
            registry: Arc::default(),
            passwords,
            names: DatabaseNames { project: engine.project.clone(), dataset: engine.default_dataset.clone() },
            statement_bytes_max: engine.query_bytes_max,
        })
    }
}
