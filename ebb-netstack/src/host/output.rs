//! What a core does by itself: sends what sockets have, and what is due.

use super::{Flow, Host, Inner, Socket, send::sender};
use crate::{
    connection::{NEVER, State, Wire as _},
    frame::Port,
    shared::Message,
    wire::{TcpOut, flags},
};
use core::cmp::Reverse;

impl<P: Port> Host<P> {
    /// Sends what the sockets have to send, and delivers what this machine sends to itself. Returns false when the device is
    /// full: to be called again when it has room.
    pub fn flush(&self, now: u64) -> bool {
        let mut room = true;
        // What is delivered may answer; a bound keeps two sockets from talking for ever in one event.
        for _ in 0..64 {
            room = self.flush_dirty(now);
            let inner = &mut *self.inner.borrow_mut();
            if inner.loopback.is_empty() {
                break;
            }
            for frame in core::mem::take(&mut inner.loopback) {
                self.input_frame(inner, frame, now, true);
            }
        }
        self.port.kick();
        room
    }

    pub(super) fn flush_dirty(&self, now: u64) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let mut dirty = core::mem::take(&mut inner.dirty);
        let mut room = true;
        for id in dirty.drain(..) {
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if !connection.dirty {
                continue;
            }
            if !room {
                inner.dirty.push(id);
                continue;
            }
            let mut sender = sender!(self, inner);
            let done = connection.output(now, &mut sender);
            let sent = sender.sent;
            inner.stats.frames_out += sent;
            if done {
                connection.dirty = false;
                self.touch_quietly(inner, id, now);
            } else {
                room = false;
                inner.dirty.push(id);
            }
        }
        if inner.dirty.is_empty() {
            // Keeps the allocation.
            inner.dirty = dirty;
        }
        room
    }

    /// As [`touch`](Self::touch), right after output: what could not be sent waits for an event, not for more output.
    pub(super) fn touch_quietly(&self, inner: &mut Inner, id: u32, now: u64) {
        if let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) {
            connection.dirty = true;
            self.touch(inner, id, now);
            if let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) {
                connection.dirty = false;
            }
        }
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub fn has_output(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.dirty.is_empty() || !inner.loopback.is_empty()
    }

    /// When [`timers`](Self::timers) is to be called.
    pub fn next_deadline(&self) -> Option<u64> {
        let inner = self.inner.borrow();
        let sockets = inner.timers.peek().map_or(NEVER, |Reverse((at, _))| *at);
        let time_wait = inner.time_wait.front().map_or(NEVER, |(at, _)| *at);
        let next = sockets
            .min(time_wait)
            .min(inner.handshakes.next_deadline())
            .min(inner.resolve_at);
        (next != NEVER).then_some(next)
    }

    /// Does what is due.
    pub fn timers(&self, now: u64) {
        if self.inner.borrow().resolve_at <= now {
            self.resolve(now);
        }
        let inner = &mut *self.inner.borrow_mut();
        while let Some(Reverse((at, id))) = inner.timers.peek().copied() {
            if at > now {
                break;
            }
            inner.timers.pop();
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.armed != at {
                // Another entry stands for it, or the number has a new owner.
                continue;
            }
            connection.armed = NEVER;
            if connection.deadline() <= now {
                let was = connection.timeouts();
                let connected = connection.is_connected();
                let probe = connection.timer(now);
                if connection.timeouts() > was {
                    inner.stats.timeouts += 1;
                }
                let path = connection.path;
                let failed = connection.state == State::Closed && connected;
                let reset = failed.then(|| {
                    let (seq, _) = connection.reset_seq();
                    TcpOut {
                        source: connection.key.local_port,
                        target: connection.key.remote_port,
                        seq,
                        flags: flags::RST,
                        ..TcpOut::default()
                    }
                });
                if connection.state == State::Closed && !connection.owned {
                    let held = connection.receive.held();
                    connection.receive.clear(&mut inner.pool);
                    inner.received -= held;
                }
                if let Some(header) = probe.or(reset) {
                    sender!(self, inner).send(&path, header, None, 0);
                }
            }
            self.touch(inner, id, now);
        }
        while self.expire_time_wait(inner, now) {}
        while let Some(key) = inner.handshakes.due(now) {
            let again = match inner.flows.get_mut(&key) {
                Some(Flow::HalfOpen(half)) => half.again(),
                _ => continue,
            };
            if !again {
                self.forget_half_open(inner, &key);
                continue;
            }
            let Some(Flow::HalfOpen(half)) = inner.flows.get(&key) else {
                continue;
            };
            let half = half.clone();
            let header = half.answer(&key, self.mss(&half.path));
            sender!(self, inner).send(&half.path, header, None, 0);
            inner.handshakes.begin_again(key, now);
        }
    }

    /// Takes a message of another core.
    pub fn message(&self, message: Message, now: u64) {
        match message {
            Message::Frame(frame) => {
                let inner = &mut *self.inner.borrow_mut();
                self.input_frame(inner, frame, now, false);
            }
            Message::Changed => self.resolve(now),
        }
    }
}
