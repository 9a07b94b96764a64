//! Pseudo-terminals: two ends with a line discipline between them. What is written to the master is typed at the slave.
//!
//! What must hold: both ends are descriptions of one object, told apart by [`OpenFlags::MASTER`]; the object ends with the
//! last of them. Signals are noted in the [`Hub`] and sent when the call is over.

mod discipline;
pub mod termios;

use alloc::{collections::VecDeque, vec, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

use self::{
    discipline::{Discipline, Effects, OUTPUT_BYTES},
    termios::{Local, Termios, cc},
};
use super::{Face, Kind};
use crate::abi::signal::{SIGTTIN, SIGTTOU, bit};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{Id, NodeRef, QueueId},
    io::{Sink, Source, put_all},
    wait::{Events, Hub, Target},
};

/// What a master in packet mode is told besides the data (`TIOCPKT_*`).
mod packet {
    pub(super) const FLUSHREAD: u8 = 1;
    pub(super) const FLUSHWRITE: u8 = 2;
    pub(super) const STOP: u8 = 4;
    pub(super) const START: u8 = 8;
    pub(super) const NOSTOP: u8 = 16;
    pub(super) const DOSTOP: u8 = 32;
    pub(super) const IOCTL: u8 = 64;
}

/// Which queues `tcflush` empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// What was typed.
    Input,
    /// What was written.
    Output,
    /// Both.
    Both,
}

/// What a UC knows of its terminals besides themselves.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub(crate) struct Terminals {
    /// /dev/pts.
    pub(crate) dir: Option<NodeRef>,
    /// The terminal of the machine's console.
    pub(crate) console: Option<Id<Pty>>,
    /// Sessions whose terminal has hung up, and the foreground groups that they had.
    pub(crate) hung_up: Vec<(u32, u32)>,
    /// Processes that have given up the terminal of their session (`TIOCNOTTY`).
    pub(crate) detached: Vec<u32>,
}

/// A pseudo-terminal.
#[derive(Clone, Debug)]
pub struct Pty {
    /// Its name in /dev/pts.
    pub(crate) number: u32,
    discipline: Discipline,
    /// Typed, and not taken in by the discipline yet.
    typed: VecDeque<u8>,
    /// Open descriptions of either end. The machine's console counts as a master.
    pub(crate) masters: u32,
    pub(crate) slaves: u32,
    /// The slave has been closed for the last time: until somebody opens it again the master reads an error.
    deserted: bool,
    /// The master is closed.
    hung_up: bool,
    /// Its master is the machine's console, and nothing more will be typed there.
    pub(crate) input_ended: bool,
    /// The slave cannot be opened yet (`TIOCSPTLCK`).
    pub(crate) locked: bool,
    /// Only a privileged process may open it once more (`TIOCEXCL`).
    pub(crate) exclusive: bool,
    packets: bool,
    status: u8,
    /// Rows, columns, and both in pixels.
    pub(crate) size: [u16; 4],
    /// The session that it controls, 0 if none, and the foreground process group there.
    pub(crate) session: u32,
    pub(crate) foreground: u32,
    pub(crate) queue: QueueId,
    /// When the last byte was typed, and when the read began that waits for more.
    typed_at_ns: u64,
    read_since_ns: Option<u64>,
}

impl Pty {
    pub(crate) fn new(hub: &mut Hub, number: u32) -> Self {
        Self {
            number,
            discipline: Discipline::default(),
            typed: VecDeque::new(),
            masters: 1,
            slaves: 0,
            deserted: false,
            hung_up: false,
            input_ended: false,
            locked: true,
            exclusive: false,
            packets: false,
            status: 0,
            size: [0; 4],
            session: 0,
            foreground: 0,
            queue: hub.new_queue(),
            typed_at_ns: 0,
            read_since_ns: None,
        }
    }

    /// The slave is opened once more.
    pub(crate) fn open_slave(&mut self) {
        self.slaves += 1;
        self.deserted = false;
    }

    /// Whether the master is gone.
    pub(crate) const fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// The settings.
    pub(crate) const fn settings(&self) -> &Termios {
        self.discipline.settings()
    }

