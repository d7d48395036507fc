//! Schemas as clients see them.

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::schema_service_client::SchemaServiceClient;
use serde_json::json;
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;
use crate::proto::v1::{Encoding, schema::Type};

const SCHEMA: &str = "projects/p/schemas/order";

fn client(server: &Server) -> SchemaServiceClient<Router> {
    SchemaServiceClient::new(server.broker.router())
}

fn avro(fields: &[&str]) -> v1::Schema {
    let fields: Vec<_> = fields.iter().map(|name| json!({"name": name, "type": "long"})).collect();
    let definition = json!({"type": "record", "name": "Order", "fields": fields}).to_string();
    v1::Schema { r#type: Type::Avro.into(), definition, ..Default::default() }
}

async fn create(server: &Server, schema: v1::Schema) -> Result<v1::Schema, tonic::Status> {
    let request = v1::CreateSchemaRequest {
        parent: "projects/p".to_owned(),
        schema: Some(schema),
        schema_id: "order".to_owned(),
    };
    client(server).create_schema(request).await.map(tonic::Response::into_inner)
}

async fn commit(server: &Server, schema: v1::Schema) -> Result<v1::Schema, tonic::Status> {
    let request = v1::CommitSchemaRequest { name: SCHEMA.to_owned(), schema: Some(schema) };
    client(server).commit_schema(request).await.map(tonic::Response::into_inner)
}

async fn publish(server: &Server, data: &[u8]) -> Result<Vec<String>, tonic::Status> {
    let message = v1::PubsubMessage { data: Bytes::copy_from_slice(data), ..Default::default() };
    let request = v1::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message] };
    server.publisher().publish(request).await.map(|answer| answer.into_inner().message_ids)
}

