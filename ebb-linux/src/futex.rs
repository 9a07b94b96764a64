//! Futexes: threads that wait for a word of memory, by where it is.
//!
//! What must hold: a thread is in at most one queue, and its place says so (`Waiting::futex`).

use alloc::collections::{BTreeMap, VecDeque};

/// Which waiters a wake-up concerns; all bits for the plain operations.
pub type Bits = u32;

/// Where a word is: in which memory (or what several of them share), and its address (or offset) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The number of the memory; with the top bit, that of a shared object.
    pub memory: u64,
    /// The address or offset.
    pub at: u64,
}

/// A thread of a UC: its process's serial number and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadKey {
    /// [`crate::process::Process::serial`].
    pub process: u64,
    /// Its index among the process's threads.
    pub index: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    thread: ThreadKey,
    bits: Bits,
}

/// All futexes of a UC that somebody waits for.
#[derive(Clone, Debug, Default)]
pub struct Futexes {
    queues: BTreeMap<Key, VecDeque<Waiter>>,
    /// An empty queue to be used again: a lock that two threads fight for makes and drops one each time.
    spare: VecDeque<Waiter>,
}

impl Futexes {
    /// Adds a thread that waits.
    pub fn wait(&mut self, key: Key, thread: ThreadKey, bits: Bits) {
        let spare = &mut self.spare;
        self.queues
            .entry(key)
            .or_insert_with(|| core::mem::take(spare))
            .push_back(Waiter { thread, bits });
    }

    fn drop_empty(&mut self, key: Key) {
        if let Some(queue) = self.queues.remove(&key) {
            self.spare = queue;
        }
    }

    /// Takes a thread away that waits no longer.
    pub fn cancel(&mut self, key: Key, thread: ThreadKey) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.retain(|w| w.thread != thread);
            if queue.is_empty() {
                self.drop_empty(key);
            }
        }
    }

    /// Takes up to `count` waiters of these bits away, in the order they came, and calls `woken` for each.
    pub fn wake(
        &mut self,
        key: Key,
        count: u32,
        bits: Bits,
        mut woken: impl FnMut(ThreadKey),
    ) -> u32 {
        let Some(queue) = self.queues.get_mut(&key) else {
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
            self.drop_empty(key);
        }
        n
    }

    /// Moves up to `count` waiters to another futex, and calls `moved` for each.
    pub fn requeue(
        &mut self,
        from: Key,
        to: Key,
        count: u32,
        mut moved: impl FnMut(ThreadKey),
    ) -> u32 {
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
        let at = |at| Key { memory: 1, at };
        let thread = |index| ThreadKey { process: 1, index };
        for (index, bits) in [(1, 1), (2, 2), (3, 3), (4, !0)] {
            futexes.wait(at(0x1000), thread(index), bits);
        }
        let mut woken = Vec::new();
        assert_eq!(futexes.wake(at(0x1000), 2, 2, |t| woken.push(t.index)), 2);
        assert_eq!(woken, [2, 3]);
        assert_eq!(futexes.requeue(at(0x1000), at(0x2000), 1, |_| ()), 1);
        let other = Key {
            memory: 2,
            at: 0x2000,
        };
        assert_eq!(futexes.wake(other, 9, !0, |_| ()), 0);
        assert_eq!(futexes.wake(at(0x2000), 9, !0, |t| woken.push(t.index)), 1);
        futexes.cancel(at(0x1000), thread(4));
        assert_eq!(futexes.wake(at(0x1000), 9, !0, |_| ()), 0);
        assert_eq!(woken, [2, 3, 1]);
        assert!(futexes.queues.is_empty());
    }
}
