//! What moves bytes and time between a link's socket, its channel and its connection.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use ebb_net::{Error, Interest, tcp::TcpStream};
use ebb_runtime::time::{Instant, Sleep, sleep_until};

use super::Link;
use crate::{
    channel::Channel,
    connection::{Closed, give_back},
    ids::Ids,
};

/// Reads and writes of one event, so that one peer does not keep a core.
const TURNS: usize = 16;
/// Methods of one event that may come to their end in it, without a task of their own.
const AT_ONCE: u32 = 8;
/// Plaintext that is gathered before it is encrypted.
const GATHERED: usize = 64 << 10;

/// What the link's task holds.
pub(super) struct Driver {
    stream: TcpStream,
    channel: Channel,
    connected: bool,
    /// Records for the socket.
    out: VecDeque<Bytes>,
    sealed: Vec<Bytes>,
    sleep: Sleep,
    asleep: bool,
}

impl Driver {
    pub(super) fn new(stream: TcpStream, channel: Channel) -> Self {
        Self {
            stream,
            channel,
            connected: false,
            out: VecDeque::new(),
            sealed: Vec::new(),
            sleep: sleep_until(Instant::now()),
            asleep: false,
        }
    }

    pub(super) fn poll(&mut self, link: &Rc<Link>, cx: &mut Context<'_>) -> Poll<()> {
        link.at_once.set(AT_ONCE);
        for _ in 0..TURNS {
            let is_known = Self::be_wakeable(link, cx);
            let now = Instant::now();
            self.read(link, now);
            link.connection.borrow_mut().tick(now.as_nanos());
            link.settle();
            let mut goes_on = self.write(link);
            // A call whose turn to be sent has come may be too late, or too large.
            goes_on |= link.settle();
            if link.connection.borrow().is_closed() {
                link.settle();
                return Poll::Ready(());
            }
            if goes_on {
                continue;
            }
            // Whether there is more to read is asked there, too.
            let interest = Interest {
                read: self.connected,
                write: !self.connected || !self.out.is_empty(),
            };
            if self.stream.poll_ready(cx, interest).is_ready() {
                continue;
            }
            if self.wait(link, cx, now, is_known).is_ready() {
                continue;
            }
            self.rest(link, now);
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has [`Link::kick`] wake this task; whether it was so already.
    fn be_wakeable(link: &Link, cx: &Context<'_>) -> bool {
        let mut waker = link.waker.borrow_mut();
        let is_known = waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()));
        if !is_known {
            *waker = Some(cx.waker().clone());
        }
        is_known
    }

    /// Nothing is to be done now. A node has many links, most of which only wait.
    fn rest(&mut self, link: &Link, now: Instant) {
        if !self.channel.rest(now.as_nanos()) {
            return;
        }
        link.connection.borrow_mut().rest();
        give_back(&mut *link.waiting.borrow_mut(), Ids::is_empty);
        give_back(&mut *link.handlers.borrow_mut(), Ids::is_empty);
        give_back(&mut self.out, VecDeque::is_empty);
        give_back(&mut self.sealed, Vec::is_empty);
    }

    fn wait(
        &mut self,
        link: &Link,
        cx: &mut Context<'_>,
        now: Instant,
        is_known: bool,
    ) -> Poll<()> {
        let next_ns = link.connection.borrow().next_ns();
        // A timer that fires too early sets the next.
        let serves = self.sleeps_until(next_ns) && self.sleep.deadline() > now;
        if serves && is_known {
            return Poll::Pending;
        }
        if !serves {
            let until = now + Duration::from_nanos(next_ns.saturating_sub(now.as_nanos()));
            self.sleep.reset(until);
        }
        let poll = Pin::new(&mut self.sleep).poll(cx);
        self.asleep = poll.is_pending();
        poll
    }

    /// Whether the timer wakes the task by then.
    fn sleeps_until(&self, next_ns: u64) -> bool {
        self.asleep && self.sleep.deadline().as_nanos() <= next_ns
    }

