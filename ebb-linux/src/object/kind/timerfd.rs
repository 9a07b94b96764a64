//! timerfd: timers as descriptors.
//!
//! Objects do not know the time. [`Objects::next_deadline`] says when the earliest timer is due;
//! the UC arms one timer of its own for it and then calls [`Objects::expire_timers`]. As in
//! Linux' `fs/timerfd.c` a periodic timer that has fired is not armed again before it is read: the
//! read computes how many periods have passed, so a guest that sleeps costs nothing.

use alloc::collections::BTreeSet;

use crate::object::{
    Objects,
    arena::{Arena, Id},
    description::{DescId, Object},
    env::{Env, Time},
    errno::{Errno, Result},
    fd::Fd,
    flags::OpenFlags,
    io::{Sink, put_all},
    wait::{Events, QueueId},
};

/// A timer.
#[derive(Clone, Debug)]
pub struct TimerFd {
    wall_clock: bool,
    /// When it fires, on the monotonic clock.
    due: Option<u64>,
    /// The due time of the last firing, from which periods are counted.
    fired_at: u64,
    interval: u64,
    ticks: u64,
    fired: bool,
    pub(crate) queue: QueueId,
}

/// All timers of a UC and their due times.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    all: Arena<TimerFd>,
    due: BTreeSet<(u64, Id<TimerFd>)>,
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

impl Timers {
    pub(crate) fn get(&self, id: Id<TimerFd>) -> Option<&TimerFd> {
        self.all.get(id)
    }

    fn arm(&mut self, id: Id<TimerFd>, due: Option<u64>) {
        let Some(timer) = self.all.get_mut(id) else {
            return;
        };
        if let Some(old) = timer.due {
            self.due.remove(&(old, id));
        }
        timer.due = due;
        if let Some(due) = due {
            self.due.insert((due, id));
        }
    }

    /// Counts the periods since the last firing and arms the timer for the next one.
    fn forward(&mut self, id: Id<TimerFd>, now: u64) {
        let Some(timer) = self.all.get_mut(id) else {
            return;
        };
        if !timer.fired || timer.interval == 0 || timer.due.is_some() {
            return;
        }
        let missed = now.saturating_sub(timer.fired_at) / timer.interval;
        timer.ticks = timer.ticks.saturating_add(missed);
        let next = missed.saturating_add(1).saturating_mul(timer.interval);
        let due = timer.fired_at.saturating_add(next);
        timer.fired = false;
        self.arm(id, Some(due));
    }
}

