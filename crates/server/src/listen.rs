//! Accepting connections, for every port: HTTP/1 and HTTP/2, a bound on connections, and an end to
//! clients that stall or say nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Limits on one port's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections at once; further ones wait to be accepted.
    pub connections_max: u32,
    /// How long a client may take to begin, and to send a request's head.
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
/// How HTTP/2 begins (<https://www.rfc-editor.org/rfc/rfc9113#section-3.4>).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a connection that has begun as HTTP/2 does, and not said all of it.
const PREFACE_INTERVAL: Duration = Duration::from_millis(20);
/// Between two lines of the log about a port that is full.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(60);

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
    let mut told = None;
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = accept(&listener, &places, &mut told) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (builder, router, closed) = (builder.clone(), router.clone(), closed.clone());
        tokio::spawn(async move {
            if has_begun(&stream, limits.header_read_timeout, closed.clone()).await {
                serve_connection(&builder, stream, router, closed).await;
            }
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

/// Waits until the client has said what it speaks: the library does so without a limit, and who says nothing would
/// keep a place for ever.
async fn has_begun(stream: &TcpStream, limit: Duration, mut closed: watch::Receiver<bool>) -> bool {
    tokio::select! {
        begun = tokio::time::timeout(limit, begin(stream)) => begun.unwrap_or_else(|_| {
            metrics::counter!("millrace_connections_silent_total").increment(1);
            false
        }),
        _ = closed.wait_for(|closed| *closed) => false,
    }
}

/// Whether there is something to serve, once that is known.
async fn begin(stream: &TcpStream) -> bool {
    let mut head = [0; HTTP2_PREFACE.len()];
    loop {
        let count = match stream.peek(&mut head).await {
            // The client has hung up.
            Ok(0) | Err(_) => return false,
            Ok(count) => count,
        };
        if count == head.len() || !HTTP2_PREFACE.starts_with(&head[..count]) {
            return true;
        }
        // What is there would be shown again at once.
        tokio::time::sleep(PREFACE_INTERVAL).await;
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

/// A place for one connection. Waiting for one is told, since those in the queue see nothing.
async fn place(places: &Arc<Semaphore>, told: &mut Option<Instant>) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    metrics::counter!("millrace_connections_put_off_total").increment(1);
    if told.is_none_or(|at| at.elapsed() >= FULL_LOG_INTERVAL) {
        *told = Some(Instant::now());
        tracing::warn!(
            "a port has as many connections as it may (server.connections_max): further ones wait"
        );
    }
    metrics::gauge!("millrace_ports_full").increment(1.0);
    let _full = Full;
    Arc::clone(places).acquire_owned().await.ok()
}

/// A port that takes no more connections, in the gauge until it is dropped.
struct Full;

impl Drop for Full {
    fn drop(&mut self) {
        metrics::gauge!("millrace_ports_full").decrement(1.0);
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    told: &mut Option<Instant>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // A place first: a connection that cannot be served stays in the system's queue.
    let place = place(places, told).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Bounds a failure only.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn answered(mut stream: TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// Scenario: one client says nothing, one begins as HTTP/2 does and stops; there are two places, and a third client.
    /// Guarantees: both lose their places, the third one is answered, and a port that closes waits for no silent one.
    #[tokio::test]
    async fn clients_that_say_nothing_lose_their_places() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here I am" }));
        let limits = ConnectionLimits {
            connections_max: 2,
            header_read_timeout: Duration::from_millis(300),
            drain_timeout: PATIENCE,
        };
        let (close, closing) = tokio::sync::oneshot::channel::<()>();
        let closing = async {
            let _ = closing.await;
        };
        let serving = tokio::spawn(serve(listener, router, limits, closing));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&HTTP2_PREFACE[..9]).await.unwrap();
        let third = TcpStream::connect(address).await.unwrap();
        let answer = answered(third).await;
        assert!(answer.contains("200 OK") && answer.ends_with("here I am"), "{answer}");
        let mut rest = [0; 1];
        assert_eq!(silent.read(&mut rest).await.unwrap(), 0);
        // What it had said was not read, which may reset it.
        assert!(matches!(half.read(&mut rest).await, Ok(0) | Err(_)));

        let _silent = TcpStream::connect(address).await.unwrap();
        close.send(()).unwrap();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    }
}
