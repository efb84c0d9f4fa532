use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Over this a key set is refused.
const MAX_BODY: usize = 256 * 1024;
/// For name, connection, TLS and the whole answer together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// GETs key sets: no redirects, no cookies, no proxy.
pub(crate) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    pub(crate) fn new() -> Self {
        let provider = rustls::crypto::ring::default_provider();
        // The system's roots include what an organisation added; a bare container has none, and then Mozilla's serve.
        let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider.clone()) {
            Ok(builder) => builder,
            Err(_) => HttpsConnectorBuilder::new()
                .with_provider_and_webpki_roots(provider)
                .expect("ring supports the protocol versions that rustls enables"),
        };
        let connector = builder.https_or_http().enable_http1().build();
        // A set is asked for every few minutes: a kept connection would only be found closed.
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
        )
    }

    /// The body of a 200 answer, or why there is none.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri: http::Uri = url.parse().map_err(|error| format!("{error}"))?;
        tokio::time::timeout(TIMEOUT, self.answer(uri))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }

    async fn answer(&self, uri: http::Uri) -> Result<Bytes, String> {
        let answer = self.0.get(uri).await.map_err(|error| chain(&error))?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("it answered {}, not 200", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        Ok(body
            .map_err(|error| format!("{error} (at most {MAX_BODY} bytes are read)"))?
            .to_bytes())
    }
}

/// "client error (Connect)" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
