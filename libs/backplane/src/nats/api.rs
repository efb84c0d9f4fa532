//! Requests of the JetStream API, as JSON.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use super::{Nats, NatsError, PATIENCE};

/// Error numbers of the server.
pub(crate) mod code {
    pub(crate) const ACCOUNT_RESOURCES: u32 = 10002;
    pub(crate) const NO_PEERS: u32 = 10005;
    pub(crate) const NOT_ACTIVE: u32 = 10006;
    pub(crate) const NOT_AVAILABLE: u32 = 10008;
    pub(crate) const NOT_LEADER: u32 = 10009;
    pub(crate) const INSUFFICIENT_RESOURCES: u32 = 10023;
    pub(crate) const MESSAGE_NOT_FOUND: u32 = 10037;
    pub(crate) const STORAGE_EXCEEDED: u32 = 10047;
    pub(crate) const MESSAGE_TOO_LARGE: u32 = 10054;
    pub(crate) const STREAM_NAME_IN_USE: u32 = 10058;
    pub(crate) const STREAM_NOT_FOUND: u32 = 10059;
    pub(crate) const WRONG_LAST_SEQUENCE: u32 = 10071;
    pub(crate) const STORE_FAILED: u32 = 10077;
    pub(crate) const STREAM_OFFLINE: u32 = 10118;
    pub(crate) const WRONG_LAST_SEQUENCE_CONSTANT: u32 = 10164;
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ApiError {
    /// The server said no.
    #[error("{text} ({number})")]
    Refused {
        /// Which no: see [`code`].
        number: u32,
        /// In its words.
        text: String,
    },
    /// Nobody listens: there is no leader now, or no such stream.
    #[error("no server answers for it now")]
    NoResponder,
    /// Whether it was done is unknown.
    #[error("{0}")]
    Unknown(String),
}

impl ApiError {
    pub(crate) fn is(&self, wanted: u32) -> bool {
        matches!(self, Self::Refused { number, .. } if *number == wanted)
    }

    /// Whether it may be different in a moment: servers are away or still find each other, or there is no leader.
    pub(crate) fn is_temporary(&self) -> bool {
        const PASSING: [u32; 7] = [
            code::NO_PEERS,
            code::NOT_ACTIVE,
            code::NOT_AVAILABLE,
            code::NOT_LEADER,
            code::INSUFFICIENT_RESOURCES,
            code::STREAM_OFFLINE,
            // Just made by somebody, and not known yet to the server that was asked.
            code::STREAM_NOT_FOUND,
        ];
        match self {
            Self::Refused { number, .. } => PASSING.contains(number),
            Self::NoResponder | Self::Unknown(_) => true,
        }
    }

