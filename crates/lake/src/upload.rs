//! A file that arrives in parts, for checkpoints too large for one put.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use millrace_disk::{Disk, DiskFile};
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use crate::files;
use crate::store::{run_blocking, store_error};

/// Parts are written to their places in a temporary file, which gets its name, synced, in `complete`.
pub(crate) struct Upload {
    disk: Arc<dyn Disk>,
    file: Option<Arc<dyn DiskFile>>,
    temp: PathBuf,
    path: PathBuf,
    location: Path,
    position: u64,
}

impl Upload {
    pub(crate) fn begin(disk: Arc<dyn Disk>, path: PathBuf, location: Path) -> io::Result<Self> {
        let temp = files::temp_beside(&path)?;
        let file = files::open_new(disk.as_ref(), &temp)?;
        Ok(Self { disk, file: Some(file), temp, path, location, position: 0 })
    }

    fn over(&self) -> Error {
        store_error(&self.location, io::Error::other("the upload is over"))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(file) = self.file.clone() else {
            let error = self.over();
            return async move { Err(error) }.boxed();
        };
        let mut position = self.position;
        self.position += data.content_length() as u64;
        let location = self.location.clone();
        run_blocking(move || {
            data.iter()
                .try_for_each(|part| {
                    file.write_all_at(part, position)?;
                    position += part.len() as u64;
                    Ok(())
                })
                .map_err(|error| store_error(&location, error))
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let file = self.file.take().ok_or_else(|| self.over())?;
        let (disk, temp, path) = (Arc::clone(&self.disk), self.temp.clone(), self.path.clone());
        let location = self.location.clone();
        run_blocking(move || {
            let finish = || {
                file.sync_data()?;
                disk.rename(&temp, &path)?;
                disk.sync_dir(files::parent(&path))
            };
            finish().map_err(|error| store_error(&location, error))
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.file = None;
        let (disk, temp, location) = (Arc::clone(&self.disk), self.temp.clone(), self.location.clone());
        run_blocking(move || disk.remove_file(&temp).map_err(|error| store_error(&location, error))).await
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upload").field("path", &self.path).finish_non_exhaustive()
    }
}
