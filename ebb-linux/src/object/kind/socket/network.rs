//! The seam to the network beyond the UC: what a socket asks of a TCP/IP stack.
//!
//! Sockets of the stack are numbers here, because objects are plain data and a stack's sockets are
//! not. [`Objects`](crate::object::Objects) keeps the number in the guest's socket; when the stack
//! has news of a number, [`network_event`](crate::object::Objects::network_event) carries it to
//! those who wait. Loopback never comes here.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::object::{errno::Result, wait::Events};

/// A socket of the stack below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetSocket(pub u32);

/// A TCP/IP stack. Nothing here blocks; `EAGAIN` means that an event will be announced.
pub trait Network {
    /// The addresses of this machine beyond loopback.
    fn addresses(&self) -> Vec<IpAddr>;
    /// The same, with the bits of each that name its network.
    fn prefixes(&self) -> Vec<(IpAddr, u8)> {
        let whole = |ip: IpAddr| (ip, if ip.is_ipv4() { 32 } else { 128 });
        self.addresses().into_iter().map(whole).collect()
    }
    /// Listens for TCP connections.
    fn listen(&self, local: SocketAddr, backlog: usize) -> Result<NetSocket>;
    /// Takes an established connection: it, and its peer.
    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)>;
    /// Starts connecting.
    fn connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<NetSocket>;
    /// Whether a connection is established; `EAGAIN` while it is not.
    fn connected(&self, socket: NetSocket) -> Result<()>;
    /// Receives from a connection; 0 at its end.
    fn receive(&self, socket: NetSocket, buffer: &mut [u8], peek: bool) -> Result<usize>;
    /// Sends over a connection.
    fn send(&self, socket: NetSocket, bytes: &[u8]) -> Result<usize>;
    /// Ends the sending side.
    fn shutdown(&self, socket: NetSocket) -> Result<()>;
    /// Binds a UDP socket.
    fn bind(&self, local: SocketAddr) -> Result<NetSocket>;
    /// Receives a datagram and says from whom; what does not fit the buffer is lost.
    fn receive_from(&self, socket: NetSocket, buffer: &mut [u8]) -> Result<(usize, SocketAddr)>;
    /// Sends a datagram.
    fn send_to(&self, socket: NetSocket, bytes: &[u8], to: SocketAddr) -> Result<usize>;
    /// The local address of any socket.
    fn local(&self, socket: NetSocket) -> Result<SocketAddr>;
    /// Hands on an integer option that concerns the wire (`TCP_NODELAY` and the like); unknown
    /// ones are ignored.
    fn set_option(&self, socket: NetSocket, level: u32, name: u32, value: i32);
    /// What a socket is ready for; asking for a state that is not there announces it later.
    fn readiness(&self, socket: NetSocket) -> Events;
    /// Closes a socket.
    fn close(&self, socket: NetSocket);
}
