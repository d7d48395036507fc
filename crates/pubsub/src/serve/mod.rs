//! The port: gRPC and REST share it, told apart by the content type.

mod api;
mod grpc;
mod iam;
mod methods;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod rest;
#[cfg(not(any(test, feature = "fuzzing")))]
mod rest;
mod schemas;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use tonic::Status;

use crate::broker::Broker;
use methods::Methods;

/// What handlers share.
struct Server {
    broker: Arc<Broker>,
    methods: Methods,
}

impl Broker {
    /// The services Publisher, Subscriber and SchemaService, and of IAMPolicy what clients ask at their start, over gRPC and
    /// REST. Who may ask at all is decided before, by whoever opens the port.
    pub fn router(self: &Arc<Self>) -> Router {
        let server = Arc::new(Server { broker: Arc::clone(self), methods: Methods::all() });
        Router::new().fallback(handle).with_state(server)
    }
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc")) {
        grpc::handle(&server, request).await
    } else {
        rest::handle(&server, request).await
    }
}

/// A request counts when it is answered.
fn count(method: &'static str, protocol: &'static str, code: tonic::Code) {
    let code = format!("{code:?}");
    metrics::counter!("millrace_pubsub_requests_total", "method" => method, "protocol" => protocol, "code" => code)
        .increment(1);
}

fn too_many() -> Status {
    metrics::counter!("millrace_pubsub_refused_total", "reason" => "requests").increment(1);
    Status::resource_exhausted("too many requests or streams are in hand: try again")
}
