//! The service google.iam.v1.IAMPolicy, as far as clients need it to start: who may call at all is decided by
//! the port, so whoever got through may do everything
//! (<https://github.com/googleapis/googleapis/blob/master/google/iam/v1/iam_policy.proto>).

use std::sync::Arc;

use axum::body::Body;
use http::Method as Verb;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::grpc;
use super::methods::Methods;
use crate::broker::{Broker, blocking};
use crate::error::PubsubError;
use crate::proto::{Named, v1};

/// Which of these permissions the caller has on a resource.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TestIamPermissionsRequest {
    #[prost(string, tag = "1")]
    pub(super) resource: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) permissions: Vec<String>,
}

/// Those that the caller has.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct TestIamPermissionsResponse {
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) permissions: Vec<String>,
}

impl Named for TestIamPermissionsRequest {
    const NAME: &'static str = "google.iam.v1.TestIamPermissionsRequest";
}

impl Named for TestIamPermissionsResponse {
    const NAME: &'static str = "google.iam.v1.TestIamPermissionsResponse";
}

impl Methods {
    pub(super) fn add_iam(&mut self) {
        self.add_with(
            "/google.iam.v1.IAMPolicy/TestIamPermissions",
            Verb::POST,
            "{resource=projects/*/*/*}:testIamPermissions",
            Box::new(|broker, request| Box::pin(grpc::unary(broker, request, test_permissions))),
            Box::new(|broker, json| {
                Box::pin(async move {
                    let request = serde_json::from_value(json).map_err(|error| {
                        PubsubError::invalid(format!("Invalid JSON payload received. {error}"))
                    })?;
                    let answer = test_permissions(broker, request).await?;
                    serde_json::to_value(answer).map_err(|error| PubsubError::internal(error.to_string()))
                })
            }),
        );
        for (path, verb, template) in [
            ("/google.iam.v1.IAMPolicy/GetIamPolicy", Verb::GET, "{resource=projects/*/*/*}:getIamPolicy"),
            ("/google.iam.v1.IAMPolicy/SetIamPolicy", Verb::POST, "{resource=projects/*/*/*}:setIamPolicy"),
        ] {
            self.add_with(
                path,
                verb,
                template,
                Box::new(|_, _| Box::pin(async { Status::from(no_policies()).into_http::<Body>() })),
                Box::new(|_, _| Box::pin(async { Err(no_policies()) })),
            );
        }
    }
}

fn no_policies() -> PubsubError {
    PubsubError::unimplemented(
        "there are no IAM policies here: who may call is decided by server.bind and server.auth_token_file",
    )
}

/// All that was asked, for a resource that is there.
async fn test_permissions(
    broker: Arc<Broker>,
    request: TestIamPermissionsRequest,
) -> Result<TestIamPermissionsResponse, PubsubError> {
    if let Some(pattern) = request.permissions.iter().find(|permission| permission.contains('*')) {
        return Err(PubsubError::invalid(format!(
            "permissions: {pattern:?} has a wildcard, but each permission is named in full"
        )));
    }
    let TestIamPermissionsRequest { resource, permissions } = request;
    blocking(&broker, move |broker| check_exists(broker, &resource)).await?;
    Ok(TestIamPermissionsResponse { permissions })
}

fn check_exists(broker: &Broker, name: &str) -> Result<(), PubsubError> {
    match name.split('/').nth(2) {
        Some("topics") => broker.get_topic(name).map(drop),
        Some("subscriptions") => broker.get_subscription(name).map(drop),
        Some("snapshots") => broker.get_snapshot(name).map(drop),
        Some("schemas") => {
            let view = v1::SchemaView::Basic.into();
            broker.get_schema(&v1::GetSchemaRequest { name: name.to_owned(), view }).map(drop)
        }
        _ => Err(PubsubError::invalid(format!(
            "resource {name:?} must have the form projects/PROJECT/KIND/ID, where KIND is topics, subscriptions, snapshots or schemas"
        ))),
    }
}
