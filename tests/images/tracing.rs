//! An image, and a process, that does what a time line shows: events, spans, timers, messages between cores. With an argument it
//! does so that often. `tests/native/tracing.rs` reads its trace.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::{hint::black_box, time::Duration};

use ebb::{cores, flight, instant, span, spawn, spawn_on, time, yield_now};

fn work(n: u64) {
    let _outer = span!("outer", n = n, twice = 2 * n);
    for i in 0..3 {
        let _inner = span!("inner", i = i);
        black_box((0..1000).fold(i, |a, b| a ^ b));
    }
    instant!("worked", n = n);
}

#[ebb::main]
async fn main() {
    let rounds = ebb::args()
        .first()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3);
    for round in 0..rounds {
        let flight = flight!("round", round = round);
        let there: Vec<_> = cores()
            .map(|core| spawn_on(core, async move || work(round)))
            .collect();
        for done in there {
            let _ = done.await;
        }
        // Over an `await`: it ends with its event.
        let crossing = span!("crossing");
        yield_now().await;
        drop(crossing);
        let _ = spawn(async { work(99) }).await;
        time::sleep(Duration::from_millis(1)).await;
        drop(flight);
    }
    if ebb::args().get(1) == Some(&"panic") {
        let _span = span!("fatal");
        panic!("as asked");
    }
}
