//! The whole configuration, and how it is put together.

use std::path::PathBuf;

use runtime::config::{ConfigError, HumanDuration, Invalid, Listen, Sources};
use runtime::telemetry::TelemetryConfig;
use serde::{Deserialize, Serialize};

use crate::cli::{Cli, Command, Role};

/// Loopback only, conveniences on: set by each section's `apply_dev`.
const DEV: &str = "";
/// Every listener on all addresses; nothing is allowed that is not configured.
const PRODUCTION: &str = r#"
profile = "production"
[mqtt]
tcp_listen = "0.0.0.0:1883"
ws_listen = "0.0.0.0:9885"
[http]
listen = "0.0.0.0:9003"
[ops]
listen = "0.0.0.0:9100"
[rpc]
listen = "0.0.0.0:9200"
[log]
format = "json"
[persistence.directory]
agents = []
workgroups = []
"#;

/// What the defaults are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// A developer's machine: listens on 127.0.0.1, makes its own secret, allows anonymous clients and the dev login.
    #[default]
    Dev,
    /// Has none of these, and does not start without keys.
    Production,
}

/// The configuration of `longwire`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What the defaults are for: `dev` or `production`.
    pub profile: Profile,
    /// The data folder.
    pub data: PathBuf,
    /// How long stopping may take before it is forced.
    pub grace: HumanDuration,
    /// Logging.
    pub log: TelemetryConfig,
    /// `/livez`, `/readyz`, `/metrics`.
    pub ops: Ops,
    /// The HTTP listener: STOMP, REST, the index page.
    pub http: Http,
    /// Tokens, keys, access rules.
    pub auth: auth::Config,
    /// Rules of conversations.
    pub chat: Chat,
    /// What deployed clients expect.
    pub compat: Compat,
    /// The log.
    pub journal: Journal,
    /// What belongs to one installation when the roles are processes of their own.
    pub cluster: Cluster,
    /// The servers that hold the log and the leases of a cluster and carry its bus.
    pub nats: backplane::nats::NatsConfig,
    /// The server that knows who is online in a cluster.
    pub redis: backplane::presence::RedisConfig,
    /// The database of a cluster.
    pub postgres: store::PostgresConfig,
    /// The calls between the roles of a cluster.
    pub rpc: rpc::Config,
    /// What the edges share.
    pub edge: edge::Config,
    /// The MQTT edge.
    pub mqtt: mqtt_edge::Config,
    /// The STOMP edge.
    pub stomp: stomp_edge::Config,
    /// The HTTP calls.
    pub gateway: gateway::Config,
    /// Routing.
    pub routing: routing::Config,
    /// History, sessions, threads.
    pub persistence: persistence::Config,
    /// Receipts and counters.
    pub receipts: receipts::Config,
}

/// The operations listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ops {
    /// Where probes and metrics are served.
    pub listen: Listen,
}

/// The HTTP listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// Where STOMP over WebSocket and the HTTP calls are served.
    pub listen: Listen,
}

/// Rules of conversations.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Chat {
    /// How long after sending it a message may be recalled; 0 = at any time.
    pub recall_window: HumanDuration,
    /// A conversation in which nothing is said for so long is closed; 0 = never.
    pub auto_close: HumanDuration,
    /// How long an agent has to answer when a conversation is offered to it.
    pub offer_timeout: HumanDuration,
    /// The most open conversations that an agent is given, over all desks. Others wait in the queue.
    pub max_threads_per_agent: u32,
    /// Conversations that one visitor may begin in a minute, counted by each persistence replica.
    pub new_threads_per_visitor: u32,
    /// Conversations that may begin in one organisation in a minute, counted by each persistence replica.
    pub new_threads_per_org: u32,
}

/// What deployed clients expect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Compat {
    /// The zone that `createdAt` is written in: an IANA name.
    pub time_zone: String,
}

/// What belongs to one installation when the roles are processes of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Begins the name of everything the installation has in NATS and Redis, so that several can share servers.
    pub name: String,
}

