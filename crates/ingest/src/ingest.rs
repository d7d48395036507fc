//! From a request's bytes to durable messages, whatever the transport.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use millrace_model::{AttributeBlock, Micros, NewMessage, names};

use crate::budget::{Budget, Exhausted, Reservation};
use crate::config::{ConfigError, IngestConfig};
use crate::counters::{IngestCounters, Totals};
use crate::json::otlp_to_wire;
use crate::limits::APPEND_BYTES_MAX;
use crate::map::{Identity, MapContext, MapError, Mapped, Record, map};
use crate::store::{StoreError, Stored, TopicStore};
use crate::wire::schema::{LOGS_REQUEST, METRICS_REQUEST, TRACES_REQUEST};

/// What kind of telemetry a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// The word used in metrics and paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// How a request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// What became of a request that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Records that were refused, and why.
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// Why a request was not taken. Nothing of it need be sent again except after `Busy` and `Timeout`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{reason}")]
    Busy { reason: String, retry_after: Duration },
    #[error("{0}")]
    Unsupported(String),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("internal error: {0}")]
    Internal(String),
}

impl Refusal {
    /// The word used in metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too_large",
            Self::Busy { .. } => "busy",
            Self::Unsupported(_) => "unsupported",
            Self::Timeout => "timeout",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Malformed(_) => Self::Malformed(error.to_string()),
            MapError::TooLarge(_) => Self::TooLarge(error.to_string()),
        }
    }
}

/// Why ingest cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A topic cannot be opened or created.
    #[error("cannot open topic {topic}: {reason}")]
    Topic {
        /// The topic's name.
        topic: String,
        /// The log's word.
        reason: String,
    },
}

/// Ingest: takes OTLP over gRPC and HTTP, and files, and keeps everything in topics.
pub struct Ingest {
    pub(crate) config: IngestConfig,
    pub(crate) identity: Identity,
    /// All topics, those of the routes first, each once.
    pub(crate) topics: Vec<(String, Arc<dyn TopicStore>)>,
    /// For each route the place of its topic in `topics`.
    route_topics: Vec<usize>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) requests: Arc<tokio::sync::Semaphore>,
    pub(crate) totals: Totals,
}

impl Ingest {
    /// Ingest into topics that `open` gives by name.
    ///
    /// # Errors
    /// When the settings make no sense or a topic cannot be had.
    pub fn with_topics(
        config: IngestConfig,
        mut open: impl FnMut(&str) -> Result<Arc<dyn TopicStore>, IngestError>,
    ) -> Result<Arc<Self>, IngestError> {
        config.check()?;
        let own = [names::TOPIC_UNROUTED, names::TOPIC_METRICS, names::TOPIC_TRACES];
        let mut topics: Vec<(String, Arc<dyn TopicStore>)> = Vec::new();
        let mut route_topics = Vec::new();
        for name in config.routes.iter().map(|route| route.topic.as_str()).chain(own) {
            let place = topics.iter().position(|(known, _)| known == name);
            route_topics.push(place.unwrap_or(topics.len()));
            if place.is_none() {
                topics.push((name.to_owned(), open(name)?));
            }
        }
        Ok(Arc::new(Self {
            identity: Identity::new(&config.dedup_secret),
            topics,
            route_topics,
            budget: Budget::new(config.in_flight_bytes_max),
            requests: Arc::new(tokio::sync::Semaphore::new(config.requests_in_flight_max)),
            totals: Totals::default(),
            config,
        }))
    }

    /// Totals since the start of the process.
    #[must_use]
    pub fn counters(&self) -> IngestCounters {
        self.totals.snapshot(self.budget.bytes())
    }

    pub(crate) fn busy(&self) -> Refusal {
        let reason = "too many requests in hand, come again".to_owned();
        Refusal::Busy { reason, retry_after: self.config.retry_after }
    }

    pub(crate) fn reserve(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), Refusal> {
        reservation.take(bytes).map_err(|Exhausted| self.busy())
    }

