//! The stamp at the front of every payload: who sent it, which one it is, when it left.
//!
//! Text of a fixed width, so that one form serves opaque payloads and the content of chat messages alike.

/// `side` one byte, then sequence and nanoseconds in 16 hex digits each, separated by spaces.
pub(crate) const WIDTH: usize = 1 + 1 + 16 + 1 + 16 + 1;

/// The smallest payload that carries one.
pub(crate) const MIN_PAYLOAD: usize = WIDTH;

/// Who sent a message: a single printable byte that tells an echo from an answer.
pub(crate) type Side = u8;

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) side: Side,
    /// Counts from 0 in each topic and side.
    pub(crate) sequence: u64,
    /// Nanoseconds since the run began.
    pub(crate) sent: u64,
}

impl Stamp {
    /// Writes the stamp over the first [`WIDTH`] bytes of `place`.
    pub(crate) fn write(self, place: &mut [u8]) {
        place[0] = self.side;
        place[1] = b' ';
        put_hex(&mut place[2..18], self.sequence);
        place[18] = b' ';
        put_hex(&mut place[19..35], self.sent);
        place[35] = b' ';
    }

    /// Reads the stamp at the front of `content`.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let text = content.first_chunk::<WIDTH>()?;
        Some(Self {
            side: text[0],
            sequence: hex(&text[2..18])?,
            sent: hex(&text[19..35])?,
        })
    }
}

/// Content of `size` bytes with an empty stamp of that side in front.
pub(crate) fn content(side: Side, size: usize) -> Vec<u8> {
    let mut content: Vec<u8> = (b'a'..=b'z').cycle().take(size.max(MIN_PAYLOAD)).collect();
    Stamp {
        side,
        sequence: 0,
        sent: 0,
    }
    .write(&mut content);
    content
}

/// Writes `value` in lower-case hex over the whole of `place`.
pub(crate) fn put_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let mut text = content(b'v', 200);
        assert_eq!(text.len(), 200);
        let stamp = Stamp {
            side: b'v',
            sequence: 77,
            sent: u64::MAX,
        };
        stamp.write(&mut text);
        assert_eq!(Stamp::read(&text), Some(stamp));
    }

    #[test]
    fn other_content_has_no_stamp() {
        assert_eq!(Stamp::read(b"short"), None);
        assert_eq!(Stamp::read(&[b'z'; 60]), None);
    }
}
