//! The real `millrace run` as a child process, and its HTTP API.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::children::OwnedChild;
use crate::wait;

/// How long a start may take before a chore gives up.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a clean stop may take: the window in hand is committed first.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long an answer of the API may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Answers of the query API are read up to this size.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How and where a server is started; the same every time it is started again.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `millrace` binary.
    pub binary: PathBuf,
    /// The configuration file, or none for the embedded defaults.
    pub config: Option<PathBuf>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Added to every port.
    pub port_offset: u16,
    /// Where standard error goes (appended), or `None` to inherit it.
    pub log_file: Option<PathBuf>,
}

impl Launch {
    /// A launch on embedded defaults inside `directory`, on ports that are free now.
    pub fn inside(directory: &Path, binary: PathBuf) -> Result<Self> {
        Ok(Self {
            binary,
            config: None,
            data_dir: directory.join("data"),
            port_offset: free_port_offset()?,
            log_file: Some(directory.join("server.log")),
        })
    }

    /// The OTLP/gRPC address.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", 4317 + self.port_offset)
    }

    /// The OTLP/HTTP address.
    pub fn otlp_http_url(&self) -> String {
        format!("http://127.0.0.1:{}", 4318 + self.port_offset)
    }

    /// The port of the Postgres wire.
    pub fn postgres_port(&self) -> u16 {
        5433 + self.port_offset
    }

    /// The Pub/Sub port.
    pub fn pubsub_port(&self) -> u16 {
        8085 + self.port_offset
    }

    /// The HTTP API.
    pub fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", 8080 + self.port_offset), ANSWER_LIMIT)
    }

    /// A command of the binary on this data directory and configuration.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(&self.data_dir);
        command.args(["--port-offset", &self.port_offset.to_string()]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(path) = &self.log_file {
            let file = File::options().create(true).append(true).open(path);
            command.stderr(file.with_context(|| format!("cannot open {}", path.display()))?);
        }
        Ok(command)
    }

    /// Starts a command as a child.
    pub fn spawn(&self, arguments: &[&str]) -> Result<OwnedChild> {
        let child = self.command(arguments)?.spawn();
        Ok(OwnedChild::new(child.with_context(|| format!("cannot start {}", self.binary.display()))?))
    }

    /// Runs a command to its end and gives its standard output, whatever the exit code.
    pub fn output(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let output = self.command(arguments)?.stdout(Stdio::piped()).output()?;
        let text = String::from_utf8(output.stdout).context("the command printed no UTF-8")?;
        Ok((output.status, text))
    }

    /// Starts `millrace run` without waiting for it.
    pub fn start(&self) -> Result<Server> {
        Ok(Server { started: Instant::now(), child: self.spawn(&["run"])?, api: self.api() })
    }

    /// Whether the server of this process id came so far that it has opened everything.
    pub fn announced(&self, pid: u32) -> bool {
        let text = std::fs::read(self.data_dir.join("state/server.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|address| address["pid"] == pid)
    }

    /// Starts `millrace run` and waits until it is ready.
    pub fn start_ready(&self) -> Result<Server> {
        let mut server = self.start()?;
        server.wait_ready()?;
        Ok(server)
    }
}

/// A running server.
pub struct Server {
    started: Instant,
    child: OwnedChild,
    api: Api,
}

impl Server {
    /// Its HTTP API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Lets its queries take longer than a minute.
    pub fn be_patient(&mut self, limit: Duration) {
        self.api = Api::new(std::mem::take(&mut self.api.base), limit);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for /readyz and gives the time since the process was started.
    pub fn wait_ready(&mut self) -> Result<Duration> {
        let end = self.started + READY_LIMIT;
        while Instant::now() < end {
            if self.api.ready() {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.ended()? {
                bail!("millrace run ended with {status} before it was ready");
            }
            wait::pause(Duration::from_millis(2));
        }
        bail!("millrace run was not ready within {READY_LIMIT:?}")
    }

    /// `kill -9`; `true` when it was still running.
    pub fn kill(&mut self) -> Result<bool> {
        self.child.kill()
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.child.terminate(STOP_LIMIT)?;
        if !status.success() {
            bail!("millrace run ended with {status} after SIGTERM");
        }
        Ok(())
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.ended()
    }
}

/// The HTTP API of a server.
#[derive(Clone)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
}

/// What a pipeline has done, from /api/status.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// How far the table has folded the topic.
    pub next_offset: u64,
    /// Messages accepted and not folded yet.
    pub pending: u64,
    /// Messages the topic has accepted.
    pub end: u64,
    /// Messages that the topic refused as repetitions.
    pub duplicates: u64,
}

/// A table's live files, from /api/status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableState {
    /// Commits.
    pub version: u64,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A column of a query's answer.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its GoogleSQL type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Api {
    fn new(base: String, limit: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(limit))
            .build();
        Self { base, agent: config.into() }
    }

    /// Whether every pipeline runs.
    pub fn ready(&self) -> bool {
        self.agent.get(format!("{}/readyz", self.base)).call().is_ok_and(|answer| answer.status() == 200)
    }

    /// A metric of /metrics, over all its labels; 0 when nothing was counted yet.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.agent.get(format!("{}/metrics", self.base)).call();
        let text = answer.context("/metrics does not answer")?.body_mut().read_to_string()?;
        Ok(metric_in(&text, name))
    }

    /// The whole of /api/status.
    pub fn status(&self) -> Result<Value> {
        let answer = self.agent.get(format!("{}/api/status", self.base)).call();
        answer.context("/api/status does not answer")?.body_mut().read_json().context("/api/status")
    }

    /// The first pipeline and its topic.
    pub fn progress(&self) -> Result<Progress> {
        progress_in(&self.status()?)
    }

    /// Waits until everything accepted is committed.
    pub fn wait_folded(&self, limit: Duration) -> Result<Progress> {
        let last = wait::until(limit, Duration::from_millis(20), || {
            self.progress().ok().filter(|progress| progress.pending == 0)
        });
        last.with_context(|| format!("messages still pending after {limit:?}: {:?}", self.progress()))
    }

    /// The first table.
    pub fn table(&self) -> Result<TableState> {
        let status = self.status()?;
        let field = |name: &str| {
            number(&status["tables"][0][name])
                .with_context(|| format!("/api/status has no {name} of a table"))
        };
        Ok(TableState { version: field("version")?, files: field("files")?, bytes: field("bytes")? })
    }

    /// Runs a query and gives its rows, each a list of cells.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        self.query_with_columns(sql).map(|(_, rows)| rows)
    }

    /// Runs a query and gives its columns and rows.
    pub fn query_with_columns(&self, sql: &str) -> Result<(Vec<Column>, Vec<Vec<Value>>)> {
        let mut answer = self
            .agent
            .post(format!("{}/api/query", self.base))
            .send_json(json!({ "sql": sql }))
            .context("/api/query does not answer")?;
        let status = answer.status();
        let mut body: Value =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json().context("/api/query")?;
        if status != 200 {
            bail!("query failed with {status}: {body}\n{sql}");
        }
        let columns = serde_json::from_value(body["columns"].take());
        let rows = serde_json::from_value(body["rows"].take()).context("/api/query answered without rows")?;
        Ok((columns.context("/api/query answered without columns")?, rows))
    }

    /// Runs a query of one number.
    pub fn query_number(&self, sql: &str) -> Result<u64> {
        let rows = self.query(sql)?;
        let cell = rows.first().and_then(|row| row.first());
        cell.and_then(number).with_context(|| format!("no number from {sql}: {rows:?}"))
    }
}