    /// Changes the settings.
    pub(crate) fn set(&mut self, hub: &mut Hub, settings: Termios) {
        let flow = |t: &Termios| {
            t.input.contains(termios::Input::IXON) && t.cc[cc::STOP] == 19 && t.cc[cc::START] == 17
        };
        let before = *self.discipline.settings();
        self.discipline.set(settings);
        if self.packets {
            if (before.local | settings.local).contains(Local::EXTPROC) {
                self.status |= packet::IOCTL;
            }
            match (flow(&before), flow(&settings)) {
                (true, false) => self.tell(packet::NOSTOP, packet::DOSTOP),
                (false, true) => self.tell(packet::DOSTOP, packet::NOSTOP),
                _ => {}
            }
        }
        self.take_in(hub);
        hub.wake(self.queue, Events::all());
    }

    /// Notes an event for a master in packet mode; it takes the place of its contrary.
    fn tell(&mut self, event: u8, contrary: u8) {
        if self.packets {
            self.status = self.status & !contrary | event;
        }
    }

    /// `TIOCPKT`.
    pub(crate) fn set_packets(&mut self, on: bool) {
        if on && !self.packets {
            self.status = 0;
        }
        self.packets = on;
    }

    /// Whether the master reads packets.
    pub(crate) const fn has_packets(&self) -> bool {
        self.packets
    }

    /// Bytes that either end can read at once.
    pub(crate) fn readable(&self, master: bool) -> usize {
        if master {
            self.discipline.waiting()
        } else {
            self.discipline.readable()
        }
    }

    /// `tcflush`.
    pub(crate) fn flush(&mut self, hub: &mut Hub, what: Flush) {
        if what != Flush::Output {
            self.discipline.flush_input();
            self.typed.clear();
            self.tell(packet::FLUSHREAD, 0);
        }
        if what != Flush::Input {
            self.discipline.flush_output();
            self.tell(packet::FLUSHWRITE, 0);
        }
        hub.wake(self.queue, Events::all());
    }

    /// Forgets what is under way in both directions.
    pub(crate) fn clear(&mut self) {
        self.typed.clear();
        self.discipline.clear();
    }

    /// `tcflow`: holds output, or lets it go.
    pub(crate) fn hold_output(&mut self, hub: &mut Hub, hold: bool) {
        let was = self.discipline.is_stopped();
        self.discipline.hold_output(hold);
        self.tell_flow(was);
        hub.wake(self.queue, Events::all());
    }

    fn tell_flow(&mut self, was: bool) {
        match (was, self.discipline.is_stopped()) {
            (false, true) => self.tell(packet::STOP, packet::START),
            (true, false) => self.tell(packet::START, packet::STOP),
            _ => {}
        }
    }

    /// `tcflow`: sends the byte that asks the other side to hold, or to go on.
    pub(crate) fn send_flow(&mut self, hub: &mut Hub, hold: bool) {
        let key = if hold { cc::STOP } else { cc::START };
        let byte = self.settings().cc[key];
        if byte != 0 {
            self.discipline.send(byte);
        }
        hub.wake(self.queue, Events::READ);
    }

    /// What is shown, taken by the owner of a terminal that is a console.
    pub(crate) fn take_shown(&mut self, hub: &mut Hub, max: usize) -> Vec<u8> {
        let mut shown = Vec::new();
        while self.discipline.waiting() > 0 && shown.len() < max {
            let most = max - shown.len();
            self.discipline.take(most, |bytes| {
                shown.extend_from_slice(bytes);
                bytes.len()
            });
        }
        if !shown.is_empty() {
            hub.wake(self.queue, Events::WRITE);
        }
        shown
    }

    /// A byte is typed by somebody else than the master (`TIOCSTI`).
    pub(crate) fn type_byte(&mut self, hub: &mut Hub, env: &dyn Env, byte: u8) {
        self.typed.push_back(byte);
        self.typed_at_ns = env.monotonic();
        self.take_in(hub);
        hub.wake(self.queue, Events::all());
    }

    /// Lets the discipline have what was typed, as far as it has room.
    fn take_in(&mut self, hub: &mut Hub) {
        let was = self.discipline.is_stopped();
        while self.discipline.has_room()
            && let Some(byte) = self.typed.pop_front()
        {
            let Effects {
                signals, flushed, ..
            } = self.discipline.receive(byte);
            if flushed {
                self.tell(packet::FLUSHREAD, 0);
                self.tell(packet::FLUSHWRITE, 0);
            }
            if signals != 0 {
                self.signal_foreground(hub, signals.trailing_zeros() as u8 + 1);
            }
        }
        self.discipline.pass_echo();
        self.tell_flow(was);
    }

