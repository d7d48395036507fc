//! What is done now and then: the log is told how far subscriptions are, and what nobody wants any more
//! goes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_model::{Micros, Source as _};

use super::Broker;
use crate::limits::LAST_USED_SECONDS;
use crate::subscription::Subscription;

impl Broker {
    /// Tells topics how far subscriptions are, drops messages that are too old for a subscription, and
    /// deletes subscriptions and snapshots that have expired. Called every few seconds, from a thread that
    /// may block.
    pub fn maintain(&self, now: Micros) {
        self.note_jumps(now);
        self.retry_exports();
        for subscription in self.all_subscriptions() {
            self.follow_export(&subscription);
            expire_messages(&subscription, now);
            subscription.advance_cursor();
            if self.is_forgotten(&subscription, now) {
                self.expired("subscription", &subscription.name.to_string(), Self::delete_subscription);
            }
        }
        self.write_down_use();
        let expired: Vec<String> = {
            let registry = self.registry();
            let snapshots = registry.resources().snapshots.values();
            let seconds = now.0.div_euclid(1_000_000);
            snapshots
                .filter(|record| record.resource.expire_time.is_some_and(|time| time.seconds <= seconds))
                .map(|record| record.resource.name.clone())
                .collect()
        };
        for name in expired {
            self.expired("snapshot", &name, Self::delete_snapshot);
        }
        self.publish_gauges(now);
    }

    /// A clock that jumps is that of a machine that was suspended, or was wrong when the server started:
    /// subscribers could not be there meanwhile.
    fn note_jumps(&self, now: Micros) {
        let before = Micros(self.looked_at.swap(now.0, Ordering::Relaxed));
        if now.since(before).max(before.since(now)) > Duration::from_secs(LAST_USED_SECONDS) {
            self.awake_since.store(now.0, Ordering::Relaxed);
        }
    }

    /// Whether nobody has used a subscription for as long as it lives then, though there was an hour to.
    fn is_forgotten(&self, subscription: &Subscription, now: Micros) -> bool {
        let precision = Duration::from_secs(LAST_USED_SECONDS);
        let idle = now.since(subscription.last_used());
        let expires_after = subscription.settings().expires_after;
        now.since(Micros(self.awake_since.load(Ordering::Relaxed))) > precision
            && self.written_up_to(subscription).is_none()
            && expires_after.is_some_and(|after| idle > after.saturating_add(precision))
    }

    /// Writes down when subscriptions were last used, all together when one of them is due: once in
    /// [`LAST_USED_SECONDS`].
    fn write_down_use(&self) {
        let precision = Duration::from_secs(LAST_USED_SECONDS);
        let subscriptions = self.all_subscriptions();
        let mut registry = self.registry();
        let known = |subscription: &Subscription| registry.resources().subscriptions.get(&subscription.name);
        let is_due = subscriptions.iter().any(|subscription| {
            known(subscription).is_some_and(|record| {
                record.last_used.is_none_or(|before| subscription.last_used().since(before) >= precision)
            })
        });
        if !is_due {
            return;
        }
        let written = registry.change(|resources| {
            for subscription in subscriptions {
                if let Some(record) = resources.subscriptions.get_mut(&subscription.name) {
                    record.last_used = Some(subscription.last_used());
                }
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::warn!(%error, "when subscriptions were last used was not written down; it will be tried again");
        }
    }

    fn expired(
        &self,
        what: &'static str,
        name: &str,
        delete: fn(&Self, &str) -> Result<(), crate::error::PubsubError>,
    ) {
        match delete(self, name) {
            Ok(()) => {
                tracing::info!(name, what, "expired, so it was deleted");
                metrics::counter!("millrace_pubsub_resources_expired_total", "kind" => what).increment(1);
            }
            Err(error) => tracing::warn!(name, what, %error, "it expired, but was not deleted"),
        }
    }

    fn publish_gauges(&self, now: Micros) {
        for subscription in self.all_subscriptions() {
            let figures = subscription.figures(now);
            let label = subscription.name.to_string();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            let set = |metric: &'static str, value: u64| {
                metrics::gauge!(metric, "subscription" => label.clone()).set(value as f64);
            };
            set("millrace_pubsub_backlog_messages", figures.backlog_messages);
            set("millrace_pubsub_leased_messages", figures.leased_messages);
            set("millrace_pubsub_oldest_unacked_age_seconds", figures.oldest_age_seconds);
        }
    }
}

/// Open messages older than the subscription keeps them are gone.
fn expire_messages(subscription: &Subscription, now: Micros) {
    let bounds = subscription.topic.bounds();
    let too_old = now.minus(subscription.settings().retention);
    let start = match subscription.topic.backlog(millrace_model::Offset(subscription.progress_floor())).1 {
        Some(oldest) if oldest < too_old => subscription.topic.offset_at(too_old).unwrap_or(bounds.start),
        _ => bounds.start,
    };
    subscription.expire_before(start.max(bounds.start));
}
