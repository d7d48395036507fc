//! What drivers do: connect, look around, prepare, read in pieces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use common::{Server, code, lines};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_connects_and_reads() {
    let server = Server::default().await;
    let client = server.connect().await;
    assert_eq!(lines(&client, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
    assert_eq!(
        lines(&client, "SELECT username, score FROM visits WHERE score > 5 ORDER BY score DESC").await.unwrap(),
        ["bob | 20", "ann | 10"]
    );
    assert_eq!(lines(&client, "SELECT 1 AS a; SELECT 2 AS b").await.unwrap(), ["1", "2"]);
    let events = "SELECT count(*) FROM gemini_analytics_view WHERE event_name = 'gemini_cli.api_response'";
    assert_ne!(lines(&client, events).await.unwrap(), ["0"]);
    let payload = "SELECT payload_json ->> 'event.name', payload_json -> 'nested' -> 'k' ->> 1, \
                   json_value(payload_json, '$.n') FROM visits WHERE day = '2026-01-01' ORDER BY 1";
    assert_eq!(lines(&client, payload).await.unwrap(), ["x | q | 1.50", "y | NULL | NULL"]);
    assert_eq!(code(&client, "SELECT nothing FROM visits").await, "42703");
}
