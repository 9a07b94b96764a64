//! Sockets: Unix sockets, loopback TCP and UDP within a UC, and the guest's side of connections
//! over the network.
//!
//! One type serves all families: a stream between two sockets of a UC is a pair of inboxes,
//! whether their names are paths or ports. Only what leaves the UC goes to the stack below, through
//! [`Network`](crate::object::env::Network). Behaviour is that of Linux' `net/unix/af_unix.c` and `net/ipv4`.
//!
//! What a socket is stands here; what calls do with several of them is in [`ops`](crate::object::ops).

pub mod address;
pub mod option;

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use self::{
    address::{Address, Domain},
    option::Options,
};
use core::net::{IpAddr, SocketAddr};

use super::{Face, Kind};
use crate::object::{
    credentials::Credentials,
    env::{Carried, Env, NetSocket, Report},
    errno::{Errno, Result},
    id::{DescId, Id, NodeRef, QueueId},
    io::Spare,
    wait::Hub,
};

/// What a message costs beside its bytes.
pub(crate) const OVERHEAD: usize = 256;
/// The name of a socket.
pub type SocketId = Id<Socket>;

/// A process as `SO_PEERCRED` and `SCM_CREDENTIALS` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its number.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Sender {
    /// `struct ucred`.
    pub fn to_bytes(self) -> Vec<u8> {
        [self.pid, self.uid, self.gid]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    /// The process that makes a call.
    pub(crate) fn caller(env: &dyn Env) -> Self {
        let who = env.process().credentials();
        Self {
            pid: env.process().pid(),
            uid: who.user.real,
            gid: who.group.real,
        }
    }
}

/// The process that made a socket, or that made it listen.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) who: Arc<Credentials>,
}

impl Owner {
    pub(crate) fn caller(env: &dyn Env) -> Self {
        Self {
            pid: env.process().pid(),
            who: env.process().credentials(),
        }
    }

    pub(crate) fn name(&self) -> Sender {
        Sender {
            pid: self.pid,
            uid: self.who.user.effective,
            gid: self.who.group.effective,
        }
    }
}

/// How a socket moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A stream of bytes.
    Stream,
    /// Messages without connection.
    Datagram,
    /// Messages over a connection.
    SeqPacket,
}

impl SocketKind {
    /// The `SOCK_*` number.
    pub const fn number(self) -> u32 {
        match self {
            SocketKind::Stream => 1,
            SocketKind::Datagram => 2,
            SocketKind::SeqPacket => 5,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Neither connected nor listening.
    Idle,
    /// Accepts connections.
    Listening,
    /// A connection over the network is under way.
    Connecting,
    /// Has a peer, or had one.
    Connected,
}

/// A socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub(crate) domain: Domain,
    pub(crate) kind: SocketKind,
    pub(crate) state: State,
    pub(crate) queue: QueueId,
    pub(crate) local: Address,
    /// What binds it to the port of `local`.
    pub(crate) port: Port,
    /// The peer's address, for internet sockets.
    pub(crate) remote: Address,
    /// The place in the file system of a name that is a path.
    pub(crate) node: Option<NodeRef>,
    /// The socket at the other side, within the UC.
    pub(crate) peer: Option<SocketId>,
    /// The socket of the stack below.
    pub(crate) net: Option<NetSocket>,
    pub(crate) inbox: VecDeque<Message>,
    /// A message's memory, for the next one.
    pub(crate) spare: Spare,
    /// What `inbox` costs: bytes and a charge per message.
    pub(crate) inbox_cost: usize,
    /// Nothing more will come in; nothing more may go out.
    pub(crate) no_read: bool,
    pub(crate) no_write: bool,
    /// The peer of a TCP connection is gone: the next write provokes a reset.
    pub(crate) peer_closed: bool,
    /// What `SO_ERROR` reports, once.
    pub(crate) error: Option<Errno>,
    /// Connections that wait to be accepted, and how many may.
    pub(crate) backlog: VecDeque<SocketId>,
    pub(crate) backlog_max: usize,
    /// Sockets that wait for room in the backlog or inbox.
    pub(crate) waiting: Vec<SocketId>,
    /// The byte of a stream that its sender has marked.
    pub(crate) urgent: Option<Urgent>,
    /// A connection that was begun without waiting has not been told of by another `connect`.
    pub(crate) untold: bool,
    /// When the last datagram was received.
    pub(crate) received_ns: Option<u64>,
    /// Answers to datagrams that were not delivered (`IP_RECVERR`).
    pub(crate) reports: VecDeque<Report>,
    /// A datagram that is still being put together (`MSG_MORE`, `UDP_CORK`), and where it goes.
    pub(crate) corked: Option<(SocketAddr, Vec<u8>)>,
    /// Groups that it hears.
    pub(crate) groups: Vec<Member>,
    pub(crate) options: Options,
    /// Its owner; `None` for a connection that nobody has accepted.
    pub(crate) owner: Option<Owner>,
    /// The process at the other end when the connection was made, or the own for a listener (`SO_PEERCRED`).
    pub(crate) peer_owner: Option<Owner>,
}

/// What binds a socket to its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Port {
    /// It was asked for: the socket keeps it.
    #[default]
    Asked,
    /// Any one would have done: a listener that ends lets go of it.
    Chosen,
    /// Nothing any more.
    LetGo,
}

