//! Checkpoints in files: a folder for each partition, a file for each blob.
//!
//! A file is written under another name, synced, and renamed; the folder is synced behind it. So under its own name a
//! file is whole, and a manifest that can be read names blobs that can.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use model::PartitionId;
use parking_lot::Mutex;

use super::{CheckpointError, Checkpoints, Claimed, check_name};

/// [`Checkpoints`] in a directory of the local disk, for one process: whoever opens it holds the lock of the journal
/// beside it.
#[derive(Clone)]
pub struct EmbeddedCheckpoints(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// Between reading a manifest and replacing it.
    manifests: Mutex<()>,
    /// Tells files that are being written apart.
    writes: AtomicU64,
}

const MANIFEST: &str = "manifest";
/// Blobs have it, so that none is taken for the manifest.
const BLOB: &str = "blob";
/// What is being written, or was when the process died.
const UNFINISHED: &str = "tmp";

impl EmbeddedCheckpoints {
    /// Opens the directory, or creates it, and deletes what was left unfinished in it. Blocks.
    ///
    /// # Errors
    /// When the disk does not do it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let opened = create_dir(dir).and_then(|()| sweep(dir));
        opened.map_err(|error| unavailable(dir, &error))?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            manifests: Mutex::new(()),
            writes: AtomicU64::new(0),
        })))
    }

    /// Does something with the disk, where it may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let inner = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => Err(CheckpointError::Unavailable(error.to_string())),
        }
    }
}

impl Inner {
    fn folder(&self, partition: PartitionId) -> PathBuf {
        self.dir.join(partition.to_string())
    }

    fn blob(&self, partition: PartitionId, name: &str) -> PathBuf {
        self.folder(partition).join(format!("{name}.{BLOB}"))
    }

    /// Makes a file whole and durable, in place of another one.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_extension(format!("{number}.{UNFINISHED}"));
        let folder = path.parent().unwrap_or(&self.dir);
        let written = create_dir(folder)
            .and_then(|()| create(&unfinished, bytes))
            .and_then(|()| fs::rename(&unfinished, path))
            .and_then(|()| sync_dir(folder));
        written.map_err(|error| {
            // What cannot be deleted now is when the directory is opened again.
            let _ = fs::remove_file(&unfinished);
            unavailable(path, &error)
        })
    }

    fn claimed(&self, partition: PartitionId) -> Result<Claimed, CheckpointError> {
        let bytes = read(&self.folder(partition).join(MANIFEST))?;
        Ok(Claimed::found(bytes.as_ref(), partition))
    }

    /// Replaces the manifest for an owner of `epoch`; without a manifest, claims the one that is there.
    fn replace(
        &self,
        partition: PartitionId,
        epoch: u64,
        manifest: Option<Bytes>,
    ) -> Result<Option<Bytes>, CheckpointError> {
        let _manifests = self.manifests.lock();
        let found = self.claimed(partition)?;
        found.admits(partition, epoch)?;
        let manifest = manifest.or(found.manifest);
        let claimed = Claimed { epoch, manifest };
        self.write(&self.folder(partition).join(MANIFEST), &claimed.encode())?;
        Ok(claimed.manifest)
    }
}

#[async_trait]
impl Checkpoints for EmbeddedCheckpoints {
    async fn put(&self, partition: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        check_name(name)?;
        let path = self.0.blob(partition, name);
        self.run(move |inner| inner.write(&path, &bytes)).await
    }

    async fn get(&self, partition: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError> {
        check_name(name)?;
        let path = self.0.blob(partition, name);
        self.run(move |_| read(&path)).await
    }

    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError> {
        let folder = self.0.folder(partition);
        self.run(move |_| names(&folder).map_err(|error| unavailable(&folder, &error)))
            .await
    }

    async fn delete(&self, partition: PartitionId, name: &str) -> Result<(), CheckpointError> {
        check_name(name)?;
        let path = self.0.blob(partition, name);
        self.run(move |_| match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(&path, &error)),
            _ => Ok(()),
        })
        .await
    }

    async fn manifest(&self, partition: PartitionId) -> Result<Option<Bytes>, CheckpointError> {
        self.run(move |inner| Ok(inner.claimed(partition)?.manifest))
            .await
    }

    async fn claim(&self, partition: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError> {
        self.run(move |inner| inner.replace(partition, epoch, None)).await
    }

    async fn put_manifest(
        &self,
        partition: PartitionId,
        epoch: u64,
        bytes: Bytes,
    ) -> Result<(), CheckpointError> {
        self.run(move |inner| inner.replace(partition, epoch, Some(bytes)).map(drop))
            .await
    }
}

fn unavailable(place: &Path, error: &io::Error) -> CheckpointError {
    CheckpointError::Unavailable(format!("{}: {error}", place.display()))
}

/// Creates a directory that is missing, durable with its name. Which people write to whom can be told from what lies in
/// it.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> Result<Option<Bytes>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable(path, &error)),
    }
}

/// The blobs in a folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for path in entries(folder)? {
        if path.extension().is_some_and(|extension| extension == BLOB)
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What lies in a folder; nothing, if there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Deletes what was being written when the process before died.
fn sweep(dir: &Path) -> io::Result<()> {
    for folder in entries(dir)?.iter().filter(|path| path.is_dir()) {
        for path in entries(folder)? {
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}
