//! The registry's file as text. Writing a resource as JSON costs far more than comparing it, and a change is
//! one of few, so each text is kept with what it was written from.

use std::collections::BTreeMap;

use super::{
    FORMAT, Resources, SnapshotRecord, SubscriptionRecord, TopicRecord, schema_text, snapshot_text,
    subscription_text, topic_text,
};
use crate::error::PubsubError;
use crate::names::Name;
use crate::proto::v1;

/// Each record as it was last written.
#[derive(Default)]
pub(super) struct Texts {
    topics: Kept<TopicRecord>,
    subscriptions: Kept<SubscriptionRecord>,
    snapshots: Kept<SnapshotRecord>,
    schemas: Kept<Vec<v1::Schema>>,
}

impl Texts {
    /// The whole file, a line for each record.
    pub(super) fn file(&mut self, resources: &Resources) -> Result<String, PubsubError> {
        let mut out = format!("{{\"format\": {FORMAT}");
        self.topics.append("topics", &mut out, &resources.topics, topic_text)?;
        self.subscriptions.append("subscriptions", &mut out, &resources.subscriptions, subscription_text)?;
        self.snapshots.append("snapshots", &mut out, &resources.snapshots, snapshot_text)?;
        self.schemas.append("schemas", &mut out, &resources.schemas, |revisions| schema_text(revisions))?;
        out.push_str("}\n");
        Ok(out)
    }
}

struct Kept<R>(BTreeMap<Name, (R, String)>);

impl<R> Default for Kept<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Clone + PartialEq> Kept<R> {
    /// Appends the list of all records of a kind.
    fn append(
        &mut self,
        kind: &str,
        out: &mut String,
        records: &BTreeMap<Name, R>,
        write: impl Fn(&R) -> Result<String, PubsubError>,
    ) -> Result<(), PubsubError> {
        self.0.retain(|name, _| records.contains_key(name));
        out.push_str(",\n\"");
        out.push_str(kind);
        out.push_str("\": [");
        let mut separator = "\n";
        for (name, record) in records {
            if self.0.get(name).is_none_or(|(before, _)| before != record) {
                self.0.insert(name.clone(), (record.clone(), write(record)?));
            }
            if let Some((_, text)) = self.0.get(name) {
                out.push_str(separator);
                out.push_str(text);
                separator = ",\n";
            }
        }
        out.push_str("\n]");
        Ok(())
    }
}
