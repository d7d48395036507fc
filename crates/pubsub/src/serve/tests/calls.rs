//! Any method, called with its request as JSON, over gRPC or over REST.

use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use tower::ServiceExt as _;

use super::Server;
use crate::serve::iam::TestIamPermissionsRequest;
use crate::serve::methods::{Method, Methods};

/// A code as its letters, for instance `NOTFOUND`, and the text.
pub(super) type Refusal = (String, String);

pub(super) struct Caller<'a> {
    pub(super) server: &'a Server,
    pub(super) methods: Methods,
    descriptors: DescriptorPool,
}

impl<'a> Caller<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        let descriptors = include_bytes!("../../../proto/pubsub.desc").as_slice();
        Self { server, methods: Methods::all(), descriptors: DescriptorPool::decode(descriptors).unwrap() }
    }

    /// The method of that name, with its path in gRPC.
    fn method(&self, name: &str) -> (&'static str, &Method) {
        let found = self.methods.by_path.iter().map(|(path, index)| (*path, &self.methods.all[*index]));
        found.into_iter().find(|(_, method)| method.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Calls it both ways; answers `None` where it was done.
    pub(super) async fn both(&self, name: &str, request: &Value) -> [(&'static str, Option<Refusal>); 2] {
        let (path, method) = self.method(name);
        let frame = framed(&self.encoded(path, request.clone()));
        let of_grpc = grpc(self.server, path, Body::from(frame)).await;
        let (path, body) = rest_form(method, request.clone());
        let (status, answer) = self.server.rest(method.verb.as_str(), &path, body).await;
        let error = &answer["error"];
        let of_rest = (status != 200).then(|| {
            assert_eq!(error["code"], status, "{answer}");
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            (text("status").replace('_', ""), text("message"))
        });
        [("grpc", of_grpc), ("rest", of_rest)]
    }

    fn encoded(&self, path: &str, request: Value) -> Vec<u8> {
        let (service, name) = path[1..].split_once('/').unwrap();
        let Some(service) = self.descriptors.get_service_by_name(service) else {
            return serde_json::from_value::<TestIamPermissionsRequest>(request).unwrap().encode_to_vec();
        };
        let method = service.methods().find(|method| method.name() == name).unwrap();
        DynamicMessage::deserialize(method.input(), request).unwrap().encode_to_vec()
    }
}

/// A message as gRPC sends it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &bytes[..], message].concat()
}

/// Sends a body to a path of gRPC; answers `None` where the code is OK.
pub(super) async fn grpc(server: &Server, path: &str, body: Body) -> Option<Refusal> {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let response = server.broker.router().oneshot(request.body(body).unwrap()).await.unwrap();
    let headers = response.headers().clone();
    let collected = response.into_body().collect().await.unwrap();
    let of = |headers: &HeaderMap| tonic::Status::from_header_map(headers);
    let status = of(&headers).or_else(|| collected.trailers().and_then(of)).unwrap();
    let code = format!("{:?}", status.code()).to_uppercase();
    (status.code() != tonic::Code::Ok).then(|| (code, status.message().to_owned()))
}

/// The path and the body that mean the same in REST.
fn rest_form(method: &Method, mut request: Value) -> (String, Option<Value>) {
    let template = &method.template;
    let at = format!("/{}", template.field.replace('.', "/"));
    let name = request.pointer_mut(&at).unwrap().take();
    let (parent, last) = at.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(last);
    let suffix = template.suffix.map(|suffix| format!("/{suffix}")).unwrap_or_default();
    let verb = template.verb.map(|verb| format!(":{verb}")).unwrap_or_default();
    let path = format!("/v1/{}{suffix}{verb}", name.as_str().unwrap());
    let body = match method.body_field {
        Some(field) => request.as_object_mut().unwrap().remove(field),
        None if ["GET", "DELETE"].contains(&method.verb.as_str()) => None,
        None => return (path, Some(request)),
    };
    let query = request.as_object().unwrap().iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    (format!("{path}?{}", query.collect::<Vec<_>>().join("&")), body)
}
