//! Gives an encoded OTLP log request new times in place. A body keeps its length, so a generator can
//! send the same bytes over and over and the server still sees new records: times are part of a
//! record's identity.

use anyhow::{Result, bail};

/// Where the record times of an encoded `ExportLogsServiceRequest` lie.
#[derive(Debug, Clone)]
pub struct Stamps {
    /// For each record the positions of its 8-byte times (time, observed time), by record.
    records: Vec<Vec<usize>>,
}

impl Stamps {
    /// Finds the times in a body.
    ///
    /// # Errors
    /// When the body is not an `ExportLogsServiceRequest`, or a record has no time to change.
    pub fn find(body: &[u8]) -> Result<Self> {
        let mut records = Vec::new();
        // ExportLogsServiceRequest.resource_logs = 1, ResourceLogs.scope_logs = 2, ScopeLogs.log_records = 2.
        for_each_message(body, 0..body.len(), 1, &mut |resource_logs| {
            for_each_message(body, resource_logs, 2, &mut |scope_logs| {
                for_each_message(body, scope_logs, 2, &mut |record| {
                    records.push(times_of(body, record)?);
                    Ok(())
                })
            })
        })?;
        Ok(Self { records })
    }

    /// How many records the body has.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Sets every time of record `n` to `first_nanos + n`.
    pub fn stamp(&self, body: &mut [u8], first_nanos: u64) {
        for (nanos, positions) in (first_nanos..).zip(&self.records) {
            for &position in positions {
                body[position..position + 8].copy_from_slice(&nanos.to_le_bytes());
            }
        }
    }
}

/// LogRecord.time_unix_nano = 1 and observed_time_unix_nano = 11, both fixed64.
fn times_of(body: &[u8], record: std::ops::Range<usize>) -> Result<Vec<usize>> {
    let mut positions = Vec::new();
    walk(body, record, &mut |field, range, wire_type| {
        if wire_type == 1 && (field == 1 || field == 11) {
            positions.push(range.start);
        }
        Ok(())
    })?;
    if positions.is_empty() {
        bail!("a record has no time to stamp");
    }
    Ok(positions)
}

type Range = std::ops::Range<usize>;

fn for_each_message(
    body: &[u8],
    range: Range,
    wanted: u64,
    visit: &mut dyn FnMut(Range) -> Result<()>,
) -> Result<()> {
    walk(body, range, &mut |field, value, wire_type| {
        if field == wanted && wire_type == 2 { visit(value) } else { Ok(()) }
    })
}

/// Calls `visit` with each field's number, value range and wire type
/// (<https://protobuf.dev/programming-guides/encoding/>).
fn walk(body: &[u8], range: Range, visit: &mut dyn FnMut(u64, Range, u64) -> Result<()>) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let (key, value_start) = varint(body, at, range.end)?;
        let wire_type = key & 7;
        let (start, end) = match wire_type {
            0 => (value_start, varint(body, value_start, range.end)?.1),
            1 => (value_start, value_start + 8),
            2 => {
                let (length, start) = varint(body, value_start, range.end)?;
                (start, start.saturating_add(usize::try_from(length)?))
            }
            5 => (value_start, value_start + 4),
            _ => bail!("wire type {wire_type} at byte {at}"),
        };
        if end > range.end {
            bail!("field at byte {at} runs over its message");
        }
        visit(key >> 3, start..end, wire_type)?;
        at = end;
    }
    Ok(())
}

fn varint(body: &[u8], start: usize, end: usize) -> Result<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in body[start..end].iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, start + index + 1));
        }
    }
    bail!("no varint at byte {start}")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::workspace;

    #[test]
    fn recorded_bodies_get_new_times_and_nothing_else() {
        let mut bodies = 0;
        for entry in std::fs::read_dir(workspace::recordings().join("otlp_grpc")).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().ends_with("_logs.pb") {
                continue;
            }
            let original = std::fs::read(&path).unwrap();
            let stamps = Stamps::find(&original).unwrap();
            let mut body = original.clone();
            stamps.stamp(&mut body, 1_000);

            let mut expected = ExportLogsServiceRequest::decode(original.as_slice()).unwrap();
            let mut nanos = 1_000;
            for record in expected
                .resource_logs
                .iter_mut()
                .flat_map(|resource| &mut resource.scope_logs)
                .flat_map(|scope| &mut scope.log_records)
            {
                record.time_unix_nano = nanos;
                record.observed_time_unix_nano = nanos;
                nanos += 1;
            }
            assert_eq!(stamps.records() as u64, nanos - 1_000);
            assert_eq!(ExportLogsServiceRequest::decode(body.as_slice()).unwrap(), expected);
            bodies += 1;
        }
        assert!(bodies > 20, "only {bodies} bodies");
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bad in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x0a\x05\x01", b"\x0f"] {
            assert!(Stamps::find(bad).is_err(), "{bad:?}");
        }
    }
}
