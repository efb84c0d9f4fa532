//! From the first packet to a session: who is it, may it, what had it.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use contract::ErrorKind;
use contract::persistence::{CloseSession, OpenSession, SaveSession, SessionKey, Will};
use edge::Refusal;
use edge::mailbox::{Mail, Mailbox};
use edge::receiver::{Receiver, asked_for_threads, resumed};
use model::{ChatTopic, OrgId, Origin, Principal, Role, TopicName, UserId};
use mqtt_codec::{
    ConnAck, Connect, Decoder, Packet, PublishProperties, QoS, ReasonCode, Utf8, Version, WillProperties,
};
use session::{Holder, Limits as SessionLimits, SavedState};
use tokio::time::Instant;
use tracing::{debug, info};
use wire::{Entry, Kind};

use crate::connection::{Connection, Start};
use crate::publish::encode_properties;
use crate::service::Edge;
use crate::transport::{Turn, Wire};

/// How long a refused client has to read why.
const REFUSAL_LINGER: std::time::Duration = std::time::Duration::from_secs(1);
/// How long CONNACK waits for the owners of partitions: those that live answer within a few milliseconds.
const ATTACH_LIMIT: std::time::Duration = std::time::Duration::from_millis(100);
/// Topic aliases that a client may use.
pub(crate) const TOPIC_ALIAS_MAXIMUM: u16 = 16;

/// Takes a client in, from its first packet to CONNACK; `None` if it was refused, and told so.
pub(crate) async fn take_in(mut wire: Wire, edge: &Arc<Edge>, deadline: Instant) -> Option<Connection> {
    let mut buffers = (BytesMut::new(), BytesMut::new());
    let opened = open(&mut wire, edge, deadline, &mut buffers).await;
    let (input, mut out) = buffers;
    match opened {
        Ok(start) => {
            edge.metrics.connect("accepted");
            Some(Connection::new(edge.clone(), wire, input, out, *start))
        }
        Err(refused) => {
            edge.metrics.connect(refused.code);
            debug!(code = refused.code, detail = %refused.detail, "refused a connection");
            if let Some((version, connack)) = refused.connack.map(|c| *c)
                && let Err(error) = Packet::ConnAck(Box::new(connack)).encode(version, &mut out)
            {
                debug!(%error, "a CONNACK cannot say it");
            }
            // The peer gets a moment to read why.
            let _late = tokio::time::timeout(REFUSAL_LINGER, wire.close(&mut out, 1002)).await;
            None
        }
    }
}

struct Refused {
    code: &'static str,
    detail: String,
    connack: Option<Box<(Version, ConnAck)>>,
}

impl Refused {
    fn silently(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            connack: None,
        }
    }

    fn with(version: Version, reason: ReasonCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut connack = ConnAck {
            reason,
            ..ConnAck::accepted(false)
        };
        connack.properties.reason_string = Utf8::try_from(detail.as_str()).ok();
        Self {
            code,
            detail,
            connack: Some(Box::new((version, connack))),
        }
    }

    fn from(version: Version, refusal: &Refusal) -> Self {
        let reason = match refusal.kind {
            ErrorKind::Unauthorized => ReasonCode::BadUserNameOrPassword,
            ErrorKind::Forbidden => ReasonCode::NotAuthorized,
            ErrorKind::Unavailable | ErrorKind::NotCommitted => ReasonCode::ServerUnavailable,
            ErrorKind::InvalidPayload => ReasonCode::PayloadFormatInvalid,
            _ => ReasonCode::UnspecifiedError,
        };
        // 3.1.1 knows only a few reasons: what will be no better the next time is not allowed, all others are a server
        // that is unavailable.
        let reason = match (version, reason) {
            (Version::V311, ReasonCode::PayloadFormatInvalid) => ReasonCode::NotAuthorized,
            (Version::V311, ReasonCode::UnspecifiedError) => ReasonCode::ServerUnavailable,
            (_, reason) => reason,
        };
        Self::with(version, reason, refusal.kind.code(), refusal.detail.clone())
    }
}

