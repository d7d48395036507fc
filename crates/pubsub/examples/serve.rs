//! The Pub/Sub port alone, for trying it and for measuring:
//! `cargo run --release -p millrace-pubsub --example serve -- DIRECTORY PORT`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use millrace_disk::{Disk, StdDisk};
use millrace_log::{Log, LogConfig};
use millrace_model::Micros;
use millrace_pubsub::{Broker, PubsubConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory and a port".into());
    };
    let (directory, port) = (PathBuf::from(directory), port.parse::<u16>()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let disk: Arc<dyn Disk> = Arc::new(StdDisk);
    let log = Arc::new(Log::open(Arc::clone(&disk), &directory.join("log"), LogConfig::default())?);
    let config = PubsubConfig::new("local".to_owned());
    let state = directory.join("pubsub");
    let broker = Broker::open(config, disk, &state, Arc::clone(&log), runtime.handle().clone())?;
    let upkeep = Arc::clone(&broker);
    let _upkeep = runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let (log, broker) = (Arc::clone(&log), Arc::clone(&upkeep));
            let round = tokio::task::spawn_blocking(move || {
                let _ = log.maintain(Micros::now());
                broker.maintain(Micros::now());
            });
            let _ = round.await;
        }
    });
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("PUBSUB_EMULATOR_HOST={}", listener.local_addr()?);
        // As the real server does: a small answer must not wait 40 ms for the client's delayed ACK.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("TCP_NODELAY cannot be set: {error}");
            }
        });
        axum::serve(listener, broker.router()).await
    })?;
    Ok(())
}
