//! How streams and waiting pulls end.

use std::time::Duration;

use tonic::{Code, Status};

use super::streams::{first_request, stream};
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

/// What ends them.
#[derive(Debug, Clone, Copy)]
enum End {
    Deleted,
    Detached,
    /// It pushes from then on.
    Pushes,
    /// The same, by ModifyPushConfig.
    PushesNow,
}

impl End {
    const ALL: [(Self, Code, &str); 4] = [
        (Self::Deleted, Code::NotFound, SUBSCRIPTION),
        (Self::Detached, Code::FailedPrecondition, "is detached"),
        (Self::Pushes, Code::FailedPrecondition, "pushes its messages"),
        (Self::PushesNow, Code::FailedPrecondition, "pushes its messages"),
    ];

    async fn make(self, server: &Server) {
        let subscription = SUBSCRIPTION.to_owned();
        // Nobody listens there, and nothing is published.
        let push_endpoint = "http://127.0.0.1:9/".to_owned();
        let push_config = Some(v1::PushConfig { push_endpoint, ..Default::default() });
        match self {
            Self::Deleted => {
                let request = v1::DeleteSubscriptionRequest { subscription };
                server.subscriber().delete_subscription(request).await.unwrap();
            }
            Self::Detached => {
                let request = v1::DetachSubscriptionRequest { subscription };
                server.publisher().detach_subscription(request).await.unwrap();
            }
            Self::Pushes => {
                let request = v1::UpdateSubscriptionRequest {
                    subscription: Some(v1::Subscription {
                        name: subscription,
                        push_config,
                        ..Default::default()
                    }),
                    update_mask: Some(prost_types::FieldMask { paths: vec!["push_config".to_owned()] }),
                };
                server.subscriber().update_subscription(request).await.unwrap();
            }
            Self::PushesNow => {
                let request = v1::ModifyPushConfigRequest { subscription, push_config };
                server.subscriber().modify_push_config(request).await.unwrap();
            }
        }
    }
}

fn check(error: &Status, code: Code, text: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.message().contains(text), "{error}");
}

/// What comes of itself comes long before this; what does not come is an error.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it is still waiting")
}

/// A server whose pulls wait for as long as the test takes.
async fn server() -> Server {
    let server = Server::on(millrace_disk::sim::SimDisk::new(7), |config| {
        config.pull_wait = Duration::from_secs(3_600);
    });
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    server
}

/// Scenario: a subscription is deleted, detached or turned to push while idle streams are open.
/// Guarantees: they all end at once, and say why.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_subscription() {
    for (end, code, text) in End::ALL {
        let server = server().await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(stream(&server, first_request()).await);
        }
        end.make(&server).await;
        for (_requests, mut responses) in streams {
            check(&soon(responses.message()).await.unwrap_err(), code, text);
        }
    }
}

/// Scenario: the same while a stream holds as much as it may, for ten minutes.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_ends_with_its_subscription() {
    for (end, code, text) in End::ALL {
        let server = server().await;
        server.publish(TOPIC, &[("held", "")]).await;
        let first = v1::StreamingPullRequest {
            max_outstanding_messages: 1,
            stream_ack_deadline_seconds: 600,
            ..first_request()
        };
        let (_requests, mut responses) = stream(&server, first).await;
        assert_eq!(responses.message().await.unwrap().unwrap().received_messages.len(), 1);
        end.make(&server).await;
        check(&soon(responses.message()).await.unwrap_err(), code, text);
    }
}

/// Scenario: the same while pulls wait for a message.
/// Guarantees: they are all answered at once, and the answers say why.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_pulls_end_with_their_subscription() {
    for (end, code, text) in End::ALL {
        let server = server().await;
        let places = server.broker.config.streams_max;
        let mut pulls = Vec::new();
        for _ in 0..3 {
            let mut subscriber = server.subscriber();
            let subscription = SUBSCRIPTION.to_owned();
            let request = v1::PullRequest { subscription, max_messages: 1, ..Default::default() };
            pulls.push(tokio::spawn(async move { subscriber.pull(request).await }));
            while server.broker.streams.available_permits() + pulls.len() > places {
                tokio::task::yield_now().await;
            }
        }
        end.make(&server).await;
        for pull in pulls {
            check(&soon(pull).await.unwrap().unwrap_err(), code, text);
        }
    }
}

/// Scenario: streams that may be open for 100 ms, idle and holding a message.
/// Guarantees: they end with UNAVAILABLE, at which clients open another one; that one works.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_open_long_enough_ends() {
    let server = Server::on(millrace_disk::sim::SimDisk::new(7), |config| {
        config.stream_lifetime = Duration::from_millis(100);
    });
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    for _ in 0..2 {
        let (_requests, mut responses) = stream(&server, first_request()).await;
        check(&responses.message().await.unwrap_err(), Code::Unavailable, "open another one");
    }
    server.publish(TOPIC, &[("held", "")]).await;
    let (_requests, mut responses) = stream(&server, first_request()).await;
    let received = responses.message().await.unwrap().unwrap().received_messages;
    check(&responses.message().await.unwrap_err(), Code::Unavailable, "open another one");
    server.ack(&received).await.unwrap();
    assert!(server.pull().await.is_empty());
}
