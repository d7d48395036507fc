//! What each method does with a request.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use crate::broker::{Broker, blocking};
use crate::error::{INVALID_ACK_ID, PubsubError, TRY_AGAIN};
use crate::limits::{ACK_REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, RESPONSE_MESSAGES_MAX};
use crate::machine::Room;
use crate::names::Kind;
use crate::proto::v1;
use crate::subscription::Verdict;

type Answer<T> = Result<T, PubsubError>;

pub(super) async fn publish(broker: Arc<Broker>, request: v1::PublishRequest) -> Answer<v1::PublishResponse> {
    broker.publish(request).await
}

pub(super) async fn create_topic(broker: Arc<Broker>, topic: v1::Topic) -> Answer<v1::Topic> {
    blocking(&broker, |broker| broker.create_topic(topic)).await
}

pub(super) async fn update_topic(broker: Arc<Broker>, request: v1::UpdateTopicRequest) -> Answer<v1::Topic> {
    blocking(&broker, |broker| broker.update_topic(request)).await
}

pub(super) async fn get_topic(broker: Arc<Broker>, request: v1::GetTopicRequest) -> Answer<v1::Topic> {
    blocking(&broker, move |broker| broker.get_topic(&request.topic)).await
}

pub(super) async fn delete_topic(broker: Arc<Broker>, request: v1::DeleteTopicRequest) -> Answer<()> {
    blocking(&broker, move |broker| broker.delete_topic(&request.topic)).await
}

pub(super) async fn list_topics(
    broker: Arc<Broker>,
    request: v1::ListTopicsRequest,
) -> Answer<v1::ListTopicsResponse> {
    check_page_token(&request.page_token, &request.project, Kind::Topic)?;
    blocking(&broker, move |broker| broker.list_topics(&request)).await
}

pub(super) async fn list_topic_subscriptions(
    broker: Arc<Broker>,
    request: v1::ListTopicSubscriptionsRequest,
) -> Answer<v1::ListTopicSubscriptionsResponse> {
    check_page_token(&request.page_token, "projects", Kind::Subscription)?;
    blocking(&broker, move |broker| broker.list_topic_subscriptions(&request)).await
}

pub(super) async fn list_topic_snapshots(
    broker: Arc<Broker>,
    request: v1::ListTopicSnapshotsRequest,
) -> Answer<v1::ListTopicSnapshotsResponse> {
    check_page_token(&request.page_token, "projects", Kind::Snapshot)?;
    blocking(&broker, move |broker| broker.list_topic_snapshots(&request)).await
}

pub(super) async fn detach_subscription(
    broker: Arc<Broker>,
    request: v1::DetachSubscriptionRequest,
) -> Answer<v1::DetachSubscriptionResponse> {
    blocking(&broker, move |broker| broker.detach_subscription(&request.subscription)).await?;
    Ok(v1::DetachSubscriptionResponse {})
}

pub(super) async fn create_subscription(
    broker: Arc<Broker>,
    subscription: v1::Subscription,
) -> Answer<v1::Subscription> {
    blocking(&broker, |broker| broker.create_subscription(subscription)).await
}

pub(super) async fn get_subscription(
    broker: Arc<Broker>,
    request: v1::GetSubscriptionRequest,
) -> Answer<v1::Subscription> {
    blocking(&broker, move |broker| broker.get_subscription(&request.subscription)).await
}

pub(super) async fn update_subscription(
    broker: Arc<Broker>,
    request: v1::UpdateSubscriptionRequest,
) -> Answer<v1::Subscription> {
    blocking(&broker, |broker| broker.update_subscription(request)).await
}

pub(super) async fn list_subscriptions(
    broker: Arc<Broker>,
    request: v1::ListSubscriptionsRequest,
) -> Answer<v1::ListSubscriptionsResponse> {
    check_page_token(&request.page_token, &request.project, Kind::Subscription)?;
    blocking(&broker, move |broker| broker.list_subscriptions(&request)).await
}

pub(super) async fn delete_subscription(
    broker: Arc<Broker>,
    request: v1::DeleteSubscriptionRequest,
) -> Answer<()> {
    blocking(&broker, move |broker| broker.delete_subscription(&request.subscription)).await
}

pub(super) async fn modify_push_config(
    broker: Arc<Broker>,
    request: v1::ModifyPushConfigRequest,
) -> Answer<()> {
    blocking(&broker, |broker| broker.modify_push_config(request)).await
}

pub(super) async fn seek(broker: Arc<Broker>, request: v1::SeekRequest) -> Answer<v1::SeekResponse> {
    blocking(&broker, move |broker| broker.seek(&request)).await?;
    Ok(v1::SeekResponse {})
}

pub(super) async fn create_snapshot(
    broker: Arc<Broker>,
    request: v1::CreateSnapshotRequest,
) -> Answer<v1::Snapshot> {
    blocking(&broker, |broker| broker.create_snapshot(request)).await
}

pub(super) async fn get_snapshot(
    broker: Arc<Broker>,
    request: v1::GetSnapshotRequest,
) -> Answer<v1::Snapshot> {
    blocking(&broker, move |broker| broker.get_snapshot(&request.snapshot)).await
}

pub(super) async fn update_snapshot(
    broker: Arc<Broker>,
    request: v1::UpdateSnapshotRequest,
) -> Answer<v1::Snapshot> {
    blocking(&broker, |broker| broker.update_snapshot(request)).await
}

