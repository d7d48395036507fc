//! Times one engine from outside. The engine reads no clock: whoever waits for it looks at what it is
//! doing every now and then, and decides whether to let it run, to have the interrupt handler stop it,
//! or to give it up because it does not even answer that.

use std::fs::File;
use std::sync::OnceLock;
use std::time::Duration;

use crate::pulse::Activity;

/// The least time that a stopped engine has to notice: its handler is polled once in ten thousand loop
/// rounds or calls, and those can be long natives.
const GRACE_LEAST: Duration = Duration::from_millis(500);

/// An engine that gets less than one part in this many of a processor counts as if it got that much,
/// so that one that neither runs nor ends (swapped out, blocked) is given up as well.
const SHARE_LEAST: u32 = 8;

/// How long the scripts' top-level code may run.
pub(crate) fn load_limit(time_limit: Duration) -> Duration {
    (time_limit * 10).max(Duration::from_secs(5))
}

/// How often a watch looks: often enough against the limit, seldom enough to cost nothing.
pub(crate) fn tick(time_limit: Duration) -> Duration {
    (time_limit / 10).clamp(Duration::from_millis(1), Duration::from_millis(50))
}

/// What to do about an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It has time left.
    LetRun,
    /// Its time is over: stop it through the interrupt handler.
    Stop,
    /// It has not answered the interrupt: give it up.
    GiveUp,
}

/// How an engine's time is told.
#[derive(Debug)]
pub(crate) enum Clock {
    /// The processor time of its thread.
    Processor(ProcessorClock),
    /// The time waited for it: where the system does not tell the former.
    Waited,
    /// It runs in a child process, which times it itself; the time waited counts by [`SHARE_LEAST`].
    Child,
}

/// Tells how much processor time a thread has had, from any other thread. Linux only.
#[derive(Debug)]
pub(crate) struct ProcessorClock {
    schedstat: File,
}

impl ProcessorClock {
    /// The clock of the calling thread, where the system has one.
    pub fn of_this_thread() -> Option<Self> {
        let clock = Self { schedstat: File::open("/proc/thread-self/schedstat").ok()? };
        clock.read().map(|_| clock)
    }

    /// Nanoseconds on a processor are the first number of `schedstat`
    /// (Linux, Documentation/scheduler/sched-stats.rst).
    #[cfg(unix)]
    fn read(&self) -> Option<Duration> {
        use std::os::unix::fs::FileExt;
        let mut text = [0; 96];
        let length = self.schedstat.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    #[cfg(not(unix))]
    fn read(&self) -> Option<Duration> {
        None
    }
}

/// Follows one engine's activities.
#[derive(Debug)]
pub(crate) struct Watch {
    time_limit: Duration,
    seen: Activity,
    /// The thread's processor time when the activity was first seen.
    processor_at_seen: Option<Duration>,
    /// How long the activity has been waited for.
    waited: Duration,
}

impl Watch {
    pub fn new(time_limit: Duration) -> Self {
        Self { time_limit, seen: Activity::IDLE, processor_at_seen: None, waited: Duration::ZERO }
    }

    /// Takes a look after waiting for `waited` since the last one. A look late by more than a tick was
    /// a pause of this very process (stopped, suspended): that much is not held against the engine.
    pub fn look(&mut self, activity: Activity, waited: Duration, clock: &OnceLock<Clock>) -> Order {
        let processor = match clock.get() {
            Some(Clock::Processor(clock)) => clock.read(),
            _ => None,
        };
        if activity != self.seen || activity == Activity::IDLE {
            self.seen = activity;
            self.processor_at_seen = processor;
            self.waited = Duration::ZERO;
            return Order::LetRun;
        }
        self.waited += waited.min(2 * tick(self.time_limit));
        let spent = match (clock.get(), processor.zip(self.processor_at_seen)) {
            (_, Some((now, then))) => now.saturating_sub(then).max(self.waited / SHARE_LEAST),
            (Some(Clock::Child), _) => self.waited / SHARE_LEAST,
            _ => self.waited,
        };
        let limit = if activity.is_loading() { load_limit(self.time_limit) } else { self.time_limit };
        decide(spent, limit)
    }
}

fn decide(spent: Duration, limit: Duration) -> Order {
    if spent < limit {
        Order::LetRun
    } else if spent < limit + limit.max(GRACE_LEAST) {
        Order::Stop
    } else {
        Order::GiveUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse::Pulse;

    const LIMIT: Duration = Duration::from_millis(500);

    #[test]
    fn first_time_then_grace_then_the_end() {
        let ms = Duration::from_millis;
        assert_eq!(decide(ms(499), LIMIT), Order::LetRun);
        assert_eq!(decide(ms(500), LIMIT), Order::Stop);
        assert_eq!(decide(ms(999), LIMIT), Order::Stop);
        assert_eq!(decide(ms(1000), LIMIT), Order::GiveUp);
        assert_eq!(decide(ms(510), ms(20)), Order::Stop);
    }

    #[test]
    fn each_activity_has_its_own_time_and_a_pause_counts_as_one_tick() {
        let (pulse, mut counter) = (Pulse::default(), 0);
        let (mut watch, clock) = (Watch::new(LIMIT), OnceLock::from(Clock::Waited));
        for _ in 0..3 {
            pulse.begin(&mut counter, false);
            assert_eq!(watch.look(pulse.activity(), LIMIT, &clock), Order::LetRun);
            assert_eq!(watch.look(pulse.activity(), Duration::from_secs(3600), &clock), Order::LetRun);
        }
        let orders: Vec<Order> = (0..20).map(|_| watch.look(pulse.activity(), LIMIT, &clock)).collect();
        assert_eq!(orders.iter().filter(|order| **order == Order::LetRun).count(), 3);
        assert_eq!(orders.last(), Some(&Order::GiveUp));
        pulse.idle();
        assert_eq!(watch.look(pulse.activity(), LIMIT, &clock), Order::LetRun);
    }

    #[test]
    fn a_child_gets_eight_times_as_long() {
        let (pulse, mut counter) = (Pulse::default(), 0);
        pulse.begin(&mut counter, false);
        let (mut watch, clock) = (Watch::new(LIMIT), OnceLock::from(Clock::Child));
        let looks = (0..1000).take_while(|_| watch.look(pulse.activity(), LIMIT, &clock) == Order::LetRun);
        assert_eq!(looks.count(), 40);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processor_time_grows_with_work() {
        let clock = ProcessorClock::of_this_thread().unwrap();
        let before = clock.read().unwrap();
        let mut sum = 0_u64;
        while clock.read().unwrap() < before + Duration::from_millis(5) {
            sum = std::hint::black_box((0..10_000_u64).fold(sum, u64::wrapping_add));
        }
    }
}