    /// Sends the only call that there is; whether nothing is left to do for the task.
    pub(super) fn sends_alone(&mut self, link: &Link) -> bool {
        let next_ns = link.connection.borrow().next_ns();
        let is_ready = self.connected && self.channel.is_open() && self.out.is_empty();
        if !is_ready || !self.sleeps_until(next_ns) {
            return false;
        }
        let has_more = self.write(link);
        !has_more && self.out.is_empty() && link.connection.borrow().is_settled()
    }

    fn read(&mut self, link: &Link, now: Instant) {
        if !self.connected {
            match self.stream.try_connected() {
                Ok(()) => self.connected = true,
                Err(Error::WouldBlock) => return,
                Err(_) => {
                    link.connection.borrow_mut().close(Closed::Transport);
                    return;
                }
            }
        }
        let channel = &mut self.channel;
        let now_ns = now.as_nanos();
        let received = self.stream.try_recv_with(|bytes| {
            let mut connection = link.connection.borrow_mut();
            (
                bytes.len(),
                channel.receive_into(bytes, connection.receiving(now_ns)),
            )
        });
        let why = match received {
            Ok(Some(Ok(()))) | Err(Error::WouldBlock) => return,
            Ok(Some(Err(_))) => Closed::Untrusted,
            Ok(None) | Err(_) => Closed::Transport,
        };
        link.connection.borrow_mut().close(why);
    }

    /// Sends what there is to send; whether there is more for which there may be room.
    fn write(&mut self, link: &Link) -> bool {
        // What has come up since is gathered when this has been sent.
        let mut has_more = !self.out.is_empty();
        if self.out.is_empty() {
            if let Some(record) = self.channel.poll_handshake() {
                self.out.push_back(record);
            } else if self.connected && self.write_little(link) {
                return false;
            }
            if self.channel.is_open() {
                has_more = self.seal(link);
            }
        }
        if !self.connected || self.out.is_empty() {
            return false;
        }
        match self.stream.try_send(&mut self.out) {
            Ok(_) => has_more || !self.out.is_empty(),
            Err(Error::WouldBlock) => false,
            Err(_) => {
                link.connection.borrow_mut().close(Closed::Transport);
                false
            }
        }
    }

    /// Sends all that there is, or the beginning of it is gathered.
    fn write_little(&mut self, link: &Link) -> bool {
        if !self.channel.is_open() {
            return false;
        }
        let mut connection = link.connection.borrow_mut();
        if !connection.has_output() {
            return true;
        }
        let (channel, sealed) = (&mut self.channel, &mut self.sealed);
        connection.lend_output(|frames| channel.gather(frames, sealed).expect("it is open"));
        if connection.has_output() || !sealed.is_empty() {
            return false;
        }
        let sent = channel.lend(|record| {
            let sent = match self.stream.try_write(record) {
                Err(Error::WouldBlock) => Ok(0),
                sent => sent,
            };
            if let Some(rest) = record.get(sent?..).filter(|rest| !rest.is_empty()) {
                self.out.push_back(Bytes::copy_from_slice(rest));
            }
            Ok(())
        });
        match sent.expect("it is open") {
            None => return false,
            Some(Ok(())) => {}
            Some(Err::<(), Error>(_)) => connection.close(Closed::Transport),
        }
        true
    }

    /// Encrypts what the connection has to say: small parts share a record. Whether it may have more to say.
    fn seal(&mut self, link: &Link) -> bool {
        let mut taken = 0;
        while taken < GATHERED {
            let Some(part) = link.connection.borrow_mut().poll_output() else {
                break;
            };
            taken += part.len();
            self.channel
                .gather(&part, &mut self.sealed)
                .expect("it is open");
        }
        self.channel
            .seal(&[], &mut self.sealed)
            .expect("it is open");
        self.out.extend(self.sealed.drain(..));
        taken >= GATHERED
    }
}
