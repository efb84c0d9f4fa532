//! "Did you mean": the nearest known key.

use serde::Serialize;

use super::Origin;
use super::origin::env_name;

/// The dotted path of every leaf and table of `defaults`. A field that is `None` by default is not among them.
pub(super) fn known_keys<T: Serialize>(defaults: &T) -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(toml::Value::Table(table)) = toml::Value::try_from(defaults) {
        collect("", &table, &mut keys);
    }
    keys
}

fn collect(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = join(prefix, name);
        if let toml::Value::Table(inner) = value {
            collect(&key, inner, keys);
        }
        keys.push(key);
    }
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// What to tell somebody who set `key`: the nearest of the known ones, spelled as `origin` would, else all `siblings`.
pub(super) fn hint(key: &str, origin: &Origin, siblings: &[String], known: &[String]) -> String {
    let last = last_part(key);
    let distance = |candidate: &&String| strsim::damerau_levenshtein(key, candidate);
    let near = |candidate: &&String| distance(candidate) <= (last_part(candidate).len() / 3).max(1);
    let all = || siblings.iter().chain(known);
    let nearest = all().filter(near).min_by_key(distance).or_else(|| {
        all()
            .filter(|candidate| last_part(candidate) == last)
            .min_by_key(distance)
    });
    match (nearest, origin) {
        (Some(nearest), Origin::Env(_)) => format!("did you mean {}?", env_name(nearest)),
        (Some(nearest), _) => format!("did you mean `{nearest}`?"),
        (None, _) if siblings.is_empty() => "no key is known there".to_owned(),
        (None, _) => format!("known there: {}", siblings.join(", ")),
    }
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}
