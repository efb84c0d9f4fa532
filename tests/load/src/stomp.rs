//! A STOMP 1.2 client over WebSocket, as a visitor's page is one.

use std::future::Future;

use bytes::Buf;

use crate::error::{Error, Result};
use crate::link::{Link, Target};
use crate::ws::Kind;

/// A frame from the server, borrowed from the receive buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) command: &'a [u8],
    headers: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first header of that name, still escaped.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
            .map(|value| value.strip_suffix(b"\r").unwrap_or(value))
    }
}

/// The first frame in `bytes` and how many bytes it and the line ends before it took.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(usize, Frame<'_>)>> {
    let blank = bytes
        .iter()
        .take_while(|&&byte| matches!(byte, b'\n' | b'\r'))
        .count();
    let text = &bytes[blank..];
    let Some((head, gap)) = head_of(text) else {
        return Ok(None);
    };
    let line = text[..head]
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(head);
    let command = text[..line].strip_suffix(b"\r").unwrap_or(&text[..line]);
    let mut frame = Frame {
        command,
        headers: &text[line..head],
        body: &[],
    };
    let rest = &text[head + gap..];
    let size = match frame.header("content-length") {
        Some(size) => parse_size(size)?,
        None => match rest.iter().position(|&byte| byte == 0) {
            Some(size) => size,
            None => return Ok(None),
        },
    };
    match rest.get(size) {
        None => Ok(None),
        Some(0) => {
            frame.body = &rest[..size];
            Ok(Some((blank + head + gap + size + 1, frame)))
        }
        Some(_) => Err(Error::Protocol("a STOMP body longer than its content-length")),
    }
}

/// Where the headers end, and the size of the empty line after them.
fn head_of(text: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&byte| byte == b'\n') {
        let end = from + at;
        match text[end + 1..] {
            [b'\n', ..] => return Some((end, 2)),
            [b'\r', b'\n', ..] => return Some((end, 3)),
            _ => from = end + 1,
        }
    }
    None
}

fn parse_size(text: &[u8]) -> Result<usize> {
    let digits = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    digits.ok_or(Error::Protocol("a STOMP content-length that is no number"))
}

/// A connected visitor.
#[derive(Debug)]
pub(crate) struct Visitor {
    link: Link,
}

impl Visitor {
    /// Connects as `login` and waits for CONNECTED.
    pub(crate) async fn connect(
        target: &Target,
        login: &str,
        token: Option<&str>,
        spread: usize,
    ) -> Result<Self> {
        let link = Link::open(target, "v12.stomp, v11.stomp, v10.stomp", Kind::Text, spread).await?;
        let passcode = token
            .map(|token| format!("passcode:{token}\n"))
            .unwrap_or_default();
        let mut visitor = Self { link };
        visitor.link.push(
            format!("CONNECT\naccept-version:1.2,1.1,1.0\nhost:longwire\nheart-beat:0,0\nlogin:{login}\n{passcode}\n\0")
                .as_bytes(),
        );
        visitor.expect(b"CONNECTED", "CONNECT").await?;
        Ok(visitor)
    }

    /// Subscribes to a dotted topic, each message to be acknowledged, and waits for the receipt.
    pub(crate) async fn subscribe(&mut self, dotted: &str) -> Result<()> {
        self.link.push(
            format!("SUBSCRIBE\nid:sub-0\ndestination:/topic/{dotted}\nack:client\nreceipt:sub-0\n\n\0")
                .as_bytes(),
        );
        self.expect(b"RECEIPT", "SUBSCRIBE").await
    }

    async fn expect(&mut self, command: &[u8], what: &'static str) -> Result<()> {
        loop {
            self.link.wait(what).await?;
            let Some((len, frame)) = decode(&self.link.input)? else {
                continue;
            };
            if frame.command != command {
                return Err(unwanted(what, &frame));
            }
            self.link.input.advance(len);
            return Ok(());
        }
    }

    /// One turn of the connection, see [`Link::turn`].
    pub(crate) async fn turn(&mut self, wake: impl Future<Output = ()>) -> Result<()> {
        self.link.turn(wake).await
    }

    /// The connection, to send on.
    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Hands the body of every MESSAGE to `on` and acknowledges it, each by itself as deployed pages do.
    pub(crate) fn drain(&mut self, mut on: impl FnMut(&[u8])) -> Result<()> {
        loop {
            let Some((len, frame)) = decode(&self.link.input)? else {
                return Ok(());
            };
            if frame.command != b"MESSAGE" {
                return Err(unwanted("a message", &frame));
            }
            on(frame.body);
            let ack = frame
                .header("ack")
                .map(|id| [b"ACK\nid:".as_slice(), id, b"\n\n\0"].concat());
            self.link.input.advance(len);
            if let Some(ack) = ack {
                self.link.push(&ack);
            }
        }
    }
}

fn unwanted(what: &'static str, frame: &Frame<'_>) -> Error {
    let command = String::from_utf8_lossy(frame.command);
    let message = String::from_utf8_lossy(frame.header("message").unwrap_or_default());
    Error::Refused {
        what,
        answer: format!("{command} {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_by_length_or_to_the_nul() {
        let bytes = b"\n\r\nMESSAGE\r\nack:7\r\ncontent-length:3\r\n\r\na\0b\0RECEIPT\nreceipt-id:x\n\n\0";
        let (len, frame) = decode(bytes).unwrap().unwrap();
        assert_eq!((frame.command, frame.body), (&b"MESSAGE"[..], &b"a\0b"[..]));
        assert_eq!(frame.header("ack"), Some(&b"7"[..]));
        let (rest, frame) = decode(&bytes[len..]).unwrap().unwrap();
        assert_eq!(
            (frame.command, frame.header("receipt-id")),
            (&b"RECEIPT"[..], Some(&b"x"[..]))
        );
        assert_eq!(len + rest, bytes.len());
    }

    #[test]
    fn half_a_frame_waits_for_the_rest() {
        let bytes = b"MESSAGE\nack:7\n\nbody\0";
        for end in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..end]).unwrap(),
                None,
                "{end} bytes are not a frame"
            );
        }
        assert!(decode(bytes).unwrap().is_some());
        assert_eq!(decode(b"\n\n").unwrap(), None, "heart-beats are no frame");
    }

    #[test]
    fn a_frame_without_headers_has_none() {
        let (_, frame) = decode(b"CONNECTED\n\n\0").unwrap().unwrap();
        assert_eq!(
            (frame.command, frame.header("version")),
            (&b"CONNECTED"[..], None)
        );
    }
}
