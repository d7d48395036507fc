//! The beginning of a connection: who it is, what it wants set, and the secret that cancels it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::Sink;
use millrace_sql::SessionControl;
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::ScramAuth;
use pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{ClientInfo, METADATA_DATABASE, METADATA_USER, PidSecretKeyGenerator};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::{SecretKey, Startup};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use crate::auth::Passwords;
use crate::cancel::{Registered, Registry};
use crate::errors::{fatal, hinted, state, user};
use crate::settings::Settings;

/// What a wrong password costs whoever tries many.
const FAILED_LOGIN_DELAY: Duration = Duration::from_millis(500);

/// The names that a client may give the database.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseNames {
    /// The project: what the database is called.
    pub(crate) project: String,
    /// The default dataset.
    pub(crate) dataset: String,
}

impl DatabaseNames {
    /// Whether a client means this database. Clients that name none ask for one named like the user, and
    /// tools look for `postgres`.
    fn allows(&self, database: &str, user: &str) -> bool {
        [self.project.as_str(), self.dataset.as_str(), user, "postgres", ""].contains(&database)
    }
}

/// One connection's startup.
pub(crate) struct Login {
    names: DatabaseNames,
    settings: Arc<Settings>,
    identity: Arc<Identity>,
    /// `None`: everybody is trusted.
    scram: Option<SASLAuthStartupHandler<Settings>>,
}

/// A connection's number, and its entry among those that can be cancelled.
pub(crate) struct Identity {
    registry: Arc<Registry>,
    control: Arc<SessionControl>,
    pub(crate) pid: i32,
    registered: Mutex<Option<Registered>>,
}

impl Identity {
    pub(crate) fn new(registry: &Arc<Registry>, control: Arc<SessionControl>) -> Self {
        let pid = registry.next_pid();
        Self { registry: Arc::clone(registry), control, pid, registered: Mutex::default() }
    }
}

impl PidSecretKeyGenerator for Identity {
    fn generate(&self, client: &dyn ClientInfo) -> (i32, SecretKey) {
        match self.registry.register(self.pid, client.protocol_version(), Arc::clone(&self.control)) {
            Ok((secret, registered)) => {
                *self.registered.lock().unwrap_or_else(PoisonError::into_inner) = Some(registered);
                (self.pid, secret)
            }
            Err(error) => {
                tracing::warn!(%error, "no random bytes: a session cannot be cancelled");
                (self.pid, SecretKey::default())
            }
        }
    }
}

impl Login {
    pub(crate) fn new(
        names: DatabaseNames,
        settings: Arc<Settings>,
        identity: Arc<Identity>,
        passwords: Option<Arc<Passwords>>,
    ) -> Self {
        let scram = passwords.map(|passwords| {
            SASLAuthStartupHandler::new(Arc::clone(&settings))
                .with_scram(ScramAuth::new(passwords))
                .with_pid_secret_key_generator(Arc::clone(&identity) as _)
        });
        Self { names, settings, identity, scram }
    }

    /// Whether the first message asks for what there is.
    fn check(&self, startup: &Startup) -> PgWireResult<()> {
        let parameter = |name: &str| startup.parameters.get(name).map_or("", String::as_str);
        let (name, database) = (parameter(METADATA_USER), parameter(METADATA_DATABASE));
        if name.is_empty() {
            return Err(PgWireError::UserNameRequired);
        }
        if !matches!(parameter("replication"), "" | "false" | "off" | "no" | "0") {
            return Err(user(fatal(state::FEATURE_NOT_SUPPORTED, "replication is not supported")));
        }
        if !self.names.allows(database, name) {
            let project = &self.names.project;
            let info = fatal("3D000", format!("database \"{database}\" does not exist"));
            return Err(user(hinted(info, format!("connect to the database {project}"))));
        }
        self.settings.begin(name, &startup.parameters).map_err(|mut info| {
            info.severity = "FATAL".to_owned();
            user(info)
        })
    }
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let PgWireFrontendMessage::Startup(startup) = &message {
            self.check(startup)?;
        }
        let result = match (&self.scram, &message) {
            (Some(scram), _) => scram.on_startup(client, message).await,
            (None, PgWireFrontendMessage::Startup(startup)) => {
                protocol_negotiation(client, startup).await?;
                save_startup_parameters_to_metadata(client, startup);
                let (pid, secret) = self.identity.generate(client);
                client.set_pid_and_secret_key(pid, secret);
                finish_authentication(client, self.settings.as_ref()).await
            }
            (None, _) => Err(user(fatal(state::PROTOCOL_VIOLATION, "expected a startup message"))),
        };
        if let Err(PgWireError::InvalidPassword(_) | PgWireError::InvalidScramMessage(_)) = &result {
            metrics::counter!("millrace_postgres_logins_refused_total").increment(1);
            tokio::time::sleep(FAILED_LOGIN_DELAY).await;
        }
        result
    }
}

impl ServerParameterProvider for Settings {
    fn server_parameters<C: ClientInfo>(&self, _: &C) -> Option<HashMap<String, String>> {
        Some(self.reported().collect())
    }
}
