//! A subscription's settings: what a request may say, what it means where it says nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::config::PubsubConfig;
use crate::error::PubsubError;
use crate::filter::Filter;
use crate::limits;
use crate::machine::{Backoff, Rules};
use crate::names::{Kind, Name};
use crate::proto::v1;
use crate::push::Endpoint;
use crate::subscription::ExportSettings;
use crate::transforms::Transforms;

/// The name of a topic that is no more, as the service has it.
pub(crate) const DELETED_TOPIC: &str = "_deleted_topic_";

/// A subscription's settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The resource, with defaults filled in.
    pub(crate) resource: v1::Subscription,
    pub(crate) ack_deadline: Duration,
    pub(crate) filter: Option<Filter>,
    pub(crate) rules: Rules,
    /// How long open messages are kept.
    pub(crate) retention: Duration,
    /// How long it lives unused; `None`: for ever.
    pub(crate) expires_after: Option<Duration>,
    /// The name of the topic that messages go to after too many attempts.
    pub(crate) dead_letter_topic: Option<String>,
    /// Where messages are pushed to; `None`: they are pulled.
    pub(crate) push: Option<Endpoint>,
    /// The table that messages go to; `None`: they are delivered.
    pub(crate) export: Option<ExportSettings>,
    /// What messages go through before they are delivered.
    pub(crate) transforms: Option<Arc<Transforms>>,
}

impl Settings {
    /// Checks a resource and fills in what it does not say.
    pub(crate) fn new(mut resource: v1::Subscription, config: &PubsubConfig) -> Result<Self, PubsubError> {
        refuse_what_is_not_served(&resource)?;
        ignore_what_is_not_kept(&mut resource);
        let export = ExportSettings::new(&mut resource, config)?;
        check_labels(&resource.labels)?;
        let seconds = &mut resource.ack_deadline_seconds;
        if *seconds == 0 {
            *seconds = limits::ACK_DEADLINE_SECONDS_DEFAULT;
        }
        check_deadline(*seconds)?;
        let ack_deadline = Duration::from_secs(u64::from(seconds.unsigned_abs()));
        let retention = resource
            .message_retention_duration
            .get_or_insert(prost_types::Duration { seconds: limits::RETENTION_SECONDS_DEFAULT, nanos: 0 });
        let retention = check_retention(retention)?;
        let expiration = resource.expiration_policy.get_or_insert(v1::ExpirationPolicy {
            ttl: Some(prost_types::Duration { seconds: limits::EXPIRATION_SECONDS_DEFAULT, nanos: 0 }),
        });
        let expires_after = expiration.ttl.as_ref().map(check_expiration).transpose()?;
        let backoff = resource.retry_policy.as_mut().map(check_retry_policy).transpose()?;
        let dead_letter = resource.dead_letter_policy.as_mut().map(check_dead_letter_policy).transpose()?;
        let filter = match resource.filter.as_str() {
            "" => None,
            text => Some(Filter::parse(text).map_err(|error| PubsubError::invalid(error.to_string()))?),
        };
        resource.state = v1::subscription::State::Active.into();
        let rules = Rules {
            ordered: resource.enable_message_ordering,
            exactly_once: resource.enable_exactly_once_delivery,
            backoff,
            attempts_max: dead_letter.as_ref().map(|(_, attempts)| *attempts),
            tracked_max: config.outstanding_messages_max,
        };
        let dead_letter_topic = dead_letter.map(|(topic, _)| topic);
        let push = resource.push_config.as_ref().map(Endpoint::new).transpose()?.flatten();
        if push.is_some() && rules.exactly_once {
            return Err(PubsubError::invalid(
                "enable_exactly_once_delivery and push_config exclude each other: an endpoint has no ack ids",
            ));
        }
        let transforms = Transforms::load(&resource.message_transforms, config.transform_child.as_ref())?;
        Ok(Self {
            resource,
            ack_deadline,
            filter,
            rules,
            retention,
            expires_after,
            dead_letter_topic,
            push,
            export,
            transforms,
        })
    }
}