/// A whole number as the API writes it: a JSON number, or a string when it is large.
pub fn number(cell: &Value) -> Option<u64> {
    cell.as_u64().or_else(|| cell.as_str()?.parse().ok())
}

/// The sum of the lines of a metric in the Prometheus text format.
fn metric_in(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    };
    text.lines().filter_map(value).sum()
}

fn progress_in(status: &Value) -> Result<Progress> {
    let pipeline = &status["pipelines"][0];
    let topics = status["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let topic = topics.iter().find(|topic| topic["name"] == pipeline["topic"]);
    let topic = topic.context("/api/status has no pipeline or not its topic")?;
    let field = |value: &Value, name: &str| {
        number(&value[name]).with_context(|| format!("/api/status has no {name}: {value}"))
    };
    Ok(Progress {
        next_offset: field(pipeline, "next_offset")?,
        pending: field(pipeline, "pending")?,
        end: field(topic, "end")?,
        duplicates: field(topic, "duplicates")?,
    })
}

/// A port offset whose ports are all free now, below the range that the kernel gives to clients.
pub fn free_port_offset() -> Result<u16> {
    let first = 10_000 + (std::process::id() % 1_000) as u16;
    let is_free = |offset: &u16| {
        [4317, 4318, 5433, 8080, 8085]
            .iter()
            .all(|port| TcpListener::bind(("127.0.0.1", port + offset)).is_ok())
    };
    (first..first + 12_000).step_by(7).find(is_free).context("no free ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_added_up_over_their_labels() {
        let text = "# TYPE a_total counter\na_total 1\na_total{x=\"b c\"} 2.5\na_total_more 7\n";
        assert_eq!((metric_in(text, "a_total"), metric_in(text, "none")), (3.5, 0.0));
    }

    #[test]
    fn progress_is_read_from_the_status() {
        let status = json!({
            "topics": [{"name": "other", "end": 1, "duplicates": 0}, {"name": "t", "end": 9, "duplicates": "2"}],
            "pipelines": [{"topic": "t", "next_offset": 7, "pending": 2}],
        });
        let progress = progress_in(&status).unwrap();
        assert_eq!((progress.next_offset, progress.pending, progress.end, progress.duplicates), (7, 2, 9, 2));
        assert!(progress_in(&json!({"topics": [], "pipelines": []})).is_err());
    }
}
