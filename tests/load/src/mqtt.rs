//! An MQTT 3.1.1 client on a [`Link`].

use std::future::Future;

use bytes::Buf;

use crate::error::{Error, Result};
use crate::link::{Link, Target};
use crate::packet::{self, Connect, Packet};
use crate::ws::Kind;

/// What a running client hears.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A message came; QoS 1 is acknowledged already.
    Message { topic: &'a [u8], payload: &'a [u8] },
    /// A message of ours was acknowledged.
    Acked(u16),
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) link: Link,
    /// Whether the server had kept a session.
    pub(crate) session_present: bool,
}

impl Client {
    /// Connects and waits for CONNACK.
    pub(crate) async fn connect(target: &Target, connect: &Connect, spread: usize) -> Result<Self> {
        let mut link = Link::open(target, "mqtt", Kind::Binary, spread).await?;
        link.push(&connect.encode());
        let session_present = loop {
            link.wait("CONNECT").await?;
            match take(&mut link, |packet| match packet {
                Packet::ConnAck {
                    code: 0,
                    session_present,
                } => Ok(*session_present),
                Packet::ConnAck { code, .. } => Err(refused("a connection", *code)),
                _ => Err(Error::Protocol("a packet before CONNACK")),
            })? {
                Some(answer) => break answer?,
                None => continue,
            }
        };
        Ok(Self {
            link,
            session_present,
        })
    }

    /// Subscribes and waits for SUBACK. Messages that come before it are an error: subscribe first.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        self.link.push(&packet::subscribe(1, filter, qos));
        loop {
            self.link.wait("SUBSCRIBE").await?;
            let answer = take(&mut self.link, |packet| match packet {
                Packet::SubAck { codes } if codes == &[qos] => Ok(()),
                Packet::SubAck { codes } => {
                    Err(refused("a subscription", codes.first().copied().unwrap_or(0x80)))
                }
                _ => Err(Error::Protocol("another packet before SUBACK")),
            })?;
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// One turn of the connection, see [`Link::turn`].
    pub(crate) async fn turn(&mut self, wake: impl Future<Output = ()>) -> Result<()> {
        self.link.turn(wake).await
    }

    /// Hands every whole packet to `on`, acknowledging messages of QoS 1 on the way.
    pub(crate) fn drain(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<()> {
        loop {
            let ack = take(&mut self.link, |packet| match *packet {
                Packet::Publish {
                    qos,
                    packet_id,
                    topic,
                    payload,
                } => {
                    on(Event::Message { topic, payload });
                    Ok((qos > 0).then_some(packet_id))
                }
                Packet::PubAck { packet_id } => {
                    on(Event::Acked(packet_id));
                    Ok(None)
                }
                Packet::PingResp => Ok(None),
                Packet::ConnAck { .. } | Packet::SubAck { .. } => {
                    Err(Error::Protocol("an answer to nothing"))
                }
            })?;
            match ack {
                None => return Ok(()),
                Some(Ok(Some(packet_id))) => self.link.push(&packet::pub_ack(packet_id)),
                Some(Ok(None)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Says DISCONNECT and closes.
    pub(crate) async fn disconnect(mut self) -> Result<()> {
        self.link.push(&packet::DISCONNECT);
        self.link.close().await
    }
}

/// Takes one packet off the input, if there is a whole one, and gives what `read` makes of it.
fn take<T>(link: &mut Link, read: impl FnOnce(&Packet<'_>) -> T) -> Result<Option<T>> {
    let Some((len, packet)) = packet::decode(&link.input)? else {
        return Ok(None);
    };
    let value = read(&packet);
    link.input.advance(len);
    Ok(Some(value))
}

fn refused(what: &'static str, code: u8) -> Error {
    Error::Refused {
        what,
        answer: format!("code {code}"),
    }
}

/// Connects once with a clean session, so that nothing of a persistent one stays behind.
pub(crate) async fn forget(target: &Target, connect: &Connect, spread: usize) -> Result<()> {
    let clean = Connect {
        clean_session: true,
        ..connect.clone()
    };
    Client::connect(target, &clean, spread).await?.disconnect().await
}
