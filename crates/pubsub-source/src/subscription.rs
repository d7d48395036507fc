//! The subscription that is read: one that is there, or a temporary one of a topic.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::SubscriptionAdmin;
use google_cloud_pubsub::model::{ExpirationPolicy, Subscription};
use millrace_model::TopicId;

use crate::config::{Input, SourceConfig, name_parts};
use crate::connect::Clients;
use crate::error::SourceError;

/// The ack deadline that Beam gives its temporary subscriptions, in seconds (`PubsubUnboundedSource`).
const ACK_DEADLINE_SECONDS: i32 = 60;
/// A temporary subscription that nobody reads for as long as it keeps messages anyway (the service's default)
/// is removed by the service, so that one of a machine that is gone does not cost for ever.
const EXPIRES_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long one request about a subscription may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of a topic's id that goes into the name of its subscription, which has at most 255 characters.
const TOPIC_CHARACTERS_MAX: usize = 200;

/// The name of the subscription that a source reads. That of a temporary one follows from the topic that
/// it fills, so a restart finds the same one, and nothing that was published meanwhile is missed.
pub(crate) fn name(config: &SourceConfig, filled: TopicId) -> String {
    match &config.input {
        Input::Subscription(name) => name.clone(),
        Input::Topic(topic) => {
            let (project, id) = name_parts("topic", topic).unwrap_or_default();
            let project = config.subscription_project.as_deref().unwrap_or(project);
            let id: String = id.chars().take(TOPIC_CHARACTERS_MAX).collect();
            let mut seed = filled.0.to_vec();
            for part in [topic, &config.name] {
                seed.extend_from_slice(&(part.len() as u64).to_le_bytes());
                seed.extend_from_slice(part.as_bytes());
            }
            let digest = blake3::hash(&seed);
            format!("projects/{project}/subscriptions/{id}_millrace_{}", hex::encode(&digest.as_bytes()[..8]))
        }
    }
}

/// Makes a temporary subscription if it is not there, and answers whether it did; one that has a name is
/// somebody else's to make.
pub(crate) async fn ensure(
    admin: &SubscriptionAdmin,
    config: &SourceConfig,
    name: &str,
) -> Result<bool, SourceError> {
    match &config.input {
        Input::Subscription(_) => Ok(false),
        Input::Topic(topic) => make(admin, config, name, topic).await,
    }
}

/// Asks the service whether what is to be read is there.
pub(crate) async fn check(clients: &Clients, config: &SourceConfig) -> Result<(), SourceError> {
    let found = match &config.input {
        Input::Subscription(name) => ask(&clients.admin, config, name).await,
        Input::Topic(topic) => {
            let request = clients.topics.get_topic().set_topic(topic).send();
            answered(config, topic, request).await
        }
    };
    match found {
        // Who may read need not be allowed to look.
        Err(SourceError::Denied(_)) => Ok(()),
        found => found,
    }
}

/// Asks the service whether the subscription is there.
pub(crate) async fn ask(
    admin: &SubscriptionAdmin,
    config: &SourceConfig,
    name: &str,
) -> Result<(), SourceError> {
    let request = admin.get_subscription().set_subscription(name).send();
    answered(config, name, request).await
}

/// The answer to a request about a resource, if it comes in time.
async fn answered<T>(
    config: &SourceConfig,
    resource: &str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<(), SourceError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(SourceError::explain(config, resource, &error)),
        Err(_) => Err(no_answer(config)),
    }
}

async fn make(
    admin: &SubscriptionAdmin,
    config: &SourceConfig,
    name: &str,
    topic: &str,
) -> Result<bool, SourceError> {
    let expires =
        google_cloud_wkt::Duration::clamp(i64::try_from(EXPIRES_AFTER.as_secs()).unwrap_or(i64::MAX), 0);
    let subscription = Subscription::new()
        .set_name(name)
        .set_topic(topic)
        .set_ack_deadline_seconds(ACK_DEADLINE_SECONDS)
        .set_expiration_policy(ExpirationPolicy::new().set_ttl(expires));
    let request = admin.create_subscription().with_request(subscription).send();
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(_)) => {
            tracing::info!(source = %config.name, subscription = name, topic, "made a temporary subscription");
            Ok(true)
        }
        Ok(Err(error)) if code(&error) == Some(Code::AlreadyExists) => Ok(false),
        Ok(Err(error)) => Err(SourceError::explain(config, topic, &error)),
        Err(_) => Err(no_answer(config)),
    }
}

/// Deletes a temporary subscription; that of somebody else stays.
pub(crate) async fn delete_temporary(
    admin: &SubscriptionAdmin,
    config: &SourceConfig,
    name: &str,
) -> Result<(), SourceError> {
    if matches!(config.input, Input::Subscription(_)) {
        return Ok(());
    }
    let request = admin.delete_subscription().set_subscription(name).send();
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(())) => {
            tracing::info!(source = %config.name, subscription = name, "deleted the temporary subscription");
            Ok(())
        }
        Ok(Err(error)) if code(&error) == Some(Code::NotFound) => Ok(()),
        Ok(Err(error)) => Err(SourceError::explain(config, name, &error)),
        Err(_) => Err(no_answer(config)),
    }
}

fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

fn no_answer(config: &SourceConfig) -> SourceError {
    let (at, seconds) = (config.endpoint.address(), REQUEST_TIMEOUT.as_secs());
    SourceError::Unreachable(format!("{at} does not answer within {seconds} seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str, topic: &str, filled: u8) -> String {
        let config = SourceConfig::new(source.to_owned(), Input::Topic(topic.to_owned()), [0; 32]);
        name(&config, TopicId([filled; 16]))
    }

    #[test]
    fn a_temporary_subscription_is_found_again() {
        let first = named("s", "projects/p/topics/top", 1);
        assert!(first.starts_with("projects/p/subscriptions/top_millrace_"), "{first}");
        assert_eq!(first, named("s", "projects/p/topics/top", 1));
        // Another data directory, another source, another topic: another subscription.
        for other in [
            named("s", "projects/p/topics/top", 2),
            named("t", "projects/p/topics/top", 1),
            named("s", "projects/q/topics/top", 1),
        ] {
            assert_ne!(first, other);
        }
        let long = named("s", &format!("projects/p/topics/{}", "t".repeat(255)), 1);
        let id = long.rsplit('/').next().unwrap();
        assert_eq!(millrace_model::names::resource_name_violation(id), None);
    }

    #[test]
    fn a_topic_of_another_project_is_read_through_ones_own() {
        let mut config =
            SourceConfig::new("s".to_owned(), Input::Topic("projects/public/topics/top".to_owned()), [0; 32]);
        config.subscription_project = Some("mine".to_owned());
        assert!(name(&config, TopicId([1; 16])).starts_with("projects/mine/subscriptions/top_millrace_"));
    }
}
