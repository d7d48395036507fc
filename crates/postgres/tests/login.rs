//! Who gets in, who does not, and what strangers on the port get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Server, connect, failure, lines, until};
use millrace_postgres::{Credentials, PostgresConfig};
use millrace_sql::EngineConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn with(config: PostgresConfig) -> Server {
    Server::start(config, EngineConfig::default()).await
}

fn users() -> Credentials {
    let users = [("ann", "correct horse"), ("bob", "battery: staple")];
    let users = users.map(|(name, password)| (name.to_owned(), password.to_owned()));
    Credentials::Users(BTreeMap::from(users))
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_decide() {
    let server = with(PostgresConfig { credentials: users(), ..PostgresConfig::default() }).await;
    for (user, password) in [("ann", "correct horse"), ("bob", "battery: staple")] {
        let client = connect(server.config().user(user).password(password)).await.unwrap();
        let who = "SELECT current_user AS a, session_user AS b, current_database(), current_schema()";
        let expected = format!("{user} | {user} | local | telemetry");
        assert_eq!(lines(&client, who).await.unwrap(), [expected]);
    }
    let mut failures = Vec::new();
    for (user, password) in [("ann", "battery: staple"), ("eve", "correct horse"), ("ANN", "correct horse")] {
        let refused = connect(server.config().user(user).password(password)).await.unwrap_err();
        failures.push(failure(&refused));
    }
    // A wrong name cannot be told from a wrong password.
    let expected = ("28P01".to_owned(), "password authentication failed".to_owned(), String::new());
    assert!(failures.iter().all(|failure| *failure == expected), "{failures:?}");
    assert!(connect(server.config().user("ann")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_everybodys_password() {
    let credentials = Credentials::Token("a token of many letters".to_owned());
    let server = with(PostgresConfig { credentials, ..PostgresConfig::default() }).await;
    for user in ["ann", "grafana"] {
        connect(server.config().user(user).password("a token of many letters")).await.unwrap();
    }
    let refused = connect(server.config().password("another token")).await.unwrap_err();
    assert_eq!(failure(&refused).0, "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_settings_that_there_are_not_are_named() {
    let server = Server::default().await;
    for known in ["local", "telemetry", "postgres", "ann"] {
        connect(server.config().dbname(known)).await.unwrap();
    }
    let refused = failure(&connect(server.config().dbname("sales")).await.unwrap_err());
    assert_eq!((refused.0.as_str(), refused.2.as_str()), ("3D000", "connect to the database local"));
    let refused = failure(&connect(server.config().options("-c client_encoding=LATIN1")).await.unwrap_err());
    assert_eq!(refused.0, "22023");
    let set =
        connect(server.config().options("-c statement_timeout=5s").application_name("test")).await.unwrap();
    assert_eq!(lines(&set, "SHOW statement_timeout").await.unwrap(), ["5000ms"]);
    assert_eq!(lines(&set, "SELECT current_setting('application_name')").await.unwrap(), ["test"]);
}

/// What the port answers to bytes, until it closes.
async fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The port may have had enough before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    // A connection that is reset is closed, too.
    let _ = read.expect("the port must close the connection");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_and_closed() {
    let server = Server::default().await;
    let garbage: Vec<u8> =
        (0..5000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n\0\0\0\x14\0\x03\0\0user\0ann\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS greeting",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        &garbage,
        // A startup message of a length that nothing has.
        b"\x7f\xff\xff\xff\0\x03\0\0user\0ann\0\0",
        // A version that there never was.
        b"\0\0\0\x12\0\x63\0\0user\0ann\0\0",
    ] {
        let answered = answer(&server, bytes).await;
        let text = String::from_utf8_lossy(&answered);
        assert!(answered.is_empty() || text.contains("FATAL"), "{bytes:?}: {text}");
        assert!(!text.contains("AuthenticationOk") && !answered.starts_with(b"R"), "{text}");
    }
    // Nobody is worse off for it.
    assert_eq!(lines(&server.connect().await, "SELECT 1 AS one").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_refused_politely() {
    let server = Server::default().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for request in [80_877_103_u32, 80_877_104] {
        stream.write_all(&[&8_u32.to_be_bytes()[..], &request.to_be_bytes()].concat()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
    }
    stream.write_all(b"\0\0\0\x12\0\x03\0\0user\0ann\0\0").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_given_up() {
    let config = PostgresConfig { startup_timeout: Duration::from_millis(300), ..PostgresConfig::default() };
    let server = with(config).await;
    let started = Instant::now();
    for begun in [b"".as_slice(), b"\0\0", b"\0\0\0\x12\0\x03\0\0us"] {
        answer(&server, begun).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(900));
    // Who is logged in may take its time.
    let client = server.connect().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(lines(&client, "SELECT 1 AS one").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_too_many_is_turned_away() {
    let server = with(PostgresConfig { connections_max: 2, ..PostgresConfig::default() }).await;
    let first = server.connect().await;
    let _second = server.connect().await;
    let refused = failure(&connect(&server.config()).await.unwrap_err());
    assert_eq!(refused.0, "53300", "{refused:?}");
    drop(first);
    until("a place is free", async || connect(&server.config()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_port_says_so() {
    let mut server = Server::default().await;
    let client = server.connect().await;
    server.close.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), &mut server.served).await.unwrap().unwrap();
    until("the client has noticed", async || client.is_closed()).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}
