//! The driver of a virtio socket device (VIRTIO 1.2, 5.10), above virtio-drivers' queue: its own `VirtIOSocket` waits in a loop for
//! each packet that it sends, and does not tell which direction a peer has ended.
//!
//! What must hold: a buffer belongs to the driver until its chain has come back; nothing that a device says is used as a length or
//! an index without being checked; sockets, what waits to be sent, and what is received and not read are bounded; nothing is woken
//! or dropped that could call the driver while it is locked: who is to be woken is left in `woken`.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use ebb_net::{Error, Interest, Ready, Result, SocketWakers, vsock::Address};
use virtio_drivers::{Hal, transport::Transport};

use super::{
    connection::{Connection, State},
    packet::{HEADER, Header, STREAM, op},
};
use crate::{
    device::{self, Buffer, buffer},
    queue::{Broken, Guarded},
    registers::Fault,
};

/// Feature bits.
mod feature {
    /// vhost-device-vsock 0.3.0 forgets packets that it has for the machine without it, until it is told of something else.
    pub const EVENT_IDX: u64 = 1 << 29;
}
/// Descriptors of a queue.
pub const QUEUE: usize = 64;
/// Buffers that are lent to be received into, and their size.
pub const BUFFERS: usize = 32;
pub const BUFFER: usize = 8 << 10;
/// Most bytes of data in a packet that is sent.
const PACKET: usize = 32 << 10;
/// Buffers for events, and their size.
const EVENTS: usize = 4;
const EVENT: usize = 8;
/// Answers to packets of no connection that may wait to be sent. Their senders find out by themselves, too.
const MAX_RESETS: usize = 256;
/// Connections and listeners, whatever the memory.
pub const MAX_SOCKETS: usize = 1024;
/// The first port that connections are made from: those below are for listeners.
const FIRST_PORT: u32 = 1 << 30;

struct Listener {
    port: u32,
    backlog: usize,
    waiting: VecDeque<u32>,
    wakers: SocketWakers,
}

enum Socket {
    Listener(Listener),
    Connection(Box<Connection>),
}

/// A socket device.
pub struct Sockets<H: Hal, T> {
    transport: T,
    receive: Guarded<H, Buffer, QUEUE>,
    transmit: Guarded<H, Buffer, QUEUE>,
    events: Guarded<H, Buffer, 16>,
    cid: u32,
    limit: usize,
    now_ns: fn() -> u64,
    sockets: Vec<Option<Socket>>,
    free: Vec<u32>,
    /// Connections that have not ended: own port, peer.
    connections: BTreeMap<(u32, Address), u32>,
    listeners: BTreeMap<u32, u32>,
    next_port: u32,
    /// Connections that owe something other than data.
    owing: VecDeque<u32>,
    resets: VecDeque<Header>,
    is_broken: bool,
    /// Nothing is sent yet.
    is_held: bool,
    /// To be taken out, and woken when the driver is not locked any more.
    pub woken: Vec<SocketWakers>,
}

/// Lends a buffer to be written to. What it held is not mistaken for something new: devices give buffers back unwritten.
fn lend<H: Hal, const N: usize>(queue: &mut Guarded<H, Buffer, N>, mut buffer: Buffer) {
    let length = buffer.len().min(HEADER);
    buffer[..length].fill(0);
    let _ = queue.lend(buffer);
}

fn queue<H: Hal, const N: usize>(
    transport: &mut impl Transport,
    number: u16,
    event_index: bool,
) -> core::result::Result<Guarded<H, Buffer, N>, Fault> {
    Guarded::with_event_index(transport, number, event_index)
        .map_err(|_| "a queue is missing or has too few descriptors")
}

impl<H: Hal, T: Transport> Sockets<H, T> {
    /// Sets a device up that was just reset; it does nothing yet. It gets at most so many sockets.
    pub fn new(
        mut transport: T,
        limit: usize,
        now_ns: fn() -> u64,
    ) -> core::result::Result<Self, Fault> {
        let features = device::agree(&mut transport, feature::EVENT_IDX)?;
        let event_index = features & feature::EVENT_IDX != 0;
        let cid = read_cid(&transport)?;
        Ok(Self {
            receive: queue(&mut transport, 0, event_index)?,
            transmit: queue(&mut transport, 1, event_index)?,
            events: queue(&mut transport, 2, event_index)?,
            transport,
            cid,
            limit: limit.clamp(1, MAX_SOCKETS),
            now_ns,
            sockets: Vec::new(),
            free: Vec::new(),
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next_port: FIRST_PORT,
            owing: VecDeque::new(),
            resets: VecDeque::new(),
            is_broken: false,
            is_held: false,
            woken: Vec::new(),
        })
    }