/// Scenario: a schema is made, changed twice, rolled back, and loses a revision; a restart.
/// Guarantees: every revision is there under its id, the newest without one; views show what they should;
/// what breaks a rule is told which; all of it outlives the restart.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_come_and_go() {
    let server = Server::start();
    let first = create(&server, avro(&["a"])).await.unwrap();
    assert_eq!((first.name.as_str(), first.revision_id.len()), (SCHEMA, 8));
    assert_eq!(create(&server, avro(&["a"])).await.unwrap_err().code(), Code::AlreadyExists);
    let second = commit(&server, avro(&["a", "b"])).await.unwrap();
    let proto = v1::Schema { r#type: Type::ProtocolBuffer.into(), ..avro(&[]) };
    assert_eq!(commit(&server, proto).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = v1::Schema { definition: "{".to_owned(), ..avro(&[]) };
    assert_eq!(commit(&server, bad).await.unwrap_err().code(), Code::InvalidArgument);
    let rollback =
        v1::RollbackSchemaRequest { name: SCHEMA.to_owned(), revision_id: first.revision_id.clone() };
    let third = client(&server).rollback_schema(rollback).await.unwrap().into_inner();
    assert_eq!(third.definition, first.definition);
    let server = server.restart();
    let get = |name: String, view: v1::SchemaView| v1::GetSchemaRequest { name, view: view.into() };
    let newest = get(SCHEMA.to_owned(), v1::SchemaView::Unspecified);
    assert_eq!(client(&server).get_schema(newest).await.unwrap().into_inner(), third);
    let of_second = get(format!("{SCHEMA}@{}", second.revision_id), v1::SchemaView::Basic);
    let basic = client(&server).get_schema(of_second).await.unwrap().into_inner();
    assert_eq!((&basic.revision_id, basic.definition.as_str()), (&second.revision_id, ""));
    let missing = get(format!("{SCHEMA}@00000000"), v1::SchemaView::Full);
    assert_eq!(client(&server).get_schema(missing).await.unwrap_err().code(), Code::NotFound);
    let list = v1::ListSchemasRequest { parent: "projects/p".to_owned(), ..Default::default() };
    let all = client(&server).list_schemas(list).await.unwrap().into_inner().schemas;
    assert_eq!((all.len(), all[0].definition.as_str()), (1, ""));
    let delete = v1::DeleteSchemaRevisionRequest {
        name: format!("{SCHEMA}@{}", third.revision_id),
        ..Default::default()
    };
    let left = client(&server).delete_schema_revision(delete).await.unwrap().into_inner();
    assert_eq!(left.revision_id, second.revision_id);
    let list = v1::ListSchemaRevisionsRequest {
        name: SCHEMA.to_owned(),
        view: v1::SchemaView::Full.into(),
        ..Default::default()
    };
    let revisions = client(&server).list_schema_revisions(list).await.unwrap().into_inner().schemas;
    assert_eq!(revisions, [second, first]);
    let delete = v1::DeleteSchemaRequest { name: SCHEMA.to_owned() };
    client(&server).delete_schema(delete.clone()).await.unwrap();
    assert_eq!(client(&server).delete_schema(delete).await.unwrap_err().code(), Code::NotFound);
}

/// Scenario: a topic with a schema and a range of revisions; messages that fit the newest, an older one and
/// none; a new revision; a restart; the schema is deleted.
/// Guarantees: what fits no revision of the range is refused with the reason; subscribers are told the
/// revision; a revision that the range leaves out does not count; without its schema a topic takes nothing,
/// and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_takes_what_fits_its_schema() {
    let server = Server::start();
    let first = create(&server, avro(&["a"])).await.unwrap();
    let second = commit(&server, avro(&["b"])).await.unwrap();
    let settings = v1::SchemaSettings {
        schema: SCHEMA.to_owned(),
        encoding: Encoding::Json.into(),
        last_revision_id: second.revision_id.clone(),
        ..Default::default()
    };
    let topic = |settings: v1::SchemaSettings| v1::Topic {
        name: TOPIC.to_owned(),
        schema_settings: Some(settings),
        ..Default::default()
    };
    for (settings, code) in [
        (v1::SchemaSettings { schema: format!("{SCHEMA}-other"), ..settings.clone() }, Code::NotFound),
        (v1::SchemaSettings { encoding: 0, ..settings.clone() }, Code::InvalidArgument),
        (
            v1::SchemaSettings { first_revision_id: "00000000".to_owned(), ..settings.clone() },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(server.publisher().create_topic(topic(settings)).await.unwrap_err().code(), code);
    }
    server.publisher().create_topic(topic(settings)).await.unwrap();
    server.subscription(|_| {}).await;
    publish(&server, br#"{"a": 1}"#).await.unwrap();
    publish(&server, br#"{"b": 1}"#).await.unwrap();
    commit(&server, avro(&["c"])).await.unwrap();
    let server = server.restart();
    for bad in [&br#"{"c": 1}"#[..], b"x"] {
        let error = publish(&server, bad).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(&format!("{SCHEMA}@{}", second.revision_id)), "{error}");
    }
    let received = server.pull().await;
    let attributes: Vec<_> = received.iter().map(|one| one.message.clone().unwrap().attributes).collect();
    assert_eq!(attributes[0]["googclient_schemarevisionid"], first.revision_id);
    assert_eq!(attributes[1]["googclient_schemarevisionid"], second.revision_id);
    assert_eq!(attributes[1]["googclient_schemaname"], SCHEMA);
    assert_eq!(attributes[1]["googclient_schemaencoding"], "JSON");
    let bound = v1::DeleteSchemaRevisionRequest {
        name: format!("{SCHEMA}@{}", second.revision_id),
        ..Default::default()
    };
    let error = client(&server).delete_schema_revision(bound).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    client(&server).delete_schema(v1::DeleteSchemaRequest { name: SCHEMA.to_owned() }).await.unwrap();
    let server = server.restart();
    let error = publish(&server, br#"{"b": 1}"#).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("was deleted"), "{error}");
    let update = |topic: v1::Topic, path: &str| v1::UpdateTopicRequest {
        topic: Some(topic),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
    };
    let bare = || v1::Topic { name: TOPIC.to_owned(), ..Default::default() };
    let labelled = v1::Topic { labels: [("a".to_owned(), "b".to_owned())].into(), ..bare() };
    let updated = server.publisher().update_topic(update(labelled, "labels")).await.unwrap().into_inner();
    assert_eq!(updated.schema_settings.unwrap().schema, "_deleted-schema_");
    server.publisher().update_topic(update(bare(), "schema_settings")).await.unwrap();
    publish(&server, b"anything").await.unwrap();
    assert!(server.rest("GET", &format!("/v1/{SUBSCRIPTION}"), None).await.0 == 200);
}

/// Scenario: Protocol Buffers over REST: made, tried with messages in both encodings, listed.
/// Guarantees: the body of a new schema is the schema itself, its id is in the query; what does not fit is
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_over_rest() {
    let server = Server::start();
    let definition = r#"syntax = "proto3"; message Order { int64 id = 1; }"#;
    let schema = json!({"type": "PROTOCOL_BUFFER", "definition": definition});
    let path = "/v1/projects/p/schemas";
    let (status, made) = server.rest("POST", &format!("{path}?schemaId=order"), Some(schema.clone())).await;
    assert_eq!((status, &made["name"]), (200, &json!(SCHEMA)), "{made}");
    let (_, list) = server.rest("GET", &format!("{path}?view=FULL"), None).await;
    assert_eq!(list["schemas"][0]["definition"], definition);
    let at = format!("{path}/order@{}", made["revisionId"].as_str().unwrap());
    assert_eq!(server.rest("GET", &at, None).await.1["definition"], definition);
    let validate = format!("{path}:validate");
    assert_eq!(server.rest("POST", &validate, Some(json!({"schema": schema}))).await.0, 200);
    let bad = json!({"schema": {"type": "PROTOCOL_BUFFER", "definition": "message"}});
    assert_eq!(server.rest("POST", &validate, Some(bad)).await.0, 400);
    for (message, encoding, status) in [
        (&br#"{"id": "7"}"#[..], "JSON", 200),
        (br#"{"other": 7}"#, "JSON", 400),
        (&[0x08, 0x07], "BINARY", 200),
        (&[0x08], "BINARY", 400),
        (&[], "ENCODING_UNSPECIFIED", 400),
    ] {
        let body = json!({"name": SCHEMA, "message": STANDARD.encode(message), "encoding": encoding});
        let (code, answer) = server.rest("POST", &format!("{path}:validateMessage"), Some(body)).await;
        assert_eq!(code, status, "{message:?}: {answer}");
    }
    let (status, _) = server.rest("DELETE", &format!("{path}/order"), None).await;
    assert_eq!(status, 200);
}
