//! No module uses one that uses it, by whatever way: what is below can be read and changed without what is above.

use std::collections::BTreeSet;

use structure::modules::Modules;
use structure::{none, root};

/// Crates that have circles of before this was checked. None is added here; one that has lost its circles is taken out.
const BEFORE: &[&str] = &[
    "libs/backplane",
    "libs/consumer",
    "libs/dedupe",
    "libs/mqtt-codec",
    "libs/rpc",
    "libs/session",
    "libs/stomp-codec",
    "libs/testkit",
    "libs/verify",
    "libs/wire",
    "services/gateway",
    "services/longwire",
    "services/stomp-edge",
];

fn crates() -> BTreeSet<String> {
    let folders = ["libs", "services"].map(|folder| {
        let crates = std::fs::read_dir(root().join(folder)).expect("a folder of the checkout can be read");
        let names = crates
            .flatten()
            .map(|krate| krate.file_name().to_string_lossy().into_owned());
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    });
    folders.into_iter().flatten().collect()
}

#[test]
fn modules_do_not_use_one_another_in_circles() {
    let mut wrong = Vec::new();
    for krate in crates() {
        let circles = Modules::of(&krate).circles();
        if BEFORE.contains(&krate.as_str()) {
            let over = circles.is_empty();
            wrong.extend(over.then(|| format!("{krate} has no circles any more: take it out of BEFORE")));
            continue;
        }
        let circle = |circle: &Vec<String>| format!("{krate}: {}", circle.join(", "));
        wrong.extend(circles.iter().map(circle));
    }
    none(
        &wrong,
        "what two modules need of one another stands in a third below both",
    );
}
