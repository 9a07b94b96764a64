//! vsock of the hosted platform: the kernel's `AF_VSOCK`, over the same table of sockets as TCP.

use std::{fs::File, io, os::fd::AsRawFd, task::Waker};

use ebb_net::{
    Error, Interest, NetStack, Ready, Result, SocketId,
    vsock::{Address, Vsock},
};
use ebb_runtime::provides;
use socket2::{Domain, SockAddr, Socket, Type};

use super::net::{Kind, LinuxSockets, error_of, retry, sockets};

/// `IOCTL_VM_SOCKETS_GET_LOCAL_CID` (linux/vm_sockets.h).
const GET_LOCAL_CID: libc::Ioctl = 0x07b9;

/// The provider; the state is that of the network's sockets.
struct LinuxVsock;

fn socket() -> Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM.nonblocking(), None);
    socket.map_err(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => Error::Unsupported,
        _ => error_of(&error),
    })
}

/// What is meant by an error where it may say that the kernel has nothing that carries vsock, or that nobody listens.
fn meant(error: Error) -> Error {
    match error {
        Error::Other(libc::ENODEV) | Error::AddressNotAvailable => Error::NoDevice,
        Error::ConnectionReset => Error::ConnectionRefused,
        error => error,
    }
}

#[provides(Vsock, instance = &LinuxVsock)]
impl Vsock for LinuxVsock {
    fn cid(&self) -> Result<u32> {
        let device = File::open("/dev/vsock").map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Unsupported,
            _ => error_of(&error),
        })?;
        let mut cid: u32 = libc::VMADDR_CID_ANY;
        // SAFETY: writes one u32.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), GET_LOCAL_CID, &mut cid) };
        match (done, cid) {
            (0, libc::VMADDR_CID_ANY) => Err(Error::NoDevice),
            (0, cid) => Ok(cid),
            _ => Err(error_of(&io::Error::last_os_error())),
        }
    }

    fn listen(&self, port: u32, backlog: usize) -> Result<SocketId> {
        let socket = socket()?;
        let address = SockAddr::vsock(libc::VMADDR_CID_ANY, port);
        retry(|| socket.bind(&address)).map_err(meant)?;
        retry(|| socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)))?;
        sockets().insert(socket, Kind::Listener, false)
    }

    fn accept(&self, listener: SocketId) -> Result<(SocketId, Address)> {
        let (id, _) = LinuxSockets.tcp_accept(listener)?;
        match self.peer(id) {
            Ok(peer) => Ok((id, peer)),
            Err(error) => {
                self.close(id);
                Err(error)
            }
        }
    }

    fn connect(&self, to: Address) -> Result<SocketId> {
        let socket = socket()?;
        let connected = retry(|| socket.connect(&SockAddr::vsock(to.cid, to.port)));
        match connected.map_err(meant) {
            Ok(()) => sockets().insert(socket, Kind::Stream, false),
            Err(Error::WouldBlock) => sockets().insert(socket, Kind::Stream, true),
            Err(error) => Err(error),
        }
    }

    fn connected(&self, socket: SocketId) -> Result<()> {
        LinuxSockets.tcp_connected(socket).map_err(meant)
    }

    fn receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        LinuxSockets.tcp_receive(socket, f)
    }

    fn send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        LinuxSockets.tcp_send(socket, bytes)
    }

    fn shutdown_write(&self, socket: SocketId) -> Result<()> {
        LinuxSockets.tcp_shutdown_write(socket)
    }

    fn peer(&self, socket: SocketId) -> Result<Address> {
        sockets().with(socket, |entry| {
            let peer = entry.socket.peer_addr().map_err(|e| error_of(&e))?;
            let (cid, port) = peer.as_vsock_address().ok_or(Error::NotConnected)?;
            Ok(Address { cid, port })
        })
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        LinuxSockets.readiness(socket)
    }

    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        LinuxSockets.register(socket, interest, waker);
    }

    fn abort(&self, socket: SocketId) {
        LinuxSockets.tcp_abort(socket);
    }

    fn close(&self, socket: SocketId) {
        LinuxSockets.close(socket);
    }
}
