//! What happens by itself: leases and waits that end, new messages, dead letters on their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millrace_model::{NewMessage, Offset, ReadLimit, Source as _};

use super::{Subscription, Use, micros};
use crate::dead_letter::dead_letter;
use crate::error::PubsubError;
use crate::publish::refusal;
use crate::sync::lock;
use crate::topics::Topics;

/// Dead letters that are forwarded together.
const FORWARD_MESSAGES_MAX: usize = 100;
/// Bytes of them; a larger single one goes alone.
const FORWARD_BYTES_MAX: usize = 8 << 20;
/// How long to wait after forwarding failed.
const FORWARD_PAUSE: Duration = Duration::from_secs(5);
/// A wait that is longer than any timer.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Works for a subscription until it is deleted, detached or the server closes.
pub(crate) async fn pump(subscription: Arc<Subscription>, topics: Arc<Topics>) {
    let mut end = subscription.topic.watch_end();
    let mut state = subscription.watch_use();
    let mut forward_at = Instant::now();
    // Something may be there from before.
    subscription.available.notify_one();
    loop {
        let (timer, has_dead) = subscription.plan();
        let wake = match has_dead {
            true => timer.min(forward_at),
            false => timer,
        };
        tokio::select! {
            moved = end.changed() => match moved {
                Ok(()) => subscription.available.notify_one(),
                // The topic is gone, and with it what there was to do.
                Err(_) => return,
            },
            () = tokio::time::sleep_until(wake.into()) => subscription.timers_ended(),
            () = subscription.hurry.notified() => {}
            () = subscription.retry.notified() => forward_at = Instant::now(),
            changed = state.changed() => {
                if changed.is_err() || *state.borrow() != Use::Open {
                    return;
                }
            }
        }
        let has_dead = lock(&subscription.machine).has_dead();
        if has_dead && Instant::now() >= forward_at {
            forward_at = match subscription.forward(&topics).await {
                Ok(()) => Instant::now(),
                Err(error) => {
                    tracing::warn!(subscription = %subscription.name, %error, "dead letters wait to be forwarded");
                    subscription.count("millrace_pubsub_dead_letter_errors_total", 1);
                    Instant::now() + FORWARD_PAUSE
                }
            };
        }
    }
}

impl Subscription {
    /// When the next timer ends, and whether dead letters wait. From here on only what comes before that
    /// timer wakes the pump.
    fn plan(&self) -> (Instant, bool) {
        let machine = lock(&self.machine);
        let timer = machine.next_timer();
        self.planned.store(timer.map_or(u64::MAX, micros), Ordering::Relaxed);
        let instant = timer.and_then(|timer| self.clock.instant(timer));
        (instant.unwrap_or_else(|| Instant::now() + LONG), machine.has_dead())
    }

    fn timers_ended(&self) {
        let (expired, _) = self.change(|machine, now| machine.expire(now));
        if expired > 0 {
            self.count("millrace_pubsub_leases_expired_total", expired as u64);
        }
        self.available.notify_one();
    }

    /// Publishes dead letters, and then is done with them: a crash in between repeats, and never loses.
    async fn forward(self: &Arc<Self>, topics: &Topics) -> Result<(), PubsubError> {
        let settings = self.settings();
        let Some(name) = &settings.dead_letter_topic else { return Ok(()) };
        let to = topics.find(name)?;
        let this = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || this.dead_letters());
        let letters = reading.await.map_err(|error| PubsubError::internal(error.to_string()))??;
        let (offsets, messages): (Vec<u64>, Vec<NewMessage>) = letters.into_iter().unzip();
        if messages.is_empty() {
            return Ok(());
        }
        to.append(messages).await.map_err(|error| refusal(name, &error))?;
        self.count("millrace_pubsub_dead_lettered_total", offsets.len() as u64);
        let ((), _) = self.change(|machine, _| offsets.iter().for_each(|offset| machine.forwarded(*offset)));
        // Later messages of their ordering keys may go on.
        self.available.notify_one();
        Ok(())
    }

    /// The oldest dead letters, as they are forwarded together.
    pub(crate) fn dead_letters(&self) -> Result<Vec<(u64, NewMessage)>, PubsubError> {
        let dead = lock(&self.machine).dead(FORWARD_MESSAGES_MAX);
        let mut letters = Vec::with_capacity(dead.len());
        let mut bytes = 0;
        for (offset, attempts) in dead {
            let limit = ReadLimit { messages_max: 1, bytes_max: 1, end: Some(Offset(offset + 1)) };
            let batch = match self.topic.read(Offset(offset), limit) {
                Ok(batch) => batch,
                Err(millrace_model::SourceError::Expired { start, .. }) => {
                    self.expire_before(start);
                    continue;
                }
                Err(error) => return Err(PubsubError::unavailable(error.to_string())),
            };
            bytes += batch.size_bytes();
            if bytes > FORWARD_BYTES_MAX && !letters.is_empty() {
                break;
            }
            if !batch.is_empty() {
                letters.push((offset, dead_letter(&batch, 0, &self.name, attempts, None)));
            }
        }
        Ok(letters)
    }
}
