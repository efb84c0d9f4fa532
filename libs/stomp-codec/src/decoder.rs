use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::dialect::Dialect;
use crate::error::{EXCERPT, excerpt};
use crate::{Command, DecodeError, Frame, Headers, Role, Version};

/// What a peer may make us hold. A limit crossed is an error at once, not when the frame is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Headers of one frame.
    pub max_headers: usize,
    /// Bytes of one header line as sent, a CR counted, the LF not.
    pub max_header_line: usize,
    /// Bytes of the command line and all header lines together, as sent.
    pub max_header_bytes: usize,
    /// Bytes of a body.
    pub max_body: usize,
}

impl Default for Limits {
    /// 64 headers, 8 KiB a line (a token is one), 16 KiB of headers, 256 KiB of body.
    fn default() -> Self {
        Self {
            max_headers: 64,
            max_header_line: 8 << 10,
            max_header_bytes: 16 << 10,
            max_body: 256 << 10,
        }
    }
}

/// What the stream is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole frame, well formed; [`crate::validate`] says whether it has the headers it needs.
    Frame(Frame),
    /// An EOL between frames. One may trail a frame and mean nothing, or be a heart-beat: nobody can tell, and
    /// either way the peer lives.
    HeartBeat,
}

/// Reads frames from a byte stream.
///
/// ```
/// use bytes::BytesMut;
/// use stomp_codec::{Decoder, Item, Limits, Role, Version};
///
/// let mut decoder = Decoder::new(Role::Server, Limits::default());
/// let mut buf = BytesMut::from("CONNECT\naccept-version:1.2\nhost:h\n\n\0SEND\ndestination:/app/a\n\nhel");
/// let Ok(Some(Item::Frame(connect))) = decoder.decode(&mut buf) else { panic!("a CONNECT") };
/// decoder.set_version(Version::negotiate(connect.get("accept-version"))?);
/// assert_eq!(decoder.decode(&mut buf), Ok(None));
/// buf.extend_from_slice(b"lo\0");
/// let Ok(Some(Item::Frame(send))) = decoder.decode(&mut buf) else { panic!("a SEND") };
/// assert_eq!(&send.body[..], b"hello");
/// # Ok::<(), stomp_codec::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    version: Option<Version>,
    stage: Stage,
    /// How much of the front of the buffer was searched in vain for the end of a line or body.
    scanned: usize,
    failed: Option<DecodeError>,
}

/// What comes next in the stream.
#[derive(Debug)]
enum Stage {
    Command,
    Headers(Head),
    Body { head: Head, length: Option<usize> },
}

/// A frame whose body is still to come.
#[derive(Debug)]
struct Head {
    command: Command,
    dialect: Dialect,
    headers: Headers,
    /// Bytes of the lines read so far, as sent.
    bytes: usize,
}

impl Decoder {
    /// A decoder at the start of a connection, the version not settled.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            version: None,
            stage: Stage::Command,
            scanned: 0,
            failed: None,
        }
    }

    /// Settles the version. Call it after the CONNECT (or CONNECTED) and before the next [`Decoder::decode`]; frames
    /// after it are read by that version's rules.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// The version settled, if any.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next item off the front of `buf`; `None` when more bytes are needed first. Between calls `buf` may
    /// only grow at its end. It is left with at most one unfinished header line or body.
    ///
    /// # Errors
    /// When the stream is not STOMP, breaks a limit, or holds a frame the other side must not send. The stream is
    /// lost then, and every later call gives the same error.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Item>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.next_item(buf);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn next_item(&mut self, buf: &mut BytesMut) -> Result<Option<Item>, DecodeError> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Command) {
                Stage::Command => match self.read_command(buf)? {
                    Start::Frame(head) => self.stage = Stage::Headers(head),
                    Start::HeartBeat => return Ok(Some(Item::HeartBeat)),
                    Start::Incomplete => return Ok(None),
                },
                Stage::Headers(mut head) => {
                    if !self.read_headers(&mut head, buf)? {
                        self.stage = Stage::Headers(head);
                        return Ok(None);
                    }
                    head.trim_if_1_0(self.version);
                    let length = head.content_length(self.limits.max_body)?;
                    self.stage = Stage::Body { head, length };
                }
                Stage::Body { head, length } => {
                    let found = match length {
                        Some(length) => announced_body(head.command, length, buf)?,
                        None => self.terminated_body(head.command, buf)?,
                    };
                    let Some(length) = found else {
                        self.stage = Stage::Body { head, length };
                        return Ok(None);
                    };
                    let body = buf.split_to(length).freeze();
                    buf.advance(1);
                    return Ok(Some(Item::Frame(Frame {
                        command: head.command,
                        headers: head.headers,
                        body,
                    })));
                }
            }
        }
    }

    fn read_command(&mut self, buf: &mut BytesMut) -> Result<Start, DecodeError> {
        let mut rest: &[u8] = buf;
        let Some(line) = self.take_line(&mut rest) else {
            // No command is that long or holds a NUL: refuse now what would else wait for an LF.
            let hopeless = buf.len() > EXCERPT || memchr(0, buf).is_some();
            return if hopeless {
                Err(unknown_command(buf))
            } else {
                Ok(Start::Incomplete)
            };
        };
        let bytes = line.len() + 1;
        let start = self.parse_command(line)?;
        buf.advance(bytes);
        Ok(start)
    }

    fn parse_command(&self, line: &[u8]) -> Result<Start, DecodeError> {
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        if bare.is_empty() {
            return Ok(Start::HeartBeat);
        }
        let command = Command::parse(bare).ok_or_else(|| unknown_command(line))?;
        if command.sender() == self.role {
            return Err(DecodeError::WrongDirection { command });
        }
        let dialect = Dialect::of(command, self.version);
        if bare.len() < line.len() && !dialect.allows_crlf() {
            return Err(DecodeError::CrLf { command });
        }
        Ok(Start::Frame(Head {
            command,
            dialect,
            headers: Headers::with_capacity(8, 256),
            bytes: line.len() + 1,
        }))
    }

    /// Reads header lines up to the blank one; false when it is not there yet.
    fn read_headers(&mut self, head: &mut Head, buf: &mut BytesMut) -> Result<bool, DecodeError> {
        let mut rest: &[u8] = buf;
        let complete = loop {
            let Some(line) = self.take_line(&mut rest) else {
                head.check_line(rest, &self.limits)?;
                break false;
            };
            head.check_line(line, &self.limits)?;
            if head.take(line, self.limits.max_headers)? {
                break true;
            }
        };
        let used = buf.len() - rest.len();
        buf.advance(used);
        Ok(complete)
    }

    /// Splits the next line off `rest`, without its LF.
    fn take_line<'a>(&mut self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let Some(at) = self.find(b'\n', rest) else {
            self.scanned = rest.len();
            return None;
        };
        self.scanned = 0;
        let (line, tail) = rest.split_at_checked(at)?;
        *rest = tail.get(1..)?;
        Some(line)
    }

    /// The length of a body that ends with the first NUL, once that is there.
    fn terminated_body(&mut self, command: Command, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        let found = self.find(0, buf);
        let limit = self.limits.max_body;
        if found.unwrap_or(buf.len()) > limit {
            return Err(DecodeError::BodyTooLarge { command, limit });
        }
        self.scanned = if found.is_some() { 0 } else { buf.len() };
        Ok(found)
    }

    /// Where `byte` is in `bytes`, the part searched before passed over.
    fn find(&self, byte: u8, bytes: &[u8]) -> Option<usize> {
        let fresh = bytes.get(self.scanned..)?;
        memchr(byte, fresh).map(|at| at + self.scanned)
    }
}

