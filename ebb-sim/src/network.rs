//! TCP between simulated nodes. A link is a connection: what is sent on it arrives in order, later, in other pieces, or never. What a loss
//! costs is time, as it does where TCP sends again.

mod socket;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use ebb_net::{BindAddress, Direction, Error, Ready, Result, SocketId};

pub use self::socket::Waiting;
use self::socket::{Listener, Socket, Stream};
use crate::state::{LinkId, MS, Parcel, State, Step, address};

/// Bytes that may be on the way or not yet taken, in one direction of a link.
const WINDOW: usize = 256 << 10;
/// How long who connects waits for an answer.
const NO_ANSWER_NS: u64 = 63_000 * MS;
/// What nobody has acknowledged, since the machine is down or a listener is full, comes again after this.
const AGAIN_NS: u64 = 1000 * MS;
/// From a node to itself.
const WITHIN_NS: u64 = 10_000;
/// Ports that are given to who asks for none.
const FIRST_FREE_PORT: u16 = 32_768;

struct End {
    node: usize,
    life: u64,
    socket: Option<SocketId>,
    address: SocketAddr,
}

struct Link {
    ends: [End; 2],
    /// Towards each end: what a partition holds back.
    held: [VecDeque<Parcel>; 2],
    /// Towards each end: nothing arrives before what was sent before it.
    arrives_ns: [u64; 2],
}

/// All links and sockets.
#[derive(Default)]
pub struct Network {
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    sockets: BTreeMap<(usize, SocketId), Socket>,
    next_socket: u32,
    next_port: u16,
}

fn is_here(node: usize, ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip == IpAddr::V4(address(node))
}

/// The node that this one reaches there.
fn reached(state: &State, from: usize, ip: IpAddr) -> Result<usize> {
    if is_here(from, ip) {
        return Ok(from);
    }
    let IpAddr::V4(ip) = ip.to_canonical() else {
        return Err(Error::NetworkUnreachable);
    };
    let mut nodes = 0..state.nodes.len();
    nodes
        .find(|node| address(*node) == ip)
        .ok_or(Error::HostUnreachable)
}

impl Network {
    // --- Links ---------------------------------------------------------------------------------