impl Objects {
    /// `timerfd_create`: `clock` is 0 (wall clock), 1 (monotonic), 7 (boot time) or the alarm
    /// variants 8 and 9.
    pub fn timerfd(&mut self, clock: i32, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags)
            || !matches!(clock, 0 | 1 | 7 | 8 | 9)
        {
            return Err(Errno::EINVAL);
        }
        let queue = self.hub.new_queue();
        let id = self.timers.all.insert(TimerFd {
            wall_clock: matches!(clock, 0 | 8),
            due: None,
            fired_at: 0,
            interval: 0,
            ticks: 0,
            fired: false,
            queue,
        });
        self.open_object(Object::TimerFd(id), flags | OpenFlags::RDWR, None)
    }

    pub(crate) fn close_timerfd(&mut self, id: Id<TimerFd>) {
        self.timers.arm(id, None);
        if let Some(timer) = self.timers.all.remove(id) {
            self.hub.remove_queue(timer.queue);
        }
    }

    fn timer_of(&self, fd: Fd) -> Result<Id<TimerFd>> {
        match self.description(self.files.fds.get(fd)?)?.object {
            Object::TimerFd(id) => Ok(id),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `timerfd_settime`; gives the old setting. `flags` may hold `TFD_TIMER_ABSTIME` (1) and
    /// `TFD_TIMER_CANCEL_ON_SET` (2, accepted: the clock of a UC is never set).
    pub fn timerfd_set(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        flags: u32,
        spec: TimerSpec,
    ) -> Result<TimerSpec> {
        if flags & !3 != 0 {
            return Err(Errno::EINVAL);
        }
        let id = self.timer_of(fd)?;
        let old = self.timer_spec(env, id)?;
        let now = env.monotonic();
        let timer = self.timers.all.get_mut(id).ok_or(Errno::EBADF)?;
        (timer.ticks, timer.fired, timer.interval) = (0, false, spec.interval.to_ns());
        let value = spec.value.to_ns();
        let due = match (value, flags & 1 != 0) {
            (0, _) => None,
            (value, false) => Some(now.saturating_add(value)),
            (value, true) if timer.wall_clock => {
                let ahead = value.saturating_sub(env.realtime());
                Some(now.saturating_add(ahead))
            }
            (value, true) => Some(value),
        };
        self.timers.arm(id, due);
        self.expire_timers(now);
        Ok(old)
    }

    /// `timerfd_gettime`.
    pub fn timerfd_get(&mut self, env: &dyn Env, fd: Fd) -> Result<TimerSpec> {
        let id = self.timer_of(fd)?;
        self.timer_spec(env, id)
    }

    fn timer_spec(&mut self, env: &dyn Env, id: Id<TimerFd>) -> Result<TimerSpec> {
        let now = env.monotonic();
        self.expire_timers(now);
        self.timers.forward(id, now);
        let timer = self.timers.all.get(id).ok_or(Errno::EBADF)?;
        let left = timer.due.map_or(0, |due| due.saturating_sub(now).max(1));
        Ok(TimerSpec {
            interval: Time::from_ns(timer.interval),
            value: Time::from_ns(left),
        })
    }

    /// When the earliest timer fires, in nanoseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.due.first().map(|&(due, _)| due)
    }

    /// Fires every timer that is due at `now`.
    pub fn expire_timers(&mut self, now: u64) {
        while let Some(&(due, id)) = self.timers.due.first()
            && due <= now
        {
            self.timers.arm(id, None);
            if let Some(timer) = self.timers.all.get_mut(id) {
                timer.fired = true;
                timer.fired_at = due;
                timer.ticks += 1;
                let queue = timer.queue;
                self.hub.wake(queue, Events::IN);
            }
        }
    }

    pub(crate) fn poll_timerfd(&mut self, env: &dyn Env, id: Id<TimerFd>) -> Events {
        if self
            .next_deadline()
            .is_some_and(|due| due <= env.monotonic())
        {
            self.expire_timers(env.monotonic());
        }
        match self.timers.all.get(id) {
            Some(timer) if timer.ticks > 0 => Events::IN,
            _ => Events::empty(),
        }
    }

    pub(crate) fn read_timerfd(
        &mut self,
        env: &dyn Env,
        id: Id<TimerFd>,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let now = env.monotonic();
        self.expire_timers(now);
        if self.timers.get(id).ok_or(Errno::EBADF)?.ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        self.timers.forward(id, now);
        let timer = self.timers.all.get_mut(id).ok_or(Errno::EBADF)?;
        let ticks = core::mem::take(&mut timer.ticks);
        timer.fired = false;
        put_all(sink, &ticks.to_le_bytes())
    }

    /// Moves every running timer by `delta` nanoseconds: for a clone whose clock differs from the
    /// clock of the UC it was captured from.
    pub fn shift_timers(&mut self, delta: i64) {
        let moved: alloc::vec::Vec<_> = self.timers.due.iter().copied().collect();
        for (due, id) in moved {
            self.timers.arm(id, Some(due.saturating_add_signed(delta)));
        }
        for (_, timer) in self.timers.all.iter_mut() {
            timer.fired_at = timer.fired_at.saturating_add_signed(delta);
        }
    }

    /// The description, for those who need to know which timer a descriptor names.
    pub fn is_timer(&self, desc: DescId) -> bool {
        matches!(
            self.description(desc).map(|d| d.object),
            Ok(Object::TimerFd(_))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    fn ms(n: u64) -> Time {
        Time::from_ns(n * 1_000_000)
    }

    #[test]
    fn a_periodic_timer_counts_the_periods_nobody_read() {
        let (mut o, w) = (objects(), World::default());
        let fd = o.timerfd(1, 0).unwrap();
        let spec = TimerSpec {
            interval: ms(10),
            value: ms(5),
        };
        o.timerfd_set(&w, fd, 0, spec).unwrap();
        let start = w.now.get();
        assert_eq!(o.next_deadline(), Some(start + 5_000_000));
        let mut word = [0; 8];
        assert_eq!(o.read(&w, fd, &mut &mut word[..]), Err(Errno::EAGAIN));
        w.now.set(start + 37_000_000);
        assert_eq!(o.read(&w, fd, &mut &mut word[..]), Ok(8));
        assert_eq!(u64::from_le_bytes(word), 4, "at 5, 15, 25 and 35 ms");
        assert_eq!(o.next_deadline(), Some(start + 45_000_000));
        let spec = o.timerfd_get(&w, fd).unwrap();
        assert_eq!(
            spec,
            TimerSpec {
                interval: ms(10),
                value: ms(8)
            }
        );
    }

    #[test]
    fn an_absolute_time_of_the_wall_clock_is_honoured() {
        let (mut o, w) = (objects(), World::default());
        let fd = o.timerfd(0, 0).unwrap();
        let value = Time::from_ns(w.realtime() + 3_000);
        o.timerfd_set(
            &w,
            fd,
            1,
            TimerSpec {
                value,
                ..Default::default()
            },
        )
        .unwrap();
        assert_eq!(o.next_deadline(), Some(w.now.get() + 3_000));
        o.close(fd).unwrap();
        assert_eq!(o.next_deadline(), None);
    }
}
