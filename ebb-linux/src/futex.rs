//! Futexes: threads that wait for a word of memory, by its address.
//!
//! What must hold: a thread is in at most one queue, and its place says so (`Waiting::place`). All memory of a UC is its own, so
//! an address names a futex whether it was said to be private or not.

use alloc::collections::{BTreeMap, VecDeque};

/// Which waiters a wake-up concerns; all bits for the plain operations.
pub type Bits = u32;

#[derive(Clone, Copy, Debug)]
struct Waiter {
    thread: usize,
    bits: Bits,
}

/// All futexes of a UC that somebody waits for.
#[derive(Clone, Debug, Default)]
pub struct Futexes {
    queues: BTreeMap<u64, VecDeque<Waiter>>,
}

impl Futexes {
    /// Adds a thread that waits.
    pub fn wait(&mut self, address: u64, thread: usize, bits: Bits) {
        self.queues
            .entry(address)
            .or_default()
            .push_back(Waiter { thread, bits });
    }

    /// Takes a thread away that waits no longer.
    pub fn cancel(&mut self, address: u64, thread: usize) {
        if let Some(queue) = self.queues.get_mut(&address) {
            queue.retain(|w| w.thread != thread);
            if queue.is_empty() {
                self.queues.remove(&address);
            }
        }
    }

    /// Takes up to `count` waiters of these bits away, in the order they came, and calls `woken` for each.
    pub fn wake(
        &mut self,
        address: u64,
        count: u32,
        bits: Bits,
        mut woken: impl FnMut(usize),
    ) -> u32 {
        let Some(queue) = self.queues.get_mut(&address) else {
            return 0;
        };
        let mut n = 0;
        queue.retain(|w| {
            let hit = n < count && w.bits & bits != 0;
            if hit {
                n += 1;
                woken(w.thread);
            }
            !hit
        });
        if queue.is_empty() {
            self.queues.remove(&address);
        }
        n
    }

    /// Moves up to `count` waiters to another futex, and calls `moved` for each.
    pub fn requeue(&mut self, from: u64, to: u64, count: u32, mut moved: impl FnMut(usize)) -> u32 {
        if from == to {
            return 0;
        }
        let Some(mut queue) = self.queues.remove(&from) else {
            return 0;
        };
        let n = queue.len().min(count as usize);
        for waiter in queue.drain(..n) {
            moved(waiter.thread);
            self.queues.entry(to).or_default().push_back(waiter);
        }
        if !queue.is_empty() {
            self.queues.insert(from, queue);
        }
        n as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn waiters_are_woken_in_the_order_they_came_and_only_by_their_bits() {
        let mut futexes = Futexes::default();
        for (thread, bits) in [(1, 1), (2, 2), (3, 3), (4, !0)] {
            futexes.wait(0x1000, thread, bits);
        }
        let mut woken = Vec::new();
        assert_eq!(futexes.wake(0x1000, 2, 2, |t| woken.push(t)), 2);
        assert_eq!(woken, [2, 3]);
        assert_eq!(futexes.requeue(0x1000, 0x2000, 1, |_| ()), 1);
        assert_eq!(futexes.wake(0x2000, 9, !0, |t| woken.push(t)), 1);
        futexes.cancel(0x1000, 4);
        assert_eq!(futexes.wake(0x1000, 9, !0, |_| ()), 0);
        assert_eq!(woken, [2, 3, 1]);
        assert!(futexes.queues.is_empty());
    }
}