    pub(crate) fn is_conflict(&self) -> bool {
        self.is(code::WRONG_LAST_SEQUENCE) || self.is(code::WRONG_LAST_SEQUENCE_CONSTANT)
    }
}

#[derive(Deserialize)]
struct Failure {
    error: ApiFailure,
}

#[derive(Deserialize)]
struct ApiFailure {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// The acknowledgement of a stored message.
#[derive(Debug, Deserialize)]
pub(crate) struct PubAck {
    pub seq: u64,
    #[serde(default)]
    pub duplicate: bool,
}

/// What a stream's leader says of it.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub config: Value,
    pub state: StreamState,
    pub cluster: Option<StreamCluster>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StreamState {
    pub first_seq: u64,
    pub last_seq: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StreamCluster {
    #[serde(default)]
    pub leader: String,
    #[serde(default)]
    pub replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Replica {
    pub name: String,
    #[serde(default)]
    pub current: bool,
    #[serde(default)]
    pub offline: bool,
}

impl StreamInfo {
    pub(crate) fn name(&self) -> &str {
        self.config["name"].as_str().unwrap_or_default()
    }

    /// A value of the metadata that was given at creation.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.config["metadata"][key].as_str()
    }

    /// The oldest message that is still there; of an empty stream, the next one.
    pub(crate) fn first(&self) -> u64 {
        self.state.first_seq.max(1)
    }
}

/// A message read from the leader.
#[derive(Debug)]
pub(crate) struct Stored {
    pub subject: String,
    pub seq: u64,
    /// What it was published with, to recognise a repetition.
    pub id: Option<String>,
    pub bytes: Bytes,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    subject: String,
    seq: u64,
    /// The header block as it was sent, in base64, like the payload.
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl RawMessage {
    fn decode(self) -> Result<Stored, base64::DecodeError> {
        use base64::Engine as _;
        let decode = |text| base64::engine::general_purpose::STANDARD.decode(text);
        let headers = decode(&self.hdrs)?;
        Ok(Stored {
            id: header(&headers, NATS_MESSAGE_ID.as_ref()),
            bytes: decode(&self.data)?.into(),
            subject: self.subject,
            seq: self.seq,
        })
    }
}

/// A value of a header block.
fn header(block: &[u8], name: &str) -> Option<String> {
    let lines = std::str::from_utf8(block).ok()?.split("\r\n");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned())
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    total: usize,
    streams: Option<Vec<StreamInfo>>,
}

impl Nats {
    /// Asks the API, within `patience`, or until the connection is lost.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<T, ApiError> {
        let payload = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let reply = self
            .ask(format!("$JS.API.{what}"), None, payload, patience)
            .await?;
        parse(&reply)
    }

    /// Stores a message in a stream; resolves with its acknowledgement.
    pub(crate) async fn store(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        patience: Duration,
    ) -> Result<PubAck, ApiError> {
        parse(&self.ask(subject, Some(headers), payload, patience).await?)
    }

    async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Bytes, ApiError> {
        let disconnects = self.disconnects();
        let mut request = Request::new().payload(payload).timeout(Some(patience));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        // The client queues what it cannot send while it is disconnected, so its own timeout does not begin.
        let answer = tokio::time::timeout(patience, self.client().send_request(subject, request));
        let answer = tokio::select! {
            answer = answer => answer,
            () = self.lost_since(disconnects) => return Err(ApiError::Unknown("the connection is lost".to_owned())),
        };
        match answer {
            Ok(Ok(message)) => Ok(message.payload),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Err(ApiError::NoResponder),
            Ok(Err(error)) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
                Err(ApiError::Refused {
                    number: code::MESSAGE_TOO_LARGE,
                    text: error.to_string(),
                })
            }
            Ok(Err(error)) => Err(ApiError::Unknown(error.to_string())),
            Err(_) => Err(ApiError::Unknown(format!("no answer within {patience:?}"))),
        }
    }

    /// What the leader of a stream says of it now. A follower never answers.
    pub(crate) async fn stream_info(&self, stream: &str) -> Result<StreamInfo, ApiError> {
        self.api(&format!("STREAM.INFO.{stream}"), &Value::Null, PATIENCE)
            .await
    }

    /// Every stream with a leader whose subjects match.
    pub(crate) async fn streams(&self, subject: &str) -> Result<Vec<StreamInfo>, ApiError> {
        let mut streams = Vec::new();
        loop {
            let body = json!({ "subject": subject, "offset": streams.len() });
            let page: Page = self.api("STREAM.LIST", &body, PATIENCE * 2).await?;
            let found = page.streams.unwrap_or_default();
            let end = found.is_empty();
            streams.extend(found);
            if end || streams.len() >= page.total {
                return Ok(streams);
            }
        }
    }

    /// Looks a stream up, and creates it only when there is none: a create with other settings than an existing one's is never
    /// sent. What was created is read back, as a server ignores settings that it does not know.
    pub(crate) async fn stream(&self, config: &Value) -> Result<StreamInfo, ApiError> {
        let name = config["name"].as_str().unwrap_or_default();
        match self.stream_info(name).await {
            Err(error) if error.is(code::STREAM_NOT_FOUND) => {}
            found => return found,
        }
        let created = self
            .api::<StreamInfo>(&format!("STREAM.CREATE.{name}"), config, PATIENCE * 2)
            .await;
        match created {
            // Somebody else was faster.
            Err(error) if error.is(code::STREAM_NAME_IN_USE) => self.stream_info(name).await,
            Err(error) => Err(error),
            Ok(created) => match differing(config, &created.config) {
                None => Ok(created),
                Some(key) => Err(ApiError::Refused {
                    number: 0,
                    text: format!("the server did not take {key} of stream {name}: it is too old"),
                }),
            },
        }
    }