    /// Asks the transport something.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Lets the device go.
    pub fn start(&mut self) {
        device::start(&mut self.transport);
        for _ in 0..BUFFERS {
            lend(&mut self.receive, buffer(BUFFER));
        }
        for _ in 0..EVENTS {
            lend(&mut self.events, buffer(EVENT));
        }
        self.receive.notify(&mut self.transport);
        self.events.notify(&mut self.transport);
    }

    /// Sends nothing until [`release`](Self::release).
    pub fn hold(&mut self) {
        self.is_held = true;
    }

    /// Sends what has come up meanwhile, and from now on at once.
    pub fn release(&mut self) {
        self.is_held = false;
        self.say();
    }

    /// Whether the device was given up.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    // --- What the device has done -----------------------------------------------------------------

    /// Takes back what the device has done. Whether there is more already.
    pub fn service(&mut self) -> bool {
        if self.is_broken {
            return false;
        }
        self.receive.want_no_interrupt();
        self.transmit.want_no_interrupt();
        if self.take_all().is_err() {
            self.give_up();
            return false;
        }
        // Each of them, whatever the others say.
        self.receive.want_interrupt()
            | self.transmit.want_interrupt()
            | self.events.want_interrupt()
    }

    fn take_all(&mut self) -> core::result::Result<(), Broken> {
        let (mut has_room, mut has_lent) = (false, false);
        while self.transmit.pop()?.is_some() {
            has_room = true;
        }
        for _ in 0..EVENTS {
            let Some((event, _)) = self.events.pop()? else {
                break;
            };
            lend(&mut self.events, event);
            // There is one event: the machine has moved to another host.
            self.has_moved();
            self.events.notify(&mut self.transport);
        }
        for _ in 0..BUFFERS {
            let Some((packet, length)) = self.receive.pop()? else {
                break;
            };
            let length = packet.len().min(length as usize);
            if let Some((head, data)) = packet[..length].split_first_chunk::<HEADER>()
                && let Some(header) = Header::decode(head)
            {
                self.hear(&header, data);
            }
            lend(&mut self.receive, packet);
            has_lent = true;
        }
        if has_lent {
            self.receive.notify(&mut self.transport);
        }
        self.say();
        if has_room {
            for socket in self.sockets.iter_mut().flatten() {
                if let Socket::Connection(connection) = socket
                    && core::mem::take(&mut connection.wants_room)
                {
                    self.woken.push(core::mem::take(&mut connection.wakers));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, header: &Header, data: &[u8]) {
        if header.to.cid != self.cid {
            return;
        }
        let key = (header.to.port, header.from);
        if header.op == op::REQUEST
            && let Some(&id) = self.connections.get(&key)
            && self.connection(id).is_ok_and(|c| c.state == State::Closing)
        {
            // The peer knows nothing of the old one any more.
            self.change(id, |connection| {
                connection.state = State::Ended(None);
                false
            });
        }
        let Some(&id) = self.connections.get(&key) else {
            match header.op {
                op::RESET => {}
                op::REQUEST if header.kind == STREAM && self.admit(header).is_some() => {}
                _ => self.refuse(header),
            }
            return;
        };
        let is_whole = header.length as usize == data.len();
        let now_ns = (self.now_ns)();
        self.change(id, |connection| match is_whole {
            true => connection.hear(header, data, now_ns),
            false => connection.break_off(),
        });
    }

    /// Takes a connection that the peer asks for, if somebody listens and there is room.
    fn admit(&mut self, header: &Header) -> Option<()> {
        let listener_id = *self.listeners.get(&header.to.port)?;
        let Some(Some(Socket::Listener(listener))) = self.sockets.get(listener_id as usize) else {
            return None;
        };
        if listener.waiting.len() >= listener.backlog {
            return None;
        }
        let connection = Connection::from(header);
        let id = self.insert(Socket::Connection(Box::new(connection))).ok()?;
        self.connections.insert((header.to.port, header.from), id);
        self.owes(id);
        if let Some(Socket::Listener(listener)) = &mut self.sockets[listener_id as usize] {
            listener.waiting.push_back(id);
            self.woken.push(core::mem::take(&mut listener.wakers));
        }
        Some(())
    }

    /// Answers a packet of no connection.
    fn refuse(&mut self, header: &Header) {
        let answer = Header {
            from: header.to,
            to: header.from,
            length: 0,
            op: op::RESET,
            flags: 0,
            window: 0,
            consumed: 0,
            ..*header
        };
        self.reset(answer);
    }

    fn reset(&mut self, packet: Header) {
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(packet);
        }
    }

    /// The identifier is another one, and all peers are gone.
    fn has_moved(&mut self) {
        if let Ok(cid) = read_cid(&self.transport) {
            self.cid = cid;
        }
        self.resets.clear();
        self.end_all(Error::ConnectionReset);
    }

    fn end_all(&mut self, error: Error) {
        for id in core::mem::take(&mut self.connections).into_values() {
            let Some(Some(Socket::Connection(connection))) = self.sockets.get_mut(id as usize)
            else {
                continue;
            };
            self.woken.push(core::mem::take(&mut connection.wakers));
            if connection.state == State::Closing {
                self.remove(id);
            } else {
                connection.state = State::Ended(Some(error));
            }
        }
    }

    /// The device breaks its protocol: what it was lent is neither freed nor touched again.
    fn give_up(&mut self) {
        self.is_broken = true;
        let is_reset = device::reset(&mut self.transport);
        self.receive.give_up(is_reset);
        self.transmit.give_up(is_reset);
        self.events.give_up(is_reset);
        self.end_all(Error::ConnectionReset);
        for socket in self.sockets.iter_mut().flatten() {
            if let Socket::Listener(listener) = socket {
                self.woken.push(core::mem::take(&mut listener.wakers));
            }
        }
    }

    /// Time goes by, for connections that wait. Whether any still does.
    pub fn tick(&mut self) -> bool {
        let now_ns = (self.now_ns)();
        let is_timed = |(id, socket): (usize, &Option<Socket>)| match socket {
            Some(Socket::Connection(connection)) if connection.is_timed() => Some(id as u32),
            _ => None,
        };
        let timed: Vec<u32> = self
            .sockets
            .iter()
            .enumerate()
            .filter_map(is_timed)
            .collect();
        for id in &timed {
            self.change(*id, |connection| connection.tick(now_ns));
        }
        self.say();
        !timed.is_empty()
    }

    // --- Sockets ------------------------------------------------------------------------------------

    fn insert(&mut self, socket: Socket) -> Result<u32> {
        if let Some(id) = self.free.pop() {
            self.sockets[id as usize] = Some(socket);
            return Ok(id);
        }
        if self.sockets.len() >= self.limit {
            return Err(Error::OutOfMemory);
        }
        self.sockets.push(Some(socket));
        Ok(self.sockets.len() as u32 - 1)
    }

    fn remove(&mut self, id: u32) {
        match self.sockets.get_mut(id as usize).and_then(Option::take) {
            Some(Socket::Connection(connection)) => self.woken.push(connection.wakers),
            Some(Socket::Listener(listener)) => self.woken.push(listener.wakers),
            None => return,
        }
        self.free.push(id);
    }

    fn connection(&mut self, id: u32) -> Result<&mut Connection> {
        match self.sockets.get_mut(id as usize) {
            Some(Some(Socket::Connection(connection))) => Ok(connection),
            _ => Err(Error::InvalidInput),
        }
    }

    /// Has `f` change a connection, which says whether it has to be reset, and does what follows from it.
    fn change(&mut self, id: u32, f: impl FnOnce(&mut Connection) -> bool) {
        let cid = self.cid;
        let Ok(connection) = self.connection(id) else {
            return;
        };
        let was = connection.state;
        let packet = f(connection).then(|| connection.header(cid, op::RESET, 0, 0));
        let (is, owes) = (connection.state, connection.owes());
        let key = (connection.local, connection.peer);
        let wakers = core::mem::take(&mut connection.wakers);
        self.woken.push(wakers);
        if let Some(packet) = packet {
            self.reset(packet);
        }
        if matches!(is, State::Ended(_)) {
            self.connections.remove(&key);
            if was == State::Closing {
                self.remove(id);
            }
        } else if owes {
            self.owes(id);
        }
    }

    /// Has [`say`](Self::say) look at a connection, once.
    fn owes(&mut self, id: u32) {
        if !self.owing.contains(&id) {
            self.owing.push_back(id);
        }
    }

    // --- Sending ------------------------------------------------------------------------------------

    /// Sends what is owed besides data, as far as there is room.
    fn say(&mut self) {
        if self.is_held {
            return;
        }
        let mut any = false;
        // What a connection owes comes before its reset.
        while self.transmit.has_room()
            && let Some(&id) = self.owing.front()
        {
            let cid = self.cid;
            let packet = self.connection(id).ok().and_then(|connection| {
                let (op, flags) = connection.next_control()?;
                Some(connection.header(cid, op, flags, 0))
            });
            match packet {
                Some(packet) => any |= self.transmit(&packet, &[]).is_ok(),
                None => drop(self.owing.pop_front()),
            }
        }
        while self.transmit.has_room()
            && let Some(packet) = self.resets.pop_front()
        {
            any |= self.transmit(&packet, &[]).is_ok();
        }
        if any {
            self.transmit.notify(&mut self.transport);
        }
    }

    fn transmit(&mut self, header: &Header, data: &[u8]) -> Result<()> {
        let mut packet = Vec::with_capacity(HEADER + data.len());
        packet.extend_from_slice(&header.encode());
        packet.extend_from_slice(data);
        let length = packet.len();
        let added = self.transmit.send(packet.into_boxed_slice(), length);
        added.map_err(|_| Error::WouldBlock)
    }

    // --- What programs do ---------------------------------------------------------------------------

    fn check(&self) -> Result<()> {
        match self.is_broken {
            true => Err(Error::NoDevice),
            false => Ok(()),
        }
    }

    pub fn cid(&self) -> Result<u32> {
        self.check().map(|()| self.cid)
    }

    pub fn listen(&mut self, port: u32, backlog: usize) -> Result<u32> {
        self.check()?;
        if self.listeners.contains_key(&port) {
            return Err(Error::AddressInUse);
        }
        let id = self.insert(Socket::Listener(Listener {
            port,
            backlog,
            waiting: VecDeque::new(),
            wakers: SocketWakers::default(),
        }))?;
        self.listeners.insert(port, id);
        Ok(id)
    }

    pub fn accept(&mut self, id: u32) -> Result<(u32, Address)> {
        let Some(Some(Socket::Listener(listener))) = self.sockets.get_mut(id as usize) else {
            return Err(Error::InvalidInput);
        };
        let next = listener.waiting.pop_front();
        let Some(next) = next else {
            self.check()?;
            return Err(Error::WouldBlock);
        };
        Ok((next, self.connection(next)?.peer))
    }

    pub fn connect(&mut self, to: Address) -> Result<u32> {
        self.check()?;
        let mut port = self.next_port;
        while self.connections.contains_key(&(port, to)) {
            port = port.wrapping_add(1).max(FIRST_PORT);
        }
        // A device may take a while to forget: none is used again soon.
        self.next_port = port.wrapping_add(1).max(FIRST_PORT);
        let connection = Connection::to(to, port, (self.now_ns)());
        let id = self.insert(Socket::Connection(Box::new(connection)))?;
        self.connections.insert((port, to), id);
        self.owes(id);
        self.say();
        Ok(id)
    }

    pub fn connected(&mut self, id: u32) -> Result<()> {
        match self.connection(id)?.state {
            State::Connecting => Err(Error::WouldBlock),
            State::Ended(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the received bytes out, to be read while the driver is not locked; none at the end of the stream.
    pub fn take_received(&mut self, id: u32) -> Result<VecDeque<u8>> {
        let connection = self.connection(id)?;
        if connection.received.is_empty() {
            connection.at_end()?;
        }
        Ok(core::mem::take(&mut connection.received))
    }

    /// Puts back what is left after so many bytes were read.
    pub fn put_back(&mut self, id: u32, mut left: VecDeque<u8>, read: usize) {
        if let Ok(connection) = self.connection(id) {
            if left.is_empty() {
                left = core::mem::take(&mut connection.received);
            } else {
                left.append(&mut connection.received);
            }
            connection.received = left;
            if read > 0 {
                self.quietly(id, |connection| connection.consume(read));
                self.say();
            }
        }
    }

    /// As [`change`](Self::change), where who waits need not look again unless the connection has ended.
    fn quietly(&mut self, id: u32, f: impl FnOnce(&mut Connection) -> bool) {
        let Ok(connection) = self.connection(id) else {
            return;
        };
        let wakers = core::mem::take(&mut connection.wakers);
        self.change(id, f);
        if let Ok(connection) = self.connection(id) {
            match connection.state {
                State::Ended(_) => self.woken.push(wakers),
                _ => connection.wakers = wakers,
            }
        }
    }

    pub fn send(&mut self, id: u32, bytes: &[u8]) -> Result<usize> {
        let (cid, is_clear) = (self.cid, self.owing.is_empty() && self.resets.is_empty());
        let has_room = is_clear && self.transmit.has_room();
        let connection = self.connection(id)?;
        let most = match connection.may_send() {
            Ok(most) => most,
            Err(error) => {
                if connection.owes() {
                    self.owes(id);
                    self.say();
                }
                return Err(error);
            }
        };
        if !has_room {
            connection.wants_room = true;
            return Err(Error::WouldBlock);
        }
        let count = bytes.len().min(most).min(PACKET);
        let header = connection.header(cid, op::DATA, 0, count as u32);
        self.transmit(&header, &bytes[..count])?;
        self.connection(id)?.has_sent(count);
        self.transmit.notify(&mut self.transport);
        Ok(count)
    }

    pub fn shutdown_write(&mut self, id: u32) -> Result<()> {
        self.connection(id)?.shutdown_write()?;
        self.change(id, |_| false);
        self.say();
        Ok(())
    }

    pub fn peer(&mut self, id: u32) -> Result<Address> {
        match self.connection(id)?.state {
            State::Connecting => Err(Error::NotConnected),
            _ => Ok(self.connection(id)?.peer),
        }
    }

    pub fn readiness(&self, id: u32) -> Ready {
        match self.sockets.get(id as usize) {
            Some(Some(Socket::Connection(connection))) => connection.readiness(),
            Some(Some(Socket::Listener(listener))) => Ready {
                readable: !listener.waiting.is_empty() || self.is_broken,
                error: self.is_broken,
                ..Ready::default()
            },
            _ => Ready::default(),
        }
    }

    pub fn register(&mut self, id: u32, interest: Interest, waker: &core::task::Waker) {
        let wakers = match self.sockets.get_mut(id as usize) {
            Some(Some(Socket::Connection(connection))) => &mut connection.wakers,
            Some(Some(Socket::Listener(listener))) => &mut listener.wakers,
            _ => return,
        };
        wakers.add(interest, waker);
        if self.readiness(id).is_for(interest) {
            self.wake(id);
        }
    }

    fn wake(&mut self, id: u32) {
        let wakers = match self.sockets.get_mut(id as usize) {
            Some(Some(Socket::Connection(connection))) => &mut connection.wakers,
            Some(Some(Socket::Listener(listener))) => &mut listener.wakers,
            _ => return,
        };
        self.woken.push(core::mem::take(wakers));
    }

    /// Ends a connection at once.
    pub fn abort(&mut self, id: u32) {
        self.change(id, |connection| {
            let is_there = !matches!(connection.state, State::Ended(_));
            connection.state = State::Ended(None);
            is_there
        });
        self.remove(id);
        self.say();
    }

    pub fn close(&mut self, id: u32) {
        match self.sockets.get_mut(id as usize) {
            Some(Some(Socket::Listener(listener))) => {
                let (port, waiting) = (listener.port, core::mem::take(&mut listener.waiting));
                self.listeners.remove(&port);
                self.remove(id);
                waiting.into_iter().for_each(|id| self.abort(id));
            }
            Some(Some(Socket::Connection(_))) => {
                let now_ns = (self.now_ns)();
                self.change(id, |connection| connection.close(now_ns));
                let is_over = |c: &mut Connection| matches!(c.state, State::Ended(_));
                if self.connection(id).is_ok_and(is_over) {
                    self.remove(id);
                }
                self.say();
            }
            _ => {}
        }
    }
}

fn read_cid(transport: &impl Transport) -> core::result::Result<u32, Fault> {
    for _ in 0..1_000 {
        let before = transport.read_config_generation();
        let read = |at| transport.read_config_space::<u32>(at);
        let (Ok(low), Ok(high)) = (read(0), read(4)) else {
            return Err("its configuration is too short");
        };
        if transport.read_config_generation() == before {
            return match high {
                0 => Ok(low),
                _ => Err("its identifier makes no sense"),
            };
        }
    }
    Err("its configuration does not come to rest")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
