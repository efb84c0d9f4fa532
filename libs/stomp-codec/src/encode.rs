use bytes::{BufMut, BytesMut};

use crate::dialect::Dialect;
use crate::{Command, Version};

const CONTENT_LENGTH: &str = "content-length";

/// Appends one frame to `out`, its headers escaped as the version has it.
///
/// `content-length` is always the true one: it replaces the value of a first header of that name, and is added after
/// the others where there is a body and no such header. What the version cannot carry in a header (NUL anywhere; LF,
/// and colons in names, where nothing is escaped) is written as a space; a header without a name is left out. So
/// a value can never add a header or end the frame.
pub fn encode_frame<'a, I>(command: Command, version: Version, headers: I, body: &[u8], out: &mut BytesMut)
where
    I: Iterator<Item = (&'a str, &'a str)> + Clone,
{
    let dialect = Dialect::of(command, Some(version));
    let size: usize = headers
        .clone()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    // Room for the command, content-length, NUL and a few escapes besides.
    out.reserve(size + body.len() + 64);
    out.put_slice(command.as_str().as_bytes());
    out.put_u8(b'\n');
    let mut length_due = true;
    for (name, value) in headers {
        if name.is_empty() {
            continue;
        }
        if length_due && name == CONTENT_LENGTH {
            length_due = false;
            put_content_length(body.len(), out);
            continue;
        }
        put_escaped(dialect, name, true, out);
        out.put_u8(b':');
        put_escaped(dialect, value, false, out);
        out.put_u8(b'\n');
    }
    if length_due && !body.is_empty() {
        put_content_length(body.len(), out);
    }
    out.put_u8(b'\n');
    out.put_slice(body);
    out.put_u8(0);
}

/// Appends a MESSAGE, for the path where every delivery passes: no [`crate::Frame`] is built, nothing is allocated
/// beyond what `out` needs to grow. `headers` must hold `destination`, `message-id` and, since 1.1, `subscription`;
/// `content-length` is added here.
pub fn encode_message(version: Version, headers: &[(&str, &str)], body: &[u8], out: &mut BytesMut) {
    encode_frame(Command::Message, version, headers.iter().copied(), body, out);
}

/// Appends the RECEIPT that answers a frame whose `receipt` header was `receipt_id`.
pub fn encode_receipt(version: Version, receipt_id: &str, out: &mut BytesMut) {
    encode_frame(
        Command::Receipt,
        version,
        std::iter::once(("receipt-id", receipt_id)),
        &[],
        out,
    );
}

fn put_content_length(length: usize, out: &mut BytesMut) {
    out.put_slice(CONTENT_LENGTH.as_bytes());
    out.put_u8(b':');
    // Decimal digits from the back; 20 hold any usize.
    let mut digits = [0; 20];
    let mut left = length;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
    out.put_u8(b'\n');
}

fn put_escaped(dialect: Dialect, text: &str, in_name: bool, out: &mut BytesMut) {
    let mut rest = text.as_bytes();
    loop {
        let special = rest
            .iter()
            .position(|byte| matches!(byte, 0 | b'\n' | b'\r' | b'\\' | b':'));
        let Some((plain, [byte, tail @ ..])) = special.and_then(|at| rest.split_at_checked(at)) else {
            out.put_slice(rest);
            return;
        };
        out.put_slice(plain);
        match dialect.written(*byte, in_name) {
            Some(escape) => out.put_slice(escape),
            None => out.put_u8(*byte),
        }
        rest = tail;
    }
}
