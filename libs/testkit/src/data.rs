//! Data folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Set to `1` to pass over what only root may do, instead of failing.
const SKIP: &str = "LONGWIRE_SKIP_ROOT_TESTS";

/// A folder that goes away with its value; perhaps a small file system of its own.
#[derive(Debug)]
pub struct DataDir {
    folder: TempDir,
    mounted: bool,
}

impl DataDir {
    /// An ordinary folder.
    ///
    /// # Panics
    /// When none can be made.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("longwire-test-").tempdir();
        Self {
            folder: folder.expect("making a folder for test data"),
            mounted: false,
        }
    }

    /// A file system in memory with room for `mib` MiB, to fill up. `None` when `LONGWIRE_SKIP_ROOT_TESTS=1` says that
    /// this machine does not allow it.
    ///
    /// # Panics
    /// When it cannot be mounted; the message says what is missing.
    pub fn small(mib: u32) -> Option<Self> {
        if std::env::var(SKIP).is_ok_and(|value| value == "1") {
            return None;
        }
        let mut dir = Self::new();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(dir.path())
            .output()
            .expect("starting `mount`, which is missing: install the package `mount`");
        assert!(
            output.status.success(),
            "this test needs a small file system and may not mount one ({}): run it as root with CAP_SYS_ADMIN, \
             or set {SKIP}=1 to leave it out",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        dir.mounted = true;
        Some(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes still free in its file system, as `df` says.
    ///
    /// # Panics
    /// When the file system does not tell.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).expect("asking the file system");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes room with a file until only `leave` bytes are free; removing the file gives it back.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn fill(&self, leave: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let size = self.free().saturating_sub(leave);
        let ballast = vec![0u8; usize::try_from(size).expect("a small file system")];
        std::fs::write(&path, ballast).expect("writing the ballast");
        path
    }
}

impl Default for DataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.mounted {
            let done = Command::new("umount").arg("-l").arg(self.path()).status();
            if !done.is_ok_and(|status| status.success()) {
                eprintln!("could not unmount {}", self.path().display());
            }
        }
    }
}
