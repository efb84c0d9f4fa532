//! Tests about the repository itself. What they share.

pub mod modules;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The root of the checkout whose tests cargo runs.
///
/// # Panics
/// When it is not cargo that runs them.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"));
        folder
            .ancestors()
            .nth(2)
            .expect("crates are two folders deep")
            .to_owned()
    });
    &ROOT
}

/// Every file below a folder of the checkout whose name ends in one of `extensions`, with its path from the root. What is
/// built, installed or hidden is left out.
///
/// # Panics
/// When a folder cannot be read.
pub fn files(below: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![root().join(below)], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of the checkout can be read");
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "node_modules", "data"].contains(&&*name) {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
            {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file of the checkout.
///
/// # Panics
/// When it cannot be read.
#[expect(clippy::panic, reason = "these are tests")]
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// Fails with all that is wrong, a line each, under what is asked for.
///
/// # Panics
/// When anything is.
pub fn none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}