/// The log. All but `partitions` is about the log of `longwire all`; that of a cluster is in section `nats`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Journal {
    /// Into how many partitions topics are spread, 1 to 1024. Fixed for the life of an installation.
    pub partitions: u16,
    /// How long the log is kept after it has been applied to the store.
    pub retention: HumanDuration,
    /// The size of a segment file.
    pub segment_size: runtime::config::ByteSize,
    /// Free disk space that is left to others: below it nothing is accepted.
    pub reserve: runtime::config::ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::Dev,
            data: PathBuf::from("data"),
            grace: runtime::lifecycle::DEFAULT_GRACE.into(),
            log: TelemetryConfig::default(),
            ops: Ops::default(),
            http: Http::default(),
            auth: auth::Config::default(),
            chat: Chat::default(),
            compat: Compat::default(),
            journal: Journal::default(),
            cluster: Cluster::default(),
            nats: backplane::nats::NatsConfig::default(),
            redis: backplane::presence::RedisConfig::default(),
            postgres: store::PostgresConfig::default(),
            rpc: rpc::Config::default(),
            edge: edge::Config::default(),
            mqtt: mqtt_edge::Config::default(),
            stomp: stomp_edge::Config::default(),
            gateway: gateway::Config::default(),
            routing: routing::Config::default(),
            persistence: persistence::Config::default(),
            receipts: receipts::Config::default(),
        }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(9100),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(9003),
        }
    }
}

impl Default for Chat {
    fn default() -> Self {
        let rules = persistence::ThreadRules::default();
        Self {
            recall_window: HumanDuration::from_secs(120),
            auto_close: rules.auto_close.into(),
            offer_timeout: rules.offer_timeout.into(),
            max_threads_per_agent: rules.max_threads_per_agent,
            new_threads_per_visitor: rules.new_threads_per_visitor,
            new_threads_per_org: rules.new_threads_per_org,
        }
    }
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            time_zone: "Asia/Shanghai".into(),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "longwire".into(),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            partitions: 4,
            retention: HumanDuration::from_secs(3600),
            segment_size: runtime::config::ByteSize::mib(64),
            reserve: runtime::config::ByteSize::mib(32),
        }
    }
}

/// Puts the configuration together: defaults < profile < file < environment < flags.
pub(crate) fn load(cli: &Cli) -> Result<Config, ConfigError> {
    let environment = Sources::new().process_env(&["LONGWIRE_CONFIG", "LONGWIRE_READY_JSON"]);
    load_from(environment, cli)
}

fn load_from(mut sources: Sources, cli: &Cli) -> Result<Config, ConfigError> {
    if let Some(file) = &cli.config {
        sources = sources.file(file);
    }
    if let Some(data) = &cli.data {
        sources = sources.flag("--data", "data", data.to_string_lossy());
    }
    let settings = sources.read()?;
    // One process for oneself is a developer's until it is said otherwise, a role of a cluster is not.
    let profile = settings.text("profile").map(str::to_owned);
    let settings = match profile.as_deref() {
        Some("production") => settings.preset("the production profile", PRODUCTION)?,
        None if cli.command.role().is_some() => settings.preset("the production profile", PRODUCTION)?,
        _ => settings.preset("the dev profile", DEV)?,
    };
    let mut loaded = settings.load::<Config>()?;
    let config = &mut loaded.config;
    if config.profile == Profile::Dev {
        config.auth.apply_dev();
        config.gateway.apply_dev();
    }
    // Tokens are asked for and given without the server's keys being at hand; everything else needs them in production.
    let keyless = match &cli.command {
        Command::Migrate { .. } => true,
        command => command.role().is_some_and(|role| !role.meets_clients()),
    };
    let role = cli.command.role();
    loaded.checked(|config| {
        validate(config, keyless)?;
        role.map_or(Ok(()), |role| validate_cluster(config, role))
    })
}

