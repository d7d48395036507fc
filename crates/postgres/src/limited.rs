//! A connection's bytes under limits: how many a message may have, and how long a client may leave what it
//! asked for unread.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A stream that gives no more bytes than its budget, which is renewed for each message, and that fails
/// when nothing could be written for too long.
pub(crate) struct Limited {
    stream: Arc<TcpStream>,
    budget_bytes: usize,
    write_stall_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    pub(crate) fn new(stream: TcpStream, write_stall_max: Duration) -> Self {
        Self { stream: Arc::new(stream), budget_bytes: 0, write_stall_max, stalled: None }
    }

    /// The next message may have this many bytes.
    pub(crate) fn renew_budget(&mut self, bytes_max: usize) {
        self.budget_bytes = bytes_max;
    }

    /// The same connection, to see whether the client is still there.
    pub(crate) fn peer(&self) -> Peer {
        Peer(Arc::clone(&self.stream))
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let wait = self.write_stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.budget_bytes == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large")));
        }
        loop {
            ready!(this.stream.poll_read_ready(context))?;
            let taken = buffer.remaining().min(this.budget_bytes);
            match this.stream.try_read(buffer.initialize_unfilled_to(taken)) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    this.budget_bytes -= bytes;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Limited {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.stream.poll_write_ready(context) {
                Poll::Pending => return this.poll_stalled(context).map(Err),
                Poll::Ready(result) => result?,
            }
            match this.stream.try_write(bytes) {
                Ok(written) => {
                    this.stalled = None;
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection is closed when the stream is dropped, right after this.
        Poll::Ready(Ok(()))
    }
}

/// The client's end of a connection.
pub(crate) struct Peer(Arc<TcpStream>);

impl Peer {
    /// Resolves when the client has closed the connection. A client may send further messages meanwhile,
    /// which stay unread.
    pub(crate) async fn gone(&self) {
        const LOOK_EVERY: Duration = Duration::from_millis(250);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.0.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() => return,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(stall: Duration) -> (Limited, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Limited::new(listener.accept().await.unwrap().0, stall), client)
    }

    #[tokio::test]
    async fn a_message_has_no_more_bytes_than_its_budget() {
        let (mut server, mut client) = pair(Duration::from_secs(60)).await;
        client.write_all(&[7; 100]).await.unwrap();
        let mut bytes = [0; 10];
        server.renew_budget(15);
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(server.read_exact(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        server.renew_budget(10);
        server.read_exact(&mut bytes).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_ends_the_writing() {
        let (mut server, _client) = pair(Duration::from_millis(50)).await;
        let block = vec![0; 1 << 20];
        let failure = loop {
            if let Err(failure) = server.write_all(&block).await {
                break failure;
            }
        };
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_closed_connection_is_noticed_without_reading() {
        let (server, mut client) = pair(Duration::from_secs(60)).await;
        let peer = server.peer();
        client.write_all(b"unread").await.unwrap();
        let gone = tokio::spawn(async move { peer.gone().await });
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!gone.is_finished());
        drop(client);
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap().unwrap();
    }
}
