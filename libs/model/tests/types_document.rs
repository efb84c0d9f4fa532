//! The page of the protocols has the table of the code, to the letter. After a change of the table, write it anew:
//! `UPDATE=1 cargo test -p model --test types_document`.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::PathBuf;

use model::types_as_markdown;

const MARK: &str = "<!-- The table is written by libs/model/tests/types_document.rs -->\n\n";
const NEXT: &str = "\n## What others are told of a sender\n";

#[test]
fn the_page_of_the_types_has_the_table_of_the_code() {
    let path =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/protocols/types.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARK).unwrap();
    let (table, after) = rest.split_once(NEXT).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let written = format!("{before}{MARK}{}{NEXT}{after}", types_as_markdown());
        std::fs::write(&path, written).unwrap();
        return;
    }
    assert_eq!(
        table,
        types_as_markdown(),
        "{} and the table differ",
        path.display()
    );
}
