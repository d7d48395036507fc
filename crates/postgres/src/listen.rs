//! Accepting connections: a bound on them, and an end of all when the port closes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_sql::Engine;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::connection;
use crate::server::{PostgresConfig, PostgresError, Shared};

/// When to ask a silent client's machine whether it is still there, and how often. The connection of a
/// machine that is gone holds its place no longer than this.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// What a client beyond the limit is sent, whatever it began with.
const TOO_MANY: &[u8] = b"E\0\0\0\x46SFATAL\0VFATAL\0C53300\0Mtoo many connections: try again in a while\0\0";

/// The Postgres port.
pub struct Postgres {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Postgres").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Postgres {
    /// A port over an engine's tables and views.
    ///
    /// # Errors
    /// When the system has no random bytes, or sessions cannot be set up.
    pub fn new(config: PostgresConfig, engine: &Engine) -> Result<Self, PostgresError> {
        describe_metrics();
        Ok(Self { shared: Arc::new(Shared::new(config, engine)?) })
    }

    /// Serves connections until `closing` resolves. Then idle ones end at once, and statements in hand may
    /// finish within the drain timeout.
    pub async fn serve(self, listener: TcpListener, closing: impl Future<Output = ()>) {
        let connections_max = self.shared.config.connections_max;
        let places = Arc::new(Semaphore::new(connections_max as usize));
        let (close, closed) = watch::channel(false);
        let mut closing = std::pin::pin!(closing);
        loop {
            let accepted = tokio::select! {
                () = &mut closing => break,
                accepted = accept(&listener) => accepted,
            };
            let Some((stream, address)) = accepted else { continue };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics::counter!("millrace_postgres_connections_refused_total").increment(1);
                tokio::spawn(turn_away(stream));
                continue;
            };
            let (shared, closed) = (Arc::clone(&self.shared), closed.clone());
            tokio::spawn(async move {
                let _counted = Counted::new();
                connection::serve(stream, address, shared, closed).await;
                drop(place);
            });
        }
        drop(listener);
        close.send_replace(true);
        // A little longer than connections give their statements, for their last words.
        let limit = self.shared.config.drain_timeout + Duration::from_secs(3);
        if tokio::time::timeout(limit, places.acquire_many(connections_max)).await.is_err() {
            tracing::warn!(timeout = ?limit, "Postgres connections were cut off");
        }
    }
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok((stream, address)) => {
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
            let set = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
            if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
                tracing::debug!(%error, "cannot set a connection's options");
            }
            Some((stream, address))
        }
        Err(error) => {
            // Out of file descriptors, for instance: try again, but not in a hot loop.
            tracing::warn!(%error, "cannot accept a connection");
            metrics::counter!("millrace_accept_errors_total").increment(1);
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn turn_away(mut stream: TcpStream) {
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(TOO_MANY)).await;
    let _ = stream.shutdown().await;
}

/// A connection in the gauge, until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("millrace_postgres_connections").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("millrace_postgres_connections").decrement(1.0);
    }
}

fn describe_metrics() {
    metrics::describe_gauge!("millrace_postgres_connections", "Open connections of the Postgres port");
    metrics::describe_counter!(
        "millrace_postgres_queries_total",
        "Statements over the Postgres port, by how they ended"
    );
    metrics::describe_counter!(
        "millrace_postgres_logins_refused_total",
        "Logins to the Postgres port with a wrong name or password"
    );
    metrics::describe_counter!(
        "millrace_postgres_connections_refused_total",
        "Connections turned away because as many were open as may be"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_a_message() {
        assert_eq!(TOO_MANY[0], b'E');
        let length = u32::from_be_bytes([TOO_MANY[1], TOO_MANY[2], TOO_MANY[3], TOO_MANY[4]]);
        assert_eq!(length as usize, TOO_MANY.len() - 1);
    }
}
