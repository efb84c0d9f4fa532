//! Where the services can be reached, told to whoever started them.

use std::net::SocketAddr;

use crate::config::{Config, Profile};

/// The addresses that were bound.
pub(crate) struct Bound {
    pub mqtt: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub rpc: Option<SocketAddr>,
    pub ops: SocketAddr,
}

impl Bound {
    /// Says so on standard output: one line for scripts, or a few lines for people.
    pub fn announce(&self, role: &str, config: &Config) {
        let text = match std::env::var_os("LONGWIRE_READY_JSON") {
            Some(_) => self.to_json(role),
            None if role == "all" => self.all_to_text(config),
            None => self.to_text(role),
        };
        crate::say(&mut std::io::stdout(), &text);
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let named = [
            ("mqtt", self.mqtt),
            ("ws", self.ws),
            ("http", self.http),
            ("rpc", self.rpc),
            ("ops", Some(self.ops)),
        ];
        named.into_iter().filter_map(|(name, at)| Some((name, at?)))
    }

    fn to_json(&self, role: &str) -> String {
        let mut line = serde_json::json!({ "role": role, "pid": std::process::id() });
        for (name, at) in self.named() {
            line[name] = at.to_string().into();
        }
        line.to_string()
    }

    fn to_text(&self, role: &str) -> String {
        let at: Vec<String> = self.named().map(|(name, at)| format!("{name} {at}")).collect();
        format!("Longwire {role} is ready: {}", at.join(", "))
    }

    fn all_to_text(&self, config: &Config) -> String {
        let at = |listener: Option<SocketAddr>| listener.map_or_else(String::new, |at| at.to_string());
        let (mqtt, ws, http, ops) = (at(self.mqtt), at(self.ws), at(self.http), self.ops);
        let data = config.data.display();
        let mut text = format!(
            "Longwire is ready (data in {data}).\n\
             \n  MQTT        mqtt://{mqtt}   ws://{ws}/websocket\
             \n  STOMP       ws://{http}/stomp\
             \n  HTTP        http://{http}/   (OpenAPI: http://{http}/openapi.json)\
             \n  operations  http://{ops}/readyz   http://{ops}/metrics\n"
        );
        if config.profile == Profile::Dev {
            text.push_str(&format!(
                "\nA token for an agent:\
                 \n  longwire token --data {data} --uid agent1 --role agent --alias df_ag_uid\
                 \nor log in as agent1/agent1:\
                 \n  curl -s http://{http}/auth/v1/login -H 'content-type: application/json' \
                 -d '{{\"username\":\"agent1\",\"password\":\"agent1\"}}'\n"
            ));
        }
        text
    }
}
