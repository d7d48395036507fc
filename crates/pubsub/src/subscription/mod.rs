//! A subscription at work: the state machine with its topic, its clock and the ack log.

mod answers;
mod export;
mod fetch;
mod pump;
mod settings;
mod transform;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use millrace_log::{Cursor, Topic};
use millrace_model::{Micros, Offset, Source as _};
use tokio::sync::{Notify, watch};

use crate::acklog::{AckLog, Commit, Uid};
use crate::error::PubsubError;
use crate::machine::{Holder, Machine, Moment, Room};
use crate::names::Name;
use crate::progress::Progress;
use crate::sync::lock;

pub(crate) use answers::{Answers, Verdict};
pub(crate) use export::{ExportSettings, table_of};
pub(crate) use fetch::timestamp;
pub(crate) use pump::pump;
pub(crate) use settings::{
    DELETED_TOPIC, Settings, check_deadline, check_labels, check_retention, refuse_tags,
};

/// A clock that never goes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it began.
    pub(crate) fn now(self) -> Moment {
        self.0.elapsed()
    }

    /// The same moment for timers.
    fn instant(self, moment: Moment) -> Option<Instant> {
        self.0.checked_add(moment)
    }
}

/// Whether a subscription can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Open,
    Detached,
    Deleted,
    /// The server is closing.
    Closing,
}

/// A subscription at work.
pub(crate) struct Subscription {
    pub(crate) name: Name,
    pub(crate) uid: Uid,
    pub(crate) topic: Arc<Topic>,
    settings: watch::Sender<Arc<Settings>>,
    machine: Mutex<Machine>,
    /// Who has it reads on in the topic; the others wait, in order.
    turn: tokio::sync::Mutex<()>,
    /// A permit is here when a fetch may find something.
    pub(crate) available: Notify,
    /// Each open stream's, told when there may be something for it alone.
    wakers: Mutex<HashMap<Holder, Arc<Notify>>>,
    /// Told when a timer comes before the one that the pump sleeps for, or a dead letter waits.
    hurry: Notify,
    /// Told when dead letters that could not be forwarded may be taken now.
    retry: Notify,
    /// When the pump wakes by itself, in microseconds of the clock; changed under the machine's lock.
    planned: AtomicU64,
    state: watch::Sender<Use>,
    acks: Arc<AckLog>,
    clock: Clock,
    cursor: Mutex<Option<Cursor>>,
    last_used: AtomicI64,
}

/// What a subscription is made from.
pub(crate) struct Parts {
    pub(crate) name: Name,
    pub(crate) uid: Uid,
    pub(crate) topic: Arc<Topic>,
    pub(crate) settings: Settings,
    pub(crate) progress: Progress,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) last_used: Micros,
}

/// What a list of subscriptions shows beside the resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Messages that are not done with.
    pub(crate) backlog_messages: u64,
    /// Of these, those that somebody has.
    pub(crate) leased_messages: u64,
    /// Age of the oldest of them in seconds; 0 when there is none.
    pub(crate) oldest_age_seconds: u64,
}

