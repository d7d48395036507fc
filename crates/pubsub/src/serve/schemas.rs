//! The service SchemaService: its part of the table of methods, and what each does.

use std::sync::Arc;

use http::Method as Verb;

use super::api::{check_page_token, foreign_page_token};
use super::methods::Methods;
use crate::broker::{Broker, blocking};
use crate::error::PubsubError;
use crate::names::Kind;
use crate::proto::v1;

type Answer<T> = Result<T, PubsubError>;

impl Methods {
    pub(super) fn add_schemas(&mut self) {
        self.add(
            "/google.pubsub.v1.SchemaService/CreateSchema",
            Verb::POST,
            "{parent=projects/*}/schemas",
            create,
        );
        self.body_is("schema");
        self.add("/google.pubsub.v1.SchemaService/GetSchema", Verb::GET, "{name=projects/*/schemas/*}", get);
        self.add(
            "/google.pubsub.v1.SchemaService/ListSchemas",
            Verb::GET,
            "{parent=projects/*}/schemas",
            list,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/ListSchemaRevisions",
            Verb::GET,
            "{name=projects/*/schemas/*}:listRevisions",
            list_revisions,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/CommitSchema",
            Verb::POST,
            "{name=projects/*/schemas/*}:commit",
            commit,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/RollbackSchema",
            Verb::POST,
            "{name=projects/*/schemas/*}:rollback",
            rollback,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/DeleteSchemaRevision",
            Verb::DELETE,
            "{name=projects/*/schemas/*}:deleteRevision",
            delete_revision,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/DeleteSchema",
            Verb::DELETE,
            "{name=projects/*/schemas/*}",
            delete,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/ValidateSchema",
            Verb::POST,
            "{parent=projects/*}/schemas:validate",
            validate,
        );
        self.add(
            "/google.pubsub.v1.SchemaService/ValidateMessage",
            Verb::POST,
            "{parent=projects/*}/schemas:validateMessage",
            validate_message,
        );
    }
}

async fn create(broker: Arc<Broker>, request: v1::CreateSchemaRequest) -> Answer<v1::Schema> {
    blocking(&broker, |broker| broker.create_schema(request)).await
}

async fn get(broker: Arc<Broker>, request: v1::GetSchemaRequest) -> Answer<v1::Schema> {
    blocking(&broker, move |broker| broker.get_schema(&request)).await
}

async fn list(broker: Arc<Broker>, request: v1::ListSchemasRequest) -> Answer<v1::ListSchemasResponse> {
    check_page_token(&request.page_token, &request.parent, Kind::Schema)?;
    blocking(&broker, move |broker| broker.list_schemas(&request)).await
}

async fn list_revisions(
    broker: Arc<Broker>,
    request: v1::ListSchemaRevisionsRequest,
) -> Answer<v1::ListSchemaRevisionsResponse> {
    // Revisions are counted.
    if !request.page_token.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(foreign_page_token(&request.page_token));
    }
    blocking(&broker, move |broker| broker.list_schema_revisions(&request)).await
}

async fn commit(broker: Arc<Broker>, request: v1::CommitSchemaRequest) -> Answer<v1::Schema> {
    blocking(&broker, |broker| broker.commit_schema(request)).await
}

async fn rollback(broker: Arc<Broker>, request: v1::RollbackSchemaRequest) -> Answer<v1::Schema> {
    blocking(&broker, move |broker| broker.rollback_schema(&request)).await
}

async fn delete_revision(
    broker: Arc<Broker>,
    request: v1::DeleteSchemaRevisionRequest,
) -> Answer<v1::Schema> {
    blocking(&broker, move |broker| broker.delete_schema_revision(&request)).await
}

async fn delete(broker: Arc<Broker>, request: v1::DeleteSchemaRequest) -> Answer<()> {
    blocking(&broker, move |broker| broker.delete_schema(&request.name)).await
}

async fn validate(
    broker: Arc<Broker>,
    request: v1::ValidateSchemaRequest,
) -> Answer<v1::ValidateSchemaResponse> {
    blocking(&broker, move |broker| broker.validate_schema(&request)).await?;
    Ok(v1::ValidateSchemaResponse {})
}

async fn validate_message(
    broker: Arc<Broker>,
    request: v1::ValidateMessageRequest,
) -> Answer<v1::ValidateMessageResponse> {
    blocking(&broker, move |broker| broker.validate_message(&request)).await?;
    Ok(v1::ValidateMessageResponse {})
}
