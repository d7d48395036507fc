//! Small requests that ask for a lot: what is said once and stands over many parts costs once.

use super::{Identity, context, mapped};
use crate::Signal;
use crate::limits::ATTRIBUTES_MAX;
use crate::map::{MapContext, MapError, map};
use crate::wire::Writer;

const MIB: usize = 1024 * 1024;

/// One resource with one attribute of `text_bytes`, then whatever `below` adds to it.
fn request(text_bytes: usize, below: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    let resource_logs = out.begin(1);
    let resource = out.begin(1);
    let attribute = out.begin(1);
    out.bytes(1, b"service.name");
    let value = out.begin(2);
    out.bytes(1, "x".repeat(text_bytes).as_bytes());
    [value, attribute, resource].iter().for_each(|nested| out.end(nested));
    below(&mut out);
    out.end(&resource_logs);
    out.into_bytes()
}

/// Scenario: a large resource, and under it far more empty parts than it could be copied for.
/// Guarantees: it is not; the request maps to nothing at once.
#[test]
fn empty_parts_under_a_large_resource_cost_nothing() {
    let empty_scopes = request(4 * MIB, |out| (0..200_000).for_each(|_| out.bytes(2, &[])));
    for signal in [Signal::Logs, Signal::Metrics, Signal::Traces] {
        assert_eq!(mapped(signal, &empty_scopes).total(), 0);
    }
    // A metric in each scope, with a list of no points.
    let empty_metrics = request(4 * MIB, |out| (0..200_000).for_each(|_| out.bytes(2, b"\x12\x02\x2a\x00")));
    assert_eq!(mapped(Signal::Metrics, &empty_metrics).total(), 0);
    // One metric that says much of itself, with many lists of no points.
    let one_metric = request(1, |out| {
        let scope = out.begin(2);
        let metric = out.begin(2);
        out.bytes(2, "x".repeat(4 * MIB).as_bytes());
        (0..200_000).for_each(|_| out.bytes(5, &[]));
        [metric, scope].iter().for_each(|nested| out.end(nested));
    });
    assert_eq!(mapped(Signal::Metrics, &one_metric).total(), 0);
}

/// Scenario: a resource that no message has room for, or that leaves no room for anything else, over many
/// records.
/// Guarantees: each is refused without being written, or the request is once enough was written in vain.
#[test]
fn records_that_become_too_large_end_early() {
    let with = |text_bytes| {
        request(text_bytes, |out| {
            let scope = out.begin(2);
            (0..200_000).for_each(|_| out.bytes(2, &[]));
            out.end(&scope);
        })
    };
    let identity = Identity::new(&[7; 32]);
    let context = MapContext { mapped_bytes_max: 64 * MIB, ..context(&identity) };
    for signal in [Signal::Logs, Signal::Traces] {
        let larger = map(signal, &with(17 * MIB), &context).unwrap();
        assert_eq!((larger.too_large, larger.records.len()), (200_000, 0));
        let error = map(signal, &with(16 * MIB - 100), &context).unwrap_err();
        assert_eq!(error, MapError::TooLarge(64 * MIB));
    }
}

/// Scenario: lists of attributes that are short on the wire and long in memory.
/// Guarantees: above the limit the record is refused and counted, its neighbours are taken.
#[test]
fn too_many_attributes_in_a_list_refuse_their_record() {
    let with = |attributes: usize| {
        request(1, |out| {
            let scope = out.begin(2);
            for attributes in [attributes, 1] {
                let record = out.begin(2);
                (0..attributes).for_each(|_| out.bytes(6, &[]));
                out.end(&record);
            }
            out.end(&scope);
        })
    };
    let within = mapped(Signal::Logs, &with(ATTRIBUTES_MAX));
    assert_eq!((within.records.len(), within.too_many), (2, 0));
    let above = mapped(Signal::Logs, &with(ATTRIBUTES_MAX + 1));
    assert_eq!((above.records.len(), above.too_many, above.total()), (1, 1, 2));
    // The same of the resource, under which nothing is taken then.
    let resource = b"\x0a\x00".repeat(ATTRIBUTES_MAX + 1);
    let mut out = Writer::default();
    let resource_logs = out.begin(1);
    out.bytes(1, &resource);
    out.bytes(2, b"\x12\x00");
    out.end(&resource_logs);
    let request = out.into_bytes();
    for signal in [Signal::Logs, Signal::Traces] {
        assert_eq!(mapped(signal, &request).too_many, 1);
    }
}

/// Scenario: a metric's temporality said twice, as a merged message may.
/// Guarantees: the last counts, once.
#[test]
fn of_a_field_that_comes_twice_the_last_counts() {
    let request = request(1, |out| {
        let scope = out.begin(2);
        let metric = out.begin(2);
        out.bytes(7, b"\x10\x01\x10\x02\x18\x01\x18\x00\x0a\x00");
        [metric, scope].iter().for_each(|nested| out.end(nested));
    });
    let mapped = mapped(Signal::Metrics, &request);
    let text = super::texts(&mapped)[0];
    assert_eq!(text.matches("aggregationTemporality").count(), 1, "{text}");
    assert!(text.contains("\"aggregationTemporality\":2") && !text.contains("isMonotonic"), "{text}");
}
