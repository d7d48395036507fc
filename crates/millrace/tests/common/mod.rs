//! The real binary on real ports, for end-to-end tests.
#![allow(dead_code, missing_docs, reason = "each test file uses its own part")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up: generous, because it bounds a failure only.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn testdata(path: &str) -> PathBuf {
    Path::new("../../testdata").join(path)
}

/// The recorded bodies of a folder that hold `signal`, in order of name.
pub fn recorded(folder: &str, signal: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(testdata("gemini-cli").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.contains(signal) && !name.ends_with(".jsonl")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {signal} in {folder}");
    files
}

/// Waits until `condition` holds.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let (pause, waker) = (std::sync::Mutex::new(()), std::sync::Condvar::new());
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "gave up waiting: {what}");
        let guard = pause.lock().unwrap();
        let _ = waker.wait_timeout(guard, Duration::from_millis(20)).unwrap();
    }
}

/// A data directory, and the server on it when one runs.
pub struct Millrace {
    pub folder: tempfile::TempDir,
    pub config: Option<PathBuf>,
    server: Option<Child>,
    offset: u16,
    environment: Vec<(String, String)>,
}

impl Millrace {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            config: None,
            server: None,
            offset: free_offset(),
            environment: Vec::new(),
        }
    }

    /// A data directory with a configuration file of that text.
    pub fn configured(toml: &str) -> Self {
        let mut this = Self::new();
        let path = this.write("millrace.toml", toml.as_bytes());
        this.config = Some(path);
        this
    }

    /// A running server on a fresh data directory.
    pub fn started() -> Self {
        let mut this = Self::new();
        this.start();
        this
    }

    /// Writes a file beside the data directory.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), bytes).unwrap();
        path
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn port(&self, base: u16) -> u16 {
        base + self.offset
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(arguments).arg("--data-dir").arg(self.data_dir());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("--port-offset").arg(self.offset.to_string());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Sets a variable for every command from here on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&mut self) {
        self.start_with(&["run"]);
    }

    /// The same with another command that serves.
    pub fn start_with(&mut self, arguments: &[&str]) {
        self.spawn(arguments);
        eventually("ready", || {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            (self.get("/readyz").0 == 200).then_some(())
        });
    }

    /// Starts the server and waits until it answers at all.
    pub fn start_unready(&mut self) {
        self.spawn(&["run"]);
    }

    fn spawn(&mut self, arguments: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let server =
            self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.server = Some(server);
        eventually("answering", || {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            (self.get("/healthz").0 == 200).then_some(())
        });
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server has written to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = server.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// SIGKILL, when a server was started; it may be dead already.
    pub fn kill_if_started(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            server.wait().unwrap();
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A query over the command line, each row as a JSON object.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        self.ok(&["query", "--format", "ndjson", sql])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A query with one row and one column, as a number.
    pub fn number(&self, sql: &str) -> u64 {
        let rows = self.query(sql);
        let value = rows[0].as_object().unwrap().values().next().unwrap().clone();
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        match agent.get(format!("http://127.0.0.1:{}{path}", self.port(8080))).call() {
            Ok(mut answer) => (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap()),
            Err(_) => (0, String::new()),
        }
    }

    /// Posts to a port; status, headers, body.
    pub fn post(
        &self,
        base_port: u16,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, http::HeaderMap, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("http://127.0.0.1:{}{path}", self.port(base_port)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).unwrap();
        let body = answer.body_mut().read_to_vec().unwrap();
        (answer.status().as_u16(), answer.headers().clone(), body)
    }

    /// Posts an OTLP JSON logs body that must be taken.
    pub fn post_logs(&self, body: &[u8]) {
        let (status, _, answer) = self.post(4318, "/v1/logs", &[("content-type", "application/json")], body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/status").1).unwrap()
    }

    /// Waits until every pipeline has committed all that was accepted.
    pub fn settle(&self) {
        eventually("nothing pending", || {
            let status = self.status();
            let pending = |pipeline: &Value| pipeline["pending"].as_u64().unwrap();
            (status["pipelines"].as_array().unwrap().iter().map(pending).sum::<u64>() == 0).then_some(())
        });
    }

    /// The audit's report; it must balance.
    pub fn audit(&self) -> Value {
        let report: Value = serde_json::from_str(&self.ok(&["audit", "--format", "json"])).unwrap();
        assert_eq!(report["balanced"], true, "{report:#}");
        report
    }
}

impl Drop for Millrace {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// An offset at which all three ports are free, and not one that another test has just been given.
fn free_offset() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 300).unwrap() * 100;
    (0..200)
        .map(|_| 10_000 + spread + NEXT.fetch_add(10, Ordering::Relaxed) % 100)
        .find(|offset| {
            [4317, 4318, 5433, 8080, 8085]
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", port + offset)).is_ok())
        })
        .unwrap()
}

/// An OTLP JSON logs body with one record of that text and attributes.
pub fn logs_body(records: &[(&str, Value)]) -> Vec<u8> {
    let records: Vec<Value> = records
        .iter()
        .map(|(text, attributes)| {
            let attributes: Vec<Value> = attributes
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| serde_json::json!({ "key": key, "value": { "stringValue": value } }))
                .collect();
            serde_json::json!({
                "timeUnixNano": "1763821837839000000",
                "observedTimeUnixNano": "1763821837839000000",
                "body": { "stringValue": text },
                "attributes": attributes,
            })
        })
        .collect();
    let body = serde_json::json!({ "resourceLogs": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "gemini-cli" } }] },
        "scopeLogs": [{ "scope": { "name": "gemini-cli" }, "logRecords": records }],
    }] });
    serde_json::to_vec(&body).unwrap()
}
