//! `timerfd_create`, `timerfd_settime`, `timerfd_gettime`, and the clock's side of them.
//!
//! Objects do not know the time. [`Objects::next_deadline`] says when the earliest timer is due;
//! the UC arms one timer of its own for it and then calls [`Objects::expire_timers`].

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, Id},
    kind::{
        Object,
        timerfd::{TimerFd, TimerSpec},
    },
};

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
        let timer = TimerFd::new(&mut self.hub, clock as u8);
        let id = self.kinds.timers.insert(timer);
        self.open_object(Object::TimerFd(id), flags | OpenFlags::RDWR, None)
    }

    fn timer_of(&self, fd: Fd) -> Result<Id<TimerFd>> {
        match self.description(self.files.fds.get(fd)?)?.object {
            Object::TimerFd(id) => Ok(id),
            Object::Path => Err(Errno::EBADF),
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
        let timer = self.kinds.timers.get_mut(id).ok_or(Errno::EBADF)?;
        timer.flags = flags;
        let now_ns = env.monotonic();
        let old = timer.spec(&mut self.hub, now_ns);
        let value_ns = spec.value.to_ns();
        let due_ns = match (value_ns, flags & 1 != 0) {
            (0, _) => None,
            (value_ns, false) => Some(now_ns.saturating_add(value_ns)),
            (value_ns, true) if timer.wall_clock => {
                let ahead_ns = value_ns.saturating_sub(env.realtime());
                Some(now_ns.saturating_add(ahead_ns))
            }
            (value_ns, true) => Some(value_ns),
        };
        timer.set(&mut self.hub, now_ns, due_ns, spec.interval.to_ns());
        Ok(old)
    }

    /// `timerfd_gettime`.
    pub fn timerfd_get(&mut self, env: &dyn Env, fd: Fd) -> Result<TimerSpec> {
        let id = self.timer_of(fd)?;
        let timer = self.kinds.timers.get_mut(id).ok_or(Errno::EBADF)?;
        Ok(timer.spec(&mut self.hub, env.monotonic()))
    }

    /// When the earliest timer fires, in nanoseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.hub.next_deadline()
    }

    /// Wakes those that wait for a timer that is due at `now_ns`.
    pub fn expire_timers(&mut self, now_ns: u64) {
        self.hub.expire(now_ns);
    }

    /// Moves every running timer by `delta_ns`: for a clone whose clock differs from the
    /// clock of the UC it was captured from.
    pub fn shift_timers(&mut self, delta_ns: i64) {
        self.hub.shift_deadlines(delta_ns);
        for (_, timer) in self.kinds.timers.iter_mut() {
            timer.shift(delta_ns);
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
    use crate::object::{
        env::Time,
        testing::{World, objects},
    };

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
