//! The session of a client: opened, attached, and told of in CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use contract::ErrorKind;
use contract::persistence::{OpenSession, OpenedSession, SaveSession, SessionKey, Will};
use edge::mailbox::{Mail, Mailbox};
use edge::receiver::{Receiver, asked_for_threads, resumed};
use edge::{Core, Limits, Refusal};
use model::Principal;
use mqtt_codec::{ConnAck, Connect, Decoder, QoS, Utf8, Version};
use session::{Holder, Limits as SessionLimits, SavedState};
use tokio::time::Instant;
use tracing::info;

use super::opening::Opening;
use crate::connection::{HeldSession, Peer, Start};
use crate::edge::{Edge, TOPIC_ALIAS_MAXIMUM};

/// How long CONNACK waits for the owners of partitions: those that live answer within a few milliseconds.
const ATTACH_LIMIT: Duration = Duration::from_millis(100);

/// A client that may have a session, and what it asked for.
pub(super) struct Admitted {
    pub connect: Connect,
    pub who: Arc<Principal>,
    pub client: String,
    /// Whether its client id is ours, as it had none.
    pub assigned: bool,
    pub will: Option<Will>,
}

/// Opens the session, attaches what it subscribes to, and stores where it begins.
pub(super) async fn start_session(
    edge: &Arc<Edge>,
    decoder: Decoder,
    mut admitted: Admitted,
) -> Result<Box<Start>, Refusal> {
    let (core, limits) = (&edge.core, &edge.config.limits);
    if !core.lease.is_held() {
        let detail = "this server is cut off from the rest; connect again";
        return Err(Refusal::new(ErrorKind::Unavailable, detail));
    }
    let term = core.lease.term();
    let mut opening = Opening::enter(edge, &admitted.who, &admitted.client).await;
    let mailbox = opening.mailbox.clone();
    let expiry = expiry(edge, &admitted.connect);
    let stored = expiry > 0 || admitted.will.is_some();
    let asked = asked_for_threads(core);
    let opened = open_session(&mut opening, &mut admitted, expiry).await?;
    let saved = saved(core, &admitted, &opened, expiry).await?;
    let (present, was_anothers) = (saved.is_some(), saved.as_ref().is_some_and(|s| s.was_anothers));
    let saved = saved.map(|s| (s.state, opened.epoch));
    let (who, client) = (admitted.who.clone(), admitted.client.as_str());
    let session_limits = session_limits(limits, &admitted.connect);
    let mut receiver = Receiver::new(core.clone(), who, client, mailbox.clone(), session_limits, saved);
    receiver.check_subscriptions().await?;
    let threads = receiver.threads(opened.threads).await?;
    core.attachments.join(&mailbox);
    receiver.begin(true, &threads, asked);
    attach(&mut receiver, &mailbox).await?;
    // Where it begins is stored first: it would begin later after a crash. And as whom: what another holder passes over is
    // owed to this one.
    if expiry > 0 && (!present || was_anothers || receiver.has_begun_anew()) {
        save(core, &opening.key, opened.epoch, &mut receiver).await?;
    }
    let held = HeldSession {
        key: opening.key.clone(),
        epoch: opened.epoch,
        number: opening.number,
        expiry,
        stored,
        term,
        ask_again: Instant::now(),
        saved_revision: receiver.session.revision(),
        received_unsaved: false,
    };
    opening.complete();
    Ok(Box::new(Start {
        connack: connack(edge, &admitted, present, expiry),
        decoder,
        receiver,
        mailbox,
        held,
        peer: peer(admitted),
    }))
}

/// Opens the session at persistence, where it is this connection's from then on.
async fn open_session(
    opening: &mut Opening,
    admitted: &mut Admitted,
    expiry: u32,
) -> Result<OpenedSession, Refusal> {
    let core = opening.edge.core.clone();
    let identities = match edge::audience::has_threads(&admitted.who) {
        true => admitted.who.identities().cloned().collect(),
        false => Vec::new(),
    };
    let open = OpenSession {
        key: opening.key.clone(),
        clean_start: admitted.connect.clean_start,
        expiry,
        will: admitted.will.take(),
        edge: core.id.clone(),
        identities,
    };
    let mut opened = core.persistence.open_session(open).await?;
    opening.opened = Some((opened.epoch, expiry, opened.state.clone()));
    core.registry.opened(&opening.key, opening.number, opened.epoch);
    if let Some(former) = opened.previous_edge.take().filter(|former| *former != core.id) {
        let (key, epoch) = (opening.key.clone(), opened.epoch);
        tokio::spawn(async move { core.drop_at(&former, &key, Some(epoch)).await });
    }
    Ok(opened)
}