    /// Sends a signal to the foreground process group.
    pub(crate) fn signal_foreground(&self, hub: &mut Hub, signal: u8) {
        if self.foreground != 0 {
            hub.note_signal(Target::Group(self.foreground), signal);
        }
    }

    /// Whether the caller may use the terminal as if it were in the foreground; `signal` is what it gets if it may not.
    ///
    /// # Errors
    /// `ERESTARTSYS` when the signal is on its way; `EIO` when that would stop the process for ever, or when it
    /// cannot.
    pub(crate) fn check_foreground(&self, hub: &mut Hub, env: &dyn Env, signal: u8) -> Result<()> {
        let process = env.process();
        let (group, session) = process.group();
        if self.session == 0 || session != self.session || group == self.foreground {
            return Ok(());
        }
        let [_, _, blocked, ignored, _] = process.signal_sets(process.pid());
        if (blocked | ignored) & bit(signal) != 0 {
            // Whoever ignores the signal may write, but not read.
            return match signal {
                SIGTTOU => Ok(()),
                _ => Err(Errno::EIO),
            };
        }
        if env.is_orphaned(group, session) {
            return Err(Errno::EIO);
        }
        hub.note_signal(Target::Group(group), signal);
        Err(Errno::ERESTARTSYS)
    }

    /// No call waits for what was typed any more.
    pub(crate) fn stop_reading(&mut self) {
        self.read_since_ns = None;
    }

    fn read_master(&mut self, hub: &mut Hub, sink: &mut dyn Sink) -> Result<usize> {
        if self.packets && self.status != 0 {
            return put_all(sink, &[core::mem::take(&mut self.status)]);
        }
        if self.discipline.waiting() == 0 {
            return Err(match self.deserted {
                true => Errno::EIO,
                false => Errno::EAGAIN,
            });
        }
        let mut done = 0;
        if self.packets {
            done = put_all(sink, &[0])?;
        }
        let head = done;
        while self.discipline.waiting() > 0 && sink.remaining() > 0 {
            let most = sink.remaining();
            match self.discipline.take(most, |bytes| sink.put(bytes)) {
                0 if done == head && head == 0 => return Err(Errno::EFAULT),
                0 => break,
                n => done += n,
            }
        }
        hub.wake(self.queue, Events::WRITE);
        Ok(done)
    }

    /// What a read in raw mode does now: `VMIN` and `VTIME` in their four combinations (termios(3)).
    fn check_raw(&mut self, hub: &mut Hub, env: &dyn Env, wait: bool, most: usize) -> Result<()> {
        let cc = &self.settings().cc;
        let least = usize::from(cc[cc::MIN]);
        let span_ns = u64::from(cc[cc::TIME]) * 100_000_000;
        let count = self.discipline.readable();
        if count >= least.min(most) && (count > 0 || least == 0 && span_ns == 0) {
            return Ok(());
        }
        if !wait {
            // What is there is less than was wanted, but better than nothing.
            return if count > 0 {
                Ok(())
            } else {
                Err(Errno::EAGAIN)
            };
        }
        if span_ns == 0 || least > 0 && count == 0 {
            return Err(Errno::EAGAIN);
        }
        let now_ns = env.monotonic();
        let since_ns = *self.read_since_ns.get_or_insert(now_ns);
        let from_ns = if least > 0 {
            // Between two bytes.
            since_ns.max(self.typed_at_ns)
        } else {
            since_ns
        };
        let due_ns = from_ns.saturating_add(span_ns);
        if now_ns >= due_ns {
            return Ok(());
        }
        hub.set_deadline(self.queue, due_ns);
        hub.note_deadline();
        Err(Errno::EAGAIN)
    }

