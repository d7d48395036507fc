//! Snapshots, and sending subscriptions elsewhere.

use std::sync::Arc;

use millrace_log::CursorStart;
use millrace_model::{Micros, Offset, Source as _};

use super::topics::{checked_paths, names_field};
use super::{Broker, cursor_name, random};
use crate::error::PubsubError;
use crate::limits::{SNAPSHOT_SECONDS_MAX, SNAPSHOT_SECONDS_MIN};
use crate::names::{Kind, Name};
use crate::progress::Progress;
use crate::proto::{merge, v1};
use crate::registry::SnapshotRecord;
use crate::subscription::{check_labels, refuse_tags};

/// Fields of a snapshot that may change.
const CHANGEABLE: [&str; 2] = ["labels", "expire_time"];

impl Broker {
    pub(crate) fn create_snapshot(
        &self,
        request: v1::CreateSnapshotRequest,
    ) -> Result<v1::Snapshot, PubsubError> {
        let subscription = self.subscription(&request.subscription)?;
        subscription.must_be_open()?;
        check_labels(&request.labels)?;
        refuse_tags(&request.tags)?;
        let name = match request.name.as_str() {
            "" => {
                Name::new(Kind::Snapshot, &subscription.name.project, &format!("snapshot-{:016x}", random()?))
            }
            text => Name::parse(Kind::Snapshot, text)?,
        };
        let mut registry = self.registry();
        if registry.resources().snapshots.contains_key(&name) {
            return Err(PubsubError::exists(&name.to_string()));
        }
        if registry.resources().snapshots.len() >= self.config.resources_max {
            return Err(PubsubError::exhausted(format!(
                "there are {} snapshots, which is the most: delete some",
                self.config.resources_max
            )));
        }
        let age = i64::try_from(subscription.figures(Micros::now()).oldest_age_seconds).unwrap_or(i64::MAX);
        let lives = SNAPSHOT_SECONDS_MAX.saturating_sub(age);
        if lives < SNAPSHOT_SECONDS_MIN {
            return Err(PubsubError::precondition(format!(
                "{name} would live less than an hour: the oldest message of {} is {age} seconds old, and a snapshot lives 7 days less that",
                subscription.name
            )));
        }
        let progress = subscription.progress().without_failures();
        let topic = &subscription.topic;
        let uid = random()?;
        let bounds = topic.bounds();
        let floor = Offset(progress.floor()).clamp(bounds.start, bounds.end);
        let cursor = cursor_name(Kind::Snapshot, uid);
        topic.create_cursor(&cursor, CursorStart::At(floor), self.cursor_config())?;
        let seconds = Micros::now().0.div_euclid(1_000_000).saturating_add(lives);
        let resource = v1::Snapshot {
            name: name.to_string(),
            topic: subscription.settings().resource.topic.clone(),
            expire_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            labels: request.labels,
        };
        let record =
            SnapshotRecord { uid, log: topic.name().to_owned(), progress, resource: resource.clone() };
        let made = registry.change(|resources| {
            resources.snapshots.insert(name, record);
            Ok(())
        });
        if let Err(error) = made {
            // What stays is removed at the next start.
            let _ = topic.delete_cursor(&cursor);
            return Err(error);
        }
        Ok(resource)
    }

    pub(crate) fn get_snapshot(&self, text: &str) -> Result<v1::Snapshot, PubsubError> {
        let name = Name::parse(Kind::Snapshot, text)?;
        let registry = self.registry();
        let record = registry.resources().snapshots.get(&name);
        record.map(|record| record.resource.clone()).ok_or_else(|| PubsubError::not_found(text))
    }

    pub(crate) fn update_snapshot(
        &self,
        request: v1::UpdateSnapshotRequest,
    ) -> Result<v1::Snapshot, PubsubError> {
        let given = request.snapshot.ok_or_else(|| PubsubError::invalid("snapshot is not set"))?;
        let paths = checked_paths(request.update_mask, &CHANGEABLE, "a snapshot")?;
        let name = Name::parse(Kind::Snapshot, &given.name)?;
        self.registry().change(|resources| {
            let record = resources.snapshots.get_mut(&name);
            let record = record.ok_or_else(|| PubsubError::not_found(&given.name))?;
            record.resource = merge(&record.resource, &given, &paths)?;
            check_labels(&record.resource.labels)?;
            if names_field(&paths, "expire_time") {
                self.check_expire_time(record)?;
            }
            Ok(record.resource.clone())
        })
    }

