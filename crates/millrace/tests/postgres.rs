//! The Postgres port of the real binary: it is there, it reads what has just come in, it can be off, it says
//! what is wrong with its users, and it ends with the server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{Millrace, eventually, testdata};

/// A connection that speaks just enough of the protocol.
struct Wire(TcpStream);

impl Wire {
    fn connect(millrace: &Millrace) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", millrace.port(5433))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut wire = Self(stream);
        wire.send(None, b"\0\x03\0\0user\0ann\0database\0local\0\0");
        wire
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let head: Vec<u8> = kind.into_iter().chain(length).collect();
        self.0.write_all(&[&head, body].concat()).unwrap();
    }

    /// The next message; `None` when the server has closed the connection.
    fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// All messages up to the server's readiness.
    fn until_ready(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive().unwrap_or_else(|| panic!("closed after {messages:?}"));
            let ready = message.0 == b'Z';
            messages.push(message);
            if ready {
                return messages;
            }
        }
    }

    /// The one cell that a query gives.
    fn cell(&mut self, sql: &str) -> String {
        self.send(Some(b'Q'), &[sql.as_bytes(), b"\0"].concat());
        let messages = self.until_ready();
        let row = messages.iter().find(|(kind, _)| *kind == b'D');
        let (_, row) = row.unwrap_or_else(|| panic!("no row of {sql}: {messages:?}"));
        // The number of cells, then the length of the first.
        String::from_utf8(row[6..].to_vec()).unwrap()
    }
}

/// Scenario: a server on defaults, with recorded telemetry.
/// Guarantees: what has been committed is read at once, by every session; SIGTERM ends idle sessions.
#[test]
fn what_came_in_is_read_at_once() {
    let mut millrace = Millrace::started();
    let address = format!("postgresql://127.0.0.1:{}/local", millrace.port(5433));
    assert_eq!(millrace.status()["postgres"], address);
    assert!(millrace.ok(&["status"]).contains(&address));
    let mut wire = Wire::connect(&millrace);
    wire.until_ready();
    let count = "SELECT count(*) FROM gemini_analytics_view";
    assert_eq!(wire.cell(count), "0");
    millrace.ok(&["send", testdata("gemini-cli/otlp_http_json").to_str().unwrap()]);
    millrace.settle();
    let there = millrace.number("SELECT COUNT(*) FROM gemini_analytics_view").to_string();
    assert_ne!(there, "0");
    assert_eq!(wire.cell(count), there);
    assert!(millrace.get("/metrics").1.contains("millrace_postgres_connections 1"));
    millrace.stop();
    let (kind, body) = wire.receive().unwrap();
    assert!(kind == b'E' && String::from_utf8_lossy(&body).contains("57P01"), "{body:?}");
    assert!(wire.receive().is_none());
}

/// Scenario: users in a file, then a file that others may read, then no port at all.
/// Guarantees: a password is asked for; what is wrong with the file is said before anything is opened.
#[test]
fn users_are_asked_for_their_password() {
    let mut millrace = Millrace::configured("[server]\npostgres_users_file = 'users'\n");
    let users = millrace.write("users", b"ann:correct horse\n");
    let mode = |mode: u32| std::fs::set_permissions(&users, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let refused = millrace.run(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("chmod 600"), "{said}");
    let checked = millrace.run(&["check"]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("chmod 600"));
    mode(0o600);
    millrace.start();
    let (kind, body) = Wire::connect(&millrace).receive().unwrap();
    assert!(kind == b'R' && String::from_utf8_lossy(&body).contains("SCRAM-SHA-256"), "{body:?}");
    millrace.stop();
    assert!(!millrace.log().contains("correct horse"));
}

/// Scenario: `postgres_port = 0`.
/// Guarantees: there is no port, and everything else runs.
#[test]
fn the_port_can_be_off() {
    let mut millrace = Millrace::configured("[server]\npostgres_port = 0\n");
    millrace.start();
    assert!(TcpStream::connect(("127.0.0.1", millrace.port(5433))).is_err());
    assert!(millrace.status()["postgres"].is_null());
    eventually("a query runs", || (millrace.number("SELECT 1") == 1).then_some(()));
    millrace.stop();
}
