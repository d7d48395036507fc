//! Which topics, subscriptions and snapshots there are, durably: one JSON file, written whole or not at
//! all. Resources stand in it as the REST API shows them.

mod texts;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_disk::{Disk, OpenMode, write_atomically};
use millrace_model::Micros;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::acklog::{Uid, read_progress, write_progress};
use crate::error::PubsubError;
use crate::names::{Kind, Name};
use crate::progress::Progress;
use crate::proto::{Named, from_json, to_json, v1};
use texts::Texts;

const FORMAT: u32 = 1;
/// A file larger than this is none of ours.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why the registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is damaged: {reason}; restore it from a copy, or remove it to begin with no subscriptions", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicRecord {
    /// Its name in the log.
    pub(crate) log: String,
    pub(crate) resource: v1::Topic,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SubscriptionRecord {
    pub(crate) uid: Uid,
    /// Its topic's name in the log.
    pub(crate) log: String,
    /// Of a BigQuery subscription: the first message that its table is to have.
    pub(crate) start: Option<u64>,
    /// When it was last used, to within [`LAST_USED_SECONDS`](crate::limits::LAST_USED_SECONDS); lists of
    /// earlier versions do not say.
    pub(crate) last_used: Option<Micros>,
    pub(crate) resource: v1::Subscription,
}

/// A snapshot: how far a subscription was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SnapshotRecord {
    pub(crate) uid: Uid,
    pub(crate) log: String,
    pub(crate) progress: Progress,
    pub(crate) resource: v1::Snapshot,
}

/// All resources.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resources {
    pub(crate) topics: BTreeMap<Name, TopicRecord>,
    pub(crate) subscriptions: BTreeMap<Name, SubscriptionRecord>,
    pub(crate) snapshots: BTreeMap<Name, SnapshotRecord>,
    /// All revisions of each, the oldest first.
    pub(crate) schemas: BTreeMap<Name, Vec<v1::Schema>>,
}

/// The resources with their file.
pub(crate) struct Registry {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    resources: Resources,
    texts: Texts,
}

#[derive(Deserialize)]
struct File {
    format: u32,
    topics: Vec<Entry>,
    subscriptions: Vec<Entry>,
    snapshots: Vec<Entry>,
    #[serde(default)]
    schemas: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    log: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
    resource: Value,
}

impl Registry {
    /// Opens the registry in `directory`, empty when there is none.
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, RegistryError> {
        let path = directory.join("registry.json");
        let io = |source| RegistryError::Io { path: path.clone(), source };
        disk.create_dir_all(directory).map_err(io)?;
        let resources = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Resources::default(),
            Err(error) => return Err(io(error)),
            Ok(file) => {
                let corrupt = |reason| RegistryError::Corrupt { path: path.clone(), reason };
                let len = file.len().map_err(io)?;
                if len > FILE_BYTES_MAX {
                    return Err(corrupt(format!("it has {len} bytes, too many to be what it should")));
                }
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                let read = file.read_at(&mut bytes, 0).map_err(io)?;
                read_file(&bytes[..read]).map_err(corrupt)?
            }
        };
        Ok(Self { disk, path, resources, texts: Texts::default() })
    }

    /// What there is.
    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Makes a change durably: on the disk first, then in memory. When it fails nothing has changed, unless
    /// only the directory's sync failed; then the change may come back after a restart.
    pub(crate) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Resources) -> Result<T, PubsubError>,
    ) -> Result<T, PubsubError> {
        let mut resources = self.resources.clone();
        let answer = change(&mut resources)?;
        let text = self.texts.file(&resources)?;
        write_atomically(&*self.disk, &self.path, text.as_bytes()).map_err(|error| {
            PubsubError::unavailable(format!("cannot write {}: {error}", self.path.display()))
        })?;
        self.resources = resources;
        Ok(answer)
    }
}

fn topic_text(record: &TopicRecord) -> Result<String, PubsubError> {
    let (log, resource) = (record.log.clone(), to_json(&record.resource)?);
    text(&Entry { uid: None, log, start: None, last_used_micros: None, progress: None, resource })
}

fn subscription_text(record: &SubscriptionRecord) -> Result<String, PubsubError> {
    let (uid, log) = (Some(format!("{:016x}", record.uid)), record.log.clone());
    let (start, last_used_micros) = (record.start, record.last_used.map(|time| time.0));
    let resource = to_json(&record.resource)?;
    text(&Entry { uid, log, start, last_used_micros, progress: None, resource })
}

fn snapshot_text(record: &SnapshotRecord) -> Result<String, PubsubError> {
    let (uid, log) = (Some(format!("{:016x}", record.uid)), record.log.clone());
    let mut progress = Vec::new();
    write_progress(&mut progress, &record.progress);
    let (progress, resource) = (Some(STANDARD.encode(progress)), to_json(&record.resource)?);
    text(&Entry { uid, log, start: None, last_used_micros: None, progress, resource })
}

fn schema_text(revisions: &[v1::Schema]) -> Result<String, PubsubError> {
    let texts = revisions.iter().map(|revision| text(&to_json(revision)?));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(",\n"))
}

fn text(value: &impl Serialize) -> Result<String, PubsubError> {
    serde_json::to_string(value).map_err(|error| PubsubError::internal(error.to_string()))
}