pub(super) async fn list_snapshots(
    broker: Arc<Broker>,
    request: v1::ListSnapshotsRequest,
) -> Answer<v1::ListSnapshotsResponse> {
    check_page_token(&request.page_token, &request.project, Kind::Snapshot)?;
    blocking(&broker, move |broker| broker.list_snapshots(&request)).await
}

pub(super) async fn delete_snapshot(broker: Arc<Broker>, request: v1::DeleteSnapshotRequest) -> Answer<()> {
    blocking(&broker, move |broker| broker.delete_snapshot(&request.snapshot)).await
}

/// Waits for messages, unless asked not to; an empty answer means that there were none.
pub(super) async fn pull(broker: Arc<Broker>, request: v1::PullRequest) -> Answer<v1::PullResponse> {
    let subscription = broker.subscription(&request.subscription)?;
    let messages = usize::try_from(request.max_messages).ok().filter(|messages| *messages > 0);
    let messages = messages.ok_or_else(|| {
        PubsubError::invalid(format!("max_messages is at least 1, not {}", request.max_messages))
    })?;
    let room = Room { messages: messages.min(RESPONSE_MESSAGES_MAX), bytes: RESPONSE_BYTES_MAX };
    let holder = broker.new_holder();
    let (mut state, mut settings) = (subscription.watch_use(), subscription.watch_settings());
    #[expect(deprecated, reason = "clients still send it")]
    let wait = if request.return_immediately { Duration::ZERO } else { broker.config.pull_wait };
    let until = tokio::time::Instant::now() + wait;
    loop {
        subscription.must_be_pulled()?;
        let lease = subscription.settings().ack_deadline;
        let fetched = subscription.fetch(holder, room, lease).await?;
        if !fetched.messages.is_empty() || wait.is_zero() {
            return Ok(v1::PullResponse { received_messages: fetched.messages });
        }
        tokio::select! {
            () = subscription.available.notified() => {}
            _ = state.changed() => {}
            _ = settings.changed() => {}
            () = tokio::time::sleep_until(until) => return Ok(v1::PullResponse::default()),
        }
    }
}

/// Answered when the acks are durable. Exactly-once subscriptions tell which ids were not good; others
/// ignore ids that came too late.
pub(super) async fn acknowledge(broker: Arc<Broker>, request: v1::AcknowledgeRequest) -> Answer<()> {
    let subscription = broker.subscription(&request.subscription)?;
    subscription.must_deliver()?;
    check_ids(&request.ack_ids)?;
    let exactly_once = subscription.settings().rules.exactly_once;
    let (answers, commit) = subscription.acknowledge(request.ack_ids)?;
    let durable = commit.await;
    if !exactly_once {
        durable?;
        return Ok(());
    }
    let stale = answers.with(Verdict::Stale).map(|id| (id.clone(), INVALID_ACK_ID));
    let mut bad: Vec<_> = stale.collect();
    let code = if durable.is_err() { Code::Unavailable } else { Code::InvalidArgument };
    if durable.is_err() {
        bad.extend(answers.with(Verdict::Good).map(|id| (id.clone(), TRY_AGAIN)));
    }
    if bad.is_empty() { Ok(()) } else { Err(PubsubError::ack_ids(code, bad)) }
}

pub(super) async fn modify_ack_deadline(
    broker: Arc<Broker>,
    request: v1::ModifyAckDeadlineRequest,
) -> Answer<()> {
    let subscription = broker.subscription(&request.subscription)?;
    subscription.must_deliver()?;
    check_ids(&request.ack_ids)?;
    let seconds = vec![request.ack_deadline_seconds; request.ack_ids.len()];
    let answers = subscription.modify_deadlines(request.ack_ids, &seconds)?;
    if !subscription.settings().rules.exactly_once {
        return Ok(());
    }
    let bad: Vec<_> = answers.with(Verdict::Stale).map(|id| (id.clone(), INVALID_ACK_ID)).collect();
    if bad.is_empty() { Ok(()) } else { Err(PubsubError::ack_ids(Code::InvalidArgument, bad)) }
}

fn check_ids(ids: &[String]) -> Answer<()> {
    if ids.is_empty() {
        return Err(PubsubError::invalid("there are no ack ids: at least 1 is needed"));
    }
    let bytes: usize = ids.iter().map(String::len).sum();
    if bytes > ACK_REQUEST_BYTES_MAX {
        return Err(PubsubError::invalid(format!(
            "the ack ids have {bytes} bytes, at most {ACK_REQUEST_BYTES_MAX} are taken in one request"
        )));
    }
    Ok(())
}

/// A page token is the last name of the page before. One of another list would answer with a page that has
/// nothing to do with it, or with an empty one, as if there were no more.
pub(super) fn check_page_token(token: &str, parent: &str, kind: Kind) -> Answer<()> {
    let within = token.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
    if token.is_empty() || (within && token.split('/').nth(2) == Some(kind.word())) {
        return Ok(());
    }
    Err(foreign_page_token(token))
}

pub(super) fn foreign_page_token(token: &str) -> PubsubError {
    PubsubError::invalid(format!(
        "page_token {token:?} is none of this list: it is the next_page_token of the page before"
    ))
}