    /// Sends something towards an end.
    fn send(&mut self, state: &mut State, id: LinkId, towards: usize, parcel: Parcel) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (a, b) = (link.ends[0].node, link.ends[1].node);
        if state.is_parted(a, b) {
            link.held[towards].push_back(parcel);
            return;
        }
        let delay_ns = match a == b {
            true => WITHIN_NS,
            false => state.faults.travel_ns(&mut state.chance),
        };
        let arrives_ns = link.arrives_ns[towards].max(state.now_ns + delay_ns);
        link.arrives_ns[towards] = arrives_ns;
        state.at(arrives_ns, Step::Deliver(id, towards, parcel));
    }

    /// Sends bytes, in pieces that know nothing of what they were written as.
    fn send_bytes(&mut self, state: &mut State, id: LinkId, towards: usize, mut bytes: Bytes) {
        while bytes.len() > 1 && state.chance.in_thousand(200) {
            let piece = 1 + state.chance.below(bytes.len() as u64 - 1) as usize;
            let piece = bytes.split_to(piece);
            self.send(state, id, towards, Parcel::Bytes(piece));
        }
        self.send(state, id, towards, Parcel::Bytes(bytes));
    }

    /// Something arrives at an end.
    pub fn deliver(&mut self, state: &mut State, id: LinkId, side: usize, parcel: Parcel) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let end = &link.ends[side];
        let node = end.node;
        let it = &state.nodes[node];
        if !it.has_kernel {
            // Nobody acknowledges it, so it is sent again.
            let again_ns = state.now_ns + AGAIN_NS;
            state.at(again_ns, Step::Deliver(id, side, parcel));
            return;
        }
        if matches!(parcel, Parcel::Open) {
            self.open(state, id);
            return;
        }
        let socket = end.socket.filter(|_| it.is_up && end.life == it.life);
        let Some(socket) = socket else {
            // A kernel answers what belongs to no connection of its with a reset.
            if matches!(parcel, Parcel::Bytes(_)) {
                self.send(state, id, 1 - side, Parcel::Reset);
            }
            return;
        };
        let Some(Socket::Stream(stream)) = self.sockets.get_mut(&(node, socket)) else {
            return;
        };
        let reset = matches!(parcel, Parcel::Reset);
        stream.take(parcel, &mut state.woken);
        if reset {
            self.leave(id, side);
        }
    }

    /// Somebody connects to the second end of a link.
    fn open(&mut self, state: &mut State, id: LinkId) {
        let link = &self.links[&id];
        let (node, at) = (link.ends[1].node, link.ends[1].address);
        let peer = link.ends[0].address;
        let hears = |socket: &Socket| match socket {
            Socket::Listener(listener) => listener.hears(at),
            Socket::Stream(_) => false,
        };
        // Each core may listen there.
        let of_node = (node, SocketId(0))..=(node, SocketId(u32::MAX));
        let those = self.sockets.range(of_node);
        let those = those.filter(|(_, socket)| hears(socket));
        let keys: Vec<_> = those.map(|(key, _)| *key).collect();
        let key = match keys.len() {
            0 => None,
            1 => Some(keys[0]),
            more => Some(keys[state.chance.below(more as u64) as usize]),
        };
        let socket = SocketId(self.next_socket);
        let Some(Socket::Listener(listener)) = key
            .filter(|_| state.nodes[node].is_up)
            .and_then(|key| self.sockets.get_mut(&key))
        else {
            self.send(state, id, 0, Parcel::Reset);
            return;
        };
        if listener.queue.len() >= listener.backlog {
            state.at(state.now_ns + AGAIN_NS, Step::Deliver(id, 1, Parcel::Open));
            return;
        }
        listener.queue.push_back((socket, peer));
        listener.waiting.wake(Direction::Read, &mut state.woken);
        self.next_socket += 1;
        let stream = Stream::new(id, 1, true);
        self.sockets.insert((node, socket), Socket::Stream(stream));
        let end = &mut self.links.get_mut(&id).expect("it was there").ends[1];
        (end.life, end.socket) = (state.nodes[node].life, Some(socket));
        self.send(state, id, 0, Parcel::Opened);
    }

    /// An end has no socket any more. A link without any is forgotten.
    fn leave(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.ends[side].socket = None;
        // The second end of a link that is being made has none yet.
        if link.ends.iter().all(|end| end.socket.is_none()) {
            self.links.remove(&id);
        }
    }

    /// Nobody has answered who connects.
    pub fn no_answer(&mut self, state: &mut State, id: LinkId) {
        let Some(end) = self.links.get(&id).map(|link| &link.ends[0]) else {
            return;
        };
        let Some(key) = end.socket.map(|socket| (end.node, socket)) else {
            return;
        };
        if let Some(Socket::Stream(stream)) = self.sockets.get_mut(&key)
            && stream.fail_to_connect(Error::TimedOut, &mut state.woken)
        {
            self.leave(id, 0);
        }
    }

    /// What was held back between two nodes is on its way.
    pub fn heal(&mut self, state: &mut State, a: usize, b: usize) {
        state.partitions.remove(&(a.min(b), a.max(b)));
        let between = |link: &Link| {
            let ends = (link.ends[0].node, link.ends[1].node);
            ends == (a, b) || ends == (b, a)
        };
        let links = self.links.iter().filter(|(_, link)| between(link));
        let links: Vec<LinkId> = links.map(|(id, _)| *id).collect();
        for id in links {
            for side in 0..2 {
                let held = match self.links.get_mut(&id) {
                    Some(link) => std::mem::take(&mut link.held[side]),
                    None => continue,
                };
                for parcel in held {
                    self.send(state, id, side, parcel);
                }
            }
        }
    }

    /// All that a node has ends. Its peers are told so where its kernel lives.
    pub fn end_node(&mut self, state: &mut State, node: usize, is_told: bool) {
        let of_node = (node, SocketId(0))..=(node, SocketId(u32::MAX));
        let keys: Vec<_> = self.sockets.range(of_node).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(Socket::Stream(stream)) = self.sockets.remove(&key) else {
                continue;
            };
            let (link, side) = (stream.link, stream.side);
            if is_told && !stream.is_over() {
                let parcel = match state.chance.in_thousand(500) {
                    true => Parcel::Reset,
                    false => Parcel::End,
                };
                self.send(state, link, 1 - side, parcel);
            }
            self.leave(link, side);
        }
    }

    /// A connection between nodes breaks, as each side learns in its own time. Whether there was one.
    pub fn break_one(&mut self, state: &mut State) -> bool {
        let away = |link: &Link| link.ends[0].node != link.ends[1].node;
        let links = self.links.iter().filter(|(_, link)| away(link));
        let links: Vec<LinkId> = links.map(|(id, _)| *id).collect();
        if links.is_empty() {
            return false;
        }
        let id = links[state.chance.below(links.len() as u64) as usize];
        for side in 0..2 {
            self.send(state, id, side, Parcel::Reset);
        }
        true
    }

    /// How many connections there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    // --- Sockets -------------------------------------------------------------------------------

    fn stream(&mut self, node: usize, id: SocketId) -> Result<&mut Stream> {
        match self.sockets.get_mut(&(node, id)) {
            Some(Socket::Stream(stream)) => Ok(stream),
            _ => Err(Error::NotConnected),
        }
    }

    fn free_port(&mut self) -> u16 {
        self.next_port = self.next_port.wrapping_add(1).max(FIRST_FREE_PORT);
        self.next_port
    }

    pub fn listen(
        &mut self,
        state: &State,
        (node, core): (usize, usize),
        at: BindAddress,
        backlog: usize,
    ) -> Result<SocketId> {
        let mut address = at.address;
        if !is_here(node, address.ip()) {
            return Err(Error::AddressNotAvailable);
        }
        if !state.nodes[node].is_up {
            return Err(Error::NetworkUnreachable);
        }
        if address.port() == 0 {
            address.set_port(self.free_port());
        }
        let of_node = (node, SocketId(0))..=(node, SocketId(u32::MAX));
        let mut others = self.sockets.range(of_node);
        let is_taken = others.any(|(_, socket)| match socket {
            Socket::Listener(other) => other.core == core && other.overlaps(address),
            Socket::Stream(_) => false,
        });
        if is_taken {
            return Err(Error::AddressInUse);
        }
        let listener = Listener {
            at: address,
            core,
            backlog,
            queue: VecDeque::new(),
            waiting: Waiting::default(),
        };
        Ok(self.insert(node, Socket::Listener(listener)))
    }

    fn insert(&mut self, node: usize, socket: Socket) -> SocketId {
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        self.sockets.insert((node, id), socket);
        id
    }

    pub fn accept(&mut self, node: usize, id: SocketId) -> Result<(SocketId, SocketAddr)> {
        match self.sockets.get_mut(&(node, id)) {
            Some(Socket::Listener(listener)) => listener.queue.pop_front().ok_or(Error::WouldBlock),
            _ => Err(Error::InvalidInput),
        }
    }

    pub fn connect(
        &mut self,
        state: &mut State,
        node: usize,
        remote: SocketAddr,
    ) -> Result<SocketId> {
        if !state.nodes[node].is_up {
            return Err(Error::NetworkUnreachable);
        }
        let to = reached(state, node, remote.ip())?;
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let socket = self.insert(node, Socket::Stream(Stream::new(id, 0, false)));
        let near = End {
            node,
            life: state.nodes[node].life,
            socket: Some(socket),
            address: (address(node), self.free_port()).into(),
        };
        let far = End {
            node: to,
            life: 0,
            socket: None,
            address: (address(to), remote.port()).into(),
        };
        let link = Link {
            ends: [near, far],
            held: Default::default(),
            arrives_ns: [0; 2],
        };
        self.links.insert(id, link);
        self.send(state, id, 1, Parcel::Open);
        state.at(state.now_ns + NO_ANSWER_NS, Step::NoAnswer(id));
        Ok(socket)
    }

    pub fn connected(&mut self, node: usize, id: SocketId) -> Result<()> {
        self.stream(node, id)?.connected()
    }

    /// The next bytes that have come; `None` at the end of the stream.
    pub fn received(&mut self, node: usize, id: SocketId) -> Result<Option<Bytes>> {
        self.stream(node, id)?.received()
    }

    /// So many of them have been taken.
    pub fn consume(&mut self, state: &mut State, node: usize, id: SocketId, bytes: usize) {
        let Ok(stream) = self.stream(node, id) else {
            return;
        };
        let (link, side) = (stream.link, stream.side);
        if let Some(taken) = stream.consume(bytes, WINDOW / 4) {
            self.send(state, link, 1 - side, Parcel::Room(taken));
        }
    }

    /// Sends as many of them as there is room for; says how many.
    pub fn write(
        &mut self,
        state: &mut State,
        node: usize,
        id: SocketId,
        bytes: Bytes,
    ) -> Result<usize> {
        let stream = self.stream(node, id)?;
        let count = stream.make_room(bytes.len())?;
        let (link, side) = (stream.link, stream.side);
        self.send_bytes(state, link, 1 - side, bytes.slice(..count));
        Ok(count)
    }

    pub fn shutdown_write(&mut self, state: &mut State, node: usize, id: SocketId) -> Result<()> {
        let stream = self.stream(node, id)?;
        let (link, side) = (stream.link, stream.side);
        if stream.shut()? {
            self.send(state, link, 1 - side, Parcel::End);
        }
        Ok(())
    }

    /// Gives a socket up; `resets` where what is queued is to be lost.
    pub fn close(&mut self, state: &mut State, node: usize, id: SocketId, resets: bool) {
        match self.sockets.remove(&(node, id)) {
            Some(Socket::Stream(stream)) => {
                let (link, side) = (stream.link, stream.side);
                if let Some(parcel) = stream.farewell(resets) {
                    self.send(state, link, 1 - side, parcel);
                }
                self.leave(link, side);
            }
            Some(Socket::Listener(listener)) => {
                for (waits, _) in listener.queue {
                    self.close(state, node, waits, true);
                }
            }
            None => {}
        }
    }

    pub fn readiness(&self, node: usize, id: SocketId) -> Ready {
        match self.sockets.get(&(node, id)) {
            Some(Socket::Stream(stream)) => stream.readiness(),
            Some(Socket::Listener(listener)) => Ready {
                readable: !listener.queue.is_empty(),
                ..Ready::default()
            },
            None => Ready {
                hung_up: true,
                ..Ready::default()
            },
        }
    }

    pub fn waiting(&mut self, node: usize, id: SocketId) -> Option<&mut Waiting> {
        Some(match self.sockets.get_mut(&(node, id))? {
            Socket::Stream(stream) => &mut stream.waiting,
            Socket::Listener(listener) => &mut listener.waiting,
        })
    }

    pub fn take_error(&mut self, node: usize, id: SocketId) -> Option<Error> {
        self.stream(node, id).ok()?.take_error()
    }

    /// Bytes on the way, and bytes that have come and not been taken.
    pub fn queued(&mut self, node: usize, id: SocketId) -> Result<(usize, usize)> {
        self.stream(node, id).map(|stream| stream.queued())
    }

    /// Its own address, or its peer's.
    pub fn address(&mut self, node: usize, id: SocketId, is_peer: bool) -> Result<SocketAddr> {
        if let Some(Socket::Listener(listener)) = self.sockets.get(&(node, id)) {
            return match is_peer {
                true => Err(Error::NotConnected),
                false => Ok(listener.at),
            };
        }
        let stream = self.stream(node, id)?;
        let (link, side) = (stream.link, stream.side ^ usize::from(is_peer));
        let link = self.links.get(&link).ok_or(Error::NotConnected)?;
        Ok(link.ends[side].address)
    }
}