enum Start {
    Frame(Head),
    HeartBeat,
    Incomplete,
}

impl Head {
    /// Holds `line`, which may still lack its end, against the limits, and looks for a NUL: a client that forgot the
    /// blank line has nothing more to send. Whichever of them comes first is named, so that the answer does not depend on
    /// how the stream was cut.
    fn check_line(&self, line: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        let Limits {
            max_header_line,
            max_header_bytes,
            ..
        } = *limits;
        let room = max_header_bytes.saturating_sub(self.bytes);
        let command = self.command;
        let allowed = max_header_line.min(room);
        if memchr(0, line).is_some_and(|at| at < allowed) {
            return Err(DecodeError::NulInHeaders {
                command,
                line: self.headers.len() + 1,
            });
        }
        if line.len() <= allowed {
            return Ok(());
        }
        Err(if max_header_line <= room {
            DecodeError::HeaderLineTooLong {
                command,
                line: self.headers.len() + 1,
                limit: max_header_line,
            }
        } else {
            DecodeError::HeadersTooLarge {
                command,
                limit: max_header_bytes,
            }
        })
    }

    /// Takes one line, its LF off; true when it is the blank one.
    fn take(&mut self, line: &[u8], max_headers: usize) -> Result<bool, DecodeError> {
        let command = self.command;
        self.bytes += line.len() + 1;
        let content = match line.strip_suffix(b"\r") {
            Some(content) if self.dialect.allows_crlf() => content,
            Some([]) => return Err(DecodeError::CrLf { command }),
            _ => line,
        };
        if content.is_empty() {
            return Ok(true);
        }
        if self.headers.len() >= max_headers {
            return Err(DecodeError::TooManyHeaders {
                command,
                limit: max_headers,
            });
        }
        self.dialect.read(command, content, &mut self.headers)?;
        Ok(false)
    }

    /// Clients of 1.0 write `login: name`, as the examples of that specification do; 1.1 made spaces count. A
    /// handshake without a version is one of 1.0.
    fn trim_if_1_0(&mut self, version: Option<Version>) {
        let is_1_0 = match self.command {
            Command::Connect => self.headers.get("accept-version").is_none(),
            Command::Connected => self.headers.get("version").is_none(),
            Command::Stomp => false,
            _ => version == Some(Version::V10),
        };
        if is_1_0 {
            self.headers.trim_values();
        }
    }

    fn content_length(&self, max_body: usize) -> Result<Option<usize>, DecodeError> {
        let command = self.command;
        let Some(value) = self.headers.get("content-length") else {
            return Ok(None);
        };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DecodeError::BadContentLength { command });
        }
        // Digits that do not fit are a number beyond any limit.
        match value.parse::<usize>() {
            Ok(length) if length <= max_body => Ok(Some(length)),
            _ => Err(DecodeError::BodyTooLarge {
                command,
                limit: max_body,
            }),
        }
    }
}

/// `length` itself, once that many bytes and the NUL after them are there.
fn announced_body(command: Command, length: usize, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
    match buf.get(length) {
        None => Ok(None),
        Some(0) => Ok(Some(length)),
        Some(_) => Err(DecodeError::MissingNul { command, length }),
    }
}

/// Names the line as far as its first NUL, wherever the stream was cut after it.
fn unknown_command(line: &[u8]) -> DecodeError {
    let end = memchr(0, line).map_or(line.len(), |nul| nul + 1);
    DecodeError::UnknownCommand {
        name: excerpt(line.get(..end).unwrap_or(line)),
    }
}