/// What a process of its own needs to find the others.
fn validate_cluster(config: &Config, role: Role) -> Result<(), Invalid> {
    let name = &config.cluster.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let reason = "must be 1 to 64 letters, digits, - and _";
        return Err(Invalid::new("cluster.name", reason));
    }
    config.nats.validate().map_err(|e| e.under("nats"))?;
    config.redis.validate().map_err(|e| e.under("redis"))?;
    if matches!(role, Role::Persistence | Role::Receipts) {
        let refused = config.postgres.validate();
        refused.map_err(|(key, reason)| Invalid::new(key, reason).under("postgres"))?;
    }
    config.rpc.validate().map_err(|e| e.under("rpc"))?;
    if role.calls_persistence() && config.rpc.persistence.is_empty() {
        return Err(Invalid::new(
            "rpc.persistence",
            "must name the persistence replicas",
        ));
    }
    if role.submits() && config.rpc.routing.is_empty() {
        return Err(Invalid::new("rpc.routing", "must name the routing replicas"));
    }
    if role == Role::Gateway && config.rpc.receipts.is_empty() {
        return Err(Invalid::new("rpc.receipts", "must name the receipts replicas"));
    }
    Ok(())
}

fn validate(config: &Config, keyless: bool) -> Result<(), Invalid> {
    if !keyless && (config.profile == Profile::Production || config.auth.has_keys()) {
        config.auth.validate().map_err(|e| e.under("auth"))?;
    }
    config.log.validate().map_err(|e| e.under("log"))?;
    config.mqtt.validate().map_err(|e| e.under("mqtt"))?;
    config.stomp.validate().map_err(|e| e.under("stomp"))?;
    config.gateway.validate().map_err(|e| e.under("gateway"))?;
    if config.journal.partitions == 0 || config.journal.partitions > 1024 {
        return Err(Invalid::new("journal.partitions", "must be between 1 and 1024"));
    }
    if let Err(error) = jiff::tz::TimeZone::get(&config.compat.time_zone) {
        return Err(Invalid::new(
            "compat.time_zone",
            format!("must be the name of a time zone: {error}"),
        ));
    }
    config.routing.validate().map_err(|e| e.under("routing"))?;
    config
        .receipts
        .validate()
        .map_err(|(key, reason)| Invalid::new(key, reason).under("receipts"))?;
    config
        .persistence
        .validate()
        .map_err(|(key, reason)| Invalid::new(key, reason).under("persistence"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn load_with(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut sources = Sources::new();
        sources = sources.env(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        sources.read()?.load::<Config>()?.checked(|c| validate(c, false))
    }

    #[test]
    fn the_keys_that_operators_rely_on_are_where_they_are_said_to_be() {
        let config = load_with(&[
            ("LONGWIRE_MQTT__TCP_LISTEN", "127.0.0.1:0"),
            ("LONGWIRE_MQTT__WS_LISTEN", "127.0.0.1:0"),
            ("LONGWIRE_HTTP__LISTEN", "127.0.0.1:0"),
            ("LONGWIRE_OPS__LISTEN", "127.0.0.1:0"),
            ("LONGWIRE_DATA", "/tmp/x"),
        ])
        .unwrap();
        assert_eq!(
            (
                config.mqtt.tcp_listen.port(),
                config.http.listen.port(),
                config.ops.listen.port()
            ),
            (0, 0, 0)
        );
        assert_eq!(config.data, PathBuf::from("/tmp/x"));
    }

    #[test]
    fn the_example_of_a_production_configuration_is_valid_and_knows_no_development_seed() {
        let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let file = format!("{here}/../../deploy/longwire.toml");
        let cli = Cli::try_parse_from(["longwire", "config", "check", "--config", &file]).unwrap();
        let config = load_from(Sources::new(), &cli).unwrap();
        assert_eq!(config.profile, Profile::Production);
        assert!(!config.auth.allows_anonymous_mqtt() && !config.gateway.has_dev_login());
        assert!(
            config
                .persistence
                .directory
                .agents
                .iter()
                .all(|a| a.org.as_str() == "example")
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_source() {
        let error = load_with(&[("LONGWIRE_MQTT__TCP_LISTN", "127.0.0.1:0")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tcp_listn") && error.contains("LONGWIRE_MQTT__TCP_LISTN"),
            "{error}"
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        assert!(
            Cli::try_parse_from(["longwire", "token", "--uid", "u", "--alias", "a", "--alias", "b"]).is_ok()
        );
    }
}
