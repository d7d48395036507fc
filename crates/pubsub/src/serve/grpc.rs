//! gRPC: framing and codes are tonic's, methods are looked up in the table.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tonic::codec::CompressionEncoding;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{Server, count, stream, too_many};
use crate::broker::Broker;
use crate::budget::Counted;
use crate::error::PubsubError;
use crate::limits::{PUBLISH_BYTES_MAX, REQUEST_BYTES_MAX, STREAM_REQUEST_BYTES_MAX};
use crate::proto::{Named, v1};

const STREAMING_PULL: &str = "/google.pubsub.v1.Subscriber/StreamingPull";

pub(super) async fn handle(server: &Arc<Server>, request: Request) -> Response {
    if request.uri().path() == STREAMING_PULL {
        return streaming_pull(Arc::clone(&server.broker), request).await;
    }
    let Some(method) = server.methods.grpc(request.uri().path()) else {
        return not_served(request.uri().path()).into_http();
    };
    let places = if method.waits { &server.broker.streams } else { &server.broker.requests };
    let Ok(_place) = places.try_acquire() else { return too_many().into_http() };
    let reservation = server.broker.bodies.reserve();
    let counted = Arc::clone(&reservation);
    let limit = server.broker.config.body_read_timeout;
    let request = request.map(|body| Body::new(Counted::new(body, counted, limit)));
    let response = (method.grpc)(Arc::clone(&server.broker), request).await;
    let code =
        response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    count(method.name, "grpc", code);
    response
}

/// A call with one request and one answer.
pub(super) async fn unary<Question, Answer, Handler, Answering>(
    broker: Arc<Broker>,
    request: Request,
    handler: Handler,
) -> Response
where
    Question: Named,
    Answer: Named,
    Handler: Fn(Arc<Broker>, Question) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Result<Answer, PubsubError>> + Send + 'static,
{
    let codec = ProstCodec::<Answer, Question>::default();
    let mut grpc = Grpc::new(codec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let service = service_fn(move |request: tonic::Request<Question>| {
        let answering = handler(Arc::clone(&broker), request.into_inner());
        async move { answering.await.map(tonic::Response::new).map_err(Status::from) }
    });
    let response = grpc.unary(service, request).await;
    match Status::from_header_map(response.headers()) {
        Some(status) if is_too_large(&status) => with_rule(status, REQUEST_BYTES_MAX).into_http(),
        _ => response.map(Body::new),
    }
}

/// Says by which rule a request was too large to be read: tonic says OUT_OF_RANGE, and of one that is too
/// large unpacked RESOURCE_EXHAUSTED, which publishers try again until their time is over. Other errors stay
/// as they are.
pub(super) fn with_rule(status: Status, bytes_max: usize) -> Status {
    if !is_too_large(&status) {
        return status;
    }
    let publishing = match bytes_max {
        REQUEST_BYTES_MAX => format!(", a publish request {PUBLISH_BYTES_MAX} bytes of messages"),
        _ => String::new(),
    };
    Status::invalid_argument(format!(
        "the request is too large: one has at most {bytes_max} bytes, unpacked{publishing}"
    ))
}

fn is_too_large(status: &Status) -> bool {
    // There is nothing but the text to tell them from others of their code.
    let text = match status.code() {
        Code::OutOfRange => "Error, decoded message length too large",
        Code::ResourceExhausted => "Error decompressing: size limit",
        _ => return false,
    };
    status.message().starts_with(text)
}

async fn streaming_pull(broker: Arc<Broker>, request: Request) -> Response {
    let Ok(place) = Arc::clone(&broker.streams).try_acquire_owned() else { return too_many().into_http() };
    let codec = ProstCodec::<v1::StreamingPullResponse, v1::StreamingPullRequest>::default();
    let mut grpc = Grpc::new(codec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(STREAM_REQUEST_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let mut place = Some(place);
    let service = service_fn(move |request: tonic::Request<tonic::Streaming<v1::StreamingPullRequest>>| {
        stream::open(Arc::clone(&broker), request.into_inner(), place.take())
    });
    let response = grpc.streaming(service, request).await.map(Body::new);
    let code =
        response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    count("StreamingPull", "grpc", code);
    response
}

/// Says what to do instead.
fn not_served(path: &str) -> Status {
    let instead = match path.split('/').nth(1).unwrap_or_default() {
        "google.iam.v1.IAMPolicy" => {
            "there are no IAM policies here: who may call is decided by server.bind and server.auth_token_file"
        }
        _ => "this port serves Publisher, Subscriber and SchemaService of google.pubsub.v1",
    };
    Status::unimplemented(instead)
}
