//! Who may call. Listening on loopback keeps other machines out, but not web pages in a browser on this
//! one: a page can post to localhost, or point a name of its own at 127.0.0.1 (DNS rebinding). So a
//! loopback port takes requests only that name loopback as their host and come from no foreign page;
//! any other port takes only requests with the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};

use crate::api::ApiError;

/// Why a port would not be safe to open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Open to other machines without a token.
    #[error(
        "refusing to listen on {0} without credentials: set server.auth_token_file, or listen on 127.0.0.1"
    )]
    NoCredentials(IpAddr),
    /// A token that could be guessed.
    #[error("the auth token has {0} characters, at least {TOKEN_CHARACTERS_MIN} are needed")]
    WeakToken(usize),
}

const TOKEN_CHARACTERS_MIN: usize = 16;

/// What a request must show.
#[derive(Clone)]
pub struct Guard {
    loopback: bool,
    token: Option<Arc<str>>,
}

impl Guard {
    /// The guard of a port on `address`; `token` is the bearer token asked of every request.
    ///
    /// # Errors
    /// When the address is not loopback and there is no token, or the token is too short.
    pub fn new(address: IpAddr, token: Option<&str>) -> Result<Self, GuardError> {
        match token {
            Some(token) if token.chars().count() < TOKEN_CHARACTERS_MIN => {
                Err(GuardError::WeakToken(token.chars().count()))
            }
            None if !address.is_loopback() => Err(GuardError::NoCredentials(address)),
            token => Ok(Self { loopback: address.is_loopback(), token: token.map(Arc::from) }),
        }
    }

    /// What is wrong with a request, or `None`.
    fn violation(&self, uri: &Uri, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        if let Some(token) = &self.token {
            let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            if !equal_in_constant_time(given.as_bytes(), token.as_bytes()) {
                return Some((StatusCode::UNAUTHORIZED, "this port needs the bearer token"));
            }
        }
        if self.loopback {
            // HTTP/2 carries the host as the request's authority.
            let host = headers.get(HOST).and_then(|value| value.to_str().ok());
            let host = uri.authority().map(|authority| authority.as_str()).or(host);
            if host.is_some_and(|host| !is_loopback_host(host)) {
                return Some((
                    StatusCode::FORBIDDEN,
                    "the Host header does not name this machine's loopback",
                ));
            }
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.split_once("://").map(|(_, host)| host).unwrap_or_default();
            if !is_loopback_host(host) {
                return Some((StatusCode::FORBIDDEN, "requests of web pages from elsewhere are refused"));
            }
        }
        None
    }
}

/// Puts the guard before all routes of a router.
pub fn guarded(router: Router, guard: Guard) -> Router {
    router.layer(middleware::from_fn_with_state(guard, check))
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.violation(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some((status, message)) => {
            metrics::counter!("millrace_requests_refused_total", "status" => status.as_str().to_owned())
                .increment(1);
            ApiError::new(status, "refused", message).into_response()
        }
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Compares without telling by its duration how much of a guess was right.
fn equal_in_constant_time(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |sum, (left, right)| sum | (left ^ right));
    given.len() == wanted.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wide_port_needs_a_good_token() {
        let wide = "0.0.0.0".parse().unwrap();
        assert_eq!(Guard::new(wide, None).err(), Some(GuardError::NoCredentials(wide)));
        assert_eq!(Guard::new(wide, Some("short")).err(), Some(GuardError::WeakToken(5)));
        let guard = Guard::new(wide, Some("0123456789abcdef")).unwrap();
        let uri = Uri::from_static("/api/status");
        assert!(guard.violation(&uri, &headers(&[(AUTHORIZATION, "Bearer 0123456789abcdef")])).is_none());
        for wrong in ["Bearer 0123456789abcdeF", "Bearer ", "0123456789abcdef", "Bearer 0123456789abcdef0"] {
            let refused = guard.violation(&uri, &headers(&[(AUTHORIZATION, wrong)]));
            assert_eq!(refused.map(|(status, _)| status), Some(StatusCode::UNAUTHORIZED), "{wrong}");
        }
    }

    #[test]
    fn a_loopback_port_refuses_other_hosts_and_pages() {
        let guard = Guard::new("127.0.0.1".parse().unwrap(), None).unwrap();
        let uri = Uri::from_static("/v1/logs");
        for host in ["127.0.0.1:4318", "localhost", "[::1]:8080", "LOCALHOST:1"] {
            assert!(guard.violation(&uri, &headers(&[(HOST, host)])).is_none(), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:4318", "10.0.0.1", "localhost.evil.example"] {
            assert!(guard.violation(&uri, &headers(&[(HOST, host)])).is_some(), "{host}");
        }
        assert!(guard.violation(&uri, &headers(&[(ORIGIN, "http://localhost:8080")])).is_none());
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert!(guard.violation(&uri, &headers(&[(ORIGIN, origin)])).is_some(), "{origin}");
        }
        let foreign = Uri::from_static("http://evil.example/v1/logs");
        assert!(guard.violation(&foreign, &headers(&[])).is_some(), "HTTP/2 authority");
    }
}
