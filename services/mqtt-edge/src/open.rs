//! From the first packet to a session: who is it, may it, what had it.

mod authenticate;
mod opening;
mod refused;
mod session;
mod will;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_codec::{Connect, Decoder, Packet, ReasonCode, Version};
use tokio::time::Instant;
use tracing::debug;

use self::authenticate::{authenticate, check_client_id};
use self::refused::Refused;
use self::session::{Admitted, start_session};
use self::will::prepare_will;
use crate::connection::{Connection, Start};
use crate::edge::Edge;
use crate::transport::{Turn, Wire};

/// How long a refused client has to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

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
    let admitted = Admitted {
        connect: *connect,
        who,
        client,
        assigned,
        will,
    };
    start_session(edge, decoder, admitted)
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
