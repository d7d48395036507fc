//! The HTTP client that pushes: it goes where it is told to and nowhere else, follows no redirect and asks no
//! proxy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of an answer, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

type Connection = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What all subscriptions push with.
pub(crate) struct PushClient {
    client: OnceLock<Result<Connection, String>>,
    /// Requests that may be out at once, of all subscriptions.
    places: Arc<Semaphore>,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pushed {
    /// The endpoint answered so.
    Status(u16),
    /// It did not answer in time.
    TimedOut,
    /// It could not be asked; says why.
    Failed(String),
}

impl Pushed {
    /// Whether the endpoint has taken the message.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// A word for metrics.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::TimedOut => "timeout".to_owned(),
            Self::Failed(_) => "unreachable".to_owned(),
        }
    }
}

impl PushClient {
    pub(crate) fn new(requests_max: usize) -> Arc<Self> {
        Arc::new(Self { client: OnceLock::new(), places: Arc::new(Semaphore::new(requests_max)) })
    }

    /// Sends a request. The time counts from when there is a place for it.
    pub(super) async fn push(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Pushed {
        let client = match self.client.get_or_init(connection) {
            Ok(client) => client,
            Err(reason) => return Pushed::Failed(reason.clone()),
        };
        let Ok(_place) = self.places.acquire().await else {
            return Pushed::Failed("the server is shutting down".to_owned());
        };
        match tokio::time::timeout(timeout, ask(client, request)).await {
            Ok(pushed) => pushed,
            Err(_) => Pushed::TimedOut,
        }
    }
}

async fn ask(client: &Connection, request: Request<Full<Bytes>>) -> Pushed {
    match client.request(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            // The status is all that counts.
            let _ = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Pushed::Status(status)
        }
        Err(error) => {
            let source = std::error::Error::source(&error);
            Pushed::Failed(source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
        }
    }
}

/// Made when something is pushed for the first time: it reads the system's certificates.
fn connection() -> Result<Connection, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_nodelay(true);
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let tls = match tls.clone().with_native_roots() {
        Ok(tls) => tls.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "the system has no certificates: pushing to https:// will not work");
            tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
    Ok(builder.build(https))
}
