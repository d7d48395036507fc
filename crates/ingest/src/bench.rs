//! The hot path without transports and topics, for benchmarks.

use crate::Signal;
use crate::filter::{Filter, Route};
use crate::json::otlp_to_wire;
use crate::map::{Identity, MapContext, map};
use crate::wire::schema::LOGS_REQUEST;

/// Maps log requests and throws the messages away.
pub struct Mapper {
    identity: Identity,
    routes: Vec<Route>,
}

impl Mapper {
    /// A mapper with one route; a filter that does not parse is none.
    #[must_use]
    pub fn new(filter: Option<&str>) -> Self {
        let filter = filter.and_then(|text| Filter::parse(text).ok());
        let route = Route { name: "bench".to_owned(), topic: "bench".to_owned(), filter };
        Self { identity: Identity::new(&[1; 32]), routes: vec![route] }
    }

    /// Maps a protobuf body; how many messages it gave, none when it is malformed.
    #[must_use]
    pub fn protobuf(&self, body: &[u8]) -> usize {
        let context = MapContext {
            project: "local",
            routes: &self.routes,
            identity: &self.identity,
            mapped_bytes_max: 1 << 30,
            received_nanos: 1_795_357_900_123_456_000,
        };
        map(Signal::Logs, body, &context).map_or(0, |mapped| mapped.records.len())
    }

    /// Reads and maps a JSON body; how many messages it gave, none when it is malformed.
    #[must_use]
    pub fn json(&self, body: &[u8]) -> usize {
        otlp_to_wire(body, &LOGS_REQUEST, 1 << 30).map_or(0, |wire| self.protobuf(&wire))
    }
}
