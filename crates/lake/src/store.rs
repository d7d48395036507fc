//! The object store that the libraries below read and write tables through: plain files of a
//! [`Disk`], every write synced, content before name, name before answer.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use millrace_disk::{Disk, Entry, OpenMode};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result,
};

use crate::files::{self, TEMP_PREFIX};
use crate::upload::Upload;

const STORE: &str = "SyncedStore";

/// How many stores there have been in this process.
static STORES: AtomicU64 = AtomicU64::new(0);

/// Files under a root directory as an [`ObjectStore`]. A put is durable when it is answered, and is
/// either wholly visible or not at all. Unlike `object_store`'s own local store, which syncs nothing.
#[derive(Clone)]
pub struct SyncedStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// What DataFusion knows the store by, different for each in this process.
    url: String,
    disk: Arc<dyn Disk>,
    root: PathBuf,
    read_only: bool,
}

impl SyncedStore {
    /// A store of what is under `root`. One that is `read_only` refuses every write.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, read_only: bool) -> Self {
        let url = format!("millrace://lake-{}", STORES.fetch_add(1, Ordering::Relaxed));
        Self { inner: Arc::new(Inner { url, disk, root, read_only }) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.inner.url
    }

    /// Runs file work where it may block: on the runtime's blocking threads when there is one.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        run_blocking(move || work(&inner)).await
    }
}

/// See [`SyncedStore::blocking`].
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

/// Puts a location to an I/O error.
pub(crate) fn store_error(location: &Path, error: io::Error) -> Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: STORE, source: format!("{path}: {error}").into() },
    }
}

impl Inner {
    fn file_path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::NotSupported { source: "the lake is open for reading only".into() });
        }
        Ok(())
    }

    fn put(&self, location: &Path, payload: &PutPayload, mode: &PutMode) -> Result<()> {
        self.writable()?;
        let path = self.file_path(location);
        let parts: Vec<Bytes> = payload.iter().cloned().collect();
        match mode {
            PutMode::Create => files::create_new(self.disk.as_ref(), &path, &parts),
            PutMode::Overwrite => files::replace(self.disk.as_ref(), &path, &parts),
            PutMode::Update(_) => {
                return Err(Error::NotSupported { source: "files have no versions to update".into() });
            }
        }
        .map_err(|error| store_error(location, error))
    }

    fn head(&self, location: &Path) -> Result<ObjectMeta> {
        let entry =
            self.disk.entry(&self.file_path(location)).map_err(|error| store_error(location, error))?;
        match entry {
            Some(entry) if !entry.is_dir => Ok(object_meta(location.clone(), &entry)),
            _ => Err(store_error(location, io::ErrorKind::NotFound.into())),
        }
    }

    fn get(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        let meta = self.head(location)?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?,
            None => 0..meta.size,
        };
        let content = if options.head {
            Bytes::new()
        } else {
            self.read(location, std::slice::from_ref(&range))?.pop().unwrap_or_default()
        };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(content) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    fn read(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = || {
            let file = self.disk.open(&self.file_path(location), OpenMode::Read)?;
            ranges
                .iter()
                .map(|range| {
                    let len = range.end.saturating_sub(range.start);
                    files::read_range(file.as_ref(), range.start, len)
                })
                .collect::<io::Result<Vec<_>>>()
        };
        read().map_err(|error| store_error(location, error))
    }

    fn rename(&self, from: &Path, to: &Path, create: bool) -> Result<()> {
        self.writable()?;
        let (source, target) = (self.file_path(from), self.file_path(to));
        let disk = self.disk.as_ref();
        self.head(from)?;
        let renamed = || {
            if create {
                disk.hard_link(&source, &target)?;
                disk.sync_dir(files::parent(&target))?;
                disk.remove_file(&source)?;
            } else {
                disk.rename(&source, &target)?;
                disk.sync_dir(files::parent(&target))?;
            }
            disk.sync_dir(files::parent(&source))
        };
        match disk.create_dir_all(files::parent(&target)).and_then(|()| renamed()) {
            Ok(()) => Ok(()),
            Err(error) => Err(store_error(to, error)),
        }
    }

    /// Files under `prefix`, in order of location. Temporary files are not listed.
    fn list(&self, prefix: Option<&Path>, after: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut directories = vec![prefix.cloned().unwrap_or_default()];
        while let Some(directory) = directories.pop() {
            for entry in self.read_dir(&directory)? {
                let location = directory.clone().join(entry.name.as_str());
                if entry.is_dir {
                    directories.push(location);
                } else if after.is_none_or(|after| location > *after) {
                    found.push(object_meta(location, &entry));
                }
            }
        }
        found.sort_unstable_by(|left, right| left.location.cmp(&right.location));
        Ok(found)
    }

    fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let directory = prefix.cloned().unwrap_or_default();
        let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for entry in self.read_dir(&directory)? {
            let location = directory.clone().join(entry.name.as_str());
            if entry.is_dir {
                result.common_prefixes.push(location);
            } else {
                result.objects.push(object_meta(location, &entry));
            }
        }
        Ok(result)
    }

    fn read_dir(&self, directory: &Path) -> Result<Vec<Entry>> {
        match self.disk.read_dir(&self.file_path(directory)) {
            Ok(mut entries) => {
                entries.retain(|entry| !entry.name.starts_with(TEMP_PREFIX));
                Ok(entries)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(store_error(directory, error)),
        }
    }
}

fn object_meta(location: Path, entry: &Entry) -> ObjectMeta {
    let last_modified = DateTime::<Utc>::from_timestamp_micros(entry.modified_micros).unwrap_or_default();
    ObjectMeta { location, last_modified, size: entry.len, e_tag: None, version: None }
}

#[async_trait]
impl ObjectStore for SyncedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let location = location.clone();
        self.blocking(move |inner| inner.put(&location, &payload, &opts.mode)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let location = location.clone();
        let upload = self
            .blocking(move |inner| {
                inner.writable()?;
                let path = inner.file_path(&location);
                Upload::begin(Arc::clone(&inner.disk), path, location.clone())
                    .map_err(|error| store_error(&location, error))
            })
            .await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        self.blocking(move |inner| inner.get(&location, &options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (location, ranges) = (location.clone(), ranges.to_vec());
        self.blocking(move |inner| inner.read(&location, &ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let removed = location.clone();
                    store
                        .blocking(move |inner| {
                            inner.writable()?;
                            let path = inner.file_path(&removed);
                            inner.disk.remove_file(&path).map_err(|error| store_error(&removed, error))
                        })
                        .await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list_stream(self.clone(), prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        list_stream(self.clone(), prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned();
        self.blocking(move |inner| inner.list_with_delimiter(prefix.as_ref())).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        self.blocking(move |inner| {
            let size = inner.head(&from)?.size;
            let content = inner.read(&from, std::slice::from_ref(&(0..size)))?;
            inner.put(&to, &PutPayload::from_iter(content), &mode)
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        let create = matches!(options.target_mode, RenameTargetMode::Create);
        self.blocking(move |inner| inner.rename(&from, &to, create)).await
    }
}

fn list_stream(
    store: SyncedStore,
    prefix: Option<Path>,
    after: Option<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    stream::once(
        async move { store.blocking(move |inner| inner.list(prefix.as_ref(), after.as_ref())).await },
    )
    .map(|listed| match listed {
        Ok(found) => stream::iter(found.into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    })
    .flatten()
    .boxed()
}

impl fmt::Display for SyncedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{STORE}({})", self.inner.root.display())
    }
}

impl fmt::Debug for SyncedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
