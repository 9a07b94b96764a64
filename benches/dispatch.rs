//! What does it cost to reach an Ebb?
//!
//! A dereference and a call, hot, inlined and not, beside a call through a plain static pointer and
//! beside what one would use instead; and an instant of a trace that is off. `cargo bench --bench dispatch [-- --quick]`.

use std::{
    cell::Cell,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicPtr, Ordering},
    },
    time::{Duration, Instant},
};

use benches::{Side, compare};
use ebb::{EbbRef, ebb};
use ebb_hosted::Config;

#[ebb(per_core)]
#[derive(Default)]
struct Hits {
    n: Cell<u64>,
}

trait Counter {
    fn count(&self, by: u64);
}

impl Hits {
    #[inline(always)]
    fn hit(&self, by: u64) {
        self.n.set(self.n.get().wrapping_add(by));
    }

    /// Without an argument, so that the count has only what reaching the object takes: an argument
    /// that is computed first costs one more move, as before any conditional call.
    #[inline(never)]
    fn bump(&self) {
        self.hit(1);
    }

    #[inline(never)]
    fn hit_call(&self, by: u64) {
        self.hit(by);
    }
}

impl Counter for Hits {
    #[inline(never)]
    fn count(&self, by: u64) {
        self.hit(by);
    }
}

static POINTER: AtomicPtr<Hits> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    static LOCAL: Hits = Hits::default();
}

/// Runs `operation` `n` times; the argument keeps the loop from being folded.
#[inline(always)]
fn timed(n: u64, mut operation: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    for i in 0..n {
        operation(black_box(i));
    }
    start.elapsed()
}

fn pointer() -> &'static Hits {
    // SAFETY: set to a leaked `Hits` before any side runs.
    unsafe { &*POINTER.load(Ordering::Relaxed) }
}

/// The sides whose instructions can be counted, by name.
fn counted(side: &str, n: u64) {
    match side {
        "pointer" => timed(n, |_| pointer().bump()),
        "ebb" => timed(n, |_| EbbRef::<Hits>::get().bump()),
        "untraced" => {
            // In a program that never starts tracing, nothing is left of its places.
            ebb::trace::start(ebb::trace::RECORDS);
            ebb::trace::stop();
            timed(n, |_| {
                ebb::instant!("bump");
                pointer().bump();
            })
        }
        "first-ebb" => first(n, first_ebbs),
        "first-thread-local" => first(n, first_thread_locals),
        "first-nothing" => first(n, || ()),
        other => panic!("no side is called {other}"),
    };
}