    pub(crate) fn context(&self) -> MapContext<'_> {
        let received = u64::try_from(Micros::now().0).unwrap_or(0);
        MapContext {
            project: &self.config.project,
            routes: &self.config.routes,
            identity: &self.identity,
            mapped_bytes_max: self.config.mapped_bytes_max,
            received_nanos: received.saturating_mul(1000),
        }
    }

    /// Makes the messages of a request. Takes as long as the body is large: a MiB in a few
    /// milliseconds.
    pub(crate) fn prepare(&self, signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Mapped, Refusal> {
        let mapped = match encoding {
            Encoding::Protobuf => map(signal, body, &self.context())?,
            Encoding::Json => {
                let schema = match signal {
                    Signal::Logs => &LOGS_REQUEST,
                    Signal::Metrics => &METRICS_REQUEST,
                    Signal::Traces => &TRACES_REQUEST,
                };
                // Five bytes of length for each nested part can lengthen short ones.
                let bytes_max = self.config.decompressed_bytes_max.saturating_mul(2);
                let wire = otlp_to_wire(body, schema, bytes_max);
                let wire = wire.map_err(|error| Refusal::Malformed(error.to_string()))?;
                map(signal, &wire, &self.context())?
            }
        };
        self.totals.rejected("too_large", mapped.too_large);
        self.totals.rejected("too_deep", mapped.too_deep);
        self.totals.rejected("too_many_attributes", mapped.too_many);
        self.totals.repaired(mapped.repaired);
        // Without a single good record a request counts as malformed rather than as partly taken.
        if mapped.records.is_empty() && mapped.rejected() > 0 {
            let message = rejection(&mapped);
            return Err(if mapped.too_deep + mapped.too_many > 0 {
                Refusal::Malformed(message)
            } else {
                Refusal::TooLarge(message)
            });
        }
        Ok(mapped)
    }

    /// Appends a request's messages; resolves when all are durable.
    pub(crate) async fn store(&self, signal: Signal, mapped: Mapped) -> Result<Accepted, Refusal> {
        let accepted = Accepted { rejected: mapped.rejected(), message: rejection(&mapped) };
        let buffer = Bytes::from(mapped.buffer);
        let batches = self.batches(signal, &mapped.records, |_, record| NewMessage {
            data: buffer.slice(record.data.clone()),
            attributes: AttributeBlock::default(),
            ordering_key: Bytes::new(),
            dedup_key: Some(record.dedup_key),
        });
        drop(buffer);
        self.append(batches).await?;
        Ok(accepted)
    }

    /// Sorts records into batches by topic: each of the topic's place and messages of at most
    /// [`APPEND_BYTES_MAX`] (one message at least).
    pub(crate) fn batches(
        &self,
        signal: Signal,
        records: &[Record],
        message: impl Fn(usize, &Record) -> NewMessage,
    ) -> Vec<(usize, Vec<NewMessage>)> {
        let mut batches: Vec<(usize, Vec<NewMessage>)> = Vec::new();
        let mut open: Vec<Option<(usize, usize)>> = vec![None; self.topics.len()];
        let mut unrouted = 0;
        for (index, record) in records.iter().enumerate() {
            let topics = self.topics_of(signal, record.routes);
            unrouted += u64::from(signal == Signal::Logs && record.routes == 0);
            for place in (0..self.topics.len()).filter(|place| topics >> place & 1 == 1) {
                let message = message(index, record);
                let bytes = message.size_bytes();
                match &mut open[place] {
                    Some((batch, total)) if *total + bytes <= APPEND_BYTES_MAX => {
                        *total += bytes;
                        batches[*batch].1.push(message);
                    }
                    slot => {
                        *slot = Some((batches.len(), bytes));
                        batches.push((place, vec![message]));
                    }
                }
            }
        }
        self.totals.unrouted(unrouted);
        batches
    }

    /// The topics that a record goes to, a bit for each place in `topics`.
    pub(crate) fn topics_of(&self, signal: Signal, routes: u64) -> u128 {
        let count = self.config.routes.len();
        let place = |route: usize| 1_u128 << self.route_topics[route];
        match signal {
            Signal::Logs if routes == 0 => place(count),
            Signal::Logs => {
                (0..count).filter(|route| routes >> route & 1 == 1).fold(0, |bits, route| bits | place(route))
            }
            Signal::Metrics => place(count + 1),
            Signal::Traces => place(count + 2),
        }
    }

    /// The topics that log entries go to: those of the routes, then `unrouted`.
    pub(crate) fn log_topics(&self) -> &[(String, Arc<dyn TopicStore>)] {
        &self.topics[..self.topics.len() - 2]
    }

    /// Appends batches, those of different topics at the same time; the first failure is the answer
    /// after all are done. (What was stored of a request that failed is known when it is sent again.)
    pub(crate) async fn append(&self, batches: Vec<(usize, Vec<NewMessage>)>) -> Result<u64, Refusal> {
        let appends = batches.into_iter().map(|(place, messages)| {
            let (_, topic) = &self.topics[place];
            let count = messages.len() as u64;
            let append = topic.append(messages);
            async move {
                let Stored { duplicates } = append.await?;
                self.totals.stored(count.saturating_sub(duplicates), duplicates);
                Ok(duplicates)
            }
        });
        let mut duplicates = 0;
        let mut failure = None;
        for result in join_all(appends).await {
            match result {
                Ok(count) => duplicates += count,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            None => Ok(duplicates),
            Some(StoreError::Busy { reason, retry_after }) => Err(Refusal::Busy { reason, retry_after }),
            Some(StoreError::Refused(reason)) => Err(Refusal::TooLarge(reason)),
        }
    }
}

/// What to say about records that were refused; empty when none was.
fn rejection(mapped: &Mapped) -> String {
    use crate::limits::{ATTRIBUTES_MAX, VALUE_DEPTH_MAX};
    use millrace_model::limits::MESSAGE_BYTES_MAX;
    let mut parts = Vec::new();
    if mapped.too_large > 0 {
        parts.push(format!("{} larger than {MESSAGE_BYTES_MAX} bytes", mapped.too_large));
    }
    if mapped.too_deep > 0 {
        parts.push(format!("{} nested deeper than {VALUE_DEPTH_MAX} levels", mapped.too_deep));
    }
    if mapped.too_many > 0 {
        parts.push(format!("{} with more than {ATTRIBUTES_MAX} attributes in a list", mapped.too_many));
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("{} of {} records were refused: {}", mapped.rejected(), mapped.total(), parts.join(", "))
}
