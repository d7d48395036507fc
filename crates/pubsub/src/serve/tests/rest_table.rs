//! REST as its table says (<https://cloud.google.com/pubsub/docs/reference/rest>): each method by its path, with
//! what it does.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, Server, TOPIC};
use crate::serve::methods::Methods;

const PROJECT: &str = "/v1/projects/p";

/// Calls methods, and remembers which.
struct Client {
    server: Server,
    methods: Methods,
    called: BTreeSet<&'static str>,
}

impl Client {
    /// Calls the method that must be found there.
    async fn answer(&mut self, name: &str, verb: &str, path: &str, body: Value) -> (u16, Value) {
        let bare = path.split('?').next().unwrap();
        let found = self.methods.rest(&verb.parse().unwrap(), bare);
        let (method, ..) = found.unwrap_or_else(|| panic!("{verb} {path} is no method"));
        assert_eq!(method.name, name, "{verb} {path}");
        self.called.insert(method.name);
        self.server.rest(verb, path, (!body.is_null()).then_some(body)).await
    }

    /// The same of one that is done.
    async fn call(&mut self, name: &str, verb: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.answer(name, verb, path, body).await;
        assert_eq!(status, 200, "{name}: {answer}");
        answer
    }

    async fn get(&mut self, name: &str, path: &str) -> Value {
        self.call(name, "GET", path, Value::Null).await
    }

    /// All pages of a list, with one entry each.
    async fn pages(&mut self, name: &str, path: &str, field: &str) -> Vec<Value> {
        let (mut entries, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.get(name, &format!("{path}?pageSize=1&pageToken={token}")).await;
            let of_page = page[field].as_array().cloned().unwrap_or_default();
            assert!(of_page.len() <= 1, "{page}");
            entries.extend(of_page);
            match page["nextPageToken"].as_str() {
                None => return entries,
                Some(next) => token = next.to_owned(),
            }
        }
    }

    /// The data of the messages that come, with their ack ids.
    async fn pull(&mut self) -> Vec<(String, Value)> {
        let path = format!("/v1/{SUBSCRIPTION}:pull");
        let answer = self.call("Pull", "POST", &path, json!({"maxMessages": 10})).await;
        let messages = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
        let of = |message: &Value| {
            let data = STANDARD.decode(message["message"]["data"].as_str().unwrap()).unwrap();
            (String::from_utf8(data).unwrap(), message["ackId"].clone())
        };
        messages.iter().map(of).collect()
    }

    /// Deletes a resource, which is gone then.
    async fn delete(&mut self, delete: &str, get: &str, path: &str) {
        assert_eq!(self.call(delete, "DELETE", path, Value::Null).await, json!({}));
        assert_eq!(self.answer(get, "GET", path, Value::Null).await.0, 404);
    }
}

fn names(resources: &[Value]) -> Vec<&str> {
    resources.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// Scenario: every method of the table, by its path and verb, with what it takes and its effects.
/// Guarantees: each does what its name says and leads to its own method; a method that is added without a call
/// here fails the test.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_by_its_path() {
    let mut client = Client { server: Server::start(), methods: Methods::all(), called: BTreeSet::new() };
    topics(&mut client).await;
    subscriptions(&mut client).await;
    messages(&mut client).await;
    snapshots(&mut client).await;
    push_settings(&mut client).await;
    schemas(&mut client).await;
    policies(&mut client).await;
    let all: BTreeSet<&str> = client.methods.all.iter().map(|method| method.name).collect();
    assert_eq!(client.called, all);
}

async fn topics(client: &mut Client) {
    let (top, two) = (format!("/v1/{TOPIC}"), format!("{PROJECT}/topics/two"));
    let made = client.call("CreateTopic", "PUT", &top, json!({"labels": {"a": "b"}})).await;
    assert_eq!((&made["name"], &made["labels"]), (&json!(TOPIC), &json!({"a": "b"})));
    client.call("CreateTopic", "PUT", &two, json!({})).await;
    let change = json!({"topic": {"labels": {"c": "d"}}, "updateMask": "labels"});
    let changed = client.call("UpdateTopic", "PATCH", &top, change).await;
    assert_eq!(client.get("GetTopic", &top).await, changed);
    assert_eq!(changed["labels"], json!({"c": "d"}));
    let all = client.pages("ListTopics", &format!("{PROJECT}/topics"), "topics").await;
    assert_eq!(names(&all), [TOPIC, "projects/p/topics/two"]);
    client.delete("DeleteTopic", "GetTopic", &two).await;
}

