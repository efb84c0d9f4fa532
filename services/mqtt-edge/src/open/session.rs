//! The session of a client: opened, attached, and told of in CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use contract::ErrorKind;
use contract::persistence::{OpenSession, SaveSession, SessionKey, Will};
use edge::Refusal;
use edge::mailbox::{Mail, Mailbox};
use edge::receiver::{Receiver, asked_for_threads, resumed};
use model::Principal;
use mqtt_codec::{ConnAck, Connect, Decoder, QoS, Utf8, Version};
use session::{Holder, Limits as SessionLimits, SavedState};
use tracing::info;

use super::opening::Opening;
use crate::connection::Start;
use crate::edge::{Edge, TOPIC_ALIAS_MAXIMUM};

/// How long CONNACK waits for the owners of partitions: those that live answer within a few milliseconds.
const ATTACH_LIMIT: Duration = Duration::from_millis(100);

#[allow(clippy::too_many_arguments)]
pub(super) async fn start_session(
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
