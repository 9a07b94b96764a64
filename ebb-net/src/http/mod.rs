//! HTTP/1.1: a server for any number of connections, and a small client.
//!
//! ```ignore
//! http::listen(8080, http::Limits::default(), async |request: &mut Request<'_>| {
//!     match request.path() {
//!         "/" => Response::text("hello\n"),
//!         _ => Response::error(404, "there is nothing here"),
//!     }
//! }).await?;
//! ```
//!
//! | file | |
//! |---|---|
//! | `head.rs` | message heads: parsing (by httparse), framing rules, limits |
//! | `body.rs` | message bodies: by length, chunked, until the end |
//! | `response.rs` | responses and how they are written |
//! | `room.rs` | whether there is memory for a message |
//! | `server.rs` | the life of a connection |
//! | `spare.rs` | memory that messages use in turn |
//! | `client.rs` | requests to other servers |
//!
//! What must hold: whatever a peer sends, a connection's memory stays within its [`Limits`], and its time too; a
//! message whose framing is ambiguous (RFC 9112, section 6.3) ends the connection.

mod body;
mod client;
mod date;
mod head;
mod response;
mod room;
mod server;
mod spare;

use core::{fmt, time::Duration};

pub use body::Body;
pub use client::{Client, ClientResponse};
pub use date::civil;
pub use head::Head;
pub use response::{Broken, Content, Piece, Response, reason};
pub use room::{append, reserve};
pub use server::{Request, listen, percent_decode, serve_connection};

/// Reads `data` as a request's and as a response's head, and what follows from them.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let mut head = Head::default();
    if let Ok(Some(length)) = head.parse_request(data, 4096, 64) {
        assert!(length <= data.len() && length <= 4096);
        let _ = head.request_framing();
        let _ = (head.keeps_alive(), head.expects());
        assert!(head.headers().count() <= 64);
        let _ = percent_decode(head.target(), true);
    }
    if let Ok(Some(length)) = head.parse_response(data, 4096) {
        assert!(length <= data.len() && length <= 4096);
        for method in ["HEAD", "GET"] {
            let _ = head.response_framing(method);
        }
        let _ = head.header("location");
    }
}

/// What a connection may take: memory in bytes, and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A request line and its headers together.
    pub head: usize,
    /// Number of headers, at most 100.
    pub headers: usize,
    /// A request's body, as [`Request::bytes`] reads it.
    pub body: usize,
    /// From the first byte of a head to its end.
    pub head_time: Duration,
    /// From one request to the next on a connection that is kept alive: at least this, at most twice as long.
    pub idle_time: Duration,
    /// For a whole body.
    pub body_time: Duration,
    /// For the peer to take more of a response.
    pub write_time: Duration,
    /// Requests on one connection, then it is closed.
    pub requests: u32,
    /// What a client is told whose request cannot be read ([`Error::status`] is the usual status). The connection is closed
    /// behind it.
    pub refusal: fn(Error) -> Response,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 << 10,
            headers: 64,
            body: 1 << 20,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            requests: u32::MAX,
            refusal: |error| Response::error(error.status().unwrap_or(400), error),
        }
    }
}

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    Net(crate::Error),
    /// The peer ended the connection within a message.
    Truncated,
    /// The message breaks the protocol; what is wrong with it.
    Malformed(&'static str),
    /// The head is larger than the limit, or has too many headers.
    HeadTooLarge,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// The peer was too slow.
    Slow,
    /// This machine has no memory for the message.
    NoMemory,
}

impl Error {
    /// The status to answer with; `None` when there is nobody to answer.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Net(_) | Self::Truncated => None,
            Self::Malformed(_) => Some(400),
            Self::Slow => Some(408),
            Self::BodyTooLarge => Some(413),
            Self::HeadTooLarge => Some(431),
            Self::TransferCoding => Some(501),
            Self::NoMemory => Some(503),
            Self::Version => Some(505),
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Net(error)
    }
}

impl From<ebb::time::Elapsed> for Error {
    fn from(_: ebb::time::Elapsed) -> Self {
        Self::Slow
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Truncated => f.write_str("the connection ended within a message"),
            Self::Malformed(what) => write!(f, "the message is malformed: {what}"),
            Self::HeadTooLarge => f.write_str("the message's head is too large"),
            Self::BodyTooLarge => f.write_str("the message's body is too large"),
            Self::Version => f.write_str("the HTTP version is neither 1.0 nor 1.1"),
            Self::TransferCoding => f.write_str("the only transfer coding is chunked"),
            Self::Slow => f.write_str("the peer was too slow"),
            Self::NoMemory => f.write_str("there is no memory for the message now"),
        }
    }
}

impl core::error::Error for Error {}