/// A group that a socket hears.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) group: IpAddr,
    /// The interface, as the guest said it.
    pub(crate) interface: u32,
    /// Whether only those of `senders` are heard, or all but these.
    pub(crate) only: bool,
    /// `None` until one was listed.
    pub(crate) senders: Option<Vec<IpAddr>>,
}

impl Member {
    /// Whether it hears that sender.
    pub(crate) fn hears(&self, sender: IpAddr) -> bool {
        let listed = self.senders.as_ref().is_some_and(|s| s.contains(&sender));
        listed == self.only
    }
}

/// The marked byte of a stream (`MSG_OOB`), which lies in the inbox with the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urgent {
    pub(crate) byte: u8,
    /// Bytes before it in the inbox.
    pub(crate) ahead: usize,
    /// The reader has had it by itself.
    pub(crate) taken: bool,
}

/// Bytes in a socket's inbox.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) from: Address,
    pub(crate) descriptions: Vec<DescId>,
    /// The real user who sent those.
    pub(crate) user: u32,
    /// Of a datagram: what came with it.
    pub(crate) carried: Option<Carried>,
    /// Of a Unix socket: the process that sent it, if that was asked for.
    pub(crate) sender: Option<Sender>,
    /// Of a datagram: whether it was looked at.
    pub(crate) was_seen: bool,
}

impl Message {
    /// Bytes with nothing beside them.
    pub(crate) const fn plain(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            start: 0,
            from: Address::Unnamed,
            descriptions: Vec::new(),
            user: 0,
            carried: None,
            sender: None,
            was_seen: false,
        }
    }

    /// Whether nothing of it is left to read.
    pub(crate) fn is_used_up(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes that can still be read.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn cost(&self) -> usize {
        OVERHEAD + self.bytes.len()
    }
}

/// The names of a UC's sockets, and what all of them have in common.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Names that are no paths: each kind of socket has its own.
    pub(crate) abstracts: BTreeMap<(u32, Arc<[u8]>), SocketId>,
    pub(crate) ports: Ports,
    pub(crate) net: BTreeMap<NetSocket, SocketId>,
    /// Listeners of the stack below that several sockets have in common, and these.
    pub(crate) groups: BTreeMap<NetSocket, Vec<SocketId>>,
    /// Sockets of the stack below that are to be closed.
    pub(crate) net_closed: Vec<NetSocket>,
    /// Those of them that end with a reset.
    pub(crate) net_aborted: Vec<NetSocket>,
    /// The last of them whose end is to be waited for (`SO_LINGER`), and the most seconds.
    pub(crate) net_lingers: Option<(NetSocket, u32)>,
    /// What all inboxes cost.
    pub(crate) bytes: usize,
    pub(crate) autobind: u32,
    /// Some message carries, or carried, a socket.
    pub(crate) sends_sockets: bool,
    /// At least as many descriptions as messages carry.
    pub(crate) most_in_flight: usize,
}