async fn open(
    wire: &mut Wire,
    edge: &Arc<Edge>,
    deadline: Instant,
    (input, out): &mut (BytesMut, BytesMut),
) -> Result<Box<Start>, Refused> {
    let max_packet = edge.config.limits.max_message.as_usize() + 1024 + 64 * 1024;
    let mut decoder = Decoder::server(edge.config.limits.max_before_auth.as_usize());
    let connect = tokio::time::timeout_at(deadline, read_connect(wire, &mut decoder, input, out))
        .await
        .unwrap_or_else(|_| Err(Refused::silently("silent", "no CONNECT came in time")))?;
    decoder.set_max_packet(max_packet);
    let version = connect.version;
    let who = Arc::new(
        authenticate(edge, &connect)
            .await
            .map_err(|r| Refused::from(version, &r))?,
    );
    let assigned = connect.client_id.is_empty();
    if assigned && version == Version::V311 && !connect.clean_start {
        let detail = "an empty client id needs clean session";
        return Err(Refused::with(
            version,
            ReasonCode::ClientIdentifierNotValid,
            "client-id",
            detail,
        ));
    }
    let client = match assigned {
        true => format!("longwire-{}", uuid::Uuid::new_v4().simple()),
        false => connect.client_id.to_string(),
    };
    check_client_id(&client, &who).map_err(|r| Refused::from(version, &r))?;
    let will = match &connect.will {
        Some(will) => Some(
            prepare_will(edge, &who, &client, will)
                .await
                .map_err(|r| Refused::from(version, &r))?,
        ),
        None => None,
    };
    start_session(edge, decoder, *connect, who, client, assigned, will)
        .await
        .map_err(|r| Refused::from(version, &r))
}

async fn read_connect(
    wire: &mut Wire,
    decoder: &mut Decoder,
    input: &mut BytesMut,
    out: &mut BytesMut,
) -> Result<Box<Connect>, Refused> {
    loop {
        match decoder.decode(input) {
            Ok(Some(Packet::Connect(connect))) => return Ok(connect),
            Ok(Some(_)) => return Err(Refused::silently("protocol", "the first packet is no CONNECT")),
            Ok(None) => {}
            Err(error) => {
                let version = decoder.version().unwrap_or(Version::V5);
                let connack = decoder.version().and_then(|v| Some((v, error.refusal(v)?)));
                let connack = connack.or_else(|| Some((version, error.refusal(version)?)));
                return Err(Refused {
                    code: "protocol",
                    detail: error.to_string(),
                    connack: connack.map(Box::new),
                });
            }
        }
        match wire.turn(true, input, out).await {
            Ok(Turn::Closed) => {
                return Err(Refused::silently("closed", "the client went away before CONNECT"));
            }
            Ok(_) => {}
            Err(error) => return Err(Refused::silently("io", error.to_string())),
        }
    }
}

async fn authenticate(edge: &Edge, connect: &Connect) -> Result<Principal, Refusal> {
    let unauthorized = |detail: String| Refusal::new(ErrorKind::Unauthorized, detail);
    if connect.properties.authentication_method.is_some() {
        return Err(unauthorized(
            "enhanced authentication is not offered; send the token as the password".into(),
        ));
    }
    match connect.password.as_deref() {
        Some(token) if !token.is_empty() => {
            let token =
                std::str::from_utf8(token).map_err(|_| unauthorized("the password is not a token".into()))?;
            let verified = edge.core.verifier.verify_or_refresh(token).await;
            let who = verified.map_err(|e| unauthorized(e.to_string()))?;
            edge.core.proofs.admit(&who).await?;
            Ok(who)
        }
        _ if edge.auth.allows_anonymous_mqtt() && connect.client_id.split('/').count() != 3 => {
            let org = OrgId::new(edge.auth.default_org.as_str());
            let user = UserId::new(format!("anonymous:{}", connect.client_id.as_str()));
            Ok(Principal::new(org, user, Role::Visitor, Origin::AnonymousMqtt))
        }
        _ => Err(unauthorized("send an access token as the password".into())),
    }
}

/// `{uid}/{client}/{device}` names a user: it must be the token's.
fn check_client_id(client: &str, who: &Principal) -> Result<(), Refusal> {
    let parts: Vec<&str> = client.split('/').collect();
    match parts.as_slice() {
        [uid, _, _] if *uid != who.user.as_str() => Err(Refusal::forbidden(format!(
            "the client id begins with {uid:?}, but the token is {:?}'s",
            who.user.as_str()
        ))),
        _ => Ok(()),
    }
}

