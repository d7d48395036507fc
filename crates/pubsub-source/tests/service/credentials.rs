//! The default credentials, with a token server and a TLS front of the service on loopback.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use axum::routing::post;
use millrace_pubsub_source::{Endpoint, SourceConfig, SourceState};
use tokio::net::TcpListener;

use crate::common::{Sink, World, numbered};
use crate::tls::{AUTHORITY, TlsListener};

/// Where a process finds its default credentials.
const CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Set in the process that has them.
const INSIDE: &str = "MILLRACE_TEST_CREDENTIALS";
const TOKEN: &str = "token-of-the-test";

/// Scenario: the token server refuses the refresh token, then gives an access token; the service asks for that token.
/// Guarantees: the refusal is told with what to do, and is tried again; then every request carries the token, that for
/// the stream too, and messages are read. Runs in a process of its own, whose environment names the credentials.
#[test]
fn default_credentials_are_sent_and_their_refusal_is_told() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(with_credentials());
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "credentials::default_credentials_are_sent_and_their_refusal_is_told";
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CREDENTIALS, folder.path().join("credentials.json"))
        .env("SSL_CERT_FILE", AUTHORITY)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

async fn with_credentials() {
    let refuses = Arc::new(AtomicBool::new(true));
    write_credentials(token_server(Arc::clone(&refuses)).await);
    let world = World::start().await;
    world.publish(numbered(0..10)).await;
    let guarded = Arc::default();
    let port = guard(world.router(), Arc::clone(&guarded)).await;
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).unwrap();

    let sink = Sink::new();
    let source = sink.read(SourceConfig { endpoint, ..world.config() });
    sink.until(&source, |_| source.status().state == SourceState::Failing).await;
    let error = source.status().error.unwrap();
    for part in ["no credentials", "invalid_grant", "gcloud auth application-default login"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(guarded.lock().unwrap().is_empty(), "the service was asked without a token");

    refuses.store(false, Relaxed);
    sink.until(&source, |counts| counts.acks == 10).await;
    assert_eq!((source.status().state, source.status().error), (SourceState::Running, None));
    sink.holds_exactly(10);
    let asked = guarded.lock().unwrap().clone();
    assert!(asked.iter().any(|(path, _)| path.ends_with("/StreamingPull")), "{asked:?}");
    let bearer = format!("Bearer {TOKEN}");
    assert!(asked.iter().all(|(_, authorization)| *authorization == bearer), "{asked:?}");
}

/// Requests by path, with what they said in `authorization`.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// The service behind TLS, for those who have the token; its port.
async fn guard(service: Router, asked: Asked) -> u16 {
    let check = move |request: Request, next: Next| {
        let asked = Arc::clone(&asked);
        async move {
            let said = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            let said = said.unwrap_or_default().to_owned();
            let may = said == format!("Bearer {TOKEN}");
            asked.lock().unwrap().push((request.uri().path().to_owned(), said));
            if may { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    };
    let listener = TlsListener::bind().await;
    let port = listener.port();
    let router = service.layer(from_fn(check));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

/// Gives access tokens for refresh tokens, or refuses (<https://www.rfc-editor.org/rfc/rfc6749#section-5.2>); its port.
async fn token_server(refuses: Arc<AtomicBool>) -> u16 {
    let token = move || {
        let refuses = refuses.load(Relaxed);
        async move {
            if refuses {
                let why = r#"{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}"#;
                return (StatusCode::BAD_REQUEST, [("content-type", "application/json")], why.to_owned());
            }
            let token =
                format!(r#"{{"access_token": "{TOKEN}", "expires_in": 3600, "token_type": "Bearer"}}"#);
            (StatusCode::OK, [("content-type", "application/json")], token)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/token", post(token));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

/// What `gcloud auth application-default login` writes, with another token server.
fn write_credentials(port: u16) {
    let text = format!(
        r#"{{"type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "refresh",
            "token_uri": "http://127.0.0.1:{port}/token"}}"#
    );
    let mut file = std::fs::File::create(std::env::var_os(CREDENTIALS).unwrap()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
