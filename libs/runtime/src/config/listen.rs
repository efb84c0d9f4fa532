//! Where a server listens.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use tokio::net::TcpListener;

use super::InvalidValue;

/// `host:port` to listen on: `127.0.0.1:1883`, `[::]:9003`, `localhost:0`. Port 0: any free one.
///
/// The form is checked when it is read, the name is resolved when it is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    text: String,
    port: u16,
}

impl Listen {
    /// `127.0.0.1:port`.
    pub fn loopback(port: u16) -> Self {
        format!("127.0.0.1:{port}")
            .parse()
            .expect("an address and a port")
    }

    /// As written, fit for anything that takes `host:port`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.text.rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port asked for; 0 asks for any.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Binds a TCP listener. The error names the address.
    pub async fn bind(&self) -> std::io::Result<TcpListener> {
        TcpListener::bind(&self.text).await.map_err(|error| {
            std::io::Error::new(error.kind(), format!("listening on {}: {error}", self.text))
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Listen {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |hint: &str| InvalidValue(format!("`{text}` is not host:port; {hint}"));
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(invalid("write both, like 127.0.0.1:1883"));
        };
        let port = port
            .parse()
            .map_err(|_| invalid("the port is a number from 0 (any free one) to 65535"))?;
        if host.is_empty() {
            return Err(invalid(&format!("for every interface write 0.0.0.0:{port}")));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(invalid("put an IPv6 address in brackets, like [::1]:1883"));
        }
        if host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(invalid(
                "the host is a name or an address, without scheme or path",
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            port,
        })
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_addresses_and_port_0() {
        for (text, host, port) in [
            ("127.0.0.1:1883", "127.0.0.1", 1883),
            ("[::1]:0", "::1", 0),
            ("localhost:9003", "localhost", 9003),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(
                (listen.host(), listen.port(), listen.as_str()),
                (host, port, text)
            );
        }
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        for (text, hint) in [
            ("1883", "write both, like 127.0.0.1:1883"),
            (
                "localhost:mqtt",
                "the port is a number from 0 (any free one) to 65535",
            ),
            (
                "localhost:65536",
                "the port is a number from 0 (any free one) to 65535",
            ),
            (":1883", "for every interface write 0.0.0.0:1883"),
            ("::1:1883", "put an IPv6 address in brackets, like [::1]:1883"),
            (
                "tcp://0.0.0.0:1883",
                "put an IPv6 address in brackets, like [::1]:1883",
            ),
            (
                "a b:1",
                "the host is a name or an address, without scheme or path",
            ),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is not host:port; {hint}"));
        }
    }

    #[tokio::test]
    async fn binds_a_free_port_and_names_the_address_it_cannot_bind() {
        let first = "127.0.0.1:0".parse::<Listen>().unwrap().bind().await.unwrap();
        let taken: Listen = first.local_addr().unwrap().to_string().parse().unwrap();
        let error = taken.bind().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("listening on {taken}: ")), "{error}");
    }
}