/// Refuses what would be accepted and then not be done.
fn refuse_what_is_not_served(resource: &v1::Subscription) -> Result<(), PubsubError> {
    if resource.cloud_storage_config.is_some() || resource.bigtable_config.is_some() {
        return Err(PubsubError::unimplemented(
            "exports to Cloud Storage and Bigtable are not served: use Pull or StreamingPull",
        ));
    }
    Ok(())
}

/// What only the server says, and what only a new resource may say.
fn ignore_what_is_not_kept(resource: &mut v1::Subscription) {
    resource.topic_message_retention_duration = None;
    resource.analytics_hub_subscription_info = None;
    // Only lists of an earlier version have any.
    resource.tags.clear();
}

/// Refuses the tags of a new resource.
pub(crate) fn refuse_tags(tags: &std::collections::BTreeMap<String, String>) -> Result<(), PubsubError> {
    match tags.is_empty() {
        true => Ok(()),
        false => Err(PubsubError::unimplemented(
            "tags are not served: there are no policies here that they could select; use labels",
        )),
    }
}

/// Checks an ack deadline that is no nack.
pub(crate) fn check_deadline(seconds: i32) -> Result<(), PubsubError> {
    if limits::ACK_DEADLINE_SECONDS.contains(&seconds) {
        return Ok(());
    }
    let (min, max) = limits::ACK_DEADLINE_SECONDS.into_inner();
    Err(PubsubError::invalid(format!("an ack deadline is {min} to {max} seconds, not {seconds}")))
}

/// Checks how long messages are kept.
pub(crate) fn check_retention(duration: &prost_types::Duration) -> Result<Duration, PubsubError> {
    let (min, max) = limits::RETENTION_SECONDS.into_inner();
    between("message_retention_duration", duration, min, max)
}

fn check_expiration(ttl: &prost_types::Duration) -> Result<Duration, PubsubError> {
    let (min, max) = limits::EXPIRATION_SECONDS.into_inner();
    between("expiration_policy.ttl", ttl, min, max)
}

fn check_retry_policy(policy: &mut v1::RetryPolicy) -> Result<Backoff, PubsubError> {
    let default = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let max = limits::BACKOFF_SECONDS_MAX;
    let minimum = policy.minimum_backoff.get_or_insert(default(10));
    let min = between("retry_policy.minimum_backoff", minimum, 0, max)?;
    let maximum = policy.maximum_backoff.get_or_insert(default(max));
    let max = between("retry_policy.maximum_backoff", maximum, 0, max)?;
    if min > max {
        return Err(PubsubError::invalid("retry_policy: minimum_backoff is larger than maximum_backoff"));
    }
    Ok(Backoff { min, max })
}

fn check_dead_letter_policy(policy: &mut v1::DeadLetterPolicy) -> Result<(String, u32), PubsubError> {
    let topic = Name::parse(Kind::Topic, &policy.dead_letter_topic)?;
    let attempts = &mut policy.max_delivery_attempts;
    let (min, max) = limits::DELIVERY_ATTEMPTS.into_inner();
    if *attempts == 0 {
        *attempts = min;
    }
    if !limits::DELIVERY_ATTEMPTS.contains(attempts) {
        return Err(PubsubError::invalid(format!(
            "dead_letter_policy.max_delivery_attempts is {min} to {max}, not {attempts}"
        )));
    }
    Ok((topic.to_string(), attempts.unsigned_abs()))
}

/// Checks labels as the service does (<https://cloud.google.com/pubsub/docs/create-topic#labels>).
pub(crate) fn check_labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), PubsubError> {
    if labels.len() > limits::LABELS_MAX {
        let count = labels.len();
        return Err(PubsubError::invalid(format!("at most {} labels, not {count}", limits::LABELS_MAX)));
    }
    let good = |letter: char| !letter.is_uppercase() && (letter.is_alphanumeric() || "-_".contains(letter));
    for (key, value) in labels {
        let long = [key, value].iter().any(|text| text.chars().count() > limits::LABEL_CHARACTERS_MAX);
        let first = key.chars().next();
        if long || !first.is_some_and(char::is_alphabetic) || !key.chars().chain(value.chars()).all(good) {
            return Err(PubsubError::invalid(format!(
                "label {key:?}: {value:?}: keys and values have at most {} lowercase letters, digits, - or _, and a key begins with a letter",
                limits::LABEL_CHARACTERS_MAX
            )));
        }
    }
    Ok(())
}

