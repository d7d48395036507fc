//! Which name leads to which topic of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use millrace_log::{Log, Topic};

use crate::error::PubsubError;
use crate::intake::Intake;
use crate::names::{Kind, Name};

/// The topics by name. Those of one project are the log's own, under their own names, unless the log's
/// topic belongs to another name.
pub(crate) struct Topics {
    log: Arc<Log>,
    project: String,
    state: RwLock<State>,
}

/// A topic that the registry knows.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) topic: Arc<Topic>,
    /// What its messages go through; or why that cannot be had, and nothing is published.
    pub(crate) intake: Result<Arc<Intake>, PubsubError>,
}

#[derive(Default)]
struct State {
    /// Those that the registry knows.
    named: BTreeMap<String, Named>,
    /// Topics of the log that belong to another name, or to subscriptions of a deleted topic.
    taken: BTreeSet<String>,
}

impl Topics {
    pub(crate) fn new(log: Arc<Log>, project: String) -> Self {
        Self { log, project, state: RwLock::default() }
    }

    /// The log that the topics are in.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The project whose topics are the log's own.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// Says what the registry says: names with their topics, and topics of the log that have no name.
    pub(crate) fn set(&self, named: BTreeMap<String, Named>, nameless: BTreeSet<String>) {
        let own = |name: &str, topic: &Topic| {
            Name::parse(Kind::Topic, name)
                .is_ok_and(|name| name.project == self.project && name.id == topic.name())
        };
        let foreign = named.iter().filter(|(name, named)| !own(name, &named.topic));
        let taken = foreign.map(|(_, named)| named.topic.name().to_owned()).chain(nameless).collect();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State { named, taken };
    }

    /// The topic of that name.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Topic>, PubsubError> {
        self.find_named(text).map(|named| named.topic)
    }

    /// The topic of that name, with what messages go through on their way into it.
    pub(crate) fn find_named(&self, text: &str) -> Result<Named, PubsubError> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(named) = state.named.get(text) {
                return Ok(named.clone());
            }
        }
        let name = Name::parse(Kind::Topic, text)?;
        let topic = self.own(&name).ok_or_else(|| PubsubError::not_found(text))?;
        Ok(Named { topic, intake: Ok(Arc::default()) })
    }

    /// The log's own topic of that name, when it is one of the project's and no other's.
    pub(crate) fn own(&self, name: &Name) -> Option<Arc<Topic>> {
        let taken = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.taken.contains(&name.id)
        };
        if name.project != self.project || taken { None } else { self.log.topic(&name.id) }
    }

    /// All topics of the log that are the project's own.
    pub(crate) fn all_own(&self) -> Vec<Arc<Topic>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        self.log.topics().into_iter().filter(|topic| !state.taken.contains(topic.name())).collect()
    }
}
