//! A queue that is fair between functions: they take turns, however many calls each of them has waiting.
//!
//! Turns are not single calls. Giving an instance to another function means to throw one away and to start one, which costs
//! many times what a call does; with more functions than instances, strict turns would do that for every call, and the
//! throughput would collapse. So a function keeps its turn for up to [`QUANTUM`] calls, as in deficit round robin (Shreedhar
//! and Varghese 1995) with calls for bytes.
//!
//! A function may be *held*: its calls wait for one of its own instances, so it takes no turn.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hash;
use hashbrown::HashMap;

/// How many calls a function is served in one turn while others wait.
pub const QUANTUM: u32 = 16;

#[derive(Debug)]
struct Line<V> {
    waiting: VecDeque<V>,
    /// Calls left of its turn.
    credit: u32,
    /// Its place among the turns, or among the held.
    place: u64,
    held: bool,
}

/// Calls that wait, by function.
#[derive(Debug)]
pub struct FairQueue<K, V> {
    lines: HashMap<K, Line<V>>,
    turns: BTreeMap<u64, K>,
    held: BTreeMap<u64, K>,
    places: u64,
    len: usize,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> FairQueue<K, V> {
    /// A queue for at most so many calls.
    pub fn new(most: usize) -> Self {
        Self {
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            held: BTreeMap::new(),
            places: 0,
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
        self.lines.len()
    }

    /// Whether no function waits for its turn.
    pub fn is_nobodys_turn(&self) -> bool {
        self.turns.is_empty()
    }

    /// Functions that are held, those that have been for longest first.
    pub fn held(&self) -> impl Iterator<Item = &K> {
        self.held.values()
    }

    /// Calls of that function that wait.
    pub fn waiting(&self, key: &K) -> usize {
        self.lines.get(key).map_or(0, |line| line.waiting.len())
    }

    /// Whether another call of that function may wait: the queue is not full, and this function does not fill three quarters of
    /// it alone.
    pub fn has_room(&self, key: &K) -> bool {
        self.len < self.most && self.waiting(key) < (self.most - self.most / 4).max(1)
    }

    /// Puts a call at the end of its function's line; gives it back if there is no room for it.
    ///
    /// # Errors
    /// The call, when there is no room.
    pub fn push(&mut self, key: K, call: V) -> Result<(), V> {
        if !self.has_room(&key) {
            return Err(call);
        }
        let line = self.lines.entry(key.clone()).or_insert_with(|| {
            self.places += 1;
            self.turns.insert(self.places, key);
            Line {
                waiting: VecDeque::new(),
                credit: QUANTUM,
                place: self.places,
                held: false,
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
            let others = self.turns.len() - usize::from(!line.held);
            if line.credit > 0 || others == 0 {
                return Some(key.clone());
            }
            line.credit = QUANTUM;
            self.to_back(key, false);
        }
        self.turns.values().next().cloned()
    }

    /// Takes a function out of the turns.
    pub fn hold(&mut self, key: &K) {
        if self.lines.get(key).is_some_and(|line| !line.held) {
            self.to_back(key, true);
        }
    }

    /// Puts a function that was held at the end of the turns.
    pub fn unhold(&mut self, key: &K) {
        if self.lines.get(key).is_some_and(|line| line.held) {
            self.to_back(key, false);
        }
    }

    /// Puts a function at the end of the held, or of the turns.
    pub fn to_back(&mut self, key: &K, held: bool) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let (from, to) = match (line.held, held) {
            (true, true) => (&mut self.held, None),
            (false, false) => (&mut self.turns, None),
            (true, false) => (&mut self.held, Some(&mut self.turns)),
            (false, true) => (&mut self.turns, Some(&mut self.held)),
        };
        let Some(key) = from.remove(&line.place) else {
            return;
        };
        self.places += 1;
        line.place = self.places;
        line.held = held;
        to.unwrap_or(from).insert(line.place, key);
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
            let among = if line.held {
                &mut self.held
            } else {
                &mut self.turns
            };
            among.remove(&line.place);
            self.lines.remove(key);
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
            queue.to_back(&key, false);
            order.push(key);
        }
        assert_eq!(order, ["many", "one", "two", "many"]);
    }

    #[test]
    fn a_held_function_takes_no_turn() {
        let mut queue = FairQueue::new(1000);
        for key in ["held", "other", "held"] {
            queue.push(key, 0).unwrap();
        }
        queue.hold(&"held");
        assert_eq!(queue.next(None), Some("other"));
        queue.pop(&"other").unwrap();
        assert_eq!((queue.next(None), queue.len()), (None, 2));
        assert!(queue.held().eq(&["held"]) && queue.is_nobodys_turn());
        assert_eq!(queue.next(Some(&"held")), Some("held"), "its own instance");
        queue.pop(&"held").unwrap();
        queue.unhold(&"held");
        assert_eq!(queue.next(None), Some("held"));
        queue.pop(&"held").unwrap();
        assert!(queue.is_empty() && queue.functions() == 0 && queue.is_nobodys_turn());
    }

    #[test]
    fn a_free_instance_serves_its_function_for_one_quantum() {
        for hold in [false, true] {
            let mut queue = FairQueue::new(1000);
            for n in 0..100 {
                queue.push("mine", n).unwrap();
            }
            if hold {
                queue.hold(&"mine");
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