impl Subscription {
    pub(crate) fn new(parts: Parts, acks: Arc<AckLog>, clock: Clock, epoch: u32) -> Self {
        let Parts { name, uid, topic, settings, progress, cursor, last_used } = parts;
        let end = topic.bounds().end.0;
        let state = if settings.resource.detached { Use::Detached } else { Use::Open };
        Self {
            machine: Mutex::new(Machine::new(settings.rules, progress, epoch, end)),
            name,
            uid,
            topic,
            settings: watch::Sender::new(Arc::new(settings)),
            turn: tokio::sync::Mutex::default(),
            available: Notify::new(),
            wakers: Mutex::default(),
            hurry: Notify::new(),
            retry: Notify::new(),
            planned: AtomicU64::new(u64::MAX),
            state: watch::Sender::new(state),
            acks,
            clock,
            cursor: Mutex::new(cursor),
            last_used: AtomicI64::new(last_used.0),
        }
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// The settings in force, and when they change.
    pub(crate) fn watch_settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Other settings from here on.
    pub(crate) fn set_settings(&self, settings: Settings) {
        let rules = settings.rules;
        self.settings.send_replace(Arc::new(settings));
        // Nothing is done with by it, so nothing has to be written down.
        let ((), _) = self.change(|machine, _| machine.set_rules(rules));
        // Dead letters may have another topic now.
        self.retry.notify_one();
        self.available.notify_one();
    }

    /// Whether it can be used, and when that changes.
    pub(crate) fn watch_use(&self) -> watch::Receiver<Use> {
        self.state.subscribe()
    }

    /// Says how it can be used from here on.
    pub(crate) fn set_use(&self, to: Use) {
        self.state.send_replace(to);
    }

    /// Fails unless it can be used.
    pub(crate) fn must_be_open(&self) -> Result<(), PubsubError> {
        self.last_used.store(Micros::now().0, Ordering::Relaxed);
        let state = *self.state.borrow();
        match state {
            Use::Open => Ok(()),
            Use::Detached => Err(PubsubError::precondition(format!(
                "Subscription {} is detached from its topic and has no messages: delete it, and create another",
                self.name
            ))),
            Use::Deleted => Err(PubsubError::not_found(&self.name.to_string())),
            Use::Closing => Err(PubsubError::unavailable("the server is shutting down")),
        }
    }

    /// Fails unless clients may get its messages by asking.
    pub(crate) fn must_be_pulled(&self) -> Result<(), PubsubError> {
        self.must_be_open()?;
        if self.settings.borrow().push.is_some() {
            return Err(PubsubError::precondition(format!(
                "{} pushes its messages: clear its push_config to pull them",
                self.name
            )));
        }
        self.must_deliver()
    }

    /// Fails unless it delivers its messages, so that there may be ack ids and seeks.
    pub(crate) fn must_deliver(&self) -> Result<(), PubsubError> {
        self.must_be_open()?;
        if self.settings.borrow().export.is_some() {
            return Err(PubsubError::precondition(format!(
                "{} is a BigQuery subscription: its messages go to its table, and it goes on from there",
                self.name
            )));
        }
        Ok(())
    }

    /// When somebody last used it.
    pub(crate) fn last_used(&self) -> Micros {
        Micros(self.last_used.load(Ordering::Relaxed))
    }

    /// Notes that somebody uses it, though nothing was asked for.
    pub(crate) fn touch(&self) {
        self.last_used.store(Micros::now().0, Ordering::Relaxed);
    }

    /// A stream that holds at most so much. It is told when there may be something for it alone: it has
    /// more room, by whatever way its messages were acked, or messages of its ordering keys wait.
    pub(crate) fn open_holder(&self, holder: Holder, messages_max: u64, bytes_max: u64) -> Arc<Notify> {
        let waker = Arc::new(Notify::new());
        lock(&self.wakers).insert(holder, Arc::clone(&waker));
        lock(&self.machine).open_holder(holder, messages_max, bytes_max);
        waker
    }

    /// Changes how much a holder may hold.
    pub(crate) fn limit_holder(&self, holder: Holder, messages_max: u64, bytes_max: u64) {
        lock(&self.machine).open_holder(holder, messages_max, bytes_max);
    }

    /// Whether a holder may get anything at all now.
    pub(crate) fn has_room(&self, holder: Holder, room: Room) -> bool {
        lock(&self.machine).has_room(holder, room)
    }

    /// A stream that ended.
    pub(crate) fn close_holder(&self, holder: Holder) {
        lock(&self.machine).close_holder(holder);
        lock(&self.wakers).remove(&holder);
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.machine).progress().clone()
    }

    /// Everything before it is done with.
    pub(crate) fn progress_floor(&self) -> u64 {
        lock(&self.machine).progress().floor()
    }

    /// Sends it elsewhere; the answer comes when that is durable.
    pub(crate) fn seek(&self, to: Progress, generation: u32) -> Option<Commit> {
        let ((), commit) = self.change(|machine, _| machine.seek(to, generation));
        self.available.notify_one();
        commit
    }

