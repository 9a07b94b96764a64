//! The components.

use std::{
    any::Any,
    collections::BTreeMap,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use ebb_runtime::guest::{Context, GuestCpu, Stale, Trap};
use ebb_runtime::{
    platform::{Clock, Console, Cores, Entropy, Environment, Power, Unwind},
    provides,
};

use crate::{machine::ARGUMENTS, parker::Parker};

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

#[provides(Cores, instance = &Linux)]
impl Cores for Linux {
    fn wake(&self, token: usize) {
        Parker::from_token(token).wake();
    }

    fn park(&self, token: usize, deadline: Option<u64>) {
        let parker = Parker::from_token(token);
        parker.park(deadline.map(|d| d.saturating_sub(Linux.now())));
    }

    fn poll(&self, token: usize) {
        Parker::from_token(token).poll();
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[provides(Clock, default, instance = &Linux)]
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

#[provides(Console, default, instance = &Linux)]
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

#[provides(Power, default, instance = &Linux)]
impl Power for Linux {
    fn exit(&self, status: i32) -> ! {
        process::exit(status)
    }
}

#[provides(Entropy, default, instance = &Linux)]
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

#[provides(Environment, default, instance = &Linux)]
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
            .or_else(|| variable(name))
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }
}

/// `EBB_NAME` of the environment, which the runner would hand to an image as the option `name`.
fn variable(name: &str) -> Option<&'static str> {
    static SEEN: Mutex<BTreeMap<String, Option<&'static str>>> = Mutex::new(BTreeMap::new());
    let name = format!("EBB_{}", name.to_ascii_uppercase().replace('-', "_"));
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    *seen.entry(name).or_insert_with_key(|name| {
        let value = std::env::var(name).ok().filter(|v| !v.is_empty());
        value.map(|v| &*v.leak())
    })
}

#[provides(Unwind, instance = &Linux)]
impl Unwind for Linux {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(f))
    }
}

/// User mode needs a machine of one's own: no guest can be started here.
#[provides(GuestCpu, instance = &Linux)]
impl GuestCpu for Linux {
    fn enter(&self, _: &mut Context, _: u64, _: Stale<'_>) -> Trap {
        Trap::Exception {
            vector: 13,
            error: 0,
        }
    }

    fn interrupt_at(&self, _: u64) {}

    fn save(&self, _: &mut Context) {}

    fn evict(&self, _: &mut Context) {}

    fn extended_size(&self) -> usize {
        576
    }

    fn kernel_root(&self) -> u64 {
        0
    }

    fn clock_page(&self) -> u64 {
        0
    }

    fn image_address(&self, _: *const u8) -> u64 {
        0
    }

    fn leave(&self, _: u64) {}
}
