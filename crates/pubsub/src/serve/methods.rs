//! The table of methods: their names in gRPC, their paths in REST, and who answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::Method as Verb;
use serde_json::Value;

use super::{api, grpc};
use crate::broker::Broker;
use crate::error::PubsubError;
use crate::proto::{Named, from_json, to_json};

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Grpc = Box<dyn Fn(Arc<Broker>, Request) -> BoxFuture<Response> + Send + Sync>;
pub(super) type Rest = Box<dyn Fn(Arc<Broker>, Value) -> BoxFuture<Result<Value, PubsubError>> + Send + Sync>;

/// A method.
pub(super) struct Method {
    /// Its name, for metrics.
    pub(super) name: &'static str,
    /// Whether it may take long without doing anything, so that it takes no place of the others.
    pub(super) waits: bool,
    pub(super) grpc: Grpc,
    pub(super) rest: Rest,
    /// The field that a body in REST is, where it is not the whole request.
    pub(super) body_field: Option<&'static str>,
    pub(super) verb: Verb,
    /// The path in REST: `{field=collections}`, perhaps a suffix, perhaps `:verb`.
    pub(super) template: Template,
}

/// A path, for instance `{topic=projects/*/topics/*}/snapshots` or `...:publish`.
pub(super) struct Template {
    /// The field that the name in the path is put into.
    pub(super) field: &'static str,
    /// The name's parts: words, or `*`.
    parts: Vec<&'static str>,
    /// What follows the name, for lists.
    pub(super) suffix: Option<&'static str>,
    /// What follows a colon.
    pub(super) verb: Option<&'static str>,
}

/// All methods.
pub(super) struct Methods {
    pub(super) by_path: HashMap<&'static str, usize>,
    pub(super) all: Vec<Method>,
}

