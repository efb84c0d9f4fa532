//! What a server says of itself on its monitoring port.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that does not answer its monitoring port within this is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// The answers are a few KiB; what is larger is no nats-server's.
const LIMIT: u64 = 1 << 20;

/// A monitoring address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Monitor {
    /// `host:port`.
    authority: String,
}

/// The parts of `/varz` that concern durability.
#[derive(Debug, Deserialize)]
pub(super) struct Varz {
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    #[serde(default)]
    pub jetstream: JetStreamVarz,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct JetStreamVarz {
    /// Absent where JetStream is off.
    pub config: Option<JetStreamConfig>,
    pub meta: Option<Meta>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct JetStreamConfig {
    #[serde(default)]
    pub sync_always: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    pub cluster_size: usize,
}

impl Monitor {
    /// Reads `http://host:port`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let authority = url
            .strip_prefix("http://")
            .unwrap_or_default()
            .trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "8222"));
        if host.is_empty() || port.parse::<u16>().is_err() || authority.contains(['/', '?', '#', '@']) {
            return Err(format!("{url} is not of the form http://host:port"));
        }
        Ok(Self {
            authority: format!("{host}:{port}"),
        })
    }

    /// Asks for a page of it.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let body = tokio::time::timeout(PATIENCE, self.fetch(path))
            .await
            .map_err(|_| format!("{}{path} does not answer", self.authority))?
            .map_err(|error| format!("{}{path}: {error}", self.authority))?;
        serde_json::from_slice(&body).map_err(|error| format!("{}{path}: {error}", self.authority))
    }

    /// HTTP/1.0, so that the answer ends with the connection.
    async fn fetch(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.authority);
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(LIMIT).read_to_end(&mut reply).await?;
        let head = reply.windows(4).position(|w| w == b"\r\n\r\n");
        let ok = reply.starts_with(b"HTTP/1.0 200 ") || reply.starts_with(b"HTTP/1.1 200 ");
        match head {
            Some(end) if ok => Ok(reply.split_off(end + 4)),
            _ => Err(std::io::Error::other("not a good answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_with_a_host() {
        let parsed = |url| Monitor::parse(url).map(|m| m.authority);
        assert_eq!(parsed("http://n1:8222/"), Ok("n1:8222".to_owned()));
        assert_eq!(parsed("http://n1"), Ok("n1:8222".to_owned()));
        for wrong in [
            "n1:8222",
            "https://n1:8222",
            "http://n1:x",
            "http://",
            "http://n1/varz",
        ] {
            assert!(Monitor::parse(wrong).is_err(), "{wrong}");
        }
    }
}
