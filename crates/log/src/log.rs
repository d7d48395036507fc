//! The log: all topics of a data directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millrace_disk::{Disk, TEMPORARY_SUFFIX};
use millrace_model::{Micros, Offset, TopicId, names};

use crate::meta::{TopicFile, deleted_file, readers_file, topic_file, write_topic};
use crate::recover::create_segment;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, base_of, index_base_of};
use crate::sync::lock;
use crate::{LogConfig, LogError, Maintained, Topic, TopicConfig};

/// All topics under one directory, each in a directory of its name. One process at a time may have it
/// open for writing, which is the caller's to see to; any number may have it open to read only.
pub struct Log {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    config: Arc<LogConfig>,
    read_only: bool,
    topics: Mutex<BTreeMap<String, Arc<Topic>>>,
}

impl Log {
    /// Opens the log in `root`, which is made if need be, and recovers every topic. A topic that cannot
    /// be recovered is there all the same, [out of work](Topic::failure), and does not hinder the others.
    ///
    /// # Errors
    /// When the directory itself cannot be made or listed.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, config: LogConfig) -> Result<Self, LogError> {
        disk.create_dir_all(root).map_err(LogError::io("make", root))?;
        Self::open_all(disk, root, config, false)
    }

    /// Opens the log for looking at while another process may be writing it: changes nothing, and shows
    /// what is intact at this moment.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn open_read_only(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, LogError> {
        Self::open_all(disk, root, LogConfig::default(), true)
    }

    fn open_all(
        disk: Arc<dyn Disk>,
        root: &Path,
        config: LogConfig,
        read_only: bool,
    ) -> Result<Self, LogError> {
        let config = Arc::new(config);
        let mut topics = BTreeMap::new();
        for entry in disk.read_dir(root).map_err(LogError::io("list", root))? {
            let directory = root.join(&entry.name);
            if !entry.is_dir || names::resource_name_violation(&entry.name).is_some() {
                continue;
            }
            // One that cannot even be looked at is opened, so that it shows its error.
            if is_topic(&*disk, &directory, read_only).unwrap_or(true) {
                let topic = Topic::open(&disk, &directory, &entry.name, &config, read_only);
                topics.insert(entry.name, topic);
            }
        }
        Ok(Self { disk, root: root.to_path_buf(), config, read_only, topics: Mutex::new(topics) })
    }

    /// Makes a topic with a new id, durable when this returns; or gives the one that is there, with its
    /// settings changed to `config`.
    ///
    /// # Errors
    /// When the name breaks the rule of [`names::resource_name_violation`], or the disk refuses.
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Arc<Topic>, LogError> {
        if let Some(rule) = names::resource_name_violation(name) {
            return Err(LogError::Name { name: name.to_owned(), rule });
        }
        self.check_writable()?;
        let mut topics = lock(&self.topics);
        if let Some(topic) = topics.get(name) {
            if topic.failure().is_none() {
                topic.configure(&config)?;
            }
            return Ok(Arc::clone(topic));
        }
        let directory = self.root.join(name);
        self.disk.create_dir_all(&directory).map_err(LogError::io("make", &directory))?;
        remove_leftovers(&*self.disk, &directory)?;
        let id = random_id()?;
        let header = SegmentHeader {
            topic: id,
            base: Offset::ZERO,
            last_time: Micros(i64::MIN),
            duplicates_total: 0,
            payload_total: 0,
        };
        create_segment(&*self.disk, &directory, &header)?;
        // Last, because this file makes the directory a topic.
        write_topic(&*self.disk, &directory, &TopicFile::new(id, name, config))?;
        let topic = Topic::open(&self.disk, &directory, name, &self.config, false);
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        lock(&self.topics).get(name).cloned()
    }

    /// All topics, in order of name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        lock(&self.topics).values().cloned().collect()
    }

    /// Removes a topic and all that is in it. Its appends are answered first; readers that have it open
    /// meet errors. Its empty directory stays.
    ///
    /// # Errors
    /// When there is none of that name, or the disk refuses; then it is gone or there at the next open.
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.check_writable()?;
        let mut topics = lock(&self.topics);
        let topic = topics.remove(name).ok_or_else(|| LogError::NoTopic(name.to_owned()))?;
        let _files = topic.core.delete();
        let directory = self.root.join(name);
        let (from, to) = (topic_file(&directory), deleted_file(&directory));
        // From here on the directory is no topic, whatever else is still in it.
        match self.disk.rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LogError::io("rename", &from)(error));
            }
            _ => self.disk.sync_dir(&directory).map_err(LogError::io("sync", &directory))?,
        }
        remove_leftovers(&*self.disk, &directory)
    }

    /// Retention, cursors' budgets and repairs, for every topic; the caller does this every few seconds
    /// with the time of its clock. One topic's failure does not keep the others from it.
    ///
    /// # Errors
    /// When the log was opened to read only.
    pub fn maintain(&self, now: Micros) -> Result<Maintained, LogError> {
        self.check_writable()?;
        let mut all = Maintained::default();
        for topic in self.topics() {
            match topic.maintain(now) {
                Ok(one) => {
                    all.segments_removed += one.segments_removed;
                    all.bytes_removed += one.bytes_removed;
                    all.messages_expired += one.messages_expired;
                    all.cursors_detached += one.cursors_detached;
                    all.cursors_expired += one.cursors_expired;
                }
                Err(error) => all.failures.push((topic.name().to_owned(), error.to_string())),
            }
        }
        Ok(all)
    }

    /// Takes no more appends, waits until those accepted are answered, and writes down where holders
    /// are. Dropping the log does the same.
    pub fn shutdown(&self) {
        self.topics().iter().for_each(|topic| topic.core.close());
    }

    fn check_writable(&self) -> Result<(), LogError> {
        if self.read_only { Err(LogError::ReadOnly(self.root.clone())) } else { Ok(()) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Whether a directory holds a topic. One that was half made or half deleted when the process ended is
/// cleared; one that lost its `topic.json` is a topic, and damaged.
fn is_topic(disk: &dyn Disk, directory: &Path, read_only: bool) -> Result<bool, LogError> {
    let there =
        |path: &Path| disk.entry(path).map(|entry| entry.is_some()).map_err(LogError::io("look at", path));
    if there(&topic_file(directory))? {
        return Ok(true);
    }
    let deleted = there(&deleted_file(directory))?;
    let entries = disk.read_dir(directory).map_err(LogError::io("list", directory))?;
    let has_messages = entries.iter().any(|entry| {
        base_of(&entry.name)
            .is_some_and(|base| base > Offset::ZERO || entry.len > SEGMENT_HEADER_BYTES as u64)
    });
    if has_messages && !deleted {
        return Ok(true);
    }
    if !read_only && let Err(error) = remove_leftovers(disk, directory) {
        tracing::warn!(directory = %directory.display(), %error, "what a topic left behind was not removed");
    }
    Ok(false)
}

/// Removes the files of a topic that is none; the mark that says so goes last.
fn remove_leftovers(disk: &dyn Disk, directory: &Path) -> Result<(), LogError> {
    let entries = disk.read_dir(directory).map_err(LogError::io("list", directory))?;
    let ours = |name: &str| {
        base_of(name).is_some() || index_base_of(name).is_some() || name.ends_with(TEMPORARY_SUFFIX)
    };
    let mut paths: Vec<_> =
        entries.iter().filter(|entry| ours(&entry.name)).map(|entry| directory.join(&entry.name)).collect();
    paths.push(readers_file(directory));
    for path in paths {
        remove(disk, &path)?;
    }
    disk.sync_dir(directory).map_err(LogError::io("sync", directory))?;
    remove(disk, &deleted_file(directory))?;
    disk.sync_dir(directory).map_err(LogError::io("sync", directory))
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn random_id() -> Result<TopicId, LogError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| LogError::Random(error.to_string()))?;
    Ok(TopicId(bytes))
}
