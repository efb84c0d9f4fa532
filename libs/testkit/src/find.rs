//! Where the programs of others are.

use std::path::PathBuf;

/// The program that `variable` names, or the first of the given files that is there, or the one of the path.
///
/// # Panics
/// When there is none; the message says how to get it.
pub(crate) fn program(variable: &str, name: &str, also: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from)
        && path.is_file()
    {
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = also
        .into_iter()
        .chain(on_path.map(|folder| folder.join(name)))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no `{name}`; run tests/install.sh (or use `make test`), or name it with {variable}")
    })
}