fn between(
    what: &str,
    duration: &prost_types::Duration,
    min: i64,
    max: i64,
) -> Result<Duration, PubsubError> {
    // What protobuf does not allow could not be shown as JSON, or written down. prost's own conversion
    // overflows for the smallest number of seconds.
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let seconds = u64::try_from(duration.seconds).ok();
    let std = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let inside = |duration: &Duration| {
        let (min, max) = (min.unsigned_abs(), max.unsigned_abs());
        *duration >= Duration::from_secs(min) && *duration <= Duration::from_secs(max)
    };
    std.filter(inside).ok_or_else(|| {
        let prost_types::Duration { seconds, nanos } = duration;
        PubsubError::invalid(format!(
            "{what} is {min} to {max} seconds, not {seconds} and {nanos} nanoseconds"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn config() -> PubsubConfig {
        PubsubConfig::new("local".to_owned())
    }

    #[test]
    fn defaults_are_the_services() {
        let settings = Settings::new(v1::Subscription::default(), &config()).unwrap();
        assert_eq!(settings.resource.ack_deadline_seconds, 10);
        assert_eq!(settings.retention, Duration::from_secs(7 * 86_400));
        assert_eq!(settings.expires_after, Some(Duration::from_secs(31 * 86_400)));
        assert_eq!((settings.rules.backoff, settings.rules.attempts_max), (None, None));
        let policies = v1::Subscription {
            retry_policy: Some(v1::RetryPolicy::default()),
            dead_letter_policy: Some(v1::DeadLetterPolicy {
                dead_letter_topic: "projects/p/topics/dead".to_owned(),
                max_delivery_attempts: 0,
            }),
            expiration_policy: Some(v1::ExpirationPolicy { ttl: None }),
            ..v1::Subscription::default()
        };
        let settings = Settings::new(policies, &config()).unwrap();
        let backoff = Backoff { min: Duration::from_secs(10), max: Duration::from_secs(600) };
        assert_eq!((settings.rules.backoff, settings.rules.attempts_max), (Some(backoff), Some(5)));
        assert_eq!(settings.expires_after, None);
    }

    #[test]
    fn what_breaks_a_rule_is_told_which() {
        let base = v1::Subscription::default;
        let dead = |attempts| v1::DeadLetterPolicy {
            dead_letter_topic: "projects/p/topics/dead".to_owned(),
            max_delivery_attempts: attempts,
        };
        let label = |key: &str| [(key.to_owned(), String::new())].into();
        for (resource, rule) in [
            (v1::Subscription { ack_deadline_seconds: 9, ..base() }, "10 to 600 seconds, not 9"),
            (v1::Subscription { ack_deadline_seconds: -1, ..base() }, "not -1"),
            (v1::Subscription { message_retention_duration: seconds(599), ..base() }, "600 to 2678400"),
            (
                v1::Subscription {
                    expiration_policy: Some(v1::ExpirationPolicy { ttl: seconds(60) }),
                    ..base()
                },
                "86400 to 315576000000 seconds, not 60 and 0 nanoseconds",
            ),
            (
                v1::Subscription {
                    expiration_policy: Some(v1::ExpirationPolicy { ttl: seconds(i64::MAX) }),
                    ..base()
                },
                "86400 to 315576000000 seconds",
            ),
            (
                v1::Subscription {
                    message_retention_duration: Some(prost_types::Duration {
                        seconds: 700,
                        nanos: 1_000_000_000,
                    }),
                    ..base()
                },
                "not 700 and 1000000000 nanoseconds",
            ),
            (v1::Subscription { dead_letter_policy: Some(dead(4)), ..base() }, "5 to 100, not 4"),
            (v1::Subscription { filter: "nonsense".to_owned(), ..base() }, "filter is not valid at byte 0"),
            (v1::Subscription { labels: label("Upper"), ..base() }, "lowercase"),
            (
                v1::Subscription {
                    retry_policy: Some(v1::RetryPolicy {
                        minimum_backoff: seconds(20),
                        maximum_backoff: seconds(10),
                    }),
                    ..base()
                },
                "larger than",
            ),
        ] {
            let error = Settings::new(resource, &config()).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.to_string().contains(rule), "{error}");
        }
    }
}