/// Which sockets have which port: datagrams and streams have ports of their own.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    pub(crate) taken: BTreeMap<(bool, u16), Vec<SocketId>>,
}

impl Ports {
    /// Takes a socket from its port.
    pub(crate) fn release(&mut self, id: SocketId, socket: &Socket) {
        if let Address::Inet(local) = socket.local {
            let key = (socket.kind == SocketKind::Stream, local.port());
            if let Some(sockets) = self.taken.get_mut(&key) {
                sockets.retain(|&s| s != id);
                if sockets.is_empty() {
                    self.taken.remove(&key);
                }
            }
        }
    }

    /// Whether no port is taken.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(crate) fn at(&self, stream: bool, port: u16) -> &[SocketId] {
        self.taken.get(&(stream, port)).map_or(&[], Vec::as_slice)
    }
}

impl Socket {
    /// The state of a connection, as in `include/net/tcp_states.h`.
    pub(crate) fn tcp_state(&self) -> u8 {
        match self.state {
            State::Listening => 10,
            State::Connecting => 2,
            State::Connected if self.no_write && (self.no_read || self.peer_closed) => 7,
            State::Connected if self.no_write => 5,
            State::Connected if self.no_read => 8,
            State::Connected => 1,
            State::Idle => 7,
        }
    }

    pub(crate) fn new(hub: &mut Hub, domain: Domain, kind: SocketKind) -> Self {
        Self {
            domain,
            kind,
            state: State::Idle,
            queue: hub.new_queue(),
            local: domain.unspecified(),
            remote: domain.unspecified(),
            node: None,
            peer: None,
            net: None,
            inbox: VecDeque::new(),
            spare: Spare::default(),
            inbox_cost: 0,
            no_read: false,
            no_write: false,
            peer_closed: false,
            untold: false,
            received_ns: None,
            error: None,
            backlog: VecDeque::new(),
            backlog_max: 0,
            waiting: Vec::new(),
            urgent: None,
            reports: VecDeque::new(),
            port: Port::default(),
            corked: None,
            groups: Vec::new(),
            options: Options::default(),
            owner: None,
            peer_owner: None,
        }
    }
}

impl Kind for Socket {
    const FACE: Face = Face::Numbered {
        name: "socket",
        dev: 0x08,
        mode: 0o140777,
        base: 0x2000_0000,
    };

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn seek(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    fn available(&self) -> Result<usize> {
        match self.kind {
            _ if self.domain == Domain::Netlink => Err(Errno::ENOTTY),
            _ if self.state == State::Listening => Err(Errno::EINVAL),
            SocketKind::Stream | SocketKind::SeqPacket => {
                let all: usize = self.inbox.iter().map(Message::left).sum();
                if self.domain == Domain::Unix {
                    let taken = self.urgent.is_some_and(|u| u.taken);
                    return Ok(all - usize::from(taken).min(all));
                }
                // Reading stops at the mark.
                let among = self.options.flag(option::SOCKET, option::OOBINLINE);
                let mark = self.urgent.filter(|_| !among).map(|u| u.ahead);
                Ok(mark.unwrap_or(all))
            }
            SocketKind::Datagram => Ok(self.inbox.front().map_or(0, Message::left)),
        }
    }

    fn writes_all(&self) -> bool {
        self.kind == SocketKind::Stream
    }

    fn raises_sigpipe(&self) -> bool {
        self.kind == SocketKind::Stream
    }
}
