//! Where settings are looked for, and putting them together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::de::{DeError, NodeDeserializer, Problem};
use super::origin::ENV_PREFIX;
use super::suggest::{hint, join, known_keys};
use super::tree::{Node, Value, file_origin};
use super::{ConfigError, Invalid, Origin};

/// The places in which settings are looked for. The order of the calls does not matter: a flag wins over the
/// environment, which wins over the file.
#[derive(Default)]
pub struct Sources {
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
    not_unicode: Option<String>,
    flags: Vec<(String, String, String)>,
}

impl Sources {
    /// No place at all: the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A TOML file, which must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Environment variables; those that do not start with `LONGWIRE_` (in any case) are passed over, and so are the
    /// ones that Kubernetes sets for a service called `longwire…`. The caller leaves out what is no setting.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(
            variables
                .into_iter()
                .filter(|(name, value)| is_setting(name, value)),
        );
        self
    }

    /// The environment of this process, without the variables called like one of `except`.
    #[must_use]
    pub fn process_env(mut self, except: &[&str]) -> Self {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if except.contains(&name.as_str()) {
                continue;
            }
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                Err(_) if is_setting(&name, "") => self.not_unicode = Some(name),
                Err(_) => {}
            }
        }
        self.env(variables)
    }

    /// A flag of the command line: `name` as the user wrote it, the dotted `key` it sets, its value.
    #[must_use]
    pub fn flag(mut self, name: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((name.into(), key.into(), value.into()));
        self
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// When the file cannot be read or is not TOML, or a key is inside of something that is not a table.
    pub fn read(self) -> Result<Settings, ConfigError> {
        if let Some(name) = self.not_unicode {
            return Err(ConfigError::NotUnicode { name });
        }
        let mut root = match &self.file {
            Some(path) => read_file(path)?,
            None => Node::empty_table(),
        };
        let mut env: Vec<_> = self
            .env
            .into_iter()
            .map(|(name, value)| (env_path(&name), name, value))
            .collect();
        // A whole table before the keys in it.
        env.sort_by(|a, b| (a.0.len(), &a.1).cmp(&(b.0.len(), &b.1)));
        for (path, name, value) in env {
            set(&mut root, &path, Origin::Env(name), value)?;
        }
        for (name, key, value) in self.flags {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            set(&mut root, &path, Origin::Flag(name), value)?;
        }
        Ok(Settings { root })
    }
}

fn read_file(path: &Path) -> Result<Node, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    Node::parse_document(path, &text, file_origin(path))
}

fn set(root: &mut Node, path: &[String], origin: Origin, value: String) -> Result<(), ConfigError> {
    root.set(path, &origin, value)
        .map_err(|(key, in_the_way)| ConfigError::BadValue {
            key,
            origin: in_the_way,
            reason: format!("expected a table, because {origin} sets a key in it"),
        })
}

fn is_setting(name: &str, value: &str) -> bool {
    let prefixed = name
        .get(..ENV_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(ENV_PREFIX));
    prefixed && !is_service_link(name, value)
}

/// `LONGWIRE_SERVICE_HOST=10.0.0.1`, `LONGWIRE_GATEWAY_PORT_9003_TCP_ADDR=…`, `LONGWIRE_PORT=tcp://10.0.0.1:9003`: the
/// variables by which Kubernetes tells every pod of the services in its namespace.
fn is_service_link(name: &str, value: &str) -> bool {
    let port_of_a_service = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && (rest.contains("_TCP") || rest.contains("_UDP"))
    });
    let is_url = value.starts_with("tcp://") || value.starts_with("udp://");
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || port_of_a_service
            || (name.ends_with("_PORT") && is_url))
}

fn env_path(name: &str) -> Vec<String> {
    name[ENV_PREFIX.len()..]
        .to_lowercase()
        .split("__")
        .map(str::to_owned)
        .collect()
}

/// What was set, everywhere, before anybody has asked what it means.
pub struct Settings {
    root: Node,
}

impl Settings {
    /// The text at `key`, if it is set and is one: to choose between presets before the rest is read.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.root.get(key)?.value {
            Value::String(text) | Value::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// Where `key` was set, if it was.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.root.get(key).map(|node| &node.origin)
    }

    /// Puts defaults for one situation, written in TOML, below everything that is set.
    ///
    /// # Errors
    /// When `toml` is not TOML.
    pub fn preset(self, name: &'static str, toml: &str) -> Result<Self, ConfigError> {
        let mut root = Node::parse_document(Path::new(name), toml, |_| Origin::Preset(name))?;
        root.merge(self.root);
        Ok(Self { root })
    }

    /// Reads a `T`; what is set nowhere is as `T`'s own `#[serde(default)]` says.
    ///
    /// # Errors
    /// At the first key that `T` does not know (with or without `deny_unknown_fields`), the first value that it does not
    /// take, the first key that it misses.
    pub fn load<T: DeserializeOwned + Serialize + Default>(&self) -> Result<Loaded<T>, ConfigError> {
        let deserializer = NodeDeserializer {
            node: self.root.clone(),
            key: String::new(),
        };
        let config = T::deserialize(deserializer).map_err(|error| explain::<T>(error))?;
        let mut origins = BTreeMap::new();
        collect_origins(String::new(), &self.root, &mut origins);
        Ok(Loaded { config, origins })
    }
}

fn collect_origins(key: String, node: &Node, origins: &mut BTreeMap<String, Origin>) {
    if let Value::Table(table) = &node.value {
        for (name, inner) in table {
            collect_origins(join(&key, name), inner, origins);
        }
    }
    if let Value::Array(items) = &node.value {
        for (index, inner) in items.iter().enumerate() {
            collect_origins(join(&key, &index.to_string()), inner, origins);
        }
    }
    origins.insert(key, node.origin.clone());
}

fn explain<T: Serialize + Default>(error: DeError) -> ConfigError {
    let (key, origin) = error.at.unwrap_or((String::new(), Origin::Default));
    match error.problem {
        Problem::Bad(reason) => ConfigError::BadValue { key, origin, reason },
        Problem::Missing(field) if key.is_empty() => ConfigError::NotSet {
            key: field.to_owned(),
            reason: "it has no default".to_owned(),
        },
        Problem::Missing(field) => ConfigError::BadValue {
            key,
            origin,
            reason: format!("`{field}` is missing, and has no default"),
        },
        Problem::Unknown(fields) => {
            let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
            let siblings: Vec<String> = fields.iter().map(|field| join(parent, field)).collect();
            let hint = hint(&key, &origin, &siblings, &known_keys(&T::default()));
            ConfigError::UnknownKey { key, origin, hint }
        }
    }
}

/// A configuration, and where each of its values was set.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    origins: BTreeMap<String, Origin>,
}

impl<T> Loaded<T> {
    /// Where `key` was set.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The configuration, if `validate` has nothing against it.
    ///
    /// # Errors
    /// What `validate` says, with the place the value was set in.
    pub fn checked(self, validate: impl FnOnce(&T) -> Result<(), Invalid>) -> Result<T, ConfigError> {
        match validate(&self.config) {
            Ok(()) => Ok(self.config),
            Err(invalid) => Err(self.explain(invalid)),
        }
    }

    /// `invalid` with the place the value was set in.
    pub fn explain(&self, invalid: Invalid) -> ConfigError {
        let Invalid { key, reason } = invalid;
        match self.origin(&key) {
            Origin::Default => ConfigError::NotSet { key, reason },
            origin => ConfigError::BadValue { key, origin, reason },
        }
    }
}
