//! Calls to a running server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::auth;
use crate::config::Config;
use crate::data_dir::DataDir;

/// Longest answer of the API that a command reads, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An HTTP client that carries the token, when there is one.
pub struct Client {
    agent: ureq::Agent,
    authorization: Option<String>,
    base: String,
}

impl Client {
    /// A client of the server at `base`, for instance `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub fn new(config: &Config, base: &str) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .build()
            .into();
        let authorization = auth::token(config)?.map(|token| format!("Bearer {token}"));
        Ok(Self { agent, authorization, base: base.trim_end_matches('/').to_owned() })
    }

    /// A client of the server that runs on this data directory.
    ///
    /// # Errors
    /// When none does.
    pub fn of_running(config: &Config) -> Result<Self> {
        let Some(server) = DataDir::new(&config.data_dir).running_server()? else {
            bail!("no server runs on {}: start `millrace run`", config.data_dir.display());
        };
        Self::new(config, &server.http)
    }

    /// The address of the HTTP API by configuration.
    pub fn api_base(config: &Config, port_offset: u16) -> String {
        let bind = config.server.bind;
        let host = if bind.is_unspecified() { "127.0.0.1".to_owned() } else { bind.to_string() };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("http://{host}:{}", config.server.http_port.saturating_add(port_offset))
    }

    /// Fetches JSON.
    ///
    /// # Errors
    /// When nobody answers, or not with what was asked for.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.call().with_context(|| {
            format!("no answer from {url}: is `millrace run` running, with this --port-offset?")
        })?;
        self.parsed(path, &read(response, &url)?)
    }

    /// Puts a JSON body and reads JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.put(&url).header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send(body.to_string()).with_context(|| format!("no answer from {url}"))?;
        self.parsed(path, &read(response, &url)?)
    }

    /// Asks for something to be removed. Answers whether it was there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&self, path: &str) -> Result<bool> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.delete(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.call().with_context(|| format!("no answer from {url}"))?;
        match response.status() {
            http::StatusCode::NOT_FOUND => Ok(false),
            _ => read(response, &url).map(|_| true),
        }
    }

    /// Posts a JSON body and reads JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T> {
        self.post(path, &[("content-type", "application/json")], body.to_string())
    }

    /// Asks for something to be ended and reads JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.delete(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.call().with_context(|| format!("no answer from {url}"))?;
        self.parsed(path, &read(response, &url)?)
    }

    fn parsed<T: DeserializeOwned>(&self, path: &str, answer: &[u8]) -> Result<T> {
        serde_json::from_slice(answer)
            .with_context(|| format!("{}{path} answered something else than was asked for", self.base))
    }

    /// Posts a body and reads JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<T> {
        self.parsed(path, &self.post_bytes(path, headers, body)?)
    }

    /// Posts a body and reads whatever is answered.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post_bytes(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send(body).with_context(|| format!("no answer from {url}"))?;
        read(response, &url)
    }
}

fn read(mut response: http::Response<ureq::Body>, url: &str) -> Result<Vec<u8>> {
    let status = response.status();
    let answer = response
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()
        .with_context(|| format!("cannot read the answer of {url}"))?;
    if status.is_success() {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer);
    let error: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    // Ours is {"error": {...}}; OTLP's is a google.rpc.Status.
    let message = error.pointer("/error/message").or_else(|| error.get("message"));
    let message = message.and_then(|message| message.as_str()).unwrap_or(&text);
    match error.pointer("/error/hint").and_then(|hint| hint.as_str()) {
        Some(hint) => bail!("{url} answered {status}: {message} ({hint})"),
        None => bail!("{url} answered {status}: {message}"),
    }
}
