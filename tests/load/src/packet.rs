//! As much of MQTT 3.1.1 as a load generator speaks: QoS 0 and 1, client to server.
//!
//! Written apart from the server's own codec, so that a mistake there is not repeated here.

use crate::error::{Error, Result};

/// DISCONNECT, whole.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A packet from the server, borrowed from the receive buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    ConnAck {
        session_present: bool,
        code: u8,
    },
    SubAck {
        codes: &'a [u8],
    },
    PubAck {
        packet_id: u16,
    },
    Publish {
        qos: u8,
        packet_id: u16,
        topic: &'a [u8],
        payload: &'a [u8],
    },
    PingResp,
}

/// What a CONNECT carries.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) clean_session: bool,
    /// Sent as the password, with a user name of no meaning.
    pub(crate) token: Option<String>,
}

/// Seconds; longer than any scenario, so that no ping disturbs what is measured.
const KEEP_ALIVE: u16 = 3_600;

impl Connect {
    /// The packet's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean_session) << 1;
        if self.token.is_some() {
            flags |= 0xC0;
        }
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
        body.extend_from_slice(&KEEP_ALIVE.to_be_bytes());
        put_string(&mut body, self.client_id.as_bytes());
        if let Some(token) = &self.token {
            put_string(&mut body, b"load");
            put_string(&mut body, token.as_bytes());
        }
        with_header(0x10, &body)
    }
}

/// SUBSCRIBE of one filter.
pub(crate) fn subscribe(packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_string(&mut body, filter.as_bytes());
    body.push(qos);
    with_header(0x82, &body)
}

/// PUBLISH; the packet id is left zero, at [`packet_id_at`], for the sender to fill in.
pub(crate) fn publish(qos: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    put_string(&mut body, topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&[0, 0]);
    }
    body.extend_from_slice(payload);
    with_header(0x30 | (qos << 1), &body)
}

/// Where the packet id stands in a QoS 1 PUBLISH of `len` bytes with a payload of `payload` bytes.
pub(crate) fn packet_id_at(len: usize, payload: usize) -> usize {
    len - payload - 2
}

/// PUBACK.
pub(crate) fn pub_ack(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

/// The first byte, the body and the whole length of the packet at the front of `bytes`, if it is there whole.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((size, digits)) = remaining_length(rest)? else {
        return Ok(None);
    };
    Ok(rest
        .get(digits..digits + size)
        .map(|body| (first, body, 1 + digits + size)))
}

/// The first packet in `bytes` and its length, or nothing when it is not there whole.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(usize, Packet<'_>)>> {
    let Some((first, body, len)) = split(bytes)? else {
        return Ok(None);
    };
    let packet = match (first >> 4, body) {
        (2, &[flags, code]) => Packet::ConnAck {
            session_present: flags & 1 == 1,
            code,
        },
        (3, body) => decode_publish(first, body)?,
        (4, &[high, low]) => Packet::PubAck {
            packet_id: u16::from_be_bytes([high, low]),
        },
        (9, [_, _, codes @ ..]) => Packet::SubAck { codes },
        (13, []) => Packet::PingResp,
        _ => return Err(Error::Protocol("not a packet a server sends to this client")),
    };
    Ok(Some((len, packet)))
}

fn decode_publish(first: u8, body: &[u8]) -> Result<Packet<'_>> {
    const SHORT: Error = Error::Protocol("a PUBLISH shorter than its topic");
    let qos = (first >> 1) & 3;
    let (size, rest) = body.split_first_chunk::<2>().ok_or(SHORT)?;
    let (topic, rest) = rest
        .split_at_checked(usize::from(u16::from_be_bytes(*size)))
        .ok_or(SHORT)?;
    if qos == 0 {
        return Ok(Packet::Publish {
            qos,
            packet_id: 0,
            topic,
            payload: rest,
        });
    }
    let (id, payload) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    Ok(Packet::Publish {
        qos,
        packet_id: u16::from_be_bytes(*id),
        topic,
        payload,
    })
}

/// The value and how many bytes it took.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        Err(Error::Protocol("a remaining length of five bytes"))
    } else {
        Ok(None)
    }
}

fn with_header(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let digit = (left & 0x7F) as u8;
        left >>= 7;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn put_string(body: &mut Vec<u8>, text: &[u8]) {
    let size = u16::try_from(text.len()).expect("our topics, ids and tokens are shorter than 64 KiB");
    body.extend_from_slice(&size.to_be_bytes());
    body.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_back_whole_and_not_before_its_last_byte() {
        let payload = vec![7; 300];
        let bytes = publish(1, "a/b", &payload);
        for end in 0..bytes.len() {
            assert!(
                decode(&bytes[..end]).unwrap().is_none(),
                "{end} bytes are not a packet"
            );
        }
        let (len, packet) = decode(&bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        assert_eq!(
            packet,
            Packet::Publish {
                qos: 1,
                packet_id: 0,
                topic: b"a/b",
                payload: &payload
            }
        );
    }

    #[test]
    fn the_packet_id_stands_where_it_is_patched() {
        let mut bytes = publish(1, "a/b", b"xyz");
        let at = packet_id_at(bytes.len(), 3);
        bytes[at..at + 2].copy_from_slice(&513u16.to_be_bytes());
        let (_, packet) = decode(&bytes).unwrap().unwrap();
        assert_eq!(
            packet,
            Packet::Publish {
                qos: 1,
                packet_id: 513,
                topic: b"a/b",
                payload: b"xyz"
            }
        );
    }

    #[test]
    fn connect_is_spelled_as_the_specification_shows_it() {
        let connect = Connect {
            client_id: "c".into(),
            clean_session: true,
            token: None,
        };
        assert_eq!(connect.encode(), b"\x10\x0d\x00\x04MQTT\x04\x02\x0e\x10\x00\x01c");
    }

    #[test]
    fn answers_are_told_apart() {
        let ack = |bytes| decode(bytes).map(|found| found.map(|(_, packet)| format!("{packet:?}")));
        assert!(
            ack(b"\x20\x02\x01\x00")
                .unwrap()
                .unwrap()
                .contains("session_present: true")
        );
        assert!(ack(b"\x90\x03\x00\x01\x80").unwrap().unwrap().contains("[128]"));
        assert!(ack(b"\x40\x02\x00\x05").unwrap().unwrap().contains('5'));
        assert!(ack(b"\x10\x00").is_err(), "a server sends no CONNECT");
    }
}
