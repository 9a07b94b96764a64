//! Snapshots that other machines have: what this machine has none of is asked for before it is made here.
//!
//! Between what makes snapshots ([`InstanceMaker`]) and what knows other machines ([`Neighbours`], which a crate above gives) passes
//! nothing but [pieces](crate::pieces).
//!
//! What must hold: whatever comes of asking, the platform goes on as if there were no neighbours. A call waits for them no longer than
//! a cold start of its function takes.

use alloc::{boxed::Box, format};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use ebb::time::{Instant, timeout};
use ebb::{EbbRef, ebb, println};
use ebb_openwhisk::call::Call;
use ebb_openwhisk::runtimes::Launch;
use once_cell::race::OnceBox;

use crate::instance::{Boxed, InstanceMaker, SharedSnapshot};
use crate::invoker::Invoker;
use crate::pieces::Fetched;

/// A function's snapshot that is asked for.
pub struct Asked {
    /// How long a cold start has taken elsewhere.
    pub cold: Duration,
    /// Begins when it is polled, and ends when it is dropped. The pieces were taken by [`InstanceMaker::take_function`], on whichever core.
    pub snapshot: Boxed<'static, Fetched<SharedSnapshot>>,
}

/// The machines that may have snapshots.
pub trait Neighbours: Send + Sync {
    /// Asks for what instances of a launch are copies of, which [`InstanceMaker::take_base`] takes. One that `waits` has nothing better
    /// to do than to wait for a neighbour that is making it.
    fn base(&self, launch: &Launch, waits: bool) -> Boxed<'static, Fetched<()>>;
    /// Asks for the snapshot of a call's function, of a base with this content. `None` when no neighbour is likely to have it.
    fn function(&self, call: &Call, base: u128) -> Option<Asked>;
}

/// Those of this machine.
#[ebb(shared)]
#[derive(Default)]
pub struct Near {
    neighbours: OnceBox<Box<dyn Neighbours>>,
}

impl Near {
    /// From now on this machine has neighbours.
    pub fn use_neighbours(&self, neighbours: Box<dyn Neighbours>) {
        // The first ones stay.
        let _ = self.neighbours.set(Box::new(neighbours));
    }

    /// Whether there are any.
    pub(crate) fn has_any(&self) -> bool {
        self.neighbours.get().is_some()
    }

    /// Gets what instances of a launch are copies of from a neighbour; whether it has come.
    pub async fn base(&self, launch: &Launch, waits: bool) -> bool {
        let Some(neighbours) = self.neighbours.get() else {
            return false;
        };
        let fetched = neighbours.base(launch, waits).await;
        let what = format!("the base snapshot of {}", launch.loader.name());
        settled(&what, fetched).is_some()
    }

    /// Gets a function's snapshot from a neighbour, and what it saves: microseconds.
    pub(crate) async fn function(&self, call: &Call) -> Option<(SharedSnapshot, u64)> {
        let launch = call.launch()?;
        let neighbours = self.neighbours.get()?;
        let base = EbbRef::<dyn InstanceMaker>::get().shared_base(launch)?;
        let asked = neighbours.function(call, base)?;
        let name = &call.action.common.name;
        let begun = Instant::now();
        let Ok(fetched) = timeout(asked.cold, asked.snapshot).await else {
            // Which a busy machine may be for many functions, so it is said once.
            static TOLD: AtomicBool = AtomicBool::new(false);
            EbbRef::<Invoker>::get().count(|m| m.fetches_failed += 1);
            if !TOLD.swap(true, Ordering::Relaxed) {
                let ms = asked.cold.as_millis();
                println!(
                    "invoker: {name} is loaded here, for its snapshot did not come from a neighbour within the {ms} ms that it takes to load \
                     there; others may not either"
                );
            }
            return None;
        };
        let snapshot = settled(&format!("the snapshot of {name}"), fetched)?;
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Ordering::Relaxed) {
            let ms = begun.elapsed().as_millis();
            println!(
                "invoker: the snapshot of {name} came from a neighbour in {ms} ms, and others may"
            );
        }
        let cost_us = u64::try_from(asked.cold.as_micros()).unwrap_or(u64::MAX);
        Some((snapshot, cost_us))
    }
}

/// Counts what came of asking, and says what went wrong.
fn settled<T>(what: &str, fetched: Fetched<T>) -> Option<T> {
    let invoker = EbbRef::<Invoker>::get();
    match fetched {
        Ok(snapshot) => {
            invoker.count(|m| m.snapshots_fetched += u64::from(snapshot.is_some()));
            snapshot
        }
        Err(why) => {
            invoker.count(|m| m.fetches_failed += 1);
            println!("invoker: {what} is made anew: a neighbour's cannot be used: {why}");
            None
        }
    }
}

/// Counts bytes that have come of snapshots.
pub fn count_fetched(bytes: usize) {
    EbbRef::<Invoker>::get().count(|m| m.bytes_fetched += bytes as u64);
}
