//! The writer's thread: started by the first append, ended when there has been nothing to do for a while.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::AppendError;
use crate::queue::{PendingAppend, Taken};
use crate::sync::lock;
use crate::topic::Topic;

/// Linux cuts a thread's name here.
const THREAD_NAME_BYTES_MAX: usize = 15;

impl Topic {
    pub(crate) fn start_writer(self: &Arc<Self>) {
        let name: String = format!("log {}", self.core.name).chars().take(THREAD_NAME_BYTES_MAX).collect();
        let topic = Arc::clone(self);
        let started = thread::Builder::new().name(name).spawn(move || {
            let _alive = Alive(&topic);
            topic.run_writer();
        });
        if let Err(error) = started {
            let reason = format!("no thread could be started: {error}");
            self.refuse(self.core.queue.abandon(), &reason);
        }
    }

    fn run_writer(&self) {
        let mut linger = None;
        let mut bytes_max = self.core.config.batch_bytes_max;
        loop {
            let patience = self.core.retry_at().map_or(self.core.config.writer_idle_max, |at| {
                at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
            });
            match self.core.queue.take(bytes_max, patience, linger) {
                Taken::Batch(batch) => {
                    let mut writer = lock(&self.writer);
                    match self.mend(&mut writer) {
                        Err(error) => batch.into_iter().for_each(|append| {
                            // A producer that went away needs no answer.
                            let _ = append.sender.send(Err(error.clone()));
                        }),
                        Ok(()) => {
                            if let Some(writer) = writer.as_mut() {
                                writer.commit(&self.core, batch);
                                linger = writer.linger(self.core.config.batch_linger);
                                bytes_max = writer.batch_bytes_max(&self.core.config);
                            }
                        }
                    }
                    drop(writer);
                    self.core.queue.answered();
                }
                Taken::Nothing if self.core.retry_at().is_some() => {
                    // The outcome is in the topic's state, and in the log of events.
                    let _ = self.mend(&mut lock(&self.writer));
                }
                Taken::Nothing => {
                    if self.core.queue.leave() {
                        lock(&self.core.cache).clear();
                        return;
                    }
                }
                Taken::Closed => {
                    self.core.queue.leave();
                    return;
                }
            }
        }
    }

    fn refuse(&self, appends: Vec<PendingAppend>, reason: &str) {
        for append in appends {
            let retry_after = self.core.config.repair_backoff_max;
            let (topic, reason) = (self.core.name.clone(), reason.to_owned());
            let _ = append.sender.send(Err(AppendError::Unavailable { topic, reason, retry_after }));
        }
    }
}

/// Lets the next append start another writer even if this one panics.
struct Alive<'a>(&'a Topic);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.refuse(self.0.core.queue.abandon(), "its writer failed");
        }
    }
}
