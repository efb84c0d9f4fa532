use std::path::{Path, PathBuf};

use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::config::Tls;

/// Why calls cannot be served, or a connection not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of the TLS settings cannot be read.
    #[error("reading {path} for the TLS of calls between roles")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What the files hold is of no use.
    #[error("setting up TLS of calls between roles")]
    Tls(#[source] tonic::transport::Error),
    /// The server ended.
    #[error("serving calls of other roles")]
    Serve(#[source] tonic::transport::Error),
}

impl Tls {
    pub(crate) fn server(&self) -> Result<ServerTlsConfig, Error> {
        let (ca, identity) = self.files()?;
        Ok(ServerTlsConfig::new().identity(identity).client_ca_root(ca))
    }

    pub(crate) fn client(&self, host: &str) -> Result<ClientTlsConfig, Error> {
        let (ca, identity) = self.files()?;
        let name = if self.server_name.is_empty() {
            host
        } else {
            &self.server_name
        };
        Ok(ClientTlsConfig::new()
            .ca_certificate(ca)
            .identity(identity)
            .domain_name(name))
    }

    fn files(&self) -> Result<(Certificate, Identity), Error> {
        let (cert, key) = (pem(&self.cert)?, pem(&self.key)?);
        Ok((
            Certificate::from_pem(pem(&self.ca)?),
            Identity::from_pem(cert, key),
        ))
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}