    /// Everything before `position` is done with: somebody else has written it down.
    pub(crate) fn done_before(&self, position: Offset) -> Option<Commit> {
        let (done, commit) = self.change(|machine, _| machine.done_before(position.0));
        if done > 0 {
            self.touch();
            self.count("millrace_pubsub_acked_total", done);
        }
        commit
    }

    /// The topic begins at `start` now, or messages before it are too old.
    pub(crate) fn expire_before(&self, start: Offset) {
        let (expired, _) = self.change(|machine, _| machine.expire_before(start.0));
        if expired > 0 {
            self.count("millrace_pubsub_expired_total", expired);
        }
    }

    /// Its figures now.
    pub(crate) fn figures(&self, now: Micros) -> Figures {
        if *self.state.borrow() == Use::Detached {
            return Figures::default();
        }
        let end = self.topic.bounds().end.0;
        let (open, first, leased) = {
            let machine = lock(&self.machine);
            let progress = machine.progress();
            (progress.open_before(end), progress.floor(), machine.leased() as u64)
        };
        let oldest = if open == 0 { None } else { self.topic.backlog(Offset(first)).1 };
        let oldest_age_seconds = oldest.map_or(0, |published| now.since(published).as_secs());
        Figures { backlog_messages: open, leased_messages: leased, oldest_age_seconds }
    }

    /// Tells the topic how far it is, so that it may remove what is done with. One that was detached for
    /// its backlog, and has caught up, holds messages back again.
    pub(crate) fn advance_cursor(&self) {
        let floor = Offset(lock(&self.machine).progress().floor());
        let cursor = lock(&self.cursor);
        let Some(cursor) = cursor.as_ref() else { return };
        let bounds = self.topic.bounds();
        let floor = floor.clamp(bounds.start, bounds.end);
        let moved = cursor.position().is_ok_and(|position| position < floor);
        let lost = cursor.state().is_ok_and(|state| state != millrace_log::CursorState::Attached);
        let result = match (lost, moved) {
            (true, true) => cursor.seek(floor),
            (false, true) => cursor.advance(floor),
            _ => return,
        };
        if let Err(error) = result {
            tracing::debug!(subscription = %self.name, %error, "the topic was not told how far a subscription is");
        }
    }

    /// Sends the cursor where the subscription was sent.
    pub(crate) fn seek_cursor(&self) {
        let floor = Offset(lock(&self.machine).progress().floor());
        let bounds = self.topic.bounds();
        let floor = floor.clamp(bounds.start, bounds.end);
        if let Some(cursor) = lock(&self.cursor).as_ref()
            && let Err(error) = cursor.seek(floor)
        {
            tracing::warn!(subscription = %self.name, %error, "the topic does not hold messages back yet");
        }
    }

    /// Lets go of the topic.
    pub(crate) fn drop_cursor(&self) {
        if let Some(cursor) = lock(&self.cursor).take()
            && let Err(error) = self.topic.delete_cursor(cursor.name())
        {
            tracing::warn!(subscription = %self.name, %error, "a cursor was not removed; it will be at the next start");
        }
    }

    /// Changes the machine. What has to be durable is handed to the ack log, in order; `None` when nothing
    /// has to be.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Machine, Moment) -> T) -> (T, Option<Commit>) {
        let now = self.clock.now();
        let mut machine = lock(&self.machine);
        let answer = change(&mut machine, now);
        let changes = machine.take_changes();
        let commit = (!changes.is_empty()).then(|| self.acks.commit(self.uid, changes));
        let next = machine.next_timer().map_or(u64::MAX, micros);
        let hurry = next < self.planned.load(Ordering::Relaxed) || machine.has_dead();
        let woken = machine.take_woken();
        drop(machine);
        if !woken.is_empty() {
            let wakers = lock(&self.wakers);
            woken.iter().filter_map(|holder| wakers.get(holder)).for_each(|waker| waker.notify_one());
        }
        if hurry {
            self.hurry.notify_one();
        }
        (answer, commit)
    }

    pub(crate) fn count(&self, metric: &'static str, count: u64) {
        metrics::counter!(metric, "subscription" => self.name.to_string()).increment(count);
    }
}

fn micros(moment: Moment) -> u64 {
    u64::try_from(moment.as_micros()).unwrap_or(u64::MAX)
}
