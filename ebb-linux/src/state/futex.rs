//! Futexes: threads that wait for a word of memory, by where it is.
//!
//! What must hold: a thread is in at most one queue (`Waiting::futex`), or in those of one `futex_waitv` (`Waiting::any_of`).

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Which waiters a wake-up concerns; all bits for the plain operations.
pub type Bits = u32;

/// Where a word is: in which memory (or what several of them share), and its address (or offset) there.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The number of the memory; with the top bit, that of a shared object.
    pub memory: u64,
    /// The address or offset.
    pub at: u64,
}

/// A thread of a UC: its process's serial number and its index there.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadKey {
    /// [`crate::state::process::Process::serial`].
    pub process: u64,
    /// Its index among the process's threads.
    pub index: usize,
}

#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
struct Waiter {
    key: Key,
    thread: ThreadKey,
    bits: Bits,
}

/// Lists that the waiters are spread over, by the hash of their futex: a power of two.
const LISTS: usize = 64;

/// All threads of a UC that wait for futexes, those of one futex in one list, in the order they came. A list keeps its memory: a
/// lock that two threads fight for needs none each time. How many wait is bounded by the UC's threads.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub struct Futexes {
    /// None before the first waits.
    lists: Vec<Vec<Waiter>>,
}

/// Fibonacci hashing: words lie close to one another, and the upper bits of the product depend on all of a key's.
#[inline]
const fn list_of(key: Key) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (key.at >> 2) ^ key.memory.rotate_left(32);
    (mixed.wrapping_mul(GOLDEN) >> (64 - LISTS.trailing_zeros())) as usize
}

impl Futexes {
    /// Adds a thread that waits.
    #[inline]
    pub fn wait(&mut self, key: Key, thread: ThreadKey, bits: Bits) {
        if self.lists.is_empty() {
            self.lists.resize(LISTS, Vec::new());
        }
        self.lists[list_of(key)].push(Waiter { key, thread, bits });
    }

    /// Takes a thread away that waits no longer.
    pub fn cancel(&mut self, key: Key, thread: ThreadKey) {
        if let Some(list) = self.lists.get_mut(list_of(key)) {
            list.retain(|w| w.key != key || w.thread != thread);
        }
    }

    /// Who has waited longest.
    pub fn first(&self, key: Key) -> Option<ThreadKey> {
        let list = self.lists.get(list_of(key))?;
        list.iter().find(|w| w.key == key).map(|w| w.thread)
    }

    /// Whether anybody waits for a lock with an owner, whose queues have odd places.
    pub fn has_inheriting(&self) -> bool {
        self.lists.iter().flatten().any(|w| w.key.at & 1 != 0)
    }

    /// Takes up to `count` waiters of these bits away, in the order they came, and calls `woken` for each.
    #[inline]
    pub fn wake(
        &mut self,
        key: Key,
        count: u32,
        bits: Bits,
        mut woken: impl FnMut(ThreadKey),
    ) -> u32 {
        let Some(list) = self.lists.get_mut(list_of(key)) else {
            return 0;
        };
        let is_hit = |w: &Waiter| w.key == key && w.bits & bits != 0;
        if count == 1 {
            let Some(first) = list.iter().position(is_hit) else {
                return 0;
            };
            // Most have one waiter, behind which nothing moves up.
            let waiter = match list.len() {
                1 => list.pop(),
                _ => Some(list.remove(first)),
            };
            if let Some(waiter) = waiter {
                woken(waiter.thread);
            }
            return 1;
        }
        let mut n = 0;
        list.retain(|w| {
            let hit = n < count && is_hit(w);
            if hit {
                n += 1;
                woken(w.thread);
            }
            !hit
        });
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
        let Some(list) = self.lists.get_mut(list_of(from)) else {
            return 0;
        };
        let mut n = 0;
        let movers: Vec<Waiter> = list
            .extract_if(.., |w| {
                let hit = n < count && w.key == from;
                n += u32::from(hit);
                hit
            })
            .collect();
        for waiter in movers {
            moved(waiter.thread);
            self.wait(to, waiter.thread, waiter.bits);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(futexes.lists.iter().all(Vec::is_empty));
    }
}
