//! What can go wrong with a socket. Every failure that a peer or a device can cause is one of these values.

use core::fmt;

/// The result of a socket operation.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a socket operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Nothing can be done now: wait for readiness. Only the `try_` functions give this.
    WouldBlock,
    /// The local address is in use.
    AddressInUse,
    /// The machine does not have that local address.
    AddressNotAvailable,
    /// Nobody listens there.
    ConnectionRefused,
    /// The peer reset the connection.
    ConnectionReset,
    /// This side aborted the connection.
    ConnectionAborted,
    /// The socket has no peer.
    NotConnected,
    /// Writing after the sending side was shut down.
    BrokenPipe,
    /// The peer did not answer for too long.
    TimedOut,
    /// No route, or the next hop does not answer.
    HostUnreachable,
    /// The network has no address yet, or none of the needed family.
    NetworkUnreachable,
    /// There is no network device, or no socket device.
    NoDevice,
    /// The arguments make no sense together.
    InvalidInput,
    /// The datagram does not fit.
    MessageTooLong,
    /// Somebody on the way does not let it through.
    PermissionDenied,
    /// A limit of the core's memory for the network is reached.
    OutOfMemory,
    /// The stream ended before as much had arrived as was asked for.
    UnexpectedEof,
    /// The peer breaks the protocol of a layer over TCP, such as TLS.
    Protocol,
    /// The name has no address.
    NameNotFound,
    /// The platform does not do this.
    Unsupported,
    /// Another error of the platform, with its number.
    Other(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WouldBlock => "the operation would block",
            Self::AddressInUse => "the local address is in use",
            Self::AddressNotAvailable => "this machine does not have that address",
            Self::ConnectionRefused => "the peer refused the connection",
            Self::ConnectionReset => "the peer reset the connection",
            Self::ConnectionAborted => "the connection was aborted",
            Self::NotConnected => "the socket is not connected",
            Self::BrokenPipe => "the sending side of the connection is shut down",
            Self::TimedOut => "the peer does not answer",
            Self::HostUnreachable => "the host cannot be reached",
            Self::NetworkUnreachable => "the network cannot be reached: no address or no route",
            Self::NoDevice => "there is no device for it",
            Self::InvalidInput => "invalid argument",
            Self::MessageTooLong => "the datagram is too long",
            Self::PermissionDenied => "forbidden by somebody on the way",
            Self::OutOfMemory => "the network's memory limit is reached",
            Self::UnexpectedEof => "the stream ended early",
            Self::Protocol => "the peer breaks the connection's protocol",
            Self::NameNotFound => "the name has no address",
            Self::Unsupported => "not supported on this platform",
            Self::Other(number) => return write!(f, "platform error {number}"),
        })
    }
}

impl core::error::Error for Error {}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        use embedded_io_async::ErrorKind as Kind;
        match self {
            Self::AddressInUse => Kind::AddrInUse,
            Self::AddressNotAvailable => Kind::AddrNotAvailable,
            Self::ConnectionRefused => Kind::ConnectionRefused,
            Self::ConnectionReset => Kind::ConnectionReset,
            Self::ConnectionAborted => Kind::ConnectionAborted,
            Self::NotConnected => Kind::NotConnected,
            Self::BrokenPipe => Kind::BrokenPipe,
            Self::TimedOut => Kind::TimedOut,
            Self::PermissionDenied => Kind::PermissionDenied,
            Self::InvalidInput | Self::MessageTooLong => Kind::InvalidInput,
            Self::OutOfMemory => Kind::OutOfMemory,
            Self::Unsupported => Kind::Unsupported,
            _ => Kind::Other,
        }
    }
}
