//! The topics and subscriptions of the test.

use anyhow::{Context, Result};

use crate::pubsub::v1::{CreateSnapshotRequest, DeadLetterPolicy, Subscription, Topic};
use crate::pubsub::{Clients, v1};

/// Everything that is published goes here.
pub const MAIN: &str = "projects/crash/topics/main";
/// What nobody could deal with goes here.
pub const DEAD: &str = "projects/crash/topics/dead";
/// Deliveries after which a message is a dead letter.
pub const ATTEMPTS_MAX: i32 = 5;
/// Leases that the test must never see end by themselves: a message of an exactly-once subscription that comes
/// again without a restart is then a fault for certain.
const LONG_DEADLINE_SECONDS: i32 = 600;

/// The subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sub {
    /// At least once, nothing else.
    Plain,
    /// In the order of keys.
    Ordered,
    /// Only messages of the kind `odd`.
    Filtered,
    /// Exactly once.
    Exact,
    /// With a dead-letter policy; subscribers nack its bad messages every time.
    Poison,
    /// What came to the dead-letter topic.
    Letters,
    /// Sent back to snapshots by its only subscriber.
    Sought,
}

impl Sub {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Ordered, Self::Filtered, Self::Exact, Self::Poison, Self::Letters, Self::Sought];

    /// Its full name.
    pub fn path(self) -> String {
        format!("projects/crash/subscriptions/{}", self.name())
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ordered => "ordered",
            Self::Filtered => "filtered",
            Self::Exact => "exact",
            Self::Poison => "poison",
            Self::Letters => "letters",
            Self::Sought => "sought",
        }
    }

    fn resource(self) -> Subscription {
        let topic = if self == Self::Letters { DEAD } else { MAIN };
        let base = Subscription { name: self.path(), topic: topic.to_owned(), ..Subscription::default() };
        match self {
            Self::Plain | Self::Letters | Self::Sought => base,
            Self::Ordered => Subscription { enable_message_ordering: true, ..base },
            Self::Filtered => Subscription { filter: "attributes.kind = \"odd\"".to_owned(), ..base },
            Self::Exact => Subscription {
                enable_exactly_once_delivery: true,
                ack_deadline_seconds: LONG_DEADLINE_SECONDS,
                ..base
            },
            Self::Poison => Subscription {
                dead_letter_policy: Some(DeadLetterPolicy {
                    dead_letter_topic: DEAD.to_owned(),
                    max_delivery_attempts: ATTEMPTS_MAX,
                }),
                ..base
            },
        }
    }
}

/// Makes all of them, on a server that runs.
pub async fn create(clients: &mut Clients) -> Result<()> {
    for name in [MAIN, DEAD] {
        let topic = Topic { name: name.to_owned(), ..Topic::default() };
        clients.publisher.create_topic(topic).await.with_context(|| format!("cannot create {name}"))?;
    }
    for sub in Sub::ALL {
        let made = clients.subscriber.create_subscription(sub.resource()).await;
        made.with_context(|| format!("cannot create {}", sub.path()))?;
    }
    Ok(())
}

/// A request for a snapshot of the subscription that is sent back to them.
pub fn snapshot_request(number: u64) -> CreateSnapshotRequest {
    CreateSnapshotRequest {
        name: format!("projects/crash/snapshots/snap-{number}"),
        subscription: Sub::Sought.path(),
        ..CreateSnapshotRequest::default()
    }
}

/// A pull of at most so many messages; it waits for one unless told not to.
pub fn pull_request(sub: Sub, messages_max: i32, at_once: bool) -> v1::PullRequest {
    #[expect(deprecated, reason = "a drain that waits ten seconds for nothing would take long")]
    v1::PullRequest { subscription: sub.path(), return_immediately: at_once, max_messages: messages_max }
}
