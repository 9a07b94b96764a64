//! A system call being made: what asks for it, its arguments, how it waits, and what it ends with.
//!
//! What must hold: a handler either finishes or says [`Stop::Wait`] having changed nothing but its `Waiting` (principle 2 in
//! the crate's documentation). It is called again with the same arguments whenever the thread is woken.

use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::object::Objects;
use crate::object::description::DescId;
use crate::object::fd::Fd;
use crate::object::wait::Events;
use crate::state::thread::{Remainder, Thread, Waiting, Work};
use crate::uc::caller::Caller;
use crate::uc::env::World;
use core::net::IpAddr;
use core::ops::Deref;
use core::task::Waker;
use ebb_mem::space::{BadAddress, Error};

/// How long the machine's address is waited for: longer than the stack asks for one before it gives up.
const NETWORK_PATIENCE_NS: u64 = 15_000_000_000;

/// Why a handler did not give a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It failed.
    Error(Errno),
    /// It waits.
    Wait,
    /// The thread is over, with this status.
    Gone(u8),
    /// The thread's registers were replaced; there is no result.
    Replaced,
    /// It is done, with the result 0, and others are to run first.
    Yield,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

impl From<BadAddress> for Stop {
    fn from(_: BadAddress) -> Self {
        Self::Error(Errno::EFAULT)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(crate::errno_of(error))
    }
}

/// What a handler gives.
pub type Outcome = Result<u64, Stop>;

/// A handler.
pub type Handler = fn(&Call<'_>) -> Outcome;

/// A system call being made.
pub struct Call<'a> {
    /// The thread that makes it.
    pub caller: Caller<'a>,
    /// The thread's number.
    pub tid: u32,
    /// The call's number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The thread has not waited in it yet.
    pub first: bool,
    /// A handler is about to run: the call ends now with what it has moved and does not wait.
    pub last_try: bool,
    /// Wakes the thread's task.
    pub waker: &'a Waker,
}

impl<'a> Deref for Call<'a> {
    type Target = Caller<'a>;

    fn deref(&self) -> &Caller<'a> {
        &self.caller
    }
}

impl<'a> Call<'a> {
    /// The calls of a thread, one after another: none yet.
    pub const fn of(caller: Caller<'a>, tid: u32, waker: &'a Waker) -> Self {
        Self {
            caller,
            tid,
            number: 0,
            args: [0; 6],
            first: true,
            last_try: false,
            waker,
        }
    }

    /// The thread's registers ask for this one.
    #[inline]
    pub fn ask(&mut self, thread: &Thread, first: bool) {
        let c = &thread.context;
        // Linux looks at 32 bits.
        self.number = u64::from(c.rax as u32);
        self.args = [c.rdi, c.rsi, c.rdx, c.r10, c.r8, c.r9];
        self.first = first;
    }
}

impl Call<'_> {
    /// Runs `f` with the calling thread.
    pub fn thread<R>(&self, f: impl FnOnce(&mut Thread) -> R) -> Result<R, Stop> {
        self.with_thread(f).ok_or(Stop::Gone(0))
    }

    /// Runs `f` with what the call remembers while it waits, if it has waited.
    pub fn waited<R>(&self, f: impl FnOnce(&mut Waiting) -> R) -> Option<R> {
        self.with_thread(|t| t.waiting.as_mut().map(f)).flatten()
    }

    /// Waits, with `deadline` in clock nanoseconds if it is the first time.
    pub fn wait(&self, deadline: Option<u64>) -> Outcome {
        self.thread(|t| {
            t.waiting.get_or_insert_with(|| Waiting {
                deadline,
                ..Waiting::default()
            });
        })?;
        Err(Stop::Wait)
    }

    /// Tells the guest how much of the call's time limit is left, if it wants to know.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn give_remainder(&self) -> Result<(), Stop> {
        let waits = |w: &mut Waiting| Some((w.remainder?, w.deadline?));
        let Some((remainder, deadline)) = self.waited(waits).flatten() else {
            return Ok(());
        };
        self.put_remainder(remainder, deadline)
    }

    /// Tells the guest, where `remainder` says, how much time is left until `deadline`.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn put_remainder(&self, remainder: Remainder, deadline: u64) -> Result<(), Stop> {
        let left_ns = deadline.saturating_sub(self.uc.now());
        let (seconds, rest_ns) = (left_ns / 1_000_000_000, left_ns % 1_000_000_000);
        match remainder {
            Remainder::Timespec(at) => self.space().put(at, [seconds, rest_ns])?,
            Remainder::Timeval(at) => self.space().put(at, [seconds, rest_ns / 1000])?,
        }
        Ok(())
    }

    /// Whether the call has waited and its deadline has passed.
    pub fn is_late(&self) -> bool {
        if self.first {
            return false;
        }
        let deadline = self.waited(|w| w.deadline).flatten();
        deadline.is_some_and(|d| self.uc.now() >= d)
    }
}

