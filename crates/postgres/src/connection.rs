//! One connection, from its first byte to its last. The library knows the messages; how many bytes they may
//! have, how long anything may take and when the connection ends is decided here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use millrace_sql::SessionControl;
use pgwire::api::{ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, SslNegotiationMetaMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::codec::Framed;

use crate::errors::{fatal, state, to_info, user};
use crate::limited::Limited;
use crate::prepared::Prepared;
use crate::server::Shared;
use crate::service::Service;
use crate::settings::Settings;
use crate::startup::{Identity, Login};

/// Largest message before the login, as Postgres has it.
const STARTUP_BYTES_MAX: usize = 10_000;

/// A message may be read together with the beginning of the next.
const READ_AHEAD_BYTES: usize = 64 << 10;

type Socket = Framed<Limited, PgWireMessageServerCodec<Arc<Prepared>>>;

/// The parts of a connection that answer.
struct Connection {
    shared: Arc<Shared>,
    control: Arc<SessionControl>,
    login: Arc<Login>,
    service: Arc<Service>,
    /// COPY is refused as a statement, so its messages come unasked and have no answer.
    copy: Arc<NoopHandler>,
}

/// Why a connection ended, where somebody has to be told.
enum Ended {
    /// The client has gone, or has been told all.
    Quietly,
    /// The client is told this.
    With(Box<ErrorInfo>),
}

/// Serves a connection until the client leaves, breaks a limit, or the port closes.
pub(crate) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
) {
    let limited = Limited::new(stream, shared.config.write_stall_max);
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(address, false));
    let mut socket = Framed::new(limited, codec);
    let connection = Connection::new(shared);
    let ended = Box::pin(connection.converse(&mut socket, closing)).await;
    if let Ended::With(info) = ended {
        let message = PgWireBackendMessage::ErrorResponse((*info).into());
        // Who does not read is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.send(message)).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close()).await;
}

impl Connection {
    fn new(shared: Arc<Shared>) -> Self {
        let control = SessionControl::new();
        let engine = shared.sessions.engine();
        let config = engine.config();
        let settings = Arc::new(Settings::new(
            env!("CARGO_PKG_VERSION"),
            &config.default_dataset,
            engine.datasets(),
            config.timeout,
            Arc::clone(&control),
        ));
        let identity = Arc::new(Identity::new(&shared.registry, Arc::clone(&control)));
        let pid = identity.pid;
        let login = Arc::new(Login::new(
            shared.names.clone(),
            Arc::clone(&settings),
            identity,
            shared.passwords.clone(),
        ));
        let service = Service::new(Arc::clone(&shared), settings, Arc::clone(&control), pid);
        Self { shared, control, login, service: Arc::new(service), copy: Arc::new(NoopHandler) }
    }

