//! A message as the request that brings it to an endpoint
//! (<https://cloud.google.com/pubsub/docs/push>, <https://cloud.google.com/pubsub/docs/payload-unwrapping>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::error::PubsubError;
use crate::limits::PUSH_ENDPOINT_BYTES_MAX;
use crate::proto::v1;
use crate::proto::v1::push_config::Wrapper;

const AGENT: &str = concat!("millrace-pubsub/", env!("CARGO_PKG_VERSION"));
/// What metadata headers begin with; no attribute may.
const METADATA_PREFIX: &str = "x-goog-pubsub-";
/// Headers that are the connection's, and no attribute's.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a subscription's messages are pushed to, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    uri: Uri,
    wrapper: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The whole message as JSON.
    Wrapped,
    /// Its data only.
    Bare,
    /// Its data, and all else in headers.
    BareWithMetadata,
}

impl Endpoint {
    /// Reads a push configuration; `None` when it names no endpoint.
    ///
    /// # Errors
    /// When the endpoint is none, or something is asked for that is not served.
    pub(crate) fn new(config: &v1::PushConfig) -> Result<Option<Self>, PubsubError> {
        let text = &config.push_endpoint;
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |what: &str| PubsubError::invalid(format!("push_config.push_endpoint {text:?} {what}"));
        if text.len() > PUSH_ENDPOINT_BYTES_MAX {
            let rule = format!("push_config.push_endpoint has at most {PUSH_ENDPOINT_BYTES_MAX} bytes");
            return Err(PubsubError::invalid(rule));
        }
        let uri: Uri = text.parse().map_err(|_| invalid("is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("does not begin with http:// or https://"));
        }
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(invalid("must name a host, and no user"));
        }
        if config.authentication_method.is_some() {
            return Err(PubsubError::unimplemented(
                "push_config.oidc_token is not served: put a secret into the endpoint's path",
            ));
        }
        if let Some(name) = config.attributes.keys().find(|name| *name != "x-goog-version") {
            return Err(PubsubError::invalid(format!(
                "push_config.attributes: {name:?} is unknown, only x-goog-version is taken"
            )));
        }
        if config.attributes.values().any(|version| version != "v1" && version != "v1beta2") {
            return Err(PubsubError::unimplemented("push_config.attributes: x-goog-version is v1 here"));
        }
        let wrapper = match &config.wrapper {
            None | Some(Wrapper::PubsubWrapper(_)) => Shape::Wrapped,
            Some(Wrapper::NoWrapper(bare)) if bare.write_metadata => Shape::BareWithMetadata,
            Some(Wrapper::NoWrapper(_)) => Shape::Bare,
        };
        Ok(Some(Self { uri, wrapper }))
    }

    /// The request for one message, and how many attributes cannot be headers.
    pub(super) fn request(
        &self,
        subscription: &str,
        received: &v1::ReceivedMessage,
    ) -> Result<(Request<Full<Bytes>>, u64), http::Error> {
        let default = v1::PubsubMessage::default();
        let message = received.message.as_ref().unwrap_or(&default);
        let mut request = Request::post(self.uri.clone()).header(USER_AGENT, AGENT);
        let (mut dropped, mut body) = (0, message.data.clone());
        match self.wrapper {
            Shape::Wrapped => {
                request = request.header(CONTENT_TYPE, "application/json");
                body = Bytes::from(wrapped(subscription, received, message).to_string());
            }
            Shape::Bare => {}
            Shape::BareWithMetadata => {
                if let Some(headers) = request.headers_mut() {
                    dropped = write_metadata(headers, subscription, received, message);
                }
            }
        }
        Ok((request.body(Full::new(body))?, dropped))
    }
}