/// The will as an entry of the log, authorised now: there is nobody to refuse it to later.
async fn prepare_will(
    edge: &Edge,
    who: &Principal,
    client: &str,
    will: &mqtt_codec::Will,
) -> Result<Will, Refusal> {
    let topic = TopicName::new(&will.topic).map_err(|e| Refusal::invalid(format!("will topic: {e}")))?;
    let core = &edge.core;
    if who.origin == Origin::AnonymousVisitor {
        return Err(Refusal::forbidden(
            "a will needs a token that proves who its sender is; connect without one",
        ));
    }
    let delay = will.properties.will_delay_interval.unwrap_or(0);
    if ChatTopic::parse(&topic).is_some() {
        if who.origin == Origin::AnonymousMqtt {
            return Err(Refusal::forbidden(format!(
                "{topic} is a conversation; connect with an access token"
            )));
        }
        let payload = will.payload.clone();
        let chat = core
            .ingest
            .chat(&core.gate, who, &topic, &payload, core.now())
            .await?;
        return Ok(Will {
            entry: chat.entry.to_bytes(),
            delay,
        });
    }
    if topic.starts_with('$') || !core.gate.may_publish_ordinary(who, client, &topic) {
        return Err(Refusal::forbidden(format!(
            "the will may not be published to {topic}"
        )));
    }
    let entry = Entry {
        kind: Kind::Generic.into(),
        org: who.org.to_string(),
        topic: topic.to_string(),
        sender: who.user.to_string(),
        sender_role: who.role.number(),
        accepted_at: core.now().0,
        payload: will.payload.clone(),
        // In the log even at QoS 0: whoever publishes it is not the edge that knows who is online.
        qos: u32::from(will.qos as u8),
        retain: will.retain,
        properties: encode_properties(Some(&will_properties(&will.properties))),
        client: client.to_owned(),
        ..Entry::default()
    };
    Ok(Will {
        entry: entry.to_bytes(),
        delay,
    })
}

/// The properties of a will that its PUBLISH will have.
fn will_properties(will: &WillProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: will.payload_format_indicator,
        content_type: will.content_type.clone(),
        response_topic: will.response_topic.clone(),
        correlation_data: will.correlation_data.clone(),
        user_properties: will.user_properties.clone(),
        ..PublishProperties::default()
    }
}

#[allow(clippy::too_many_arguments)]
async fn start_session(
    edge: &Arc<Edge>,
    decoder: Decoder,
    connect: Connect,
    who: Arc<Principal>,
    client: String,
    assigned: bool,
    will: Option<Will>,
) -> Result<Box<Start>, Refusal> {
    let core = &edge.core;
    if !core.lease.is_held() {
        let detail = "this server is cut off from the rest; connect again";
        return Err(Refusal::new(ErrorKind::Unavailable, detail));
    }
    let term = core.lease.term();
    let key = SessionKey::of(&who, &client);
    let limits = &edge.config.limits;
    let mailbox = Mailbox::new(limits.buffer * 4, limits.buffer_bytes.as_usize() * 4);
    let number = core.connection_number();
    core.take_over(&key, number, &mailbox).await;
    let mut opening = Opening {
        edge: edge.clone(),
        key: key.clone(),
        number,
        mailbox: mailbox.clone(),
        opened: None,
    };
    let expiry = expiry(edge, &connect);
    let stored = expiry > 0 || will.is_some();
    let open = OpenSession {
        key: key.clone(),
        clean_start: connect.clean_start,
        expiry,
        will,
        edge: core.id.clone(),
        identities: match edge::audience::has_threads(&who) {
            true => who.identities().cloned().collect(),
            false => Vec::new(),
        },
    };
    let asked = asked_for_threads(core);
    let opened = core.persistence.open_session(open).await?;
    opening.opened = Some((opened.epoch, expiry, opened.state.clone()));
    core.registry.opened(&key, number, opened.epoch);
    if let Some(former) = opened.previous_edge.filter(|former| *former != core.id) {
        let (core, key) = (core.clone(), key.clone());
        tokio::spawn(async move { core.drop_at(&former, &key, Some(opened.epoch)).await });
    }
    let mut was_anothers = false;
    let saved = match SavedState::decode(&opened.state) {
        Ok(state) if opened.present => {
            was_anothers = state.holder.as_ref() != Some(&Holder::of(&who));
            Some((resumed(core, &who, &client, state, expiry).await?, opened.epoch))
        }
        Ok(_) => None,
        Err(error) => {
            info!(%error, client, "the stored state of a session cannot be read; it begins anew");
            None
        }
    };
    let present = saved.is_some();
    let client_window = connect
        .properties
        .receive_maximum
        .map_or(u16::MAX, NonZeroU16::get);
    let session_limits = SessionLimits {
        window: limits.window.min(client_window),
        window_bytes: u32::try_from(limits.window_bytes.get()).unwrap_or(u32::MAX),
        received: limits.receive_maximum,
        buffer_items: u32::try_from(limits.buffer).unwrap_or(u32::MAX),
        buffer_bytes: u32::try_from(limits.buffer_bytes.get()).unwrap_or(u32::MAX),
        ..SessionLimits::default()
    };
    let mut receiver = Receiver::new(core.clone(), who, &client, mailbox.clone(), session_limits, saved);
    receiver.check_subscriptions().await?;
    let threads = receiver.threads(opened.threads).await?;
    core.attachments.join(&mailbox);
    receiver.begin(true, &threads, asked);
    // An owner that answers is waited for: a new session begins neither before nor after its CONNACK. One that does not holds
    // up its own topics only, and the session begins there with what the edge had not been given yet.
    let later = receiver.attached_from_the_beginning(ATTACH_LIMIT).await;
    if later.iter().any(|mail| matches!(mail, Mail::TakenOver(_))) {
        receiver.leave();
        return Err(Refusal::new(
            ErrorKind::Unavailable,
            "another connection uses this client id",
        ));
    }
    later.into_iter().for_each(|mail| mailbox.push(mail));
    // Where it begins is stored first: it would begin later after a crash. And as whom: what another holder passes over is
    // owed to this one.
    if expiry > 0 && (!present || was_anothers || receiver.has_begun_anew()) {
        let save = SaveSession {
            key: key.clone(),
            epoch: opened.epoch,
            state: receiver.state(),
        };
        if let Err(refused) = core.persistence.save_sessions(vec![save]).await {
            receiver.leave();
            return Err(refused.into());
        }
    }
    opening.complete();
    Ok(Box::new(Start {
        connack: connack(edge, &connect, &client, assigned, present, expiry),
        decoder,
        receiver,
        mailbox,
        key,
        epoch: opened.epoch,
        number,
        expiry,
        stored,
        term,
        version: connect.version,
        keep_alive: connect.keep_alive,
        max_packet: connect
            .properties
            .maximum_packet_size
            .map_or(usize::MAX, |n| n.get() as usize),
        problem_information: connect.properties.request_problem_information.unwrap_or(true),
    }))
}

