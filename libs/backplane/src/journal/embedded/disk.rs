//! What the writer does to the disk; a seam, so that tests can make it fail.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The operations whose failure the writer must survive.
pub(super) trait Disk: Send + 'static {
    /// Writes all of it.
    fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// Makes content and length durable.
    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Cuts the file off.
    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// Bytes that may still be written to the disk of `dir`.
    fn free(&mut self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The one that is there.
pub(super) struct RealDisk;

impl Disk for RealDisk {}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a file that begins with `content`, durable with its name. A file of that name, left by an attempt that failed,
/// is replaced by a new one: after a failed fsync it must not be trusted.
pub(super) fn create(disk: &mut dyn Disk, path: &Path, content: &[u8]) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    disk.write(&file, content, 0)?;
    disk.sync(&file)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}
