use std::collections::BTreeMap;
use std::io::Write as _;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    profile: Profile,
    data: String,
    mqtt: Mqtt,
    auth: Auth,
    acl: Vec<Rule>,
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    #[default]
    Dev,
    Production,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mqtt {
    tcp_listen: Listen,
    max_message: ByteSize,
    keep_alive: HumanDuration,
    receive_maximum: u16,
    ratio: f64,
    retain: bool,
    subprotocols: Vec<String>,
    node: Option<u32>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            tcp_listen: "127.0.0.1:1883".parse().unwrap(),
            max_message: ByteSize::kib(256),
            keep_alive: HumanDuration::from_secs(60),
            receive_maximum: 100,
            ratio: 0.5,
            retain: true,
            subprotocols: vec!["mqtt".to_owned()],
            node: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Auth {
    secret: Secret,
    issuer: Option<String>,
}

/// Neither defaults nor a denial of unknown fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rule {
    who: String,
    allow: bool,
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn env(variables: &[(&str, &str)]) -> Sources {
    Sources::new().env(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn load(sources: Sources) -> Result<Config, ConfigError> {
    Ok(sources.read()?.load()?.config)
}

/// The error's text, with `FILE` for the path of the file.
fn error_of_file(text: &str) -> String {
    let file = file(text);
    let error = load(Sources::new().file(file.path())).unwrap_err().to_string();
    error.replace(&file.path().display().to_string(), "FILE")
}

fn error_of_env(name: &str, value: &str) -> String {
    load(env(&[(name, value)])).unwrap_err().to_string()
}

#[test]
fn nothing_set_gives_the_defaults() {
    assert_eq!(load(Sources::new()).unwrap(), Config::default());
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_a_preset_over_the_default() {
    let file =
        file("data = 'file'\nprofile = 'production'\n[mqtt]\nreceive_maximum = 1\nretain = false\nnode = 1");
    let settings = env(&[
        ("LONGWIRE_MQTT__RECEIVE_MAXIMUM", "2"),
        ("LONGWIRE_MQTT__NODE", "2"),
    ])
    .flag("--node", "mqtt.node", "3")
    .file(file.path())
    .read()
    .unwrap();
    assert_eq!(settings.text("profile"), Some("production"));
    let loaded = settings
        .preset(
            "production",
            "data = 'preset'\n[mqtt]\nratio = 0.25\nretain = true",
        )
        .unwrap()
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.origin("mqtt.node"), Origin::Flag("--node".to_owned()));
    assert_eq!(loaded.origin("mqtt.ratio"), Origin::Preset("production"));
    assert_eq!(loaded.origin("mqtt.keep_alive"), Origin::Default);
    let config = loaded.config;
    assert_eq!(config.mqtt.node, Some(3));
    assert_eq!(config.mqtt.receive_maximum, 2);
    assert_eq!((config.data.as_str(), config.mqtt.retain), ("file", false));
    assert_eq!(config.mqtt.ratio, 0.25);
    assert_eq!(config.mqtt.keep_alive.as_secs(), 60);
}

#[test]
fn the_environment_is_read_as_what_the_field_wants() {
    let config = load(env(&[
        ("LONGWIRE_AUTH__SECRET", "12345"),
        ("LONGWIRE_AUTH__ISSUER", "true"),
        ("longwire_data", "\"quoted\""),
        ("LONGWIRE_PROFILE", "production"),
        ("LONGWIRE_MQTT__TCP_LISTEN", "0.0.0.0:0"),
        ("LONGWIRE_MQTT__MAX_MESSAGE", "65536"),
        ("LONGWIRE_MQTT__KEEP_ALIVE", "0"),
        ("LONGWIRE_MQTT__RETAIN", "false"),
        ("LONGWIRE_MQTT__RATIO", "1"),
        ("LONGWIRE_MQTT__SUBPROTOCOLS", "['a', 'b']"),
        ("LONGWIRE_ACL", "[{ who = 'all', allow = false }]"),
        ("LONGWIRE_LABELS", "{ zone = 'a' }"),
        ("LONGWIRE_LABELS__RACK", "7"),
        ("HOME", "/root"),
    ]))
    .unwrap();
    assert_eq!(config.auth.secret.expose(), "12345");
    assert_eq!(config.auth.issuer.as_deref(), Some("true"));
    assert_eq!(config.data, "\"quoted\"");
    assert_eq!(config.profile, Profile::Production);
    assert_eq!(config.mqtt.tcp_listen.as_str(), "0.0.0.0:0");
    assert_eq!(config.mqtt.max_message, ByteSize::kib(64));
    assert!(config.mqtt.keep_alive.is_zero());
    assert!(!config.mqtt.retain);
    assert_eq!(config.mqtt.ratio, 1.0);
    assert_eq!(config.mqtt.subprotocols, ["a", "b"]);
    assert_eq!(
        config.acl,
        [Rule {
            who: "all".to_owned(),
            allow: false
        }]
    );
    assert_eq!(
        config.labels,
        BTreeMap::from([("zone", "a"), ("rack", "7")].map(|(k, v)| (k.into(), v.into())))
    );
}

#[test]
fn the_links_of_a_kubernetes_service_are_not_settings() {
    let config = load(env(&[
        ("LONGWIRE_SERVICE_HOST", "10.0.0.1"),
        ("LONGWIRE_GATEWAY_SERVICE_PORT_HTTP", "9003"),
        ("LONGWIRE_PORT", "tcp://10.0.0.1:9003"),
        ("LONGWIRE_PORT_9003_TCP_ADDR", "10.0.0.1"),
    ]));
    assert_eq!(config.unwrap(), Config::default());
    assert!(error_of_env("LONGWIRE_PORT", "9003").starts_with("unknown key `port`"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_eq!(
        error_of_file("data = ''\n[mqtt]\ntcp_lisen = '127.0.0.1:1'"),
        "unknown key `mqtt.tcp_lisen` in FILE:3; did you mean `mqtt.tcp_listen`?"
    );
    assert_eq!(
        error_of_file("tcp_listen = '127.0.0.1:1'"),
        "unknown key `tcp_listen` in FILE:1; did you mean `mqtt.tcp_listen`?"
    );
    assert_eq!(
        error_of_file("[mqtt]\nnodes = 1"),
        "unknown key `mqtt.nodes` in FILE:2; did you mean `mqtt.node`?"
    );
    assert_eq!(
        error_of_file("[auth]\nzzz = 1"),
        "unknown key `auth.zzz` in FILE:2; known there: auth.secret, auth.issuer"
    );
    assert_eq!(
        error_of_file("[[acl]]\nwho = 'all'\nallow = true\nwhen = 'now'"),
        "unknown key `acl.0.when` in FILE:4; no key is known there"
    );
    assert_eq!(
        error_of_env("LONGWIRE_MQTT_TCP_LISTEN", "127.0.0.1:1"),
        "unknown key `mqtt_tcp_listen` in environment variable LONGWIRE_MQTT_TCP_LISTEN; did you mean LONGWIRE_MQTT__TCP_LISTEN?"
    );
    assert_eq!(
        load(Sources::new().flag("--set", "dta", "x"))
            .unwrap_err()
            .to_string(),
        "unknown key `dta` in flag --set; did you mean `data`?"
    );
}

#[test]
fn a_bad_value_is_named_with_its_key_its_place_and_what_would_be_right() {
    for (text, expected) in [
        (
            "[mqtt]\n\nreceive_maximum = 70000",
            "bad value for `mqtt.receive_maximum` in FILE:3: expected a whole number from 0 to 65535, found integer `70000`",
        ),
        (
            "[mqtt]\nkeep_alive = 60",
            "bad value for `mqtt.keep_alive` in FILE:2: `60` is not a duration; write a whole number with ms, s, m, h or d, like 10s or 1h30m",
        ),
        (
            "mqtt.retain = 'yes'",
            "bad value for `mqtt.retain` in FILE:1: expected true or false, found a text",
        ),
        (
            "mqtt = 3",
            "bad value for `mqtt` in FILE:1: expected a table, found a whole number",
        ),
        (
            "mqtt.subprotocols = 'mqtt'",
            "bad value for `mqtt.subprotocols` in FILE:1: expected an array, like [\"a\", \"b\"], found a text",
        ),
        (
            "mqtt.subprotocols = ['mqtt',\n 3]",
            "bad value for `mqtt.subprotocols.1` in FILE:2: expected a text, found a whole number",
        ),
        (
            "profile = 'prod'",
            "bad value for `profile` in FILE:1: expected one of dev, production, found `prod`",
        ),
        (
            "profile = 'productoin'",
            "bad value for `profile` in FILE:1: expected one of dev, production, found `productoin`; did you mean `production`?",
        ),
    ] {
        assert_eq!(error_of_file(text), expected);
    }
    assert_eq!(
        error_of_env("LONGWIRE_MQTT__RECEIVE_MAXIMUM", "many"),
        "bad value for `mqtt.receive_maximum` in environment variable LONGWIRE_MQTT__RECEIVE_MAXIMUM: expected a whole number from 0 to 65535, found a text"
    );
    assert_eq!(
        load(Sources::new().flag("--mqtt", "mqtt.tcp_listen", "1883"))
            .unwrap_err()
            .to_string(),
        "bad value for `mqtt.tcp_listen` in flag --mqtt: `1883` is not host:port; write both, like 127.0.0.1:1883"
    );
}

#[test]
fn a_value_where_a_table_is_needed_is_named_with_both_places() {
    let error = load(env(&[("LONGWIRE_MQTT", "on"), ("LONGWIRE_MQTT__NODE", "1")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad value for `mqtt` in environment variable LONGWIRE_MQTT: expected a table, because environment variable LONGWIRE_MQTT__NODE sets a key in it"
    );
}

#[test]
fn a_file_that_is_absent_or_not_toml_is_named() {
    let error = load(Sources::new().file("/nowhere/longwire.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading configuration file /nowhere/longwire.toml"
    );
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(error.exit_code(), 64);
    let error = error_of_file("data = 'x'\nsecret = hunter2\n");
    assert!(
        error.starts_with("reading configuration file FILE:2:10: "),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_missing_key_is_named_with_the_place_or_how_to_set_it() {
    assert_eq!(
        error_of_file("data = ''\n[[acl]]\nwho = 'all'"),
        "bad value for `acl.0` in FILE:2: `allow` is missing, and has no default"
    );
    assert_eq!(
        Sources::new()
            .read()
            .unwrap()
            .load::<Required>()
            .unwrap_err()
            .to_string(),
        "`cluster_name` is not set (set it in the configuration file or as LONGWIRE_CLUSTER_NAME): it has no default"
    );
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Required {
    cluster_name: String,
}

#[test]
fn what_validation_refuses_is_named_with_the_place_it_was_set_in() {
    let refuse = |_: &Config| Err(Invalid::new("secret", "production needs at least 32 bytes").under("auth"));
    let settings = env(&[("LONGWIRE_AUTH__SECRET", "short")]).read().unwrap();
    assert_eq!(
        settings
            .load::<Config>()
            .unwrap()
            .checked(refuse)
            .unwrap_err()
            .to_string(),
        "bad value for `auth.secret` in environment variable LONGWIRE_AUTH__SECRET: production needs at least 32 bytes"
    );
    let settings = Sources::new().read().unwrap();
    assert_eq!(
        settings
            .load::<Config>()
            .unwrap()
            .checked(refuse)
            .unwrap_err()
            .to_string(),
        "`auth.secret` is not set (set it in the configuration file or as LONGWIRE_AUTH__SECRET): production needs at least 32 bytes"
    );
}

#[test]
fn no_text_shows_a_secret() {
    assert_eq!(
        error_of_file("auth.secret = 4711"),
        "bad value for `auth.secret` in FILE:1: expected a text, found a whole number"
    );
    let loaded = env(&[("LONGWIRE_AUTH__SECRET", "hunter2")])
        .read()
        .unwrap()
        .load::<Config>()
        .unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!show(&loaded.config).unwrap().contains("hunter2"));
}

#[test]
fn what_is_shown_can_be_read_back_but_for_the_secrets() {
    let text = show(&Config::default()).unwrap();
    let file = file(&text);
    assert_eq!(load(Sources::new().file(file.path())).unwrap(), Config::default());
    assert!(
        text.contains("tcp_listen = \"127.0.0.1:1883\"\nmax_message = \"256 KiB\"\nkeep_alive = \"1m\"\n"),
        "{text}"
    );

    let config = Config {
        auth: Auth {
            secret: Secret::new("s"),
            issuer: None,
        },
        ..Config::default()
    };
    assert_eq!(
        error_of_file(&show(&config).unwrap()).split_once(": ").unwrap().1,
        "`***` is what a shown configuration has in place of a secret; write the secret itself"
    );
}