fn read_file(bytes: &[u8]) -> Result<Resources, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!("it has format version {}, this program knows {FORMAT}", file.format));
    }
    let mut resources = Resources::default();
    for entry in file.topics {
        let resource: v1::Topic = resource(entry.resource)?;
        let name = name(Kind::Topic, &resource.name)?;
        resources.topics.insert(name, TopicRecord { log: entry.log, resource });
    }
    for entry in file.subscriptions {
        let uid = uid(entry.uid.as_deref())?;
        let resource: v1::Subscription = resource(entry.resource)?;
        let name = name(Kind::Subscription, &resource.name)?;
        let (log, start, last_used) = (entry.log, entry.start, entry.last_used_micros.map(Micros));
        let record = SubscriptionRecord { uid, log, start, last_used, resource };
        resources.subscriptions.insert(name, record);
    }
    for entry in file.snapshots {
        let uid = uid(entry.uid.as_deref())?;
        let progress =
            STANDARD.decode(entry.progress.unwrap_or_default()).map_err(|error| error.to_string())?;
        let progress =
            read_progress(&mut progress.as_slice()).ok_or("a snapshot's progress makes no sense")?;
        let resource: v1::Snapshot = resource(entry.resource)?;
        let name = name(Kind::Snapshot, &resource.name)?;
        resources.snapshots.insert(name, SnapshotRecord { uid, log: entry.log, progress, resource });
    }
    for schema in file.schemas {
        let schema: v1::Schema = resource(schema)?;
        let name = name(Kind::Schema, &schema.name)?;
        resources.schemas.entry(name).or_default().push(schema);
    }
    Ok(resources)
}

fn resource<M: Named>(json: Value) -> Result<M, String> {
    from_json(json).map_err(|error| error.to_string())
}

fn name(kind: Kind, text: &str) -> Result<Name, String> {
    Name::parse(kind, text).map_err(|error| error.to_string())
}

fn uid(text: Option<&str>) -> Result<Uid, String> {
    let text = text.unwrap_or_default();
    Uid::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not an id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_disk::sim::SimDisk;

    #[test]
    fn resources_survive_and_failed_changes_do_not() {
        let disk = SimDisk::new(1);
        let open = || Registry::open(Arc::new(disk.process()), Path::new("pubsub"));
        let mut registry = open().unwrap();
        let mut progress = Progress::at(7);
        progress.apply(&crate::progress::Change::Acked { start: 9, end: 12 });
        let name = |kind, id| Name::new(kind, "p", id);
        registry
            .change(|resources| {
                let topic = name(Kind::Topic, "top");
                let resource = v1::Topic { name: topic.to_string(), ..v1::Topic::default() };
                resources.topics.insert(topic, TopicRecord { log: "p~top".to_owned(), resource });
                let snapshot = name(Kind::Snapshot, "snap");
                let resource = v1::Snapshot { name: snapshot.to_string(), ..v1::Snapshot::default() };
                let record = SnapshotRecord {
                    uid: u64::MAX,
                    log: "p~top".to_owned(),
                    progress: progress.clone(),
                    resource,
                };
                resources.snapshots.insert(snapshot, record);
                Ok(())
            })
            .unwrap();
        disk.fail_next_syncs(1);
        let failed = registry.change(|resources| {
            resources.topics.clear();
            Ok(())
        });
        assert_eq!(failed.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(registry.resources().topics.len(), 1);
        disk.crash();
        let registry = open().unwrap();
        let snapshot = &registry.resources().snapshots[&name(Kind::Snapshot, "snap")];
        assert_eq!((snapshot.uid, &snapshot.progress), (u64::MAX, &progress));
        assert_eq!(registry.resources().topics[&name(Kind::Topic, "top")].log, "p~top");
    }

    /// Scenario: records are added, changed and removed one after the other, and a change fails in between.
    /// Guarantees: the file says what there is after each, as one that is written by somebody who has not
    /// written the records before.
    #[test]
    fn what_was_written_before_is_written_as_it_is_now() {
        let disk = SimDisk::new(2);
        let open = || Registry::open(Arc::new(disk.process()), Path::new("pubsub")).unwrap();
        let mut registry = open();
        let id = |number: usize| Name::new(Kind::Topic, "p", &format!("top-{number}"));
        let record = |number: usize, label: &str| {
            let labels = [("label".to_owned(), label.to_owned())].into();
            let resource = v1::Topic { name: id(number).to_string(), labels, ..v1::Topic::default() };
            TopicRecord { log: format!("log-{number}"), resource }
        };
        let schema = |revision_id: &str| v1::Schema {
            name: Name::new(Kind::Schema, "p", "schema").to_string(),
            revision_id: revision_id.to_owned(),
            ..v1::Schema::default()
        };
        for step in 0..6 {
            if step == 3 {
                disk.fail_next_syncs(1);
            }
            let changed = registry.change(|resources| {
                resources.topics.insert(id(step), record(step, "new"));
                resources.topics.insert(id(0), record(0, &format!("step-{step}")));
                resources.topics.remove(&id(step.wrapping_sub(2)));
                let revisions = resources.schemas.entry(Name::new(Kind::Schema, "p", "schema")).or_default();
                revisions.push(schema(&format!("{step:08x}")));
                Ok(())
            });
            assert_eq!(changed.is_err(), step == 3);
            let read = open();
            assert_eq!(read.resources().topics, registry.resources().topics, "step {step}");
            assert_eq!(read.resources().schemas, registry.resources().schemas, "step {step}");
            let fresh = Texts::default().file(registry.resources()).unwrap();
            assert_eq!(registry.texts.file(&registry.resources).unwrap(), fresh, "step {step}");
        }
    }
}
