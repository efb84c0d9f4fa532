//! Who may depend on whom: docs/architecture.md draws it, this holds the crates to it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use structure::{none, read, root};

/// The crates of the product, from the ground up. A crate depends only on crates of the layers below its own.
const LAYERS: [(&str, &[&str]); 8] = [
    ("ground", &["model", "runtime", "mqtt-codec", "stomp-codec"]),
    ("seams", &["auth", "backplane", "dedupe", "session", "wire"]),
    ("what services ask of one another", &["contract"]),
    ("ways to the answer", &["rpc", "store"]),
    ("what services share", &["consumer", "edge"]),
    (
        "services",
        &[
            "gateway",
            "mqtt-edge",
            "persistence",
            "receipts",
            "routing",
            "stomp-edge",
        ],
    ),
    // A client, beside the services: it uses none of them.
    ("what looks from outside", &["verify"]),
    ("binary", &["longwire"]),
];
/// What only tests are built from, and what measures from outside.
const OUTSIDE: [&str; 6] = ["e2e", "faults", "load", "simulation", "structure", "testkit"];
/// The only ones that may use each codec besides [`OUTSIDE`].
const CODECS: [(&str, &[&str]); 2] = [
    ("mqtt-codec", &["mqtt-edge", "verify"]),
    ("stomp-codec", &["stomp-edge", "verify"]),
];
/// Pure: bytes and time come in, bytes and decisions go out. No runtime, no sockets.
const SANS_IO: [&str; 6] = ["dedupe", "model", "mqtt-codec", "session", "stomp-codec", "wire"];
/// What would be I/O.
const IO: [&str; 6] = [
    "axum",
    "hyper",
    "rusqlite",
    "rustls",
    "tokio",
    "tokio-tungstenite",
];

struct Edge {
    from: String,
    to: String,
    dev: bool,
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace");
    metadata.packages
}

/// Every direct dependency of a member of the workspace, but those of a crate on itself (a suite behind a feature).
fn edges(packages: &[Package]) -> Vec<Edge> {
    let of = |package: &Package| {
        let from = package.name.to_string();
        let edges = package.dependencies.iter().map(move |d| Edge {
            from: from.clone(),
            to: d.name.clone(),
            dev: d.kind == DependencyKind::Development,
        });
        edges.collect::<Vec<_>>()
    };
    packages.iter().flat_map(of).filter(|e| e.from != e.to).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, crates)| crates.contains(&name))
}

#[test]
fn every_crate_has_its_place() {
    let members: BTreeSet<String> = packages().iter().map(|p| p.name.to_string()).collect();
    let placed: BTreeSet<String> = LAYERS
        .iter()
        .flat_map(|(_, crates)| *crates)
        .chain(&OUTSIDE)
        .map(|name| (*name).to_owned())
        .collect();
    let new = members
        .difference(&placed)
        .map(|c| format!("{c}: is in no layer"));
    let gone = placed.difference(&members).map(|c| format!("{c}: is no crate"));
    none(
        &new.chain(gone).collect::<Vec<_>>(),
        "LAYERS or OUTSIDE names each crate of the workspace",
    );
}

#[test]
fn crates_depend_only_on_the_layers_below_theirs() {
    let mut wrong = Vec::new();
    for Edge { from, to, dev } in edges(&packages()) {
        // A test may put a real neighbour where a fake would stand.
        let (Some(user), Some(used), false) = (layer(&from), layer(&to), dev) else {
            continue;
        };
        if used >= user {
            wrong.push(format!(
                "{from} ({}) depends on {to} ({})",
                LAYERS[user].0, LAYERS[used].0
            ));
        }
    }
    none(&wrong, "dependencies point down the layers, never sideways or up");
}

#[test]
fn nothing_is_built_on_what_is_for_tests() {
    let edges = edges(&packages());
    let wrong = edges
        .iter()
        .filter(|e| layer(&e.from).is_some() && OUTSIDE.contains(&e.to.as_str()) && !e.dev);
    let wrong: Vec<_> = wrong.map(|e| format!("{} depends on {}", e.from, e.to)).collect();
    none(&wrong, "the product uses test crates in tests only");
}

#[test]
fn a_codec_knows_nothing_of_ours_and_only_its_edge_knows_it() {
    let mut wrong = Vec::new();
    for Edge { from, to, .. } in edges(&packages()) {
        for (codec, users) in CODECS {
            if from == codec && (layer(&to).is_some() || OUTSIDE.contains(&to.as_str())) {
                wrong.push(format!("{from} depends on {to}"));
            }
            if to == codec && !users.contains(&from.as_str()) && !OUTSIDE.contains(&from.as_str()) {
                wrong.push(format!(
                    "{from} depends on {to}, which is for {}",
                    users.join(" and ")
                ));
            }
        }
    }
    none(&wrong, "codecs stand alone");
}

#[test]
fn the_pure_crates_do_no_io() {
    let edges = edges(&packages());
    let wrong = edges
        .iter()
        .filter(|e| SANS_IO.contains(&e.from.as_str()) && IO.contains(&e.to.as_str()) && !e.dev);
    let wrong: Vec<_> = wrong.map(|e| format!("{} depends on {}", e.from, e.to)).collect();
    none(&wrong, "these crates are told the time and given the bytes");
}

/// What `deny.toml` says of a crate.
struct Ban {
    name: String,
    wrappers: Option<BTreeSet<String>>,
}

fn bans() -> Vec<Ban> {
    let deny: toml::Table = toml::from_str(&read("deny.toml")).expect("deny.toml is TOML");
    let text = |v: &toml::Value| v.as_str().expect("a name").to_owned();
    let list = deny["bans"]["deny"].as_array().expect("bans.deny is a list");
    let bans = list.iter().map(|ban| Ban {
        name: text(&ban["crate"]),
        wrappers: ban
            .get("wrappers")
            .and_then(|w| Some(w.as_array()?.iter().map(text).collect())),
    });
    bans.collect()
}

/// For each crate in `Cargo.lock`, the crates that use it directly.
fn users() -> BTreeMap<String, BTreeSet<String>> {
    let lock: toml::Table = toml::from_str(&read("Cargo.lock")).expect("Cargo.lock is TOML");
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("a list of packages") {
        let name = package["name"].as_str().expect("a name");
        users.entry(name.to_owned()).or_default();
        let used = package.get("dependencies").and_then(toml::Value::as_array);
        for used in used.into_iter().flatten().filter_map(toml::Value::as_str) {
            // `name`, or `name version` where there are several.
            let used = used.split(' ').next().unwrap_or(used);
            users.entry(used.to_owned()).or_default().insert(name.to_owned());
        }
    }
    users
}

#[test]
fn what_deny_toml_bans_is_not_used_but_where_it_may_be() {
    let (users, mut wrong) = (users(), Vec::new());
    let bans = bans();
    assert!(
        bans.iter().any(|b| b.name == "rusqlite" && b.wrappers.is_some()),
        "SQL has one place"
    );
    for Ban { name, wrappers } in bans {
        let Some(used_by) = users.get(&name) else { continue };
        match wrappers {
            None => wrong.push(format!(
                "{name} is banned, and used by {}",
                used_by.iter().cloned().collect::<Vec<_>>().join(", ")
            )),
            Some(allowed) => {
                let others = used_by.difference(&allowed);
                wrong.extend(others.map(|user| format!("{user} uses {name}, which is not its to use")));
            }
        }
    }
    none(&wrong, "deny.toml says who may use what, with the reason");
}
