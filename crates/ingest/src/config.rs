//! What an operator can set, and whether it makes sense.

use std::time::Duration;

use millrace_model::names;

use crate::filter::Route;
use crate::limits::ROUTES_MAX;

/// The settings of ingest. [`IngestConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// The project in log names and resources.
    pub project: String,
    /// The sinks. Every sink that takes an entry gets a copy; an entry that none takes goes to `unrouted`.
    pub routes: Vec<Route>,
    /// Key of the hashes that tell a retry from a new record. Must stay the same over restarts, else
    /// retries across one are stored twice.
    pub dedup_secret: [u8; 32],
    /// Largest request body as sent, in bytes.
    pub body_bytes_max: usize,
    /// Largest request body after decompression, and largest line or document of a loaded file, in bytes.
    pub decompressed_bytes_max: usize,
    /// Most bytes that the messages of one request may take together.
    pub mapped_bytes_max: usize,
    /// Most bytes of all requests in hand together, bodies and messages; beyond it producers are
    /// told to come again.
    pub in_flight_bytes_max: usize,
    /// Most requests in hand.
    pub requests_in_flight_max: usize,
    /// Longest wait for the next part of a body.
    pub body_read_timeout: Duration,
    /// Longest time for a whole body to arrive.
    pub body_total_timeout: Duration,
    /// When a producer that was refused for lack of room is told to come again.
    pub retry_after: Duration,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The project id is not one.
    #[error("project id {0:?} must have 1 to 64 letters, digits or - . : _")]
    Project(String),
    /// There are too many routes.
    #[error("there are {0} routes, the most is {ROUTES_MAX}")]
    Routes(usize),
    /// A route's topic has a bad or reserved name.
    #[error("route {route:?} names the topic {topic:?}: {rule}")]
    Topic {
        /// The route.
        route: String,
        /// Its topic.
        topic: String,
        /// The rule that the topic's name breaks.
        rule: &'static str,
    },
    /// A limit is zero, or smaller than one that it must hold.
    #[error("{0} must be at least {1}")]
    Limit(&'static str, usize),
}

impl IngestConfig {
    /// The default limits.
    #[must_use]
    pub fn new(project: String, dedup_secret: [u8; 32], routes: Vec<Route>) -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            project,
            routes,
            dedup_secret,
            body_bytes_max: 64 * MIB,
            decompressed_bytes_max: 64 * MIB,
            mapped_bytes_max: 128 * MIB,
            in_flight_bytes_max: 256 * MIB,
            requests_in_flight_max: 1024,
            body_read_timeout: Duration::from_secs(10),
            body_total_timeout: Duration::from_secs(120),
            retry_after: Duration::from_secs(1),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-.:_".contains(&letter);
        if !(1..=64).contains(&self.project.len()) || !self.project.bytes().all(good) {
            return Err(ConfigError::Project(self.project.clone()));
        }
        if self.routes.len() > ROUTES_MAX {
            return Err(ConfigError::Routes(self.routes.len()));
        }
        for route in &self.routes {
            let reserved = [names::TOPIC_UNROUTED, names::TOPIC_METRICS, names::TOPIC_TRACES];
            let reserved = reserved.contains(&route.topic.as_str());
            let rule = names::resource_name_violation(&route.topic)
                .or(reserved.then_some("this name is kept for what no route takes, metrics or traces"));
            if let Some(rule) = rule {
                let (route, topic) = (route.name.clone(), route.topic.clone());
                return Err(ConfigError::Topic { route, topic, rule });
            }
        }
        // A request as large as is allowed must fit: its body and what is made of it.
        let request = self.decompressed_bytes_max.saturating_mul(4).max(self.body_bytes_max);
        let request = request.max(self.mapped_bytes_max.saturating_add(self.decompressed_bytes_max));
        for (name, value, least) in [
            ("body_bytes_max", self.body_bytes_max, 1),
            ("decompressed_bytes_max", self.decompressed_bytes_max, 1),
            ("mapped_bytes_max", self.mapped_bytes_max, self.decompressed_bytes_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max, request),
            ("requests_in_flight_max", self.requests_in_flight_max, 1),
        ] {
            if value < least {
                return Err(ConfigError::Limit(name, least));
            }
        }
        Ok(())
    }
}
