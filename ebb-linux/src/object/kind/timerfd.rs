//! timerfd: timers as descriptors.
//!
//! A timer notes its due time with the hub, which wakes those that wait then; that it has fired it finds out itself when
//! somebody looks. As in Linux' `fs/timerfd.c` a periodic timer that has fired is not armed again before it is read: the
//! read computes how many periods have passed, so a guest that sleeps costs nothing.

use core::fmt::Write;

use super::{Face, Kind};
use crate::object::{
    env::{Env, Time},
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    io::{Sink, put_all},
    wait::{Events, Hub},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// A timer. All times are nanoseconds of the monotonic clock.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct TimerFd {
    pub(crate) wall_clock: bool,
    /// By its number.
    clock: u8,
    /// Those of the last `timerfd_settime`.
    pub(crate) flags: u32,
    /// When it fires.
    due_ns: Option<u64>,
    /// The due time of the last firing, from which periods are counted.
    fired_at_ns: u64,
    interval_ns: u64,
    ticks: u64,
    fired: bool,
    queue: QueueId,
}

/// Linux' `struct itimerspec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerSpec {
    /// The period; zero for a timer that fires once.
    pub interval: Time,
    /// When it fires; zero disarms.
    pub value: Time,
}

impl TimerSpec {
    /// Period and value in nanoseconds.
    #[must_use]
    pub const fn from_ns(interval: u64, value: u64) -> Self {
        Self {
            interval: Time::from_ns(interval),
            value: Time::from_ns(value),
        }
    }

    /// From the guest's memory.
    ///
    /// # Errors
    /// `EINVAL` for a negative time or 1e9 nanoseconds and more.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            i64::from_le_bytes(word)
        };
        let time = |at| {
            let (sec, nsec) = (word(at), word(at + 8));
            match u32::try_from(nsec) {
                Ok(nsec) if nsec < 1_000_000_000 && sec >= 0 => Ok(Time { sec, nsec }),
                _ => Err(Errno::EINVAL),
            }
        };
        Ok(Self {
            interval: time(0)?,
            value: time(16)?,
        })
    }

    /// As it lies in the guest's memory.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.interval.sec.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::from(self.interval.nsec).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.value.sec.to_le_bytes());
        bytes[24..].copy_from_slice(&u64::from(self.value.nsec).to_le_bytes());
        bytes
    }
}

impl TimerFd {
    pub(crate) fn new(hub: &mut Hub, clock: u8) -> Self {
        Self {
            wall_clock: matches!(clock, 0 | 8),
            clock,
            flags: 0,
            due_ns: None,
            fired_at_ns: 0,
            interval_ns: 0,
            ticks: 0,
            fired: false,
            queue: hub.new_queue(),
        }
    }

    fn arm(&mut self, hub: &mut Hub, due_ns: Option<u64>) {
        if let Some(before) = self.due_ns {
            hub.cancel_deadline(self.queue, before);
        }
        self.due_ns = due_ns;
        if let Some(due_ns) = due_ns {
            hub.set_deadline(self.queue, due_ns);
        }
    }

    /// Fires if it is due.
    #[inline]
    fn settle(&mut self, hub: &mut Hub, now_ns: u64) {
        if let Some(due_ns) = self.due_ns
            && due_ns <= now_ns
        {
            self.due_ns = None;
            self.fired = true;
            self.fired_at_ns = due_ns;
            self.ticks += 1;
            // Unless the hub has done so already.
            if hub.cancel_deadline(self.queue, due_ns) {
                hub.wake(self.queue, Events::IN);
            }
        }
    }

    /// Counts the periods since the last firing and arms the timer for the next one.
    fn forward(&mut self, hub: &mut Hub, now_ns: u64) {
        if !self.fired || self.interval_ns == 0 || self.due_ns.is_some() {
            return;
        }
        let missed = now_ns.saturating_sub(self.fired_at_ns) / self.interval_ns;
        self.ticks = self.ticks.saturating_add(missed);
        let next = missed.saturating_add(1).saturating_mul(self.interval_ns);
        self.fired = false;
        self.arm(hub, Some(self.fired_at_ns.saturating_add(next)));
    }

    /// Sets it to fire at `due_ns`, and then every `interval_ns` unless that is 0.
    pub(crate) fn set(
        &mut self,
        hub: &mut Hub,
        now_ns: u64,
        due_ns: Option<u64>,
        interval_ns: u64,
    ) {
        (self.ticks, self.fired, self.interval_ns) = (0, false, interval_ns);
        self.arm(hub, due_ns);
        self.settle(hub, now_ns);
    }

    /// Its period, and how long it has still to run.
    pub(crate) fn spec(&mut self, hub: &mut Hub, now_ns: u64) -> TimerSpec {
        self.settle(hub, now_ns);
        self.forward(hub, now_ns);
        let left = |due_ns: u64| due_ns.saturating_sub(now_ns).max(1);
        TimerSpec {
            interval: Time::from_ns(self.interval_ns),
            value: Time::from_ns(self.due_ns.map_or(0, left)),
        }
    }

    /// Moves it, but not its deadline, by `delta_ns`.
    pub(crate) fn shift(&mut self, delta_ns: i64) {
        self.due_ns = self.due_ns.map(|due| due.saturating_add_signed(delta_ns));
        self.fired_at_ns = self.fired_at_ns.saturating_add_signed(delta_ns);
    }
}

impl Kind for TimerFd {
    const FACE: Face = Face::Anonymous("[timerfd]");

    fn read(
        &mut self,
        hub: &mut Hub,
        env: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let now_ns = env.monotonic();
        self.settle(hub, now_ns);
        if self.ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        self.forward(hub, now_ns);
        let ticks = core::mem::take(&mut self.ticks);
        self.fired = false;
        put_all(sink, &ticks.to_le_bytes())
    }

    fn poll(&mut self, hub: &mut Hub, env: &dyn Env, _: OpenFlags) -> Events {
        if self.due_ns.is_some() {
            self.settle(hub, env.monotonic());
        }
        if self.ticks > 0 {
            Events::IN
        } else {
            Events::empty()
        }
    }

    fn describe(&self, now_ns: u64, out: &mut dyn Write) {
        let left_ns = self.due_ns.map_or(0, |due| due.saturating_sub(now_ns));
        let split = |ns: u64| (ns / 1_000_000_000, ns % 1_000_000_000);
        let _ = write!(
            out,
            "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: {:?}\nit_interval: {:?}\n",
            self.clock,
            self.ticks,
            self.flags,
            split(left_ns),
            split(self.interval_ns),
        );
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        self.arm(hub, None);
        hub.remove_queue(self.queue);
        true
    }
}