/// A session that goes on.
struct Saved {
    state: SavedState,
    /// Whether it was held by somebody with other rights.
    was_anothers: bool,
}

/// The state that the session goes on from, as far as this client may see it; `None` for one that begins anew.
async fn saved(
    core: &Arc<Core>,
    admitted: &Admitted,
    opened: &OpenedSession,
    expiry: u32,
) -> Result<Option<Saved>, Refusal> {
    let (who, client) = (&admitted.who, &admitted.client);
    match SavedState::decode(&opened.state) {
        Ok(state) if opened.present => Ok(Some(Saved {
            was_anothers: state.holder.as_ref() != Some(&Holder::of(who)),
            state: resumed(core, who, client, state, expiry).await?,
        })),
        Ok(_) => Ok(None),
        Err(error) => {
            info!(%error, client, "the stored state of a session cannot be read; it begins anew");
            Ok(None)
        }
    }
}

fn session_limits(limits: &Limits, connect: &Connect) -> SessionLimits {
    let client_window = connect
        .properties
        .receive_maximum
        .map_or(u16::MAX, NonZeroU16::get);
    SessionLimits {
        window: limits.window.min(client_window),
        window_bytes: u32::try_from(limits.window_bytes.get()).unwrap_or(u32::MAX),
        received: limits.receive_maximum,
        buffer_items: u32::try_from(limits.buffer).unwrap_or(u32::MAX),
        buffer_bytes: u32::try_from(limits.buffer_bytes.get()).unwrap_or(u32::MAX),
        ..SessionLimits::default()
    }
}

/// An owner that answers is waited for: a new session begins neither before nor after its CONNACK. One that does not holds
/// up its own topics only, and the session begins there with what the edge had not been given yet.
async fn attach(receiver: &mut Receiver, mailbox: &Mailbox) -> Result<(), Refusal> {
    let later = receiver.attached_from_the_beginning(ATTACH_LIMIT).await;
    if later.iter().any(|mail| matches!(mail, Mail::TakenOver(_))) {
        receiver.leave();
        let detail = "another connection uses this client id";
        return Err(Refusal::new(ErrorKind::Unavailable, detail));
    }
    later.into_iter().for_each(|mail| mailbox.push(mail));
    Ok(())
}

async fn save(core: &Core, key: &SessionKey, epoch: u64, receiver: &mut Receiver) -> Result<(), Refusal> {
    let save = SaveSession {
        key: key.clone(),
        epoch,
        state: receiver.state(),
    };
    if let Err(refused) = core.persistence.save_sessions(vec![save]).await {
        receiver.leave();
        return Err(refused.into());
    }
    Ok(())
}

fn peer(admitted: Admitted) -> Peer {
    let connect = admitted.connect;
    let max_packet = connect.properties.maximum_packet_size;
    Peer {
        client: admitted.client,
        version: connect.version,
        keep_alive: Duration::from_millis(u64::from(connect.keep_alive) * 1500),
        max_packet: max_packet.map_or(usize::MAX, |n| n.get() as usize),
        problem_information: connect.properties.request_problem_information.unwrap_or(true),
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

fn connack(edge: &Edge, admitted: &Admitted, present: bool, expiry: u32) -> ConnAck {
    let connect = &admitted.connect;
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
        p.assigned_client_identifier = match admitted.assigned {
            true => Utf8::try_from(admitted.client.as_str()).ok(),
            false => None,
        };
        let asked = connect.properties.session_expiry_interval.unwrap_or(0);
        p.session_expiry_interval = (asked != expiry).then_some(expiry);
    }
    connack
}
