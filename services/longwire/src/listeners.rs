//! Where the services can be reached, told to whoever started them.

use std::net::SocketAddr;

use crate::config::{Config, Profile};

/// The addresses that were bound.
pub(crate) struct Bound {
    pub mqtt: SocketAddr,
    pub ws: SocketAddr,
    pub http: SocketAddr,
    pub ops: SocketAddr,
}

impl Bound {
    /// One line for scripts.
    pub fn to_json(&self) -> String {
        let Self { mqtt, ws, http, ops } = self;
        let pid = std::process::id();
        serde_json::json!({
            "mqtt": mqtt.to_string(),
            "ws": ws.to_string(),
            "http": http.to_string(),
            "ops": ops.to_string(),
            "pid": pid,
        })
        .to_string()
    }

    /// A few lines for people.
    pub fn to_text(&self, config: &Config) -> String {
        let Self { mqtt, ws, http, ops } = self;
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
