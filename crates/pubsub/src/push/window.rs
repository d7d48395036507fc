//! How many messages are pushed at once, and when none is: more while the endpoint answers well, fewer and
//! after a pause while it does not (<https://cloud.google.com/pubsub/docs/push#push_backoff>).

use std::time::Duration;

use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const FIRST_MESSAGES: usize = 4;

#[derive(Debug)]
pub(super) struct Window {
    messages: usize,
    messages_max: usize,
    /// Messages that were taken since the window last grew.
    taken: usize,
    /// The pause after the next failure.
    pause: Duration,
    until: Option<Instant>,
}

impl Window {
    pub(super) fn new(messages_max: usize) -> Self {
        let messages = FIRST_MESSAGES.min(messages_max);
        Self { messages, messages_max, taken: 0, pause: PAUSE_MIN, until: None }
    }

    /// Messages that may be out at once.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Until when nothing is to be sent.
    pub(super) fn pause_until(&mut self, now: Instant) -> Option<Instant> {
        self.until = self.until.filter(|until| *until > now);
        self.until
    }

    /// Nothing is to be sent for so long.
    pub(super) fn wait(&mut self, now: Instant, pause: Duration) {
        self.until = now.checked_add(pause);
    }

    /// The endpoint took a message.
    pub(super) fn taken(&mut self) {
        self.pause = PAUSE_MIN;
        self.taken += 1;
        if self.taken >= self.messages {
            self.messages = (self.messages * 2).min(self.messages_max);
            self.taken = 0;
        }
    }

    /// The endpoint did not take a message. Failures of requests that were out together count once. Where
    /// messages have a backoff of their own the endpoint gets no pause.
    pub(super) fn failed(&mut self, now: Instant, has_backoff: bool) {
        if has_backoff || self.pause_until(now).is_some() {
            return;
        }
        self.messages = (self.messages / 2).max(1);
        self.taken = 0;
        self.until = now.checked_add(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_success_and_shrinks_with_failure() {
        let mut window = Window::new(20);
        let mut sizes = vec![window.messages()];
        for _ in 0..50 {
            window.taken();
            if sizes.last() != Some(&window.messages()) {
                sizes.push(window.messages());
            }
        }
        assert_eq!(sizes, [4, 8, 16, 20]);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            window.failed(now, false);
            window.failed(now, false);
            let until = window.pause_until(now).unwrap();
            pauses.push((until - now).as_millis());
            now = until;
            assert_eq!(window.pause_until(now), None);
        }
        assert_eq!((pauses[..3].to_vec(), pauses[11]), (vec![100, 200, 400], 60_000));
        assert_eq!(window.messages(), 1);
        window.taken();
        window.failed(now, true);
        assert_eq!((window.messages(), window.pause_until(now)), (2, None));
        window.failed(now, false);
        assert_eq!(window.pause_until(now), Some(now + PAUSE_MIN), "a success ends the row of failures");
    }
}