    async fn converse(&self, socket: &mut Socket, mut closing: watch::Receiver<bool>) -> Ended {
        let logged_in_by = Instant::now() + self.shared.config.startup_timeout;
        match timeout_at(logged_in_by, self.negotiate(socket)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended,
            Err(_) => return too_slow(),
        }
        loop {
            let message = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return shutting_down(),
                () = sleep_until(logged_in_by), if !is_open(socket) => return too_slow(),
                message = self.next(socket) => message,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Ended::Quietly,
                Err(ended) => return ended,
            };
            if let Some(ended) = self.handle(socket, message, &mut closing).await {
                return ended;
            }
        }
    }

    /// Answers requests for encryption, which there is none of, up to the first message proper.
    async fn negotiate(&self, socket: &mut Socket) -> Result<(), Ended> {
        // TLS and GSSAPI, once each.
        for _ in 0..3 {
            let refusal = match self.next(socket).await? {
                Some(PgWireFrontendMessage::SslNegotiation(asked)) => match asked {
                    SslNegotiationMetaMessage::PostgresSsl(_) => {
                        PgWireBackendMessage::SslResponse(SslResponse::Refuse)
                    }
                    SslNegotiationMetaMessage::PostgresGss(_) => {
                        PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse)
                    }
                    SslNegotiationMetaMessage::None => {
                        socket.set_state(PgWireConnectionState::AwaitingStartup);
                        return Ok(());
                    }
                },
                _ => return Err(Ended::Quietly),
            };
            socket.send(refusal).await.map_err(|_| Ended::Quietly)?;
        }
        Err(Ended::With(Box::new(fatal(state::PROTOCOL_VIOLATION, "expected a startup message"))))
    }

    /// The next message; `None` when the client has left.
    async fn next(&self, socket: &mut Socket) -> Result<Option<PgWireFrontendMessage>, Ended> {
        let message_bytes_max = match is_open(socket) {
            true => self.shared.config.message_bytes_max,
            false => STARTUP_BYTES_MAX,
        };
        socket.get_mut().renew_budget(message_bytes_max + READ_AHEAD_BYTES);
        match socket.next().await {
            None => Ok(None),
            Some(Ok(PgWireFrontendMessage::Terminate(_))) => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(failure)) => Err(unreadable(failure, message_bytes_max)),
        }
    }

    /// Answers one message. Ends with the client's connection, so that nothing runs for nobody.
    async fn handle(
        &self,
        socket: &mut Socket,
        message: PgWireFrontendMessage,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<Ended> {
        let extended = message.is_extended_query();
        let cancels = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        let peer = socket.get_ref().peer();
        let logging_in = !is_open(socket);
        let handled = {
            let _busy = self.control.busy();
            let handled = process_message(
                message,
                socket,
                Arc::clone(&self.login),
                Arc::clone(&self.service),
                Arc::clone(&self.service),
                Arc::clone(&self.copy),
                Arc::clone(&self.shared.registry),
            );
            tokio::select! {
                handled = handled => handled,
                () = peer.gone() => return Some(Ended::Quietly),
                () = self.drained(closing) => return Some(shutting_down()),
            }
        };
        match handled {
            Ok(()) if cancels => Some(Ended::Quietly),
            Ok(()) => None,
            Err(PgWireError::IoError(_)) => Some(Ended::Quietly),
            Err(failure) => {
                let mut info = to_info(failure);
                if logging_in {
                    // There is no session to go on with.
                    info.severity = "FATAL".to_owned();
                }
                if info.is_fatal() {
                    return Some(Ended::With(Box::new(info)));
                }
                let sent = process_error(socket, user(info), extended).await;
                sent.is_err().then_some(Ended::Quietly)
            }
        }
    }

    /// Resolves when the port has been closing for as long as statements may go on.
    async fn drained(&self, closing: &mut watch::Receiver<bool>) {
        let _ = closing.wait_for(|closing| *closing).await;
        tokio::time::sleep(self.shared.config.drain_timeout).await;
    }
}

/// Whether the client is logged in.
fn is_open(socket: &Socket) -> bool {
    !matches!(
        socket.state(),
        PgWireConnectionState::AwaitingSslRequest
            | PgWireConnectionState::AwaitingStartup
            | PgWireConnectionState::AuthenticationInProgress
    )
}

fn too_slow() -> Ended {
    Ended::With(Box::new(fatal("08006", "the client took too long to log in")))
}

fn shutting_down() -> Ended {
    let message = "terminating connection due to administrator command";
    Ended::With(Box::new(fatal(state::ADMIN_SHUTDOWN, message)))
}

/// What the client hears of bytes that are no message.
fn unreadable(failure: PgWireError, bytes_max: usize) -> Ended {
    match failure {
        PgWireError::IoError(failure) if failure.kind() == std::io::ErrorKind::InvalidData => {
            let message = format!("a message may have {bytes_max} bytes");
            Ended::With(Box::new(fatal("54000", message)))
        }
        PgWireError::IoError(_) => Ended::Quietly,
        other => {
            let mut info = to_info(other);
            info.severity = "FATAL".to_owned();
            info.code = state::PROTOCOL_VIOLATION.to_owned();
            Ended::With(Box::new(info))
        }
    }
}