async fn subscriptions(client: &mut Client) {
    let (sub, two) = (format!("/v1/{SUBSCRIPTION}"), format!("{PROJECT}/subscriptions/two"));
    for path in [&sub, &two] {
        client.call("CreateSubscription", "PUT", path, json!({"topic": TOPIC})).await;
    }
    let change = json!({"subscription": {"ackDeadlineSeconds": 30}, "updateMask": "ackDeadlineSeconds"});
    let changed = client.call("UpdateSubscription", "PATCH", &sub, change).await;
    assert_eq!(client.get("GetSubscription", &sub).await, changed);
    assert_eq!(changed["ackDeadlineSeconds"], 30);
    let (both, of_topic) = (
        ["projects/p/subscriptions/sub", "projects/p/subscriptions/two"],
        format!("/v1/{TOPIC}/subscriptions"),
    );
    let all = client.pages("ListSubscriptions", &format!("{PROJECT}/subscriptions"), "subscriptions").await;
    assert_eq!(names(&all), both);
    let all = client.pages("ListTopicSubscriptions", &of_topic, "subscriptions").await;
    assert_eq!(json!(all), json!(both));
    assert_eq!(
        client.call("DetachSubscription", "POST", &format!("{two}:detach"), json!({})).await,
        json!({})
    );
    assert_eq!(client.get("GetSubscription", &two).await["detached"], true);
    let left = client.pages("ListTopicSubscriptions", &of_topic, "subscriptions").await;
    assert_eq!(json!(left), json!([SUBSCRIPTION]));
    client.delete("DeleteSubscription", "GetSubscription", &two).await;
}

/// Leaves one message that is not acked.
async fn messages(client: &mut Client) {
    let published = json!({"messages": [{"data": STANDARD.encode("a")}, {"data": STANDARD.encode("b")}]});
    let ids = client.call("Publish", "POST", &format!("/v1/{TOPIC}:publish"), published).await;
    assert_eq!(ids["messageIds"].as_array().unwrap().len(), 2);
    let pulled = client.pull().await;
    assert_eq!((pulled.len(), pulled[0].0.as_str()), (2, "a"));
    let ack = json!({"ackIds": [pulled[0].1]});
    client.call("Acknowledge", "POST", &format!("/v1/{SUBSCRIPTION}:acknowledge"), ack).await;
    assert!(client.pull().await.is_empty(), "b is out");
    let nack = json!({"ackIds": [pulled[1].1], "ackDeadlineSeconds": 0});
    client.call("ModifyAckDeadline", "POST", &format!("/v1/{SUBSCRIPTION}:modifyAckDeadline"), nack).await;
    assert_eq!(client.pull().await[0].0, "b");
}

