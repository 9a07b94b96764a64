//! The short way of short transfers: some bytes between two connected sockets of the UC, with nothing beside them, which find
//! room or are there. What is not of that kind is left alone, and takes the way of all ([`message`](super::message)), which
//! says the same of it.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    id::DescId,
    io::{Sink, Source},
    kind::socket::{
        Message, OVERHEAD, Socket, SocketId, SocketKind, State,
        address::{Address, Domain},
        option::MIN_RECEIVE,
    },
    wait::Events,
};

/// Every socket has room for as much, bytes and [`OVERHEAD`] together.
const ROOM: usize = MIN_RECEIVE as usize;

impl Socket {
    /// Connected to another socket of the UC, without anything to be told first.
    #[inline]
    fn is_plain(&self) -> bool {
        self.state == State::Connected
            && (self.kind == SocketKind::Stream || self.domain == Domain::Unix)
            && self.net.is_none()
            && self.error.is_none()
            && self.urgent.is_none()
    }
}

impl Objects {
    /// Sends all that the source has, or as much as can be read of it; `None` when that is not to be had here.
    pub(crate) fn send_briefly(
        &mut self,
        id: SocketId,
        source: &mut dyn Source,
    ) -> Option<Result<usize>> {
        let want = source.remaining();
        let sender = self.kinds.sockets.get(id)?;
        if want == 0 || !sender.is_plain() || sender.no_write || sender.peer_closed {
            return None;
        }
        let stream = sender.kind == SocketKind::Stream;
        if !stream && sender.local != Address::Unnamed {
            return None;
        }
        let (local, names_sender) = (
            sender.domain == Domain::Unix,
            sender.options.passes_credentials,
        );
        let receiver = self.kinds.sockets.get_mut(sender.peer?)?;
        let is_told = names_sender || receiver.options.passes_credentials;
        if local && (is_told || receiver.owner.is_none()) {
            // The message bears the name of its sender.
            return None;
        }
        if !stream && receiver.peer != Some(id) {
            return None;
        }
        let cost = receiver
            .inbox_cost
            .checked_add(want)?
            .checked_add(OVERHEAD)?;
        let all = self.sockets.bytes + want + OVERHEAD;
        if receiver.no_read || cost > ROOM || all > self.limits.socket_bytes {
            return None;
        }
        let (n, overhead) = match receiver.inbox.back_mut() {
            Some(last) if stream && last.sender.is_none() && last.descriptions.is_empty() => {
                // All that waits is less than what is merged.
                let end = last.bytes.len();
                last.bytes.resize(end + want, 0);
                let n = source.take(&mut last.bytes[end..]);
                if n < want {
                    last.bytes.truncate(end);
                }
                (n, 0)
            }
            _ => {
                let mut bytes = receiver.spare.take(want, want);
                let n = source.take(&mut bytes);
                match n < want {
                    true => receiver.spare.keep(bytes),
                    false => receiver.inbox.push_back(Message::plain(bytes)),
                }
                (n, OVERHEAD)
            }
        };
        // What is in one piece is sent whole or not at all, as in Linux.
        if n < want {
            return Some(Err(Errno::EFAULT));
        }
        receiver.inbox_cost += n + overhead;
        self.sockets.bytes += n + overhead;
        self.hub.wake(receiver.queue, Events::READ);
        Some(Ok(n))
    }

    /// Receives from the first message, if that is all there is or all that is asked for; `None` when it is not to be had here.
    pub(crate) fn receive_briefly(
        &mut self,
        id: SocketId,
        sink: &mut dyn Sink,
    ) -> Option<Result<usize>> {
        let room = sink.remaining();
        let socket = self.kinds.sockets.get_mut(id)?;
        let looks = socket.options.peek_offset.is_some();
        if room == 0 || !socket.is_plain() || !socket.waiting.is_empty() || looks {
            return None;
        }
        let stream = socket.kind == SocketKind::Stream;
        let alone = socket.inbox.len() == 1;
        let message = socket.inbox.front_mut()?;
        let left = message.left();
        if left == 0
            || !message.descriptions.is_empty()
            || message.carried.is_some()
            || message.sender.is_some()
            || stream && left < room && !alone
        {
            return None;
        }
        let want = left.min(room);
        let n = sink.put(&message.bytes[message.start..message.start + want]);
        if n < want && stream {
            return Some(Err(Errno::EFAULT));
        }
        message.start += n;
        // What does not fit of a message is lost, and all of one that cannot be stored.
        if (n == left || !stream)
            && let Some(message) = socket.inbox.pop_front()
        {
            let cost = message.cost();
            socket.spare.keep(message.bytes);
            socket.inbox_cost = socket.inbox_cost.saturating_sub(cost);
            self.sockets.bytes = self.sockets.bytes.saturating_sub(cost);
        }
        if let Some(peer) = socket.peer
            && let Some(peer) = self.kinds.sockets.get(peer)
        {
            self.hub.wake(peer.queue, Events::WRITE | Events::WRBAND);
        }
        match stream || n == want {
            true => Some(Ok(n)),
            false => Some(Err(Errno::EFAULT)),
        }
    }

    /// As `send_briefly`, by the description.
    pub fn send_plainly(&mut self, desc: DescId, source: &mut dyn Source) -> Option<Result<usize>> {
        let id = self.socket_of(desc).ok()?;
        self.send_briefly(id, source)
    }

    /// As `receive_briefly`, by the description.
    pub fn receive_plainly(&mut self, desc: DescId, sink: &mut dyn Sink) -> Option<Result<usize>> {
        let id = self.socket_of(desc).ok()?;
        self.receive_briefly(id, sink)
    }
}