    /// A snapshot goes at last when it would if it was made now, as what it holds back costs room.
    fn check_expire_time(&self, record: &SnapshotRecord) -> Result<(), PubsubError> {
        let time = record
            .resource
            .expire_time
            .ok_or_else(|| PubsubError::invalid("expire_time is not set: a snapshot expires at some time"))?;
        let topic = self.topics.log().topic(&record.log);
        let oldest = topic.and_then(|topic| topic.backlog(Offset(record.progress.floor())).1);
        let now = Micros::now();
        let age = oldest.map_or(0, |published| now.since(published).as_secs());
        let lives = SNAPSHOT_SECONDS_MAX.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        let now = now.0.div_euclid(1_000_000);
        let latest = now.saturating_add(lives);
        let is_whole = (0..1_000_000_000).contains(&time.nanos);
        if is_whole && time.seconds > now && time.seconds <= latest {
            return Ok(());
        }
        let seconds = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        let given = if is_whole { time } else { seconds(time.seconds) };
        Err(PubsubError::invalid(format!(
            "expire_time is later than now, {}, and not later than {}: 7 days from now less the age of the snapshot's oldest message; it is {given}",
            seconds(now),
            seconds(latest)
        )))
    }

    pub(crate) fn delete_snapshot(&self, text: &str) -> Result<(), PubsubError> {
        let name = Name::parse(Kind::Snapshot, text)?;
        let mut registry = self.registry();
        let record = registry.change(|resources| {
            resources.snapshots.remove(&name).ok_or_else(|| PubsubError::not_found(text))
        })?;
        if let Some(topic) = self.topics.log().topic(&record.log)
            && let Err(error) = topic.delete_cursor(&cursor_name(Kind::Snapshot, record.uid))
        {
            tracing::warn!(snapshot = text, %error, "a cursor was not removed; it will be at the next start");
        }
        self.publish_names(registry.resources());
        let is_nameless = record.resource.topic == crate::subscription::DELETED_TOPIC;
        self.remove_unused(registry.resources(), is_nameless.then_some(record.log));
        Ok(())
    }

    /// Sends a subscription to a time or to a snapshot; durable when this returns.
    pub(crate) fn seek(self: &Arc<Self>, request: &v1::SeekRequest) -> Result<(), PubsubError> {
        let subscription = self.subscription(&request.subscription)?;
        subscription.must_deliver()?;
        let bounds = subscription.topic.bounds();
        let to = match &request.target {
            None => return Err(PubsubError::invalid("a seek has a time or a snapshot")),
            Some(v1::seek_request::Target::Time(time)) => {
                let micros =
                    time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000);
                let offset = subscription.topic.offset_at(Micros(micros));
                let offset = offset.map_err(|error| PubsubError::unavailable(error.to_string()))?;
                Progress::at(offset.clamp(bounds.start, bounds.end).0)
            }
            Some(v1::seek_request::Target::Snapshot(text)) => {
                let name = Name::parse(Kind::Snapshot, text)?;
                let registry = self.registry();
                let record = registry.resources().snapshots.get(&name);
                let record = record.ok_or_else(|| PubsubError::not_found(text))?;
                if record.log != subscription.topic.name() {
                    return Err(PubsubError::precondition(format!(
                        "{text} is a snapshot of another topic than that of {}",
                        subscription.name
                    )));
                }
                record.progress.clone()
            }
        };
        let [a, b, c, d, ..] = random()?.to_le_bytes();
        if let Some(commit) = subscription.seek(to, u32::from_le_bytes([a, b, c, d])) {
            commit.wait()?;
        }
        subscription.seek_cursor();
        Ok(())
    }
}
