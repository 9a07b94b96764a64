//! Why there is no secure connection.

use alloc::string::String;
use core::fmt;

/// Why a handshake failed, or something that handshakes need cannot be used.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The connection below failed.
    Net(ebb_net::Error),
    /// The peer breaks the protocol, or the two sides do not agree.
    Tls(rustls::Error),
    /// The peer ended the connection below within the handshake.
    Truncated,
    /// The handshake took longer than it may, or others came while too many were under way.
    Slow,
    /// The peer sent more within the handshake than one takes.
    TooMuch,
    /// A certificate or a key cannot be used: what is wrong, for people.
    Identity(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Truncated => f.write_str("the connection ended within the handshake"),
            Self::Slow => f.write_str("the handshake took too long"),
            Self::TooMuch => f.write_str("the peer sent too much within the handshake"),
            Self::Identity(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Error {}

impl From<ebb_net::Error> for Error {
    fn from(error: ebb_net::Error) -> Self {
        Self::Net(error)
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}
