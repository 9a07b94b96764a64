//! A queue that is fair between functions: they take turns, however many calls each of them has waiting.
//!
//! Turns are not single calls. Giving an instance to another function means to throw one away and to start one, which costs
//! many times what a call does; with more functions than instances, strict turns would do that for every call, and the
//! throughput would collapse. So a function keeps its turn for up to [`QUANTUM`] calls, as in deficit round robin (Shreedhar
//! and Varghese 1995) with calls for bytes.

use alloc::collections::VecDeque;
use core::hash::Hash;
use hashbrown::HashMap;

/// How many calls a function is served in one turn while others wait.
pub const QUANTUM: u32 = 16;

#[derive(Debug)]
struct Line<V> {
    waiting: VecDeque<V>,
    /// Calls left of its turn.
    credit: u32,
}

/// Calls that wait, by function.
#[derive(Debug)]
pub struct FairQueue<K, V> {
    lines: HashMap<K, Line<V>>,
    turns: VecDeque<K>,
    len: usize,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> FairQueue<K, V> {
    /// A queue for at most so many calls.
    pub fn new(most: usize) -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            most,
        }
    }

    /// Calls that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Functions with calls that wait.
    pub fn functions(&self) -> usize {
        self.turns.len()
    }

    /// Calls of that function that wait.
    pub fn waiting(&self, key: &K) -> usize {
        self.lines.get(key).map_or(0, |line| line.waiting.len())
    }

    /// Puts a call at the end of its function's line; gives it back if the queue is full, or if this function alone fills
    /// three quarters of it.
    ///
    /// # Errors
    /// The call, when there is no room.
    pub fn push(&mut self, key: K, call: V) -> Result<(), V> {
        if self.len >= self.most || self.waiting(&key) >= (self.most - self.most / 4).max(1) {
            return Err(call);
        }
        let line = self.lines.entry(key.clone()).or_insert_with(|| {
            self.turns.push_back(key);
            Line {
                waiting: VecDeque::new(),
                credit: QUANTUM,
            }
        });
        line.waiting.push_back(call);
        self.len += 1;
        Ok(())
    }

    /// Whose call is next. An instance of `prefer` is free: if that function has calls waiting and has not used up its
    /// turn, it goes on.
    pub fn next(&mut self, prefer: Option<&K>) -> Option<K> {
        if let Some(key) = prefer
            && let Some(line) = self.lines.get_mut(key)
        {
            if line.credit > 0 || self.turns.len() == 1 {
                return Some(key.clone());
            }
            line.credit = QUANTUM;
            self.move_to_back(key.clone());
        }
        self.turns.front().cloned()
    }

    fn move_to_back(&mut self, key: K) {
        if let Some(at) = self.turns.iter().position(|k| *k == key) {
            self.turns.remove(at);
            self.turns.push_back(key);
        }
    }

    /// The call at the front of that function's line, without taking it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.lines.get(key)?.waiting.front()
    }

    /// Takes that function's next call.
    pub fn pop(&mut self, key: &K) -> Option<V> {
        let line = self.lines.get_mut(key)?;
        let call = line.waiting.pop_front()?;
        line.credit = line.credit.saturating_sub(1);
        self.len -= 1;
        if line.waiting.is_empty() {
            self.lines.remove(key);
            self.turns.retain(|k| k != key);
        } else if self.turns.front() == Some(key) {
            // It was its turn to get an instance more; the next one goes to another.
            self.move_to_back(key.clone());
        }
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn functions_take_turns_whatever_each_has_waiting() {
        let mut queue = FairQueue::new(1000);
        for n in 0..100 {
            queue.push("many", n).unwrap();
        }
        queue.push("one", 0).unwrap();
        queue.push("two", 0).unwrap();
        let mut order = Vec::new();
        for _ in 0..4 {
            let key = queue.next(None).unwrap();
            queue.pop(&key).unwrap();
            order.push(key);
        }
        assert_eq!(order, ["many", "one", "two", "many"]);
    }

    #[test]
    fn a_free_instance_serves_its_function_for_one_quantum() {
        let mut queue = FairQueue::new(1000);
        for n in 0..100 {
            queue.push("mine", n).unwrap();
        }
        queue.push("other", 0).unwrap();
        let mut served = 0;
        loop {
            let key = queue.next(Some(&"mine")).unwrap();
            queue.pop(&key).unwrap();
            if key == "other" {
                break;
            }
            served += 1;
        }
        assert_eq!(served, QUANTUM);
        for _ in 0..100 - QUANTUM {
            assert_eq!(queue.next(Some(&"mine")), Some("mine"), "alone, it goes on");
            queue.pop(&"mine").unwrap();
        }
        assert!(queue.is_empty() && queue.functions() == 0);
    }

    #[test]
    fn a_full_queue_gives_back_and_one_function_cannot_fill_it() {
        let mut queue = FairQueue::new(8);
        for n in 0..6 {
            queue.push("a", n).unwrap();
        }
        assert_eq!(queue.push("a", 6), Err(6));
        queue.push("b", 0).unwrap();
        queue.push("c", 0).unwrap();
        assert_eq!(queue.push("d", 9), Err(9));
    }
}
