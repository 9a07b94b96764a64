//! Where a core's thread sleeps: in `epoll`, which an eventfd ends early and sockets end when they are ready.
//!
//! What must hold: a wake after the last look at the inbox ends the next sleep. `state` carries that: only a waker that
//! finds the core asleep writes to the eventfd, so waking a running core is one exchange. The eventfd is edge-triggered,
//! and therefore never read. A core that looks for work before it sleeps ([`Patience`]) counts as running meanwhile, so it is woken
//! without a system call.

use std::{
    cell::Cell,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::patience::Patience;

const RUNNING: u32 = 0;
const ASLEEP: u32 = 1;
const NOTIFIED: u32 = 2;

/// What the eventfd is called in epoll's answers; sockets have their number plus one.
const WAKE: u64 = 0;

/// Ticks of the time stamp counter between two looks at the sockets of a core that does not come to sleep: some ten
/// microseconds.
const POLL_TICKS: u64 = 1 << 15;

/// Looks for a wake between two looks at the sockets, which are system calls.
const LOOKS: usize = 8;

/// What is told of a socket: the number that [`Parker::watch`] was given, and epoll's events.
pub(crate) type Ready = fn(u32, u32);

/// Answers taken from the kernel at once.
const BATCH: usize = 256;

/// Parkers of machines that have ended. They are used again, never freed: a waker may outlive its machine, and then ends
/// somebody else's sleep early.
static SPARE: Mutex<Vec<&'static Parker>> = Mutex::new(Vec::new());

/// See the module.
pub(crate) struct Parker {
    state: AtomicU32,
    epoll: OwnedFd,
    event: OwnedFd,
    /// Whether any socket was ever added: without, a running core need not ask.
    has_sockets: AtomicBool,
    last_poll: AtomicU64,
}

thread_local! {
    static CURRENT: Cell<Option<&'static Parker>> = const { Cell::new(None) };
    static PATIENCE: Patience = const { Patience::new(0) };
}

fn owned(fd: RawFd, what: &str) -> OwnedFd {
    assert!(fd >= 0, "{what}: {}", io::Error::last_os_error());
    // SAFETY: a descriptor that was just made, and is owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

impl Parker {
    /// A parker for a core, to be given back by [`retire`](Self::retire).
    pub fn get() -> &'static Self {
        let spare = SPARE.lock().expect("nothing panics under it").pop();
        spare.unwrap_or_else(|| Box::leak(Box::new(Self::new())))
    }

    /// The core's thread has ended.
    pub fn retire(&'static self) {
        SPARE.lock().expect("nothing panics under it").push(self);
    }

    fn new() -> Self {
        // SAFETY: plain system calls.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "epoll");
        // SAFETY: as above.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let this = Self {
            state: AtomicU32::new(RUNNING),
            epoll,
            event: owned(event, "eventfd"),
            has_sockets: AtomicBool::new(false),
            last_poll: AtomicU64::new(0),
        };
        this.add_descriptor(this.event.as_raw_fd(), WAKE, libc::EPOLLIN)
            .expect("adding an eventfd to an epoll");
        this
    }

    /// The name under which the runtime knows it.
    pub fn token(&'static self) -> usize {
        ptr::from_ref(self).expose_provenance()
    }

    pub fn from_token(token: usize) -> &'static Self {
        // SAFETY: tokens are made by `token` from parkers that are never freed.
        unsafe { &*ptr::with_exposed_provenance(token) }
    }

    /// Makes this the parker of the calling thread, which looks for work for at most `look_ns` before it sleeps.
    pub fn enter(&'static self, look_ns: u64) {
        CURRENT.set(Some(self));
        PATIENCE.with(|patience| patience.set_most_ns(look_ns));
    }

    /// The parker of the calling thread, which is a core's.
    pub fn current() -> Option<&'static Self> {
        CURRENT.get()
    }

    fn add_descriptor(&self, fd: RawFd, name: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (events | libc::EPOLLET) as u32,
            u64: name,
        };
        // SAFETY: a valid event; the descriptors are open.
        let done =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Watches a socket, edge-triggered, until it is closed.
    pub fn watch(&self, fd: RawFd, socket: u32) -> io::Result<()> {
        self.has_sockets.store(true, Ordering::Relaxed);
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
        self.add_descriptor(fd, u64::from(socket) + 1, events)
    }

    #[inline]
    pub fn wake(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP {
            let one = 1u64;
            // SAFETY: eight valid bytes. It cannot fail: the count never comes near its limit.
            unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Sleeps until woken, until a socket is ready, or for `limit_ns`. Tells `ready` the sockets that are, and how.
    pub fn park(&self, limit_ns: Option<u64>, ready: Ready) {
        PATIENCE.with(|patience| {
            if patience.is_on() {
                self.look_and_sleep(patience, limit_ns, ready);
            } else {
                self.sleep(limit_ns, ready);
            }
        });
        // Acquire: of a wake that this takes back, what went before it is seen.
        self.state.swap(RUNNING, Ordering::AcqRel);
    }

    fn sleep(&self, limit_ns: Option<u64>, ready: Ready) {
        let asleep =
            self.state
                .compare_exchange(RUNNING, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if asleep.is_ok() {
            self.wait(limit_ns, ready);
        }
    }

    fn look_and_sleep(&self, patience: &Patience, limit_ns: Option<u64>, ready: Ready) {
        let start = Instant::now();
        let look_ns = patience.look_ns();
        if look_ns > 0 && self.look(start, look_ns.min(limit_ns.unwrap_or(u64::MAX)), ready) {
            patience.found();
            return;
        }
        let asleep = Instant::now();
        let limit_ns = limit_ns.map(|limit| limit.saturating_sub(ns(asleep - start)));
        self.sleep(limit_ns, ready);
        patience.slept(look_ns > 0, ns(asleep.elapsed()));
    }

    /// Looks for a wake and at the sockets for so long. True when there was something.
    fn look(&self, start: Instant, look_ns: u64, ready: Ready) -> bool {
        let has_sockets = self.has_sockets.load(Ordering::Relaxed);
        loop {
            for _ in 0..LOOKS {
                if self.state.load(Ordering::Relaxed) == NOTIFIED {
                    return true;
                }
                core::hint::spin_loop();
            }
            if has_sockets && self.wait(Some(0), ready) {
                return true;
            }
            if ns(start.elapsed()) >= look_ns {
                return false;
            }
        }
    }

    /// Lets ready sockets in without sleeping, if the last look was a while ago.
    #[inline]
    pub fn poll(&self, ready: Ready) {
        if !self.has_sockets.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: every x86-64 has the counter, and Linux leaves it readable.
        let now = unsafe { core::arch::x86_64::_rdtsc() };
        // Only this core writes it.
        if now.wrapping_sub(self.last_poll.load(Ordering::Relaxed)) > POLL_TICKS {
            self.wait(Some(0), ready);
            // SAFETY: as above.
            let now = unsafe { core::arch::x86_64::_rdtsc() };
            self.last_poll.store(now, Ordering::Relaxed);
        }
    }

    /// True when a socket was ready or this was woken.
    fn wait(&self, limit_ns: Option<u64>, ready: Ready) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let count = self.epoll_wait(&mut events, limit_ns);
        for event in &events[..count] {
            let name = event.u64;
            if name != WAKE {
                ready((name - 1) as u32, event.events);
            }
        }
        count > 0
    }

    fn epoll_wait(&self, events: &mut [libc::epoll_event], limit_ns: Option<u64>) -> usize {
        let limit = limit_ns.map(|n| libc::timespec {
            tv_sec: (n / 1_000_000_000).min(i64::MAX as u64) as i64,
            tv_nsec: (n % 1_000_000_000) as i64,
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // The one with nanoseconds; glibc has it only from 2.35.
        // SAFETY: the buffer is valid for its length; the limit is null or valid.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                events.len(),
                limit,
                ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if count >= 0 {
            return count as usize;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
            return 0;
        }
        // Linux before 5.11: whole milliseconds, rounded up.
        let limit = limit_ns.map_or(-1, |n| n.div_ceil(1_000_000).min(60_000) as i32);
        // SAFETY: as above.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                limit,
            )
        };
        count.max(0) as usize
    }
}
