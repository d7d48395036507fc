//! Recorded requests mapped here and, by other code over other decoders, there; and made-up ones for
//! what the recordings do not hold.

mod bounds;
mod made;
mod recorded;

use serde_json::Value;

use super::{Identity, MapContext, Mapped, map};
use crate::Signal;
use crate::filter::Route;

const RECEIVED: u64 = 1_795_357_900_123_456_000;

/// How the tests map; each changes what it is about.
fn context(identity: &Identity) -> MapContext<'_> {
    MapContext {
        project: "demo-project",
        routes: &[],
        identity,
        mapped_bytes_max: 1 << 30,
        received_nanos: RECEIVED,
    }
}

fn mapped_with(signal: Signal, request: &[u8], routes: &[Route]) -> Mapped {
    let identity = Identity::new(&[7; 32]);
    map(signal, request, &MapContext { routes, ..context(&identity) }).unwrap()
}

fn mapped(signal: Signal, request: &[u8]) -> Mapped {
    mapped_with(signal, request, &[])
}

fn texts(mapped: &Mapped) -> Vec<&str> {
    mapped
        .records
        .iter()
        .map(|record| std::str::from_utf8(&mapped.buffer[record.data.clone()]).unwrap())
        .collect()
}

fn messages(mapped: &Mapped) -> Vec<Value> {
    texts(mapped).into_iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}