async fn snapshots(client: &mut Client) {
    let (one, two) = (format!("{PROJECT}/snapshots/one"), format!("{PROJECT}/snapshots/two"));
    for path in [&one, &two] {
        let made = client.call("CreateSnapshot", "PUT", path, json!({"subscription": SUBSCRIPTION})).await;
        assert_eq!(made["topic"], TOPIC);
    }
    let change = json!({"snapshot": {"labels": {"a": "b"}}, "updateMask": "labels"});
    let changed = client.call("UpdateSnapshot", "PATCH", &one, change).await;
    assert_eq!(client.get("GetSnapshot", &one).await, changed);
    assert_eq!(changed["labels"], json!({"a": "b"}));
    let both = ["projects/p/snapshots/one", "projects/p/snapshots/two"];
    let all = client.pages("ListSnapshots", &format!("{PROJECT}/snapshots"), "snapshots").await;
    assert_eq!(names(&all), both);
    let all = client.pages("ListTopicSnapshots", &format!("/v1/{TOPIC}/snapshots"), "snapshots").await;
    assert_eq!(json!(all), json!(both));
    let seek = format!("/v1/{SUBSCRIPTION}:seek");
    let end = json!({"time": "2500-01-01T00:00:00Z"});
    assert_eq!(client.call("Seek", "POST", &seek, end).await, json!({}));
    assert!(client.pull().await.is_empty());
    client.call("Seek", "POST", &seek, json!({"snapshot": both[0]})).await;
    let again = client.pull().await;
    assert_eq!((again.len(), again[0].0.as_str()), (1, "b"));
    let ack = json!({"ackIds": [again[0].1]});
    client.call("Acknowledge", "POST", &format!("/v1/{SUBSCRIPTION}:acknowledge"), ack).await;
    client.delete("DeleteSnapshot", "GetSnapshot", &one).await;
}

async fn push_settings(client: &mut Client) {
    let sub = format!("/v1/{SUBSCRIPTION}");
    let (modify, pull) = (format!("{sub}:modifyPushConfig"), format!("{sub}:pull"));
    let endpoint = "http://127.0.0.1:9/push";
    let config = json!({"pushConfig": {"pushEndpoint": endpoint}});
    assert_eq!(client.call("ModifyPushConfig", "POST", &modify, config).await, json!({}));
    assert_eq!(client.get("GetSubscription", &sub).await["pushConfig"]["pushEndpoint"], endpoint);
    let (status, refused) = client.answer("Pull", "POST", &pull, json!({"maxMessages": 1})).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    client.call("ModifyPushConfig", "POST", &modify, json!({"pushConfig": {}})).await;
    assert!(client.pull().await.is_empty());
}