    fn read_slave(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        flags: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if self.hung_up {
            return Ok(0);
        }
        self.check_foreground(hub, env, SIGTTIN)?;
        let most = sink.remaining();
        let wait = !flags.contains(OpenFlags::NONBLOCK);
        let ready = match self.discipline.is_canonical() {
            true if self.discipline.has_input(1) => Ok(()),
            true => Err(Errno::EAGAIN),
            false => self.check_raw(hub, env, wait, most),
        };
        match ready {
            Err(Errno::EAGAIN) if self.input_ended => return Ok(0),
            ready => ready?,
        }
        self.read_since_ns = None;
        let mut bytes = vec![0; most.min(discipline::INPUT_BYTES)];
        let mut at = 0;
        let n = self.discipline.read(bytes.len(), |byte| {
            bytes[at] = byte;
            at += 1;
            true
        });
        self.take_in(hub);
        hub.wake(self.queue, Events::WRITE | Events::READ);
        if n > 0 && sink.put(&bytes[..n]) == 0 {
            return Err(Errno::EFAULT);
        }
        Ok(n)
    }

    fn write_master(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let want = source
            .remaining()
            .min(OUTPUT_BYTES.saturating_sub(self.typed.len()));
        if want == 0 {
            return Err(Errno::EAGAIN);
        }
        let mut bytes = vec![0; want];
        let n = source.take(&mut bytes);
        if n == 0 {
            return Err(Errno::EFAULT);
        }
        self.typed.extend(&bytes[..n]);
        self.typed_at_ns = env.monotonic();
        self.take_in(hub);
        hub.wake(self.queue, Events::READ);
        Ok(n)
    }

    fn write_slave(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        source: &mut dyn Source,
    ) -> Result<usize> {
        if self.hung_up {
            return Err(Errno::EIO);
        }
        if self.settings().local.contains(Local::TOSTOP) {
            self.check_foreground(hub, env, SIGTTOU)?;
        }
        let mut done = 0;
        let mut bytes = [0; 512];
        loop {
            let want = source
                .remaining()
                .min(bytes.len())
                .min(self.discipline.room());
            if want == 0 {
                break;
            }
            let n = source.take(&mut bytes[..want]);
            self.discipline.write(&bytes[..n]);
            done += n;
            if n < want {
                break;
            }
        }
        if done > 0 {
            hub.wake(self.queue, Events::READ);
            return Ok(done);
        }
        Err(match self.discipline.room() {
            0 => Errno::EAGAIN,
            _ => Errno::EFAULT,
        })
    }
}

impl Kind for Pty {
    const FACE: Face = Face::Anonymous("[terminal]");

    fn read(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        flags: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if flags.contains(OpenFlags::MASTER) {
            self.read_master(hub, sink)
        } else {
            self.read_slave(hub, env, flags, sink)
        }
    }

    fn write(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        flags: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        if source.remaining() == 0 {
            return Ok(0);
        }
        if flags.contains(OpenFlags::MASTER) {
            self.write_master(hub, env, source)
        } else {
            self.write_slave(hub, env, source)
        }
    }

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, flags: OpenFlags) -> Events {
        let mut events = Events::empty();
        if flags.contains(OpenFlags::MASTER) {
            let told = self.packets && self.status != 0;
            events.set(Events::PRI, told);
            events.set(Events::READ, told || self.discipline.waiting() > 0);
            events.set(Events::WRITE, self.typed.len() < OUTPUT_BYTES);
            events.set(Events::HUP, self.deserted);
            return events;
        }
        if self.hung_up {
            return Events::READ | Events::WRITE | Events::ERR | Events::HUP;
        }
        let cc = &self.settings().cc;
        let least = match cc[cc::TIME] {
            0 => usize::from(cc[cc::MIN]),
            _ => 1,
        };
        let readable = self.discipline.has_input(least) || self.input_ended;
        events.set(Events::READ, readable);
        events.set(Events::WRITE, self.discipline.room() > 0);
        events
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, flags: OpenFlags) -> bool {
        if flags.contains(OpenFlags::MASTER) {
            self.masters = self.masters.saturating_sub(1);
            self.hung_up = self.masters == 0;
        } else {
            self.slaves = self.slaves.saturating_sub(1);
            self.deserted = self.slaves == 0;
            if self.deserted {
                self.exclusive = false;
            }
        }
        if self.masters + self.slaves > 0 {
            hub.wake(self.queue, Events::all());
            return false;
        }
        hub.remove_queue(self.queue);
        true
    }

    fn seek(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    fn available(&self) -> Result<usize> {
        Ok(self.discipline.readable())
    }

    fn writes_all(&self) -> bool {
        true
    }
}
