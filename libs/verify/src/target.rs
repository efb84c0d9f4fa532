//! Where the installation is.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rand::Rng;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Error;

/// A byte stream, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of either kind.
pub(crate) type Socket = Box<dyn Stream>;

/// One address: `http://host:port/base`, `https://…`, `ws://…`, `wss://…`, `mqtt://…`, `mqtts://…` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    tls: bool,
    /// Without a slash at the end.
    path: String,
}

impl Address {
    /// Reads an address. Without a port it is the one of the scheme.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(address: &str) -> Result<Self, Error> {
        let wrong = |why| Error::Address {
            address: address.to_owned(),
            why,
        };
        let (scheme, rest) = address.split_once("://").unwrap_or(("mqtt", address));
        let (tls, port) = match scheme {
            "http" | "ws" => (false, 80),
            "https" | "wss" => (true, 443),
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            _ => return Err(wrong("the scheme is none of http, https, ws, wss, mqtt, mqtts")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, text)) if !text.ends_with(']') => {
                (host, text.parse().map_err(|_| wrong("the port is no number"))?)
            }
            _ => (authority, port),
        };
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            tls,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// The same with a path below its own.
    pub(crate) fn join(&self, path: &str) -> Self {
        Self {
            path: format!("{}{path}", self.path),
            ..self.clone()
        }
    }

    /// The path, with a slash at least.
    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// `host:port` as a header has it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// As a WebSocket URL.
    pub(crate) fn ws_url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path())
    }

    /// The same address with another port and path, for what listens beside it.
    pub(crate) fn beside(&self, port: u16, path: &str) -> Self {
        Self {
            port,
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.authority(), self.path)
    }
}

/// The whole installation. Where there are several addresses each connection takes one by chance.
#[derive(Clone)]
pub struct Target {
    /// REST and, at `/stomp`, STOMP. At least one.
    pub http: Vec<Address>,
    /// MQTT over TCP; may be empty.
    pub mqtt: Vec<Address>,
    /// MQTT over WebSocket, with the path; when empty, what answers is found when the run starts.
    pub ws: Vec<Address>,
    tls: TlsConnector,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("http", &self.http)
            .field("mqtt", &self.mqtt)
            .field("ws", &self.ws)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// An installation at these addresses, all of which may be given as text. `ca` is a PEM file of the authorities to
    /// trust instead of the public ones.
    ///
    /// # Errors
    /// When an address is none, or the certificates cannot be read.
    pub fn new<S: AsRef<str>>(http: &[S], mqtt: &[S], ws: &[S], ca: Option<&Path>) -> Result<Self, Error> {
        let all = |list: &[S]| -> Result<Vec<Address>, Error> {
            list.iter().map(|text| Address::parse(text.as_ref())).collect()
        };
        let http = all(http)?;
        if http.is_empty() {
            return Err(Error::Address {
                address: String::new(),
                why: "there is none",
            });
        }
        Ok(Self {
            http,
            mqtt: all(mqtt)?,
            ws: all(ws)?,
            tls: connector(ca)?,
        })
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self, address: &Address) -> io::Result<Socket> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        tcp.set_nodelay(true)?;
        if !address.tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(self.tls.connect(name, tcp).await?))
    }
}

/// One of several.
pub(crate) fn any<'a>(list: &'a [Address], rng: &mut impl Rng) -> Option<&'a Address> {
    (!list.is_empty()).then(|| &list[rng.random_range(0..list.len())])
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let config = match ca {
        None => builder.with_webpki_roots().with_no_client_auth(),
        Some(file) => {
            let wrong = |why: String| Error::Certificate {
                file: file.to_owned(),
                why,
            };
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_the_defaults_of_its_scheme() {
        let read = |text| {
            let a = Address::parse(text).unwrap();
            (a.ws_url(), a.tls, a.authority())
        };
        assert_eq!(read("http://h:9003").0, "ws://h:9003/");
        assert_eq!(
            read("https://h/base/"),
            ("wss://h:443/base".into(), true, "h:443".into())
        );
        assert_eq!(read("h:1883").2, "h:1883");
        assert_eq!(read("mqtts://h").2, "h:8883");
        assert_eq!(read("http://[::1]:80/x").0, "ws://[::1]:80/x");
        for bad in ["ftp://h", "http://", "h:x", ""] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_goes_below_the_base() {
        let base = Address::parse("http://h:1/base").unwrap();
        assert_eq!(base.join("/stomp").path(), "/base/stomp");
        assert_eq!(base.beside(9885, "/mqtt").to_string(), "h:9885/mqtt");
    }
}
