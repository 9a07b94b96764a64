//! Changes reach the disk in the order in which the API made them: each has a ticket, and waits for its turn to be queued.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ebb::sync::oneshot;
use spin::mutex::SpinMutex;

/// Whose turn it is to queue a change for the disk.
#[derive(Default)]
pub(super) struct Order {
    next: u64,
    now: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    /// Tickets after `now` that were given back.
    over: BTreeSet<u64>,
}

/// The place of a change among all; the next one's turn comes when it is dropped.
pub(super) struct Ticket {
    number: u64,
    order: Arc<SpinMutex<Order>>,
}

impl Ticket {
    /// The next one.
    pub fn next(of: &Arc<SpinMutex<Order>>) -> Self {
        let mut order = of.lock();
        order.next += 1;
        Self {
            number: order.next - 1,
            order: Arc::clone(of),
        }
    }

    /// Ends when all changes before are queued.
    pub async fn turn(&self) {
        let waiting = {
            let mut order = self.order.lock();
            if order.now == self.number {
                return;
            }
            let (sender, waiting) = oneshot::channel();
            order.waiting.insert(self.number, sender);
            waiting
        };
        // Whoever has the turn before gives it on.
        let _ = waiting.await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut order = self.order.lock();
        order.waiting.remove(&self.number);
        order.over.insert(self.number);
        while {
            let now = order.now;
            order.over.remove(&now)
        } {
            order.now += 1;
        }
        let now = order.now;
        let next = order.waiting.remove(&now);
        drop(order);
        if let Some(next) = next {
            let _ = next.send(());
        }
    }
}
