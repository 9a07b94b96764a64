//! A platform of its own: threads that sleep with what `std` has, and neither `ebb-hosted` nor `native-target` in the program.
//! The book's chapter on platforms goes through it; this program tests that the seam is all a platform has to know.

use std::{
    any::Any,
    cell::Cell,
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ebb::{
    CoreId, EbbRef, Machine, core_main, ebb,
    platform::{Clock, Console, Cores, Entropy, Environment, Power, Unwind},
    provides,
};

/// The cores of this machine.
const CORES: usize = 2;

struct Threads;

// ANCHOR: simple
#[provides(Clock, instance = &Threads)]
impl Clock for Threads {
    fn now_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    fn unix_time_ns(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64)
    }
}

#[provides(Console, instance = &Threads)]
impl Console for Threads {
    fn write(&self, bytes: &[u8]) {
        let _ = std::io::stdout().write_all(bytes);
    }

    fn read(&self, _: &mut [u8]) -> usize {
        0
    }
}

#[provides(Power, instance = &Threads)]
impl Power for Threads {
    fn exit(&self, status: i32) -> ! {
        process::exit(status)
    }
}

#[provides(Entropy, instance = &Threads)]
impl Entropy for Threads {
    fn fill(&self, bytes: &mut [u8]) {
        let source = std::fs::File::open("/dev/urandom");
        let filled = source.and_then(|mut source| source.read_exact(bytes));
        filled.expect("the kernel has randomness");
    }
}

#[provides(Environment, instance = &Threads)]
impl Environment for Threads {
    fn arguments(&self) -> &'static [&'static str] {
        &[]
    }

    fn option(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }
}

#[provides(Unwind, instance = &Threads)]
impl Unwind for Threads {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(f))
    }
}
// ANCHOR_END: simple

// ANCHOR: cores
/// Where a core sleeps. What must hold: a `wake` that comes before `park` makes that `park` return, so no wake is lost. `std`'s
/// threads keep such a token themselves.
static SLEEPERS: [Mutex<Option<Thread>>; CORES] = [const { Mutex::new(None) }; CORES];

#[provides(Cores, instance = &Threads)]
impl Cores for Threads {
    fn wake(&self, token: usize) {
        if let Some(thread) = &*SLEEPERS[token].lock().expect("no panic") {
            thread.unpark();
        }
    }

    fn park(&self, _: usize, deadline: Option<u64>) {
        match deadline {
            None => thread::park(),
            Some(at) => {
                thread::park_timeout(Duration::from_nanos(at.saturating_sub(self.now_ns())))
            }
        }
    }

    fn poll(&self, _: usize) {
        // There are no interrupts, and no sockets.
    }
}
// ANCHOR_END: cores

// ANCHOR: start
/// Runs `start` as the first event of a machine, and gives its exit status when it has stopped.
fn run(start: impl FnOnce() + Send + 'static) -> i32 {
    // The tokens are what `wake` and `park` are called with.
    let tokens: Vec<usize> = (0..CORES).collect();
    let machine = Machine::new(&tokens);
    machine.start(start);
    let threads: Vec<_> = tokens
        .into_iter()
        .map(|n| {
            thread::spawn(move || {
                *SLEEPERS[n].lock().expect("no panic") = Some(thread::current());
                // SAFETY: once for each core, on a thread that the C library gave its thread-local storage.
                unsafe { core_main(machine, CoreId::new(n)) };
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a core panics in events only");
    }
    machine.status()
}
// ANCHOR_END: start

#[ebb(per_core)]
#[derive(Default)]
struct Visits(Cell<u32>);

#[test]
fn cores_of_another_platform_run_events_timers_and_ebbs() {
    static SUM: AtomicU32 = AtomicU32::new(0);
    let status = run(|| {
        ebb::spawn(async {
            for round in 0..100 {
                let core = CoreId::new(round % CORES);
                let visit = ebb::spawn_on(core, async || {
                    let visits = EbbRef::<Visits>::get();
                    visits.0.set(visits.0.get() + 1);
                });
                visit.await.expect("it does not panic");
                ebb::time::sleep(Duration::from_micros(100)).await;
            }
            let panics = ebb::spawn(async { panic!("on purpose") }).await;
            assert!(panics.is_err());
            let all = EbbRef::<Visits>::new();
            let sum = all.fold(0, |v| v.0.get(), |sum, n| sum + n).await;
            SUM.store(sum.expect("no core is lost"), Ordering::Relaxed);
            ebb::exit(3);
        });
    });
    assert_eq!((status, SUM.load(Ordering::Relaxed)), (3, 100));
}
