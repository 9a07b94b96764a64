//! An image, and a process, that says what it does through the crate `tracing`: tasks that take turns on a core, a span that goes
//! from one core to another, events of all levels, values of all kinds. `tests/native/tracing.rs` reads its trace.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use ebb::{cores, current_core, spawn, spawn_on, time, trace, yield_now};
use tracing::{Instrument, Span, debug, error, field, info, info_span, instrument, warn};

/// Waits twice: a span that is entered three times, with another in it.
#[instrument(fields(status = field::Empty))]
async fn request(id: u64, who: &str) {
    let this = Span::current();
    for _ in 0..2 {
        let metadata = this.metadata().map(tracing::Metadata::name);
        // Spans are not made while nobody looks.
        assert_eq!(metadata, trace::is_on().then_some("request"));
        assert_eq!(Span::current().id(), this.id(), "another task's span");
        info_span!("parse", id).in_scope(|| debug!(id, "parsing"));
        yield_now().await;
    }
    assert_eq!(Span::current().id(), this.id());
    this.record("status", 200);
    info!(ok = true, ratio = 0.5, offset = -1, who, "answered");
}

#[ebb::main]
async fn main() {
    ebb_tracing::install().expect("nothing else takes what is traced");
    assert!(ebb_tracing::install().is_err());
    for core in cores() {
        let all = spawn_on(core, async || {
            let tasks = (0..3).map(|id| spawn(request(id, "Zoë \"Z\"")));
            let handles: Vec<_> = tasks.collect();
            for handle in handles {
                let _ = handle.await;
            }
        });
        let _ = all.await;
    }

    // Made and entered here, then polled on the other core.
    let journey = info_span!("journey", from = current_core().number());
    journey.in_scope(|| info!("leaving"));
    if let Some(far) = cores().last() {
        let there = || {
            let polls = async {
                time::sleep(Duration::from_millis(1)).await;
                info!("arrived");
            };
            polls.instrument(journey)
        };
        let _ = spawn_on(far, there).await;
    }

    // Left in another order than entered.
    let (first, second) = (
        info_span!("first").entered(),
        info_span!("second").entered(),
    );
    drop(first);
    drop(second);
    assert!(Span::current().is_none());

    let long: String = core::iter::repeat_n('x', 100_000).collect();
    warn!(free_bytes = 17, name = "a\nb", "low on \u{1b}[31m memory");
    error!(long, "too much");
    // More at once than are shown.
    let held: Vec<Span> = (0..ebb_tracing::SPANS + 10)
        .map(|n| info_span!("held", n))
        .collect();
    let is_on = trace::is_on();
    assert_eq!(ebb_tracing::left_out() > 0, is_on);
    drop(held);
    trace::stop();
    info_span!("unseen").in_scope(|| info!("unseen"));
    warn!("still said");
    ebb::println!("traced");
}
