//! Accepting connections, for every port: HTTP/1 and HTTP/2, a bound on connections, and an end to
//! clients that stall.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Limits on one port's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections at once; further ones wait to be accepted.
    pub connections_max: u32,
    /// How long a client may take to send a request's head.
    pub header_read_timeout: Duration,
    /// How long requests in flight may go on once the port is closing.
    pub drain_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_read_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Requests in flight on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// Serves a router on a listener until `closing` resolves, then lets requests in flight finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    closing: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max as usize));
    let builder = builder(limits);
    let (close, closed) = watch::channel(false);
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (builder, router, closed) = (builder.clone(), router.clone(), closed.clone());
        tokio::spawn(async move {
            serve_connection(&builder, stream, router, closed).await;
            drop(place);
        });
    }
    drop(listener);
    close.send_replace(true);
    // Every connection holds a place: when all are free, all have ended.
    let all_ended = places.acquire_many(limits.connections_max);
    if tokio::time::timeout(limits.drain_timeout, all_ended).await.is_err() {
        tracing::warn!(timeout = ?limits.drain_timeout, "requests still in flight were cut off");
    }
}

async fn serve_connection(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
    mut closed: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let closing = async {
        let _ = closed.wait_for(|closed| *closed).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

fn builder(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        // Large batches over one connection: the defaults (64 KiB) cost a round trip per window.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // A place first: a connection that cannot be served stays in the system's queue.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small answers must not wait for an acknowledgement of earlier ones.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            Some((stream, place))
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