fn time_of(message: &v1::PubsubMessage) -> String {
    message.publish_time.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The JSON form; names are there in both spellings, as the service has them.
fn wrapped(subscription: &str, received: &v1::ReceivedMessage, message: &v1::PubsubMessage) -> Value {
    let time = time_of(message);
    let mut inner = Map::new();
    if !message.attributes.is_empty() {
        inner.insert("attributes".to_owned(), json!(message.attributes));
    }
    if !message.data.is_empty() {
        inner.insert("data".to_owned(), json!(STANDARD.encode(&message.data)));
    }
    for name in ["messageId", "message_id"] {
        inner.insert(name.to_owned(), json!(message.message_id));
    }
    for name in ["publishTime", "publish_time"] {
        inner.insert(name.to_owned(), json!(time));
    }
    if !message.ordering_key.is_empty() {
        inner.insert("orderingKey".to_owned(), json!(message.ordering_key));
    }
    let mut outer = json!({"message": inner, "subscription": subscription});
    if received.delivery_attempt > 0 {
        outer["deliveryAttempt"] = json!(received.delivery_attempt);
    }
    outer
}

fn write_metadata(
    headers: &mut HeaderMap,
    subscription: &str,
    received: &v1::ReceivedMessage,
    message: &v1::PubsubMessage,
) -> u64 {
    let mut dropped = 0;
    for (name, value) in &message.attributes {
        let is_reserved = RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
            || name.to_ascii_lowercase().starts_with(METADATA_PREFIX);
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) if !is_reserved => {
                headers.insert(name, value);
            }
            _ => dropped += 1,
        }
    }
    let attempt = received.delivery_attempt;
    let metadata = [
        ("subscription-name", subscription.to_owned()),
        ("message-id", message.message_id.clone()),
        ("publish-time", time_of(message)),
        ("ordering-key", message.ordering_key.clone()),
        ("delivery-attempt", if attempt > 0 { attempt.to_string() } else { String::new() }),
    ];
    for (name, value) in metadata.into_iter().filter(|(_, value)| !value.is_empty()) {
        let name = HeaderName::try_from(format!("{METADATA_PREFIX}{name}"));
        match (name, HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            _ => dropped += 1,
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> v1::PushConfig {
        v1::PushConfig { push_endpoint: endpoint.to_owned(), ..Default::default() }
    }

    #[test]
    fn endpoints_that_cannot_be_are_refused() {
        assert_eq!(Endpoint::new(&config("")).unwrap(), None);
        for good in ["http://localhost:8080/a?token=b", "https://example.com/push"] {
            assert!(Endpoint::new(&config(good)).unwrap().is_some());
        }
        let long = format!("http://x/{}", "a".repeat(PUSH_ENDPOINT_BYTES_MAX));
        for (bad, rule) in [
            ("nonsense", "http:// or https://"),
            ("ftp://x/y", "http:// or https://"),
            ("/path", "http:// or https://"),
            ("http://user:password@x/", "no user"),
            ("http://a b/", "is no URL"),
            (&long, "at most"),
        ] {
            let error = Endpoint::new(&config(bad)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.to_string().contains(rule), "{error}");
        }
        let token = v1::push_config::OidcToken::default();
        let token = v1::push_config::AuthenticationMethod::OidcToken(token);
        let with_token = v1::PushConfig { authentication_method: Some(token), ..config("http://x/") };
        assert_eq!(Endpoint::new(&with_token).unwrap_err().code(), tonic::Code::Unimplemented);
        let attributes = [("x-goog-version".to_owned(), "v1beta1".to_owned())].into();
        let old = v1::PushConfig { attributes, ..config("http://x/") };
        assert_eq!(Endpoint::new(&old).unwrap_err().code(), tonic::Code::Unimplemented);
    }

    #[test]
    fn attributes_become_headers_where_they_can() {
        let bare = v1::push_config::NoWrapper { write_metadata: true };
        let bare = v1::PushConfig { wrapper: Some(Wrapper::NoWrapper(bare)), ..config("http://x/") };
        let endpoint = Endpoint::new(&bare).unwrap().unwrap();
        let attributes = [
            ("kind", "a"),
            ("Host", "evil"),
            ("content-length", "1"),
            ("x-goog-pubsub-message-id", "2"),
            ("with space", "x"),
            ("line", "a\r\nb: c"),
        ];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let message = v1::PubsubMessage {
            data: Bytes::from_static(b"\xff\x00"),
            attributes,
            message_id: "id".to_owned(),
            ..Default::default()
        };
        let received = v1::ReceivedMessage { message: Some(message), ..Default::default() };
        let (request, dropped) = endpoint.request("projects/p/subscriptions/s", &received).unwrap();
        assert_eq!(dropped, 5);
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("kind").as_deref(), Some("a"));
        assert_eq!(header("x-goog-pubsub-message-id").as_deref(), Some("id"));
        assert_eq!(header("host"), None);
    }
}
