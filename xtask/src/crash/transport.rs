//! The ways a producer reaches the server: the real ports, and a client that hangs up early.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Code;

use super::request::{EncodedRequest, Encoding};
use crate::otlp::RawLogsClient;
use crate::server::Launch;

/// No answer within this time counts as a lost reply.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// What a producer learns from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Stored: the server owes these records from now on.
    Acked,
    /// Not stored now, try again (503, 429, UNAVAILABLE, RESOURCE_EXHAUSTED).
    Busy,
    /// No reply: the server may or may not have stored it.
    Lost,
    /// Refused for good, which no request of this test deserves.
    Refused(String),
}

/// A connection to the server.
pub enum Transport {
    /// OTLP/gRPC, with or without gzip.
    Grpc {
        /// Where the client's tasks run.
        runtime: Runtime,
        /// The client.
        client: RawLogsClient,
    },
    /// OTLP/HTTP.
    Http {
        /// The client.
        agent: ureq::Agent,
        /// The server's address, as `host:port`.
        address: String,
        /// How bodies are written.
        encoding: Encoding,
    },
}

impl Transport {
    /// The transport of the producer with this number: all kinds in turn.
    pub fn of_producer(number: usize, launch: &Launch) -> Result<Self> {
        let http = |encoding| {
            let config = ureq::Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .timeout_global(Some(REPLY_LIMIT))
                .build();
            let address = launch.otlp_http_url().replace("http://", "");
            Ok(Self::Http { agent: config.into(), address, encoding })
        };
        match number % 6 {
            0 | 1 => Self::grpc(launch, number % 6 == 1),
            2 => http(Encoding::Protobuf),
            3 => http(Encoding::ProtobufGzip),
            4 => http(Encoding::Json),
            _ => http(Encoding::JsonGzip),
        }
    }

    fn grpc(launch: &Launch, gzip: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = {
            let _inside = runtime.enter();
            RawLogsClient::new(&launch.grpc_url(), gzip)?
        };
        Ok(Self::Grpc { runtime, client })
    }

    /// How this transport wants bodies written.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Grpc { .. } => Encoding::Protobuf,
            Self::Http { encoding, .. } => *encoding,
        }
    }

    /// Sends a request and waits for the answer.
    pub fn send(&mut self, request: &EncodedRequest) -> Reply {
        match self {
            Self::Grpc { runtime, client } => {
                let export = client.export(request.body.clone());
                match runtime.block_on(async { tokio::time::timeout(REPLY_LIMIT, export).await }) {
                    Ok(Ok(body)) => acked_unless_partial(ExportLogsServiceResponse::decode(body).ok()),
                    Ok(Err(status)) => reply_of_status(&status),
                    Err(_) => Reply::Lost,
                }
            }
            Self::Http { agent, address, encoding } => {
                let post = agent.post(format!("http://{address}/v1/logs"));
                let mut post = post.header("content-type", content_type(*encoding));
                if is_gzip(*encoding) {
                    post = post.header("content-encoding", "gzip");
                }
                let Ok(mut answer) = post.send(&request.body[..]) else { return Reply::Lost };
                let status = answer.status().as_u16();
                match (status, answer.body_mut().read_to_vec()) {
                    (_, Err(_)) => Reply::Lost,
                    (200, Ok(body)) => acked_unless_partial(decode_answer(*encoding, &body)),
                    (429 | 503, Ok(_)) => Reply::Busy,
                    (_, Ok(body)) => {
                        Reply::Refused(format!("HTTP {status}: {}", String::from_utf8_lossy(&body)))
                    }
                }
            }
        }
    }

    /// Sends a request and hangs up at once: the server may store it, the producer learns nothing.
    pub fn send_and_hang_up(&mut self, request: &EncodedRequest, patience: Duration) -> Reply {
        match self {
            Self::Grpc { runtime, client } => {
                let export = client.export(request.body.clone());
                match runtime.block_on(async { tokio::time::timeout(patience, export).await }) {
                    Ok(Ok(body)) => acked_unless_partial(ExportLogsServiceResponse::decode(body).ok()),
                    Ok(Err(status)) => reply_of_status(&status),
                    Err(_) => Reply::Lost,
                }
            }
            Self::Http { address, encoding, .. } => {
                // Whatever happens to the connection, the reply is lost: that is the point.
                let _ = post_and_drop(address, *encoding, &request.body);
                Reply::Lost
            }
        }
    }
}

fn post_and_drop(address: &str, encoding: Encoding, body: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("connect")?;
    let gzip = if is_gzip(encoding) { "content-encoding: gzip\r\n" } else { "" };
    let kind = content_type(encoding);
    let length = body.len();
    write!(
        stream,
        "POST /v1/logs HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\n{gzip}content-length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush().context("flush")
}

fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf | Encoding::ProtobufGzip => "application/x-protobuf",
        Encoding::Json | Encoding::JsonGzip => "application/json",
    }
}

fn is_gzip(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::ProtobufGzip | Encoding::JsonGzip)
}

fn decode_answer(encoding: Encoding, body: &[u8]) -> Option<ExportLogsServiceResponse> {
    match encoding {
        Encoding::Protobuf | Encoding::ProtobufGzip => ExportLogsServiceResponse::decode(body).ok(),
        Encoding::Json | Encoding::JsonGzip => {
            let answer: Value = serde_json::from_slice(body).ok()?;
            let rejected = &answer["partialSuccess"]["rejectedLogRecords"];
            let is_whole = rejected.is_null() || *rejected == 0 || *rejected == "0";
            is_whole.then(ExportLogsServiceResponse::default)
        }
    }
}

fn acked_unless_partial(answer: Option<ExportLogsServiceResponse>) -> Reply {
    match answer {
        None => Reply::Refused("a success without a proper answer".to_owned()),
        Some(ExportLogsServiceResponse { partial_success: Some(partial) })
            if partial.rejected_log_records != 0 =>
        {
            Reply::Refused(format!("{} records rejected", partial.rejected_log_records))
        }
        Some(_) => Reply::Acked,
    }
}

/// A broken connection and a refusing server both come as UNAVAILABLE or one of its neighbours; all of
/// them mean "perhaps stored, send again".
fn reply_of_status(status: &tonic::Status) -> Reply {
    match status.code() {
        Code::ResourceExhausted => Reply::Busy,
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded => {
            Reply::Lost
        }
        code => Reply::Refused(format!("gRPC {code:?}: {}", status.message())),
    }
}
