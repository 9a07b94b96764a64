//! What a core does by itself: sends what sockets have, and what is due.

use super::{Cx, Flow, Host, Inner, Socket};
use crate::{connection::State, link::Link, shared::Message, time::NEVER_NS, wire::TcpOut};
use core::cmp::Reverse;

impl<L: Link> Host<L> {
    /// Sends what the sockets have to send, and delivers what this machine sends to itself. Returns false when the device is
    /// full: to be called again when it has room.
    pub fn flush(&self, now_ns: u64) -> bool {
        let room = self.enter(now_ns, |inner, cx| {
            let mut room = true;
            // What is delivered may answer; a bound keeps two sockets from talking for ever in one event.
            for _ in 0..64 {
                room = inner.flush_dirty(cx);
                if inner.outgoing.loopback.is_empty() {
                    break;
                }
                for frame in core::mem::take(&mut inner.outgoing.loopback) {
                    inner.input_frame(cx, frame, true);
                }
            }
            room
        });
        self.link.kick();
        room
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub fn has_output(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.dirty.is_empty() || !inner.outgoing.loopback.is_empty()
    }

    /// When [`timers`](Self::timers) is to be called.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let inner = self.inner.borrow();
        let sockets = inner.timers.peek().map_or(NEVER_NS, |Reverse((at, _))| *at);
        let time_wait = inner.time_wait.front().map_or(NEVER_NS, |(at, _)| *at);
        let next_ns = sockets
            .min(time_wait)
            .min(inner.handshakes.next_deadline_ns())
            .min(inner.resolve_at_ns);
        (next_ns != NEVER_NS).then_some(next_ns)
    }

    /// Does what is due.
    pub fn timers(&self, now_ns: u64) {
        self.enter(now_ns, |inner, cx| {
            if inner.resolve_at_ns <= now_ns {
                inner.resolve(cx);
            }
            inner.connections_due(cx);
            while inner.expire_time_wait(cx, now_ns) {}
            inner.handshakes_due(cx);
        });
    }

    /// Takes a message of another core.
    pub fn message(&self, message: Message, now_ns: u64) {
        self.enter(now_ns, |inner, cx| match message {
            Message::Frame(frame) => inner.input_frame(cx, frame, false),
            Message::Reconfigured => inner.resolve(cx),
            Message::Undelivered(what) => inner.undelivered(cx, &what),
        });
    }
}

impl Inner {
    fn flush_dirty<L: Link>(&mut self, cx: &Cx<'_, L>) -> bool {
        let mut dirty = core::mem::take(&mut self.dirty);
        let mut room = true;
        for id in dirty.drain(..) {
            let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
                continue;
            };
            if !connection.dirty {
                continue;
            }
            if !room {
                self.dirty.push(id);
                continue;
            }
            if connection.output(cx.now_ns, &mut self.outgoing.through(cx.link)) {
                self.settle_after_output(cx, id);
            } else {
                room = false;
                self.dirty.push(id);
            }
        }
        if self.dirty.is_empty() {
            // Keeps the allocation.
            self.dirty = dirty;
        }
        room
    }

    /// As [`settle`](Self::settle), right after output: what could not be sent waits for an event, not for more output.
    fn settle_after_output<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32) {
        // It counts as on the list, so it is not put there again.
        self.settle(cx, id);
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) {
            connection.dirty = false;
        }
    }

    /// Connections whose timers have gone off.
    fn connections_due<L: Link>(&mut self, cx: &Cx<'_, L>) {
        while let Some(Reverse((at_ns, id))) = self.timers.peek().copied() {
            if at_ns > cx.now_ns {
                break;
            }
            self.timers.pop();
            let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.timers.armed_ns != at_ns {
                // Another entry stands for it, or the number has a new owner.
                continue;
            }
            connection.timers.armed_ns = NEVER_NS;
            if connection.deadline_ns() <= cx.now_ns {
                self.connection_due(cx, id);
            }
            self.settle(cx, id);
        }
    }

    fn connection_due<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
            return;
        };
        let timeouts = connection.timeouts();
        let was_connected = connection.is_connected();
        let probe = connection.timer(cx.now_ns);
        if connection.timeouts() > timeouts {
            self.stats.timeouts += 1;
        }
        let path = connection.path;
        let failed = connection.state == State::Closed;
        let reset = (failed && was_connected)
            .then(|| TcpOut::reset(&connection.key(), connection.reset_numbers().0));
        if failed && !connection.owned {
            self.drop_received(id);
        }
        if let Some(header) = probe.or(reset) {
            self.send_bare(cx, &path, header);
        }
    }

    /// Handshakes whose answer is sent again.
    fn handshakes_due<L: Link>(&mut self, cx: &Cx<'_, L>) {
        while let Some(key) = self.handshakes.due(cx.now_ns) {
            let Some(Flow::HalfOpen(half)) = self.flows.get_mut(&key) else {
                continue;
            };
            if !half.again() {
                self.forget_half_open(cx, &key);
                continue;
            }
            let (path, header) = (half.path, half.answer(&key, cx.mss(&half.path)));
            self.send_bare(cx, &path, header);
            self.handshakes.begin_again(key, cx.now_ns);
        }
    }
}
