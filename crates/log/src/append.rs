//! The answer to an append.

use std::pin::Pin;
use std::task::{Context, Poll};

use millrace_model::Offset;
use tokio::sync::oneshot;

use crate::AppendError;

/// Messages are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// One for each message of the append, in order: where it lies, or, for a duplicate, where its
    /// first copy lies.
    pub offsets: Vec<Offset>,
    /// How many of the messages were duplicates and not stored again.
    pub duplicates: u64,
}

pub(crate) type Answer = Result<Appended, AppendError>;

/// The answer to an append, to be awaited or [waited](Self::wait) for. It comes when the messages, and
/// the first copies of those that are duplicates, are durable. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "messages are durable only when the answer says so"]
pub struct Append {
    topic: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Known(Option<Answer>),
    Coming(oneshot::Receiver<Answer>),
}

impl Append {
    pub(crate) fn known(answer: Answer) -> Self {
        Self { topic: String::new(), state: State::Known(Some(answer)) }
    }

    pub(crate) fn coming(topic: &str, receiver: oneshot::Receiver<Answer>) -> Self {
        Self { topic: topic.to_owned(), state: State::Coming(receiver) }
    }

    /// Waits for the answer on this thread; not to be called from an async task.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn wait(self) -> Result<Appended, AppendError> {
        match self.state {
            State::Known(answer) => answer.unwrap_or(Err(AppendError::Closed { topic: self.topic })),
            State::Coming(receiver) => {
                receiver.blocking_recv().unwrap_or(Err(AppendError::Closed { topic: self.topic }))
            }
        }
    }
}

impl Future for Append {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let closed = || Err(AppendError::Closed { topic: this.topic.clone() });
        match &mut this.state {
            State::Known(answer) => Poll::Ready(answer.take().unwrap_or_else(closed)),
            State::Coming(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| closed()))
            }
        }
    }
}
