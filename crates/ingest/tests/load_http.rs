//! A file as a request's body, over a real socket.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use std::sync::Arc;

use common::{Servers, config, post, recorded};
use millrace_disk::StdDisk;
use millrace_ingest::Loader;

/// Scenario: a recorded OTLP body and a file of lines are posted, twice each; then wrong requests.
/// Guarantees: the report says what was done, nothing comes twice, errors have a code and a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_posted_file_is_loaded_once() {
    let servers = Servers::start(config()).await;
    let directory = tempfile::tempdir().unwrap();
    let loader =
        Loader::new(Arc::clone(&servers.ingest), Arc::new(StdDisk), directory.path().join("load")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, loader.router()).await });

    let binary = "Content-Type: application/octet-stream";
    let body = std::fs::read(&recorded("otlp_http_json", "_logs.json")[0]).unwrap();
    let lines = b"{\"jsonPayload\":{\"message\":\"a\"}}\nnot json\n";
    let first = post(address, "/api/load", &[binary], &body).await.json();
    let records = first["records"].as_u64().unwrap();
    assert!(records > 50 && first["added"] == records && first["already_loaded"] == 0, "{first}");
    let again = post(address, "/api/load", &[binary], &body).await.json();
    assert_eq!((&again["added"], again["already_loaded"].as_u64()), (&0.into(), Some(records)));
    for (path, added) in [("/api/load?topic=unrouted", 2), ("/api/load?topic=unrouted", 0)] {
        let report = post(address, path, &[binary], lines).await.json();
        assert_eq!(report["added"], added);
    }
    assert_eq!(servers.logs().len() as u64, records);
    for (path, header, status) in
        [("/api/load", "Content-Type: text/plain", 415), ("/api/load?topic=nowhere", binary, 400)]
    {
        let reply = post(address, path, &[header], lines).await;
        assert_eq!(reply.status, status);
        assert!(reply.json()["error"]["message"].is_string());
    }
    // Nothing of a body is left behind.
    let names =
        std::fs::read_dir(directory.path().join("load")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name.to_str().unwrap().ends_with(".json")));
}