    /// Finds a stream of ours, or creates it; `what` names it in errors. One that is there must have the same in these keys.
    ///
    /// # Errors
    /// When NATS refuses, or what is there under this name is not ours.
    pub(crate) async fn own_stream(
        &self,
        what: &str,
        config: &Value,
        keys: &[&'static str],
    ) -> Result<(), NatsError> {
        let found = self.stream(config).await;
        let found = found.map_err(|error| NatsError::refused(format!("opening {what}"), &error))?;
        for key in keys {
            if found.config[key] != config[key] {
                return Err(NatsError::Damaged {
                    stream: found.name().to_owned(),
                    what: format!("has {key} {}, not {}: delete it", found.config[key], config[key]),
                });
            }
        }
        Ok(())
    }

    /// A message as the leader has it; `None` when there is none. `which` is `{"seq": n}` or `{"last_by_subj": s}`.
    pub(crate) async fn stored(&self, stream: &str, which: &Value) -> Result<Option<Stored>, ApiError> {
        #[derive(Deserialize)]
        struct Found {
            message: RawMessage,
        }
        let found = self
            .api::<Found>(&format!("STREAM.MSG.GET.{stream}"), which, PATIENCE)
            .await;
        match found {
            Ok(Found { message }) => {
                let stored = message.decode();
                stored
                    .map(Some)
                    .map_err(|error| ApiError::Unknown(error.to_string()))
            }
            Err(error) if error.is(code::MESSAGE_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parse<T: DeserializeOwned>(reply: &[u8]) -> Result<T, ApiError> {
    if let Ok(Failure { error }) = serde_json::from_slice(reply) {
        return Err(ApiError::Refused {
            number: if error.err_code == 0 {
                error.code
            } else {
                error.err_code
            },
            text: error.description,
        });
    }
    serde_json::from_slice(reply).map_err(|error| ApiError::Unknown(format!("an unreadable answer: {error}")))
}

/// The first setting that is not what was asked for. The server adds metadata and settings of its own.
pub(crate) fn differing(wanted: &Value, found: &Value) -> Option<String> {
    let wanted: HashMap<_, _> = wanted.as_object()?.iter().collect();
    wanted.into_iter().find_map(|(key, wanted)| match wanted {
        Value::Object(_) => differing(wanted, &found[key]).map(|inner| format!("{key}.{inner}")),
        // What is false or empty is left out of the answer.
        Value::Bool(false) if found[key].is_null() => None,
        _ => (&found[key] != wanted).then(|| key.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_the_server_did_not_take_are_found() {
        let wanted = json!({ "a": 1, "off": false, "metadata": { "x": "1" } });
        let same = json!({ "a": 1, "more": 2, "metadata": { "x": "1", "_nats": "2" } });
        assert_eq!(differing(&wanted, &same), None);
        assert_eq!(
            differing(&wanted, &json!({ "a": 2, "metadata": { "x": "1" } })),
            Some("a".to_owned())
        );
        assert_eq!(
            differing(&wanted, &json!({ "a": 1 })),
            Some("metadata.x".to_owned())
        );
    }

    #[test]
    fn the_id_of_a_stored_message_is_read_from_its_headers() {
        let block = b"NATS/1.0\r\nOther: x:y\r\nNats-Msg-Id: w:1:2\r\n\r\n";
        assert_eq!(header(block, "Nats-Msg-Id").as_deref(), Some("w:1:2"));
        assert_eq!(header(b"NATS/1.0\r\n\r\n", "Nats-Msg-Id"), None);
        assert_eq!(header(b"", "Nats-Msg-Id"), None);
    }

    #[test]
    fn errors_are_told_from_answers() {
        let error = br#"{"type":"x","error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        assert!(
            parse::<PubAck>(error)
                .expect_err("an error")
                .is(code::STREAM_NOT_FOUND)
        );
        let refused = br#"{"error":{"code":503,"err_code":10077,"description":"full"},"stream":"S","seq":0}"#;
        assert!(parse::<PubAck>(refused).is_err());
        let ack = parse::<PubAck>(br#"{"stream":"S","seq":7,"duplicate":true}"#).expect("an answer");
        assert_eq!((ack.seq, ack.duplicate), (7, true));
        assert!(matches!(parse::<PubAck>(b"?"), Err(ApiError::Unknown(_))));
    }
}