impl Methods {
    /// The method at a path of gRPC.
    pub(super) fn grpc(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path).map(|index| &self.all[*index])
    }

    /// The method of a verb and a path of REST, with the field that the path says.
    pub(super) fn rest(&self, verb: &Verb, path: &str) -> Option<(&Method, &'static str, String)> {
        self.all.iter().filter(|method| method.verb == *verb).find_map(|method| {
            let name = method.template.name_in(path)?;
            Some((method, method.template.field, name))
        })
    }

    /// The verbs that a path of REST takes.
    pub(super) fn verbs(&self, path: &str) -> Vec<&str> {
        let of_path = self.all.iter().filter(|method| method.template.name_in(path).is_some());
        of_path.map(|method| method.verb.as_str()).collect()
    }

    pub(super) fn all() -> Self {
        let mut methods = Self { by_path: HashMap::new(), all: Vec::new() };
        methods.add_publisher();
        methods.add_subscriber();
        methods.add_snapshots();
        methods.add_schemas();
        methods.add_iam();
        methods
    }

    fn add_publisher(&mut self) {
        self.add(
            "/google.pubsub.v1.Publisher/CreateTopic",
            Verb::PUT,
            "{name=projects/*/topics/*}",
            api::create_topic,
        );
        self.add(
            "/google.pubsub.v1.Publisher/UpdateTopic",
            Verb::PATCH,
            "{topic.name=projects/*/topics/*}",
            api::update_topic,
        );
        self.add(
            "/google.pubsub.v1.Publisher/Publish",
            Verb::POST,
            "{topic=projects/*/topics/*}:publish",
            api::publish,
        );
        self.add(
            "/google.pubsub.v1.Publisher/GetTopic",
            Verb::GET,
            "{topic=projects/*/topics/*}",
            api::get_topic,
        );
        self.add(
            "/google.pubsub.v1.Publisher/ListTopics",
            Verb::GET,
            "{project=projects/*}/topics",
            api::list_topics,
        );
        self.add(
            "/google.pubsub.v1.Publisher/ListTopicSubscriptions",
            Verb::GET,
            "{topic=projects/*/topics/*}/subscriptions",
            api::list_topic_subscriptions,
        );
        self.add(
            "/google.pubsub.v1.Publisher/ListTopicSnapshots",
            Verb::GET,
            "{topic=projects/*/topics/*}/snapshots",
            api::list_topic_snapshots,
        );
        self.add(
            "/google.pubsub.v1.Publisher/DeleteTopic",
            Verb::DELETE,
            "{topic=projects/*/topics/*}",
            api::delete_topic,
        );
        self.add(
            "/google.pubsub.v1.Publisher/DetachSubscription",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:detach",
            api::detach_subscription,
        );
    }

    fn add_subscriber(&mut self) {
        self.add(
            "/google.pubsub.v1.Subscriber/CreateSubscription",
            Verb::PUT,
            "{name=projects/*/subscriptions/*}",
            api::create_subscription,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/GetSubscription",
            Verb::GET,
            "{subscription=projects/*/subscriptions/*}",
            api::get_subscription,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/UpdateSubscription",
            Verb::PATCH,
            "{subscription.name=projects/*/subscriptions/*}",
            api::update_subscription,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/ListSubscriptions",
            Verb::GET,
            "{project=projects/*}/subscriptions",
            api::list_subscriptions,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/DeleteSubscription",
            Verb::DELETE,
            "{subscription=projects/*/subscriptions/*}",
            api::delete_subscription,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/ModifyAckDeadline",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:modifyAckDeadline",
            api::modify_ack_deadline,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/Acknowledge",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:acknowledge",
            api::acknowledge,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/Pull",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:pull",
            api::pull,
        );
        if let Some(pull) = self.all.last_mut() {
            pull.waits = true;
        }
        self.add(
            "/google.pubsub.v1.Subscriber/ModifyPushConfig",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:modifyPushConfig",
            api::modify_push_config,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/Seek",
            Verb::POST,
            "{subscription=projects/*/subscriptions/*}:seek",
            api::seek,
        );
    }

    fn add_snapshots(&mut self) {
        self.add(
            "/google.pubsub.v1.Subscriber/GetSnapshot",
            Verb::GET,
            "{snapshot=projects/*/snapshots/*}",
            api::get_snapshot,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/ListSnapshots",
            Verb::GET,
            "{project=projects/*}/snapshots",
            api::list_snapshots,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/CreateSnapshot",
            Verb::PUT,
            "{name=projects/*/snapshots/*}",
            api::create_snapshot,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/UpdateSnapshot",
            Verb::PATCH,
            "{snapshot.name=projects/*/snapshots/*}",
            api::update_snapshot,
        );
        self.add(
            "/google.pubsub.v1.Subscriber/DeleteSnapshot",
            Verb::DELETE,
            "{snapshot=projects/*/snapshots/*}",
            api::delete_snapshot,
        );
    }

    /// The body of the method that was added last is one field of its request.
    pub(super) fn body_is(&mut self, field: &'static str) {
        if let Some(method) = self.all.last_mut() {
            method.body_field = Some(field);
        }
    }

    pub(super) fn add<Request, Answer, Handler, Answering>(
        &mut self,
        path: &'static str,
        verb: Verb,
        template: &'static str,
        handler: Handler,
    ) where
        Request: Named,
        Answer: Named,
        Handler: Fn(Arc<Broker>, Request) -> Answering + Clone + Send + Sync + 'static,
        Answering: Future<Output = Result<Answer, PubsubError>> + Send + 'static,
    {
        let for_rest = handler.clone();
        let rest: Rest = Box::new(move |broker, json| {
            let handler = for_rest.clone();
            Box::pin(async move { to_json(&handler(broker, from_json(json)?).await?) })
        });
        let grpc: Grpc =
            Box::new(move |broker, request| Box::pin(grpc::unary(broker, request, handler.clone())));
        self.add_with(path, verb, template, grpc, rest);
    }

    /// Adds a method whose messages have no descriptor here.
    pub(super) fn add_with(
        &mut self,
        path: &'static str,
        verb: Verb,
        template: &'static str,
        grpc: Grpc,
        rest: Rest,
    ) {
        self.by_path.insert(path, self.all.len());
        let name = path.rsplit('/').next().unwrap_or(path);
        let template = Template::new(template);
        self.all.push(Method { name, waits: false, grpc, rest, body_field: None, verb, template });
    }
}

impl Template {
    fn new(text: &'static str) -> Self {
        let inner = text.strip_prefix('{').unwrap_or(text);
        let (inner, after) = inner.split_once('}').unwrap_or((inner, ""));
        let (field, parts) = inner.split_once('=').unwrap_or((inner, ""));
        Self {
            field,
            parts: parts.split('/').collect(),
            suffix: after.strip_prefix('/'),
            verb: after.strip_prefix(':'),
        }
    }

    /// The resource's name in a path, when the path is of this form.
    fn name_in(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix("/v1/")?;
        let mut path = match self.verb {
            Some(verb) => path.strip_suffix(verb)?.strip_suffix(':')?,
            None => path,
        };
        if let Some(suffix) = self.suffix {
            path = path.strip_suffix(suffix)?.strip_suffix('/')?;
        }
        let segments: Vec<&str> = path.split('/').collect();
        if segments.len() != self.parts.len() {
            return None;
        }
        let mut name = Vec::with_capacity(segments.len());
        for (index, (segment, part)) in segments.iter().zip(&self.parts).enumerate() {
            let segment = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
            // A colon in the last part would be a verb that is not known here.
            let unknown_verb = index + 1 == segments.len() && self.suffix.is_none() && segment.contains(':');
            if (*part != "*" && *part != segment) || unknown_verb {
                return None;
            }
            name.push(segment);
        }
        Some(name.join("/"))
    }
}