async fn schemas(client: &mut Client) {
    let (all, one) = (format!("{PROJECT}/schemas"), format!("{PROJECT}/schemas/order"));
    let schema = |field: &str| {
        let fields = json!([{"name": field, "type": "long"}]);
        let definition = json!({"type": "record", "name": "Order", "fields": fields}).to_string();
        json!({"type": "AVRO", "definition": definition})
    };
    let first = client.call("CreateSchema", "POST", &format!("{all}?schemaId=order"), schema("a")).await;
    client.call("CreateSchema", "POST", &format!("{all}?schemaId=other"), schema("a")).await;
    let listed = client.pages("ListSchemas", &all, "schemas").await;
    assert_eq!(names(&listed), ["projects/p/schemas/order", "projects/p/schemas/other"]);
    let commit = json!({"schema": schema("b")});
    let second = client.call("CommitSchema", "POST", &format!("{one}:commit"), commit).await;
    assert_eq!(client.get("GetSchema", &one).await, second);
    let back = json!({"revisionId": first["revisionId"]});
    let third = client.call("RollbackSchema", "POST", &format!("{one}:rollback"), back).await;
    assert_eq!(third["definition"], first["definition"]);
    let revisions = |of: &[Value]| of.iter().map(|one| one["revisionId"].clone()).collect::<Vec<_>>();
    let list = format!("{one}:listRevisions");
    let listed = client.pages("ListSchemaRevisions", &list, "schemas").await;
    assert_eq!(revisions(&listed), revisions(&[third.clone(), second.clone(), first.clone()]));
    let delete = format!("{one}@{}:deleteRevision", second["revisionId"].as_str().unwrap());
    assert_eq!(client.call("DeleteSchemaRevision", "DELETE", &delete, Value::Null).await, third);
    let listed = client.pages("ListSchemaRevisions", &list, "schemas").await;
    assert_eq!(revisions(&listed), revisions(&[third, first]));
    let validate = json!({"schema": schema("a")});
    client.call("ValidateSchema", "POST", &format!("{all}:validate"), validate).await;
    let message = json!({"name": "projects/p/schemas/order", "message": STANDARD.encode(r#"{"a": 1}"#), "encoding": "JSON"});
    client.call("ValidateMessage", "POST", &format!("{all}:validateMessage"), message).await;
    client.delete("DeleteSchema", "GetSchema", &one).await;
}

async fn policies(client: &mut Client) {
    let asked = json!({"permissions": ["pubsub.topics.publish", "pubsub.topics.get"]});
    for name in [TOPIC, SUBSCRIPTION, "projects/p/snapshots/two", "projects/p/schemas/other"] {
        let path = format!("/v1/{name}:testIamPermissions");
        assert_eq!(client.call("TestIamPermissions", "POST", &path, asked.clone()).await, asked);
    }
    let set = json!({"policy": {"bindings": []}});
    for (name, verb, body) in [("GetIamPolicy", "GET", Value::Null), ("SetIamPolicy", "POST", set)] {
        let path = format!("/v1/{TOPIC}:{}{}", name[..1].to_lowercase(), &name[1..]);
        let (status, answer) = client.answer(name, verb, &path, body).await;
        assert_eq!((status, &answer["error"]["status"]), (501, &json!("UNIMPLEMENTED")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("server.auth_token_file"), "{answer}");
    }
}

/// Scenario: a stale ack and a good one of an exactly-once subscription, over REST.
/// Guarantees: the error's details say which id is not good, as over gRPC; the good one counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_ack_is_named_in_the_details() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.enable_exactly_once_delivery = true).await;
    server.publish(TOPIC, &[("a", ""), ("b", "")]).await;
    let first = server.pull().await;
    server.nack(&first[..1]).await.unwrap();
    assert_eq!(server.pull().await.len(), 1);
    let (stale, good) = (&first[0].ack_id, &first[1].ack_id);
    for verb in ["acknowledge", "modifyAckDeadline"] {
        let mut body = json!({"ackIds": [stale, good]});
        if verb == "modifyAckDeadline" {
            body = json!({"ackIds": [stale], "ackDeadlineSeconds": 20});
        }
        let (status, answer) = server.rest("POST", &format!("/v1/{SUBSCRIPTION}:{verb}"), Some(body)).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{answer}");
        let details = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "EXACTLY_ONCE_ACKID_FAILURE",
            "domain": "pubsub.googleapis.com",
            "metadata": {stale: "PERMANENT_FAILURE_INVALID_ACK_ID"},
        }]);
        assert_eq!(answer["error"]["details"], details, "{answer}");
    }
    let (_, other) = server.rest("GET", "/v1/projects/p/topics/missing", None).await;
    assert_eq!(other["error"].get("details"), None, "{other}");
}

/// Scenario: google.iam.v1.IAMPolicy over gRPC, as clients ask it at their start.
/// Guarantees: all permissions that were asked for of what is there; policies are refused, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_those_of_the_port() {
    use crate::serve::iam::{TestIamPermissionsRequest, TestIamPermissionsResponse};
    let server = Server::start();
    server.topic(TOPIC).await;
    let mut client = tonic::client::Grpc::new(server.broker.router());
    let permissions = vec!["pubsub.topics.publish".to_owned()];
    let asked = |resource: &str| {
        let permissions = permissions.clone();
        tonic::Request::new(TestIamPermissionsRequest { resource: resource.to_owned(), permissions })
    };
    let path = |name: &'static str| http::uri::PathAndQuery::from_static(name);
    let test = path("/google.iam.v1.IAMPolicy/TestIamPermissions");
    let codec =
        || tonic_prost::ProstCodec::<TestIamPermissionsRequest, TestIamPermissionsResponse>::default();
    let answer = client.unary(asked(TOPIC), test.clone(), codec()).await.unwrap().into_inner();
    assert_eq!(answer.permissions, permissions);
    let missing = client.unary(asked("projects/p/topics/missing"), test, codec()).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    for name in ["/google.iam.v1.IAMPolicy/GetIamPolicy", "/google.iam.v1.IAMPolicy/SetIamPolicy"] {
        let refused = client.unary(asked(TOPIC), path(name), codec()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
        assert!(refused.message().contains("server.auth_token_file"), "{refused}");
    }
}