impl Call<'_> {
    /// How far the call has come, if it is made in parts.
    pub fn work(&self) -> Work {
        self.waited(|w| w.rare().work).flatten().unwrap_or_default()
    }

    /// Lets others run before the next part of the call. No signal comes between.
    pub fn next_part(&self, work: Work) -> Outcome {
        self.thread(|t| {
            t.waiting.get_or_insert_default().rare_mut().work = Some(work);
        })?;
        self.waker.wake_by_ref();
        Err(Stop::Wait)
    }
}

impl Call<'_> {
    /// The descriptor in argument `n`.
    pub fn fd(&self, n: usize) -> Fd {
        self.args[n] as Fd
    }

    /// The UC as its objects see it.
    pub fn world(&self) -> World<'_> {
        World {
            uc: self.uc,
            process: self.process,
        }
    }

    /// Runs an operation on objects that takes no descriptor of its own to wait for.
    pub fn on_objects<R>(
        &self,
        f: impl FnOnce(&mut Objects, &World<'_>) -> Result<R, Errno>,
    ) -> Result<R, Stop> {
        f(&mut self.objects(), &self.world()).map_err(Stop::Error)
    }

    /// The description behind a descriptor: the one that the call began with, if it has waited.
    pub fn held(&self, fd: Fd) -> Result<DescId, Stop> {
        let held = || self.waited(|w| w.held).flatten();
        match (!self.first).then(held).flatten() {
            Some(id) => Ok(id),
            None => Ok(self.objects().lookup_fd(fd)?),
        }
    }

    /// Waits until a transfer is worth trying again, as long as the time limit of a socket allows (`SO_RCVTIMEO`,
    /// `SO_SNDTIMEO`).
    ///
    /// # Errors
    /// `EAGAIN` when that is over, [`Stop::Wait`].
    pub fn wait_for_transfer(&self, fd: Fd, id: DescId, events: Events) -> Outcome {
        if self.is_late() {
            return Err(Errno::EAGAIN.into());
        }
        let (receive_ns, send_ns) = self.objects().socket_timeouts(id).unwrap_or_default();
        let span_ns = if events.contains(Events::OUT) {
            send_ns
        } else {
            receive_ns
        };
        let deadline = (span_ns > 0).then(|| self.uc.now().saturating_add(span_ns));
        self.wait_for(fd, id, events, deadline)
    }

    /// Waits for news of a description.
    pub fn wait_for(&self, fd: Fd, id: DescId, events: Events, deadline: Option<u64>) -> Outcome {
        self.thread(|t| {
            let waiting = t.waiting.get_or_insert_with(|| Waiting {
                deadline,
                ..Waiting::default()
            });
            if waiting.messages > 0 && waiting.deadline.is_none() {
                waiting.deadline = deadline;
            }
        })?;
        self.keep_open(fd)?;
        let mut objects = self.objects();
        let queue = objects.queue_of(id)?.ok_or(Errno::EAGAIN)?;
        self.thread(|t| objects.register_queue(queue, events, &mut t.registration, self.waker))?;
        Err(Stop::Wait)
    }

    /// Waits, once, until it is known how the machine is connected, as far as `ip` is reached by that; without one, as far as
    /// there are addresses at all. A machine that Linux runs on has its addresses before its programs start.
    pub fn wait_for_network(&self, ip: Option<IpAddr>) -> Result<(), Stop> {
        let waited = self.waited(|w| w.network) == Some(true);
        if self.uc.knows_network(ip) || waited && self.is_late() {
            if waited {
                // What the call waits for from here on has limits of its own.
                self.thread(|t| t.waiting = None)?;
            }
            return Ok(());
        }
        if self.last_try {
            return Err(Errno::EAGAIN.into());
        }
        ebb_net::register_configuration(self.waker);
        let deadline = self.uc.now().saturating_add(NETWORK_PATIENCE_NS);
        let outcome = self.wait(Some(deadline));
        self.waited(|w| w.network = true);
        outcome.map(|_| ())
    }

    /// Keeps the description behind a descriptor for the rest of the call, which goes on later. Nothing has run since the call
    /// looked it up.
    pub fn keep_open(&self, fd: Fd) -> Result<(), Stop> {
        if self.waited(|w| w.held).flatten().is_none() {
            let held = self.objects().hold(fd).ok();
            self.thread(|t| t.waiting.get_or_insert_with(Waiting::default).held = held)?;
        }
        Ok(())
    }

    /// Whether an operation on the description returns rather than waits.
    pub fn is_nonblocking(&self, id: DescId) -> bool {
        let objects = self.objects();
        self.last_try
            || objects
                .description(id)
                .is_ok_and(|d| d.flags.contains(OpenFlags::NONBLOCK))
    }
}
