//! A record as a sink filter sees it: the entry that is being written, read from the request itself.

use super::record::{InsertId, LogRecord};
use super::{MESSAGE, Scope};
use crate::filter::Path;
use crate::filter::{Entry, Scalar};
use crate::map::MapContext;
use crate::map::attributes::Attribute;
use crate::map::value::Any;

pub(super) struct RecordView<'v, 'a> {
    pub(super) record: &'v LogRecord<'a>,
    pub(super) attributes: &'v [Attribute<'a>],
    pub(super) scope: &'v Scope<'v>,
    pub(super) insert_id: &'v InsertId,
    pub(super) context: &'v MapContext<'v>,
}

type Found<'f> = &'f mut dyn FnMut(Scalar<'_>) -> bool;

impl Entry for RecordView<'_, '_> {
    fn visit(&self, path: &Path, found: Found<'_>) -> bool {
        match path {
            Path::Severity => found(Scalar::Text(self.record.severity().unwrap_or("DEFAULT"))),
            Path::LogName => found(Scalar::Text(&self.scope.log_name)),
            Path::InsertId => text(self.insert_id.as_bytes(), found),
            Path::Timestamp => instant(self.record.timestamp(self.context.received_nanos), found),
            Path::ReceiveTimestamp => instant(self.context.received_nanos, found),
            Path::Trace => self.record.trace().is_some_and(|id| {
                found(Scalar::Text(&format!("projects/{}/traces/{}", self.context.project, hex::encode(id))))
            }),
            Path::SpanId => self.record.span().is_some_and(|id| found(Scalar::Text(&hex::encode(id)))),
            Path::TraceSampled => found(Scalar::Bool(self.record.is_sampled())),
            Path::ResourceType => found(Scalar::Text("global")),
            Path::ResourceLabel(label) => label == "project_id" && found(Scalar::Text(self.context.project)),
            Path::Label(_) | Path::TextPayload => false,
            Path::Payload(keys) => {
                let Some((key, below)) = keys.split_first() else { return false };
                self.payload(key.as_bytes()).is_some_and(|value| values(value, below, true, found))
            }
        }
    }
}

impl RecordView<'_, '_> {
    /// The value that the payload has under a key, by the same rules as it is written.
    fn payload(&self, key: &[u8]) -> Option<Any<'_>> {
        if key == MESSAGE && !self.record.body.is_empty() {
            return Some(self.record.body);
        }
        let own = || self.attributes.iter().find(|attribute| attribute.key == key && attribute.is_shown());
        let attribute = self.scope.resource.shown(key).or_else(own);
        let event_name = || {
            (key == b"event.name" && !self.record.event_name.is_empty())
                .then_some(Any::Text(self.record.event_name))
        };
        attribute.map(|attribute| attribute.value).or_else(event_name)
    }
}

/// Walks down `keys` and gives the scalars there. What is malformed below was refused when it was
/// written, so errors cannot come here and count as nothing found.
fn values(value: Any<'_>, keys: &[String], enter_list: bool, found: Found<'_>) -> bool {
    match (value, keys.split_first()) {
        (Any::KvList(list), Some((key, below))) => {
            let items = Any::items(list).filter_map(|item| Attribute::read(item.ok()?).ok());
            let last = items.filter(|item| item.key == key.as_bytes() && !item.value.is_empty()).last();
            last.is_some_and(|item| values(item.value, below, true, found))
        }
        (_, Some(_)) => false,
        (Any::Text(bytes), None) => text(bytes, found),
        (Any::Bool(value), None) => found(Scalar::Bool(value)),
        (Any::Int(number), None) => found(Scalar::Int(number)),
        (Any::Double(number), None) => found(Scalar::Double(number)),
        (Any::Array(list), None) if enter_list => {
            let mut items = Any::items(list).filter_map(|item| Any::read(item.ok()?).ok());
            items.any(|item| values(item, &[], false, found))
        }
        (_, None) => found(Scalar::Other),
    }
}

fn text(bytes: &[u8], found: Found<'_>) -> bool {
    found(Scalar::Text(&String::from_utf8_lossy(bytes)))
}

fn instant(nanos: u64, found: Found<'_>) -> bool {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    found(Scalar::Instant(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0)))
}
