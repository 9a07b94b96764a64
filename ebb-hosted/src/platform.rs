//! The components.

use std::{
    any::Any,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Condvar, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ebb_runtime::{
    platform::{Clock, Console, Cores, Entropy, Environment, Power, Unwind},
    provides,
};

use crate::machine::ARGUMENTS;

pub(crate) fn set_arguments(arguments: impl Iterator<Item = String>) {
    let _ = ARGUMENTS.set(arguments.map(|a| &*a.leak()).collect());
}

pub(crate) fn pin_to_cpu(n: usize) {
    // SAFETY: plain system calls on sets of this function's own.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed) != 0 {
            return;
        }
        let Some(cpu) = (0..libc::CPU_SETSIZE as usize)
            .filter(|&c| libc::CPU_ISSET(c, &allowed))
            .nth(n)
        else {
            return;
        };
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        // Pinning is for speed only: a refusal changes nothing else.
        libc::sched_setaffinity(0, size_of_val(&one), &one);
    }
}

/// Linux, as the provider of every component.
struct Linux;

/// Where a core's thread sleeps.
pub(crate) struct Parker {
    notified: AtomicBool,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Parker {
    pub fn new() -> Self {
        Self {
            notified: AtomicBool::new(false),
            lock: Mutex::new(()),
            condition: Condvar::new(),
        }
    }

    /// The name under which the runtime knows it.
    pub fn token(&'static self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    fn from_token(token: usize) -> &'static Self {
        // SAFETY: tokens are made by `token` from parkers that are never freed.
        unsafe { &*std::ptr::with_exposed_provenance(token) }
    }
}

#[provides(Cores, instance = &Linux)]
impl Cores for Linux {
    fn wake(&self, token: usize) {
        let parker = Parker::from_token(token);
        if !parker.notified.swap(true, Ordering::AcqRel) {
            drop(parker.lock.lock());
            parker.condition.notify_one();
        }
    }

    fn park(&self, token: usize, deadline: Option<u64>) {
        let parker = Parker::from_token(token);
        let mut guard = parker.lock.lock().expect("nothing panics under it");
        if !parker.notified.swap(false, Ordering::AcqRel) {
            match deadline {
                None => {
                    guard = parker
                        .condition
                        .wait(guard)
                        .expect("nothing panics under it")
                }
                Some(deadline) => {
                    let wait = Duration::from_nanos(deadline.saturating_sub(Linux.now()));
                    guard = parker
                        .condition
                        .wait_timeout(guard, wait)
                        .expect("as above")
                        .0;
                }
            }
            parker.notified.store(false, Ordering::Release);
        }
        drop(guard);
    }

    fn poll(&self, _token: usize) {}
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[provides(Clock, instance = &Linux)]
impl Clock for Linux {
    fn now(&self) -> u64 {
        START.elapsed().as_nanos() as u64
    }

    fn unix_time(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }
}

#[provides(Console, instance = &Linux)]
impl Console for Linux {
    fn write(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut ready = libc::pollfd {
            fd: 0,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        if unsafe { libc::poll(&mut ready, 1, 0) } <= 0 {
            return 0;
        }
        io::stdin().lock().read(buffer).unwrap_or(0)
    }
}

#[provides(Power, instance = &Linux)]
impl Power for Linux {
    fn exit(&self, status: i32) -> ! {
        process::exit(status)
    }
}

#[provides(Entropy, instance = &Linux)]
impl Entropy for Linux {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(256) {
            // SAFETY: the chunk is valid for its length; requests up to 256 bytes are whole.
            let got = unsafe { libc::getrandom(chunk.as_mut_ptr().cast(), chunk.len(), 0) };
            assert_eq!(
                got,
                chunk.len() as isize,
                "getrandom gives up to 256 bytes at once"
            );
        }
    }
}

#[provides(Environment, instance = &Linux)]
impl Environment for Linux {
    fn arguments(&self) -> &'static [&'static str] {
        ARGUMENTS.get().map_or(&[], Vec::as_slice)
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        static OPTIONS: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
            let text = std::env::var("EBB_OPTIONS").unwrap_or_default();
            text.leak()
                .split_whitespace()
                .map(|o| o.split_once('=').unwrap_or((o, "")))
                .collect()
        });
        OPTIONS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }
}

#[provides(Unwind, instance = &Linux)]
impl Unwind for Linux {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(f))
    }
}