/// Instructions that a run of `side` with the number `n` takes, by callgrind.
fn collected(side: &str, n: u64) -> Option<f64> {
    let output = std::process::Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["--count", side, &n.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|l| l.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Instructions of one operation: the difference between a run of `2 n` and one of `n`.
fn instructions(side: &str) -> Option<f64> {
    const N: u64 = 1_000_000;
    Some((collected(side, 2 * N)? - collected(side, N)?) / N as f64)
}

/// Instructions of one first use: beside those of machines on which nothing is used.
fn first_instructions(side: &str) -> Option<f64> {
    const N: u64 = 200 * FIRST_USES;
    Some((collected(side, N)? - collected("first-nothing", N)?) / N as f64)
}

/// Thirty-two Ebbs and thirty-two thread-locals that hold the same, to be used for the first time.
macro_rules! first_uses {
    ($($name:ident)*) => {
        $(mod $name {
            use super::*;
            #[ebb(per_core)]
            #[derive(Default)]
            pub struct Fresh { pub n: Cell<u64> }
            thread_local! {
                pub static FRESH: Box<Fresh> = Box::default();
            }
        })*
        const FIRST_USES: u64 = [$(stringify!($name)),*].len() as u64;
        fn first_ebbs() {
            $(black_box(EbbRef::<$name::Fresh>::get().n.get());)*
        }
        fn first_thread_locals() {
            $($name::FRESH.with(|f| black_box(f.n.get()));)*
        }
    };
}

first_uses!(a0 a1 a2 a3 a4 a5 a6 a7 b0 b1 b2 b3 b4 b5 b6 b7 c0 c1 c2 c3 c4 c5 c6 c7 d0 d1 d2 d3 d4 d5 d6 d7);

/// Each group of first uses on a core of its own, of a machine of its own. Only the uses are timed.
fn first(n: u64, uses: fn()) -> Duration {
    let one = Config {
        cores: 1,
        pin: false,
    };
    (0..n / FIRST_USES)
        .map(|_| {
            ebb_hosted::run(&one, move || async move {
                let start = Instant::now();
                uses();
                start.elapsed()
            })
        })
        .sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--count") {
        let (side, n) = (
            arguments[at + 1].clone(),
            arguments[at + 2].parse().expect("a number"),
        );
        if side.starts_with("first") {
            counted(&side, n);
            return;
        }
        ebb_hosted::run(
            &Config {
                cores: 1,
                pin: false,
            },
            move || async move {
                POINTER.store(Box::leak(Box::default()), Ordering::Relaxed);
                counted(&side, n);
            },
        );
        return;
    }
    ebb::set_hog_limit(u64::MAX, false);
    let quick = benches::quick();
    let (n, rounds) = if quick {
        (2_000_000, 5)
    } else {
        (50_000_000, 15)
    };
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: true,
        },
        move || async move {
            POINTER.store(Box::leak(Box::default()), Ordering::Relaxed);
            let table: Box<dyn Counter> = black_box(Box::new(Hits::default()));
            let locked = Arc::new(Mutex::new(Hits::default()));

            let inlined = compare(
                "reach the object and add to its counter, inlined",
                n,
                rounds,
                vec![
                    Side::new("static pointer", |n| timed(n, |i| pointer().hit(i))),
                    Side::new("ebb", |n| timed(n, |i| EbbRef::<Hits>::get().hit(i))),
                    Side::new("thread_local!", |n| timed(n, |i| LOCAL.with(|h| h.hit(i)))),
                    Side::new("Arc<Mutex>", |n| {
                        timed(n, |i| {
                            locked.lock().expect("nothing panics under it").hit(i)
                        })
                    }),
                ],
            );
            let called = compare(
                "reach the object and call a function of it",
                n,
                rounds,
                vec![
                    Side::new("static pointer", |n| timed(n, |i| pointer().hit_call(i))),
                    Side::new("ebb", |n| timed(n, |i| EbbRef::<Hits>::get().hit_call(i))),
                    Side::new("thread_local!", |n| {
                        timed(n, |i| LOCAL.with(|h| h.hit_call(i)))
                    }),
                    Side::new("dyn", |n| timed(n, |i| table.count(i))),
                    Side::new("Arc<Mutex>", |n| {
                        timed(n, |i| {
                            locked.lock().expect("nothing panics under it").hit_call(i)
                        })
                    }),
                ],
            );
            println!();
            inlined.goal("dispatch_inlined_vs_direct", "ebb", "static pointer", 1.02);
            inlined.goal(
                "dispatch_inlined_vs_thread_local",
                "ebb",
                "thread_local!",
                1.0,
            );
            inlined.goal("dispatch_inlined_vs_mutex", "ebb", "Arc<Mutex>", 1.0);
            called.goal("dispatch_vs_direct", "ebb", "static pointer", 1.02);
            called.goal("dispatch_vs_thread_local", "ebb", "thread_local!", 1.0);
            called.goal("dispatch_vs_dyn", "ebb", "dyn", 1.0);
            called.goal("dispatch_vs_mutex", "ebb", "Arc<Mutex>", 1.0);
        },
    );
    let miss = compare(
        "the first use on a core: make the object",
        FIRST_USES * if quick { 20 } else { 200 },
        rounds,
        vec![
            Side::new("ebb", |n| first(n, first_ebbs)),
            Side::new("thread_local!, boxed", |n| first(n, first_thread_locals)),
        ],
    );
    println!(
        "a miss costs {:.1} times what the first use of a boxed thread_local! does",
        miss.ratio("ebb", "thread_local!, boxed")
    );
    let counts = ["ebb", "pointer", "untraced"].map(instructions);
    match counts {
        [Some(ebb), Some(pointer), Some(untraced)] => {
            println!(
                "instructions by callgrind: ebb {ebb:.2}, static pointer {pointer:.2}, with an instant of a trace that is off {untraced:.2}"
            );
            benches::goal("dispatch_extra_instructions", ebb - pointer, 2.0);
            benches::goal("trace_off_extra_instructions", untraced - pointer, 3.0);
        }
        _ => println!("instructions are not counted: no valgrind here (apt-get install valgrind)"),
    }
    if let (Some(ebb), Some(local)) = (
        first_instructions("first-ebb"),
        first_instructions("first-thread-local"),
    ) {
        println!("instructions of a first use: ebb {ebb:.0}, boxed thread_local! {local:.0}");
    }
}
