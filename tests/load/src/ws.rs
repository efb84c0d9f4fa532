//! WebSocket framing as a client needs it: one binary or text frame per packet, whole messages in.

use bytes::{Buf, BytesMut};

use crate::error::{Error, Result};

/// The kinds of frame that are handled apart from data.
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The opcode of the data frames a connection writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 1,
    Binary = 2,
}

/// The upgrade request.
pub(crate) fn upgrade(host: &str, path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: bG9uZ3dpcmUtbG9hZC1nZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// Takes the answer to the upgrade off the front of `raw`; `false` while it is not there whole.
pub(crate) fn upgraded(raw: &mut BytesMut) -> Result<bool> {
    let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = raw.split_to(end + 4);
    if head.starts_with(b"HTTP/1.1 101") {
        return Ok(true);
    }
    let status = head[..].split(|&byte| byte == b'\r').next().unwrap_or_default();
    Err(Error::Refused {
        what: "the WebSocket upgrade",
        answer: String::from_utf8_lossy(status).into_owned(),
    })
}

/// Appends one frame.
///
/// The masking key is zero: the server unmasks all the same, and the generator saves its half.
pub(crate) fn put_frame(out: &mut BytesMut, kind: Kind, payload: &[u8]) {
    put_opcode(out, kind as u8, payload);
}

fn put_opcode(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.extend_from_slice(&[0x80 | opcode]);
    match payload.len() {
        size @ 0..=125 => out.extend_from_slice(&[0x80 | size as u8]),
        size @ 126..=0xFFFF => {
            out.extend_from_slice(&[0x80 | 126]);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            out.extend_from_slice(&[0x80 | 127]);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Moves the data of every whole frame in `raw` to `input` and answers pings into `out`.
pub(crate) fn deframe(raw: &mut BytesMut, input: &mut BytesMut, out: &mut BytesMut) -> Result<()> {
    while let Some((opcode, header, size)) = header(raw)? {
        if raw.len() < header + size {
            break;
        }
        raw.advance(header);
        match opcode {
            0..=2 => input.extend_from_slice(&raw[..size]),
            CLOSE => return Err(Error::Closed("reading frames")),
            PING => put_opcode(out, PONG, &raw[..size]),
            PONG => {}
            _ => return Err(Error::Protocol("a WebSocket frame of an unknown kind")),
        }
        raw.advance(size);
    }
    Ok(())
}

/// Opcode, header size and payload size of the frame at the front.
fn header(raw: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let Some(&[first, second]) = raw.first_chunk::<2>() else {
        return Ok(None);
    };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Error::Protocol(
            "a masked or extended WebSocket frame from the server",
        ));
    }
    let opcode = first & 0x0F;
    let sized = match second {
        126 => raw
            .get(2..4)
            .map(|size| (4, usize::from(u16::from_be_bytes([size[0], size[1]])))),
        127 => raw[2..]
            .first_chunk::<8>()
            .map(|size| (10, u64::from_be_bytes(*size) as usize)),
        size => Some((2, usize::from(size))),
    };
    Ok(sized.map(|(header, size)| (opcode, header, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_joined_whatever_their_size_and_pings_are_answered() {
        let mut raw = BytesMut::new();
        raw.extend_from_slice(&[0x02, 2, b'a', b'b', 0x89, 1, b'p', 0x80, 1, b'c', 0x82, 126, 1, 0]);
        raw.extend_from_slice(&[b'x'; 255]);
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        deframe(&mut raw, &mut input, &mut out).unwrap();
        assert_eq!(&input[..], b"abc", "the last frame lacks a byte");
        assert_eq!(&out[..], &[0x8A, 0x81, 0, 0, 0, 0, b'p']);
        raw.extend_from_slice(b"x");
        deframe(&mut raw, &mut input, &mut out).unwrap();
        assert_eq!(input.len(), 3 + 256);
        assert!(raw.is_empty());
    }

    #[test]
    fn a_close_frame_ends_the_connection() {
        let mut raw = BytesMut::from(&[0x88, 0][..]);
        assert!(deframe(&mut raw, &mut BytesMut::new(), &mut BytesMut::new()).is_err());
    }

    #[test]
    fn only_101_is_an_upgrade() {
        let mut raw = BytesMut::from(&b"HTTP/1.1 101 Switching\r\nA: b\r\n"[..]);
        assert!(!upgraded(&mut raw).unwrap());
        raw.extend_from_slice(b"\r\nrest");
        assert!(upgraded(&mut raw).unwrap());
        assert_eq!(&raw[..], b"rest");
        let mut raw = BytesMut::from(&b"HTTP/1.1 404 Not Found\r\n\r\n"[..]);
        assert!(
            upgraded(&mut raw)
                .unwrap_err()
                .to_string()
                .contains("404 Not Found")
        );
    }
}
