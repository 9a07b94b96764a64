//! Expired items go when they are asked for or memory is short; the others are found by cores that have nothing to do.

use alloc::rc::Rc;
use core::{cell::Cell, time::Duration};

use ebb_runtime::{core_count, current_core, idle, time};

use crate::server::Server;

/// From the beginning of one round through this core's shards to that of the next.
const PERIOD: Duration = Duration::from_secs(5);
/// Items examined in one turn: a few microseconds.
const BUDGET: usize = 64;

/// Sweeps this core's shards in its idle time, for ever.
pub async fn run(server: Server) {
    let core = current_core().number();
    let first = core;
    // The shard to go on with; past the last one the round is over.
    let next = Rc::new(Cell::new(server.store.shards()));
    let at = Rc::clone(&next);
    let _work = idle(move || {
        let shard = at.get();
        if shard >= server.store.shards() {
            return false;
        }
        if !server.store.sweep(shard, BUDGET, server.time(), core) {
            at.set(shard + core_count());
        }
        true
    });
    let mut rounds = time::interval(PERIOD);
    loop {
        rounds.tick().await;
        // What else the machine does may have taken memory meanwhile.
        server.store.look_at_memory(server.time(), core);
        if next.get() >= server.store.shards() {
            next.set(first);
        }
    }
}
