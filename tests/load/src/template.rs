//! Messages made once and patched in place: sending one costs a copy.

use crate::error::{Error, Result};
use crate::link::Link;
use crate::packet;
use crate::stamp::{self, Side, Stamp};
use crate::token::epoch;

/// A whole packet or frame with the places that change from message to message.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    packet_id: Option<usize>,
    stamp: usize,
    /// The last 16 characters of a chat message's uid.
    uid: Option<usize>,
    /// 13 digits of milliseconds since 1970.
    created: Option<usize>,
    side: Side,
}

/// Stands for the changing end of a chat uid while the template is made.
pub(crate) const UID_MARK: &str = "~~~~uid-here~~~~";
/// Stands for the time of creation while the template is made.
pub(crate) const CREATED_MARK: &str = "~created-at~~";

impl Template {
    /// An MQTT PUBLISH around `payload`, which holds a stamp of `side` and, if chat, the marks.
    pub(crate) fn publish(qos: u8, topic: &str, payload: &[u8], side: Side) -> Result<Self> {
        let bytes = packet::publish(qos, topic, payload);
        let packet_id = (qos > 0).then(|| packet::packet_id_at(bytes.len(), payload.len()));
        Ok(Self {
            packet_id,
            ..Self::whole(bytes, side)?
        })
    }

    /// Any bytes that hold a stamp of `side` and, if chat, the marks.
    pub(crate) fn whole(bytes: Vec<u8>, side: Side) -> Result<Self> {
        let mut empty = [0; stamp::WIDTH];
        Stamp {
            side,
            sequence: 0,
            sent: 0,
        }
        .write(&mut empty);
        let find = |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark);
        let stamp =
            find(&empty).ok_or_else(|| Error::Usage("a payload without room for its stamp".to_owned()))?;
        let (uid, created) = (find(UID_MARK.as_bytes()), find(CREATED_MARK.as_bytes()));
        Ok(Self {
            stamp,
            uid,
            created,
            packet_id: None,
            side,
            bytes,
        })
    }

    /// Queues the message on `link`.
    pub(crate) fn send(&mut self, link: &mut Link, packet_id: u16, sequence: u64, sent: u64) {
        self.patch(packet_id, sequence, sent);
        link.push(&self.bytes);
    }

    fn patch(&mut self, packet_id: u16, sequence: u64, sent: u64) {
        Stamp {
            side: self.side,
            sequence,
            sent,
        }
        .write(&mut self.bytes[self.stamp..]);
        if let Some(at) = self.packet_id {
            self.bytes[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(at) = self.uid {
            stamp::put_hex(&mut self.bytes[at..at + UID_MARK.len()], sequence);
        }
        if let Some(at) = self.created {
            put_decimal(
                &mut self.bytes[at..at + CREATED_MARK.len()],
                epoch().as_millis() as u64,
            );
        }
    }
}

fn put_decimal(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    #[test]
    fn a_patched_publish_carries_its_packet_id_and_stamp() {
        let payload = stamp::content(b'p', 200);
        let mut template = Template::publish(1, "load/x", &payload, b'p').unwrap();
        template.patch(258, 9, 1_000);
        let (_, packet) = packet::decode(&template.bytes).unwrap().unwrap();
        let Packet::Publish {
            qos: 1,
            packet_id: 258,
            payload,
            ..
        } = packet
        else {
            panic!("{packet:?}")
        };
        assert_eq!(payload.len(), 200);
        assert_eq!(
            Stamp::read(payload),
            Some(Stamp {
                side: b'p',
                sequence: 9,
                sent: 1_000
            })
        );
    }

    #[test]
    fn the_marks_of_a_chat_message_are_filled_in() {
        let text = format!(
            "uid-{UID_MARK} at {CREATED_MARK} {}",
            String::from_utf8(stamp::content(b'v', 60)).unwrap()
        );
        let mut template = Template::whole(text.into_bytes(), b'v').unwrap();
        template.patch(0, 255, 0);
        let text = String::from_utf8(template.bytes).unwrap();
        assert!(text.starts_with("uid-00000000000000ff at 1"), "{text}");
        assert!(!text.contains('~'), "{text}");
    }
}
