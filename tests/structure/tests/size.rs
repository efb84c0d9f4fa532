//! Files stay of a size that can be read.

use structure::{files, none, read};

/// Lines of a file, comments and tests included.
const MOST: usize = 800;

#[test]
fn no_source_file_is_longer_than_800_lines() {
    let sources = ["libs", "services", "tests"].map(|folder| files(folder, &["rs"]));
    let long = sources.iter().flatten().filter_map(|path| {
        let lines = read(path).lines().count();
        (lines > MOST).then(|| format!("{}: {lines} lines", path.display()))
    });
    none(
        &long.collect::<Vec<_>>(),
        "a file that is longer is more than one thing",
    );
}
