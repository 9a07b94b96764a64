//! Responses, and how they are written.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::{
    fmt::Write,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use ebb::{sync::channel::Receiver, time::timeout};

use super::{Error, date::Date, spare::Spare};
use crate::{Interest, Stream};

/// A response: status, headers, content.
#[derive(Debug)]
pub struct Response {
    status: u16,
    /// The usual `Content-Type`s, without an allocation.
    kind: Option<&'static str>,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    content: Content,
    close: bool,
}

/// What a response carries.
pub enum Content {
    /// Nothing.
    Empty,
    /// A whole body. A large one is sent from where it lies.
    Bytes(Bytes),
    /// Pieces that come later, until the sender is dropped. Sent in chunks.
    Stream(Receiver<Piece>),
}

/// A piece of a body that comes in pieces, or that it breaks off.
pub type Piece = Result<Bytes, Broken>;

/// The rest of a body does not come. The connection is closed, so that the client does not take what it has for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Content {
    fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

impl core::fmt::Debug for Content {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Bodies up to this size are copied behind the head, so that both leave in one buffer.
const SMALL: usize = 2048;

impl Response {
    /// A response without headers and content.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            kind: None,
            headers: Vec::new(),
            content: Content::Empty,
            close: false,
        }
    }

    fn of(kind: &'static str, content: Bytes) -> Self {
        Self {
            kind: Some(kind),
            content: Content::Bytes(content),
            ..Self::new(200)
        }
    }

    /// 200 with plain text.
    #[must_use]
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::of("text/plain; charset=utf-8", text.into())
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self::of("application/json", text.into())
    }

    /// 200 with HTML.
    #[must_use]
    pub fn html(text: impl Into<Bytes>) -> Self {
        Self::of("text/html; charset=utf-8", text.into())
    }

    /// An error for people: one line of text.
    #[must_use]
    pub fn error(status: u16, what: impl core::fmt::Display) -> Self {
        Self {
            status,
            ..Self::text(alloc::format!("{what}\n").into_bytes())
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Adds a header. Line ends in it become blanks: a value from outside cannot add headers.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.headers.push((clean(name.into()), clean(value.into())));
        self
    }

    /// Sets the content.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// Sets content that comes in pieces. The sender hears that the client has gone: its channel is closed then.
    #[must_use]
    pub fn stream(mut self, pieces: Receiver<Piece>) -> Self {
        self.content = Content::Stream(pieces);
        self
    }

    /// Closes the connection behind this response.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn is_stream(&self) -> bool {
        self.content.is_stream()
    }

    pub(super) fn closes(&self) -> bool {
        self.close
    }

    /// Writes what can be written at once, which usually is all. Gives the future that writes the rest; boxed, because room for it in
    /// a connection's own future would be held by every idle one.
    pub(super) fn write(
        self,
        stream: &Stream,
        to: Recipient,
        write_time: Duration,
    ) -> Result<Option<Rest<'_>>, Error> {
        let mut out = Spare::buffer();
        self.append_head(&mut out, to);
        let rest = match self.content {
            _ if self.is_bodiless() || to.head_only => Content::Empty,
            Content::Bytes(bytes) if bytes.len() <= SMALL => {
                out.extend_from_slice(&bytes);
                Content::Empty
            }
            content => content,
        };
        let mut sent = 0;
        while sent < out.len() {
            match stream.try_write(&out[sent..]) {
                Err(crate::Error::WouldBlock) => break,
                result => sent += result?,
            }
        }
        if sent == out.len() && matches!(rest, Content::Empty) {
            Spare::give_buffer(out);
            return Ok(None);
        }
        let chunked = rest.is_stream() && to.is_1_1;
        out.drain(..sent);
        let rest = write_rest(stream, out, rest, chunked, write_time);
        Ok(Some(Box::pin(rest)))
    }

    fn is_bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }

    fn append_head(&self, out: &mut Vec<u8>, to: Recipient) {
        match self.status {
            200 => Date::append_with_ok(out),
            status => {
                let _ = write!(Text(out), "HTTP/1.1 {status} {}\r\n", reason(status));
                Date::append(out);
            }
        }
        if let Some(kind) = self.kind {
            header(out, "content-type", kind);
        }
        for (name, value) in &self.headers {
            header(out, name, value);
        }
        match &self.content {
            _ if self.is_bodiless() => {}
            Content::Empty => header(out, "content-length", "0"),
            Content::Bytes(bytes) => {
                let mut digits = [0; 20];
                header(out, "content-length", decimal(bytes.len(), &mut digits));
            }
            Content::Stream(_) if to.is_1_1 => header(out, "transfer-encoding", "chunked"),
            // An older client reads until the end.
            Content::Stream(_) => {}
        }
        if to.close {
            header(out, "connection", "close");
        } else if !to.is_1_1 {
            header(out, "connection", "keep-alive");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What writes the rest of a response.
pub(super) type Rest<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + 's>>;

/// Writes what was left of a response: of its head, and a body that is large or comes in pieces.
async fn write_rest(
    stream: &Stream,
    mut out: Vec<u8>,
    content: Content,
    chunked: bool,
    write_time: Duration,
) -> Result<(), Error> {
    write_all(stream, &out, write_time).await?;
    match content {
        Content::Empty => {}
        // Waits until the peer has made room; the bytes stay where they are.
        Content::Bytes(bytes) => timeout(write_time, stream.send(bytes)).await??,
        Content::Stream(mut pieces) => {
            while let Some(piece) = next_piece(stream, &mut pieces).await? {
                let piece = piece.map_err(|Broken| Error::Truncated)?;
                if piece.is_empty() {
                    continue;
                }
                if chunked {
                    out.clear();
                    let _ = write!(Text(&mut out), "{:x}\r\n", piece.len());
                    write_all(stream, &out, write_time).await?;
                }
                timeout(write_time, stream.send(piece)).await??;
                if chunked {
                    write_all(stream, b"\r\n", write_time).await?;
                }
            }
            if chunked {
                write_all(stream, b"0\r\n\r\n", write_time).await?;
            }
        }
    }
    Ok(())
}

/// Waits for a piece, and for the client's end meanwhile.
async fn next_piece(stream: &Stream, pieces: &mut Receiver<Piece>) -> Result<Option<Piece>, Error> {
    let mut next = pin!(pieces.recv());
    poll_fn(|cx| {
        if let Poll::Ready(piece) = next.as_mut().poll(cx) {
            return Poll::Ready(Ok(piece));
        }
        // Registered first, so that what happens after the look is not missed.
        stream.register(Interest::READ, cx.waker());
        // Another request that waits already hides the end behind it, until the next write.
        if stream.has_ended() {
            return Poll::Ready(Err(Error::Truncated));
        }
        Poll::Pending
    })
    .await
}

/// Appends a header with its line end.
#[inline]
fn header(to: &mut Vec<u8>, name: &str, value: &str) {
    to.reserve(name.len() + value.len() + 4);
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// A number's digits: the formatting machinery costs ten times as much.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    str::from_utf8(&digits[at..]).unwrap_or("0")
}

/// Writes `bytes`; the limit counts from the last time the peer took some.
async fn write_all(stream: &Stream, mut bytes: &[u8], write_time: Duration) -> Result<(), Error> {
    while !bytes.is_empty() {
        // Usually there is room, and no timer is needed.
        let n = match stream.try_write(bytes) {
            Err(crate::Error::WouldBlock) => timeout(write_time, stream.write(bytes)).await??,
            result => result?,
        };
        bytes = &bytes[n..];
    }
    Ok(())
}

/// What decides how a response is written.
#[derive(Clone, Copy)]
pub(super) struct Recipient {
    pub is_1_1: bool,
    pub head_only: bool,
    pub close: bool,
}

/// Formats into bytes.
pub(super) struct Text<'a>(pub &'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `text` without control characters.
pub(super) fn clean(text: Cow<'static, str>) -> Cow<'static, str> {
    if !has_controls(text.as_bytes()) {
        return text;
    }
    let cleaned: String = text
        .chars()
        .map(|c| if c.is_ascii_control() { ' ' } else { c })
        .collect();
    Cow::Owned(cleaned)
}

/// Whether one of the bytes is a control character of ASCII. Most texts have none, so eight are looked at at once.
fn has_controls(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // Whether one of eight bytes is below 0x20, or is 0x7f (Warren, Hacker's Delight, 6-1).
    let in_word = |word: u64| {
        let delete = word ^ (ONES * 0x7f);
        (word.wrapping_sub(ONES * 0x20) & !word | delete.wrapping_sub(ONES) & !delete) & HIGH != 0
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().any(|word| in_word(u64::from_le_bytes(*word)))
        || rest.iter().any(u8::is_ascii_control)
}

/// The phrase that goes with a status.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_becomes_a_blank_wherever_it_stands() {
        for c in ('\0'..='\u{81}').chain(['\u{a0}', '\u{17f}', '\u{2028}']) {
            for before in 0..10 {
                for after in [0, 1, 7, 8, 20] {
                    let around = |c: char| {
                        let (before, after) = ("!".repeat(before), "~".repeat(after));
                        alloc::format!("{before}{c}{after}{c}")
                    };
                    let expected = if c.is_ascii_control() { ' ' } else { c };
                    assert_eq!(clean(around(c).into()), around(expected), "{c:?}");
                }
            }
        }
    }
}