/// A session that is being opened. Dropped before it is complete, it is closed again as it was: it would stay connected
/// for ever.
struct Opening {
    edge: Arc<Edge>,
    key: SessionKey,
    number: u64,
    mailbox: Arc<Mailbox>,
    opened: Option<(u64, u32, Bytes)>,
}

impl Opening {
    fn complete(mut self) {
        self.number = 0;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let core = self.edge.core.clone();
        core.registry.remove(&self.key, self.number);
        self.mailbox.close();
        if let Some((epoch, expiry, state)) = self.opened.take() {
            let close = CloseSession {
                key: self.key.clone(),
                epoch,
                state,
                expiry,
                at: core.now(),
                publish_will: false,
            };
            tokio::spawn(async move {
                if let Err(error) = core.persistence.close_session(close).await {
                    debug!(%error, "a session that was not begun is not closed");
                }
            });
        }
    }
}

/// Seconds that the session outlives the connection.
fn expiry(edge: &Edge, connect: &Connect) -> u32 {
    let seconds = |d: runtime::config::HumanDuration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    match connect.version {
        Version::V5 => {
            let asked = connect.properties.session_expiry_interval.unwrap_or(0);
            asked.min(seconds(edge.config.max_session_expiry))
        }
        Version::V311 if connect.clean_start => 0,
        Version::V311 => seconds(edge.config.session_expiry),
    }
}

fn connack(
    edge: &Edge,
    connect: &Connect,
    client: &str,
    assigned: bool,
    present: bool,
    expiry: u32,
) -> ConnAck {
    let limits = &edge.config.limits;
    let mut connack = ConnAck::accepted(present);
    if connect.version == Version::V5 {
        let p = &mut connack.properties;
        p.receive_maximum = NonZeroU16::new(limits.receive_maximum);
        p.maximum_qos = None::<QoS>;
        p.maximum_packet_size = u32::try_from(limits.max_message.get() + 1024)
            .ok()
            .and_then(NonZeroU32::new);
        p.topic_alias_maximum = Some(TOPIC_ALIAS_MAXIMUM);
        p.shared_subscription_available = Some(false);
        p.assigned_client_identifier = if assigned {
            Utf8::try_from(client).ok()
        } else {
            None
        };
        let asked = connect.properties.session_expiry_interval.unwrap_or(0);
        p.session_expiry_interval = (asked != expiry).then_some(expiry);
    }
    connack
}
