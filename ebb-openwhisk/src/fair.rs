//! A queue that is fair between namespaces, and in each of them between functions: they take turns, however many functions
//! and calls each of them has waiting.
//!
//! Turns are not single calls. Giving an instance to another function means to throw one away and to start one, which costs
//! many times what a call does; with more functions than instances, strict turns would do that for every call, and the
//! throughput would collapse. So a function keeps its turn for up to [`QUANTUM`] calls, as in deficit round robin (Shreedhar
//! and Varghese 1995) with calls for bytes. A namespace's turn is one turn of one of its functions, or as many as it has weight.
//!
//! A function may be *held*: its calls wait for one of its own instances, so it takes no turn.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use core::hash::Hash;
use hashbrown::HashMap;

/// How many calls a function is served in one turn while others wait.
pub const QUANTUM: u32 = 16;

/// A function, which is a namespace's.
pub trait Member: Clone + Eq + Hash {
    /// The namespace.
    fn namespace(&self) -> &str;
}

/// How often the first call of a function is passed over by those behind it that are nearer to a free instance.
pub const PASSED: u32 = 4;
/// How many calls are looked at for one that is near.
const LOOKED_AT: usize = 8;

#[derive(Debug)]
struct Line<V> {
    waiting: VecDeque<V>,
    /// Calls left of its turn.
    credit: u32,
    /// Its place among the turns, or among the held.
    place: u64,
    held: bool,
    /// Its next call is served by its own instance and takes no turn.
    goes_on: bool,
    /// How often its first call has been passed over.
    passed: u32,
}

/// What a namespace has waiting.
#[derive(Debug)]
struct Group<K> {
    /// Its functions that are not held.
    turns: BTreeMap<u64, K>,
    /// Turns left of its functions in this round.
    credit: u32,
    /// Its place in the round, while it has turns.
    place: u64,
    /// Its calls.
    waiting: usize,
}

/// Calls that wait, by function.
#[derive(Debug)]
pub struct FairQueue<K, V> {
    lines: HashMap<K, Line<V>>,
    groups: HashMap<String, Group<K>>,
    /// Namespaces with functions that are not held.
    round: BTreeMap<u64, String>,
    /// The turns that namespaces get in a round; 1 if nothing is said.
    weights: HashMap<String, u32>,
    /// Functions that are not held.
    turns: usize,
    held: BTreeMap<u64, K>,
    places: u64,
    len: usize,
    most: usize,
}

impl<K: Member, V> FairQueue<K, V> {
    /// A queue for at most so many calls.
    pub fn new(most: usize) -> Self {
        Self {
            lines: HashMap::new(),
            groups: HashMap::new(),
            round: BTreeMap::new(),
            weights: HashMap::new(),
            turns: 0,
            held: BTreeMap::new(),
            places: 0,
            len: 0,
            most,
        }
    }

    /// Says which namespaces there are, and how many turns each gets in a round.
    pub fn set_weights<'a>(&mut self, weights: impl Iterator<Item = (&'a str, u32)>) {
        self.weights = weights
            .map(|(name, weight)| (name.into(), weight))
            .collect();
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
        self.turns == 0
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
    /// it alone. Where there are several namespaces, one has no more than three times as many waiting as there are places left: so
    /// one alone gets three quarters of them, and however many fill the queue, there are places for another.
    pub fn has_room(&self, key: &K) -> bool {
        let left = self.most.saturating_sub(self.len);
        let is_fair = self.weights.len() < 2 || self.waiting_of(key.namespace()) < 3 * left;
        left > 0 && is_fair && self.waiting(key) < (self.most - self.most / 4).max(1)
    }

    /// Calls of that namespace that wait.
    pub fn waiting_of(&self, namespace: &str) -> usize {
        self.groups.get(namespace).map_or(0, |group| group.waiting)
    }

    fn weight(&self, namespace: &str) -> u32 {
        self.weights
            .get(namespace)
            .map_or(1, |&weight| weight.max(1))
    }

    /// A function has a turn to come.
    fn add_turn(&mut self, place: u64, key: K) {
        let weight = self.weight(key.namespace());
        let Some(group) = self.groups.get_mut(key.namespace()) else {
            return;
        };
        if group.turns.is_empty() {
            self.places += 1;
            group.place = self.places;
            group.credit = weight;
            self.round.insert(group.place, key.namespace().into());
        }
        group.turns.insert(place, key);
        self.turns += 1;
    }

    fn remove_turn(&mut self, place: u64, key: &K) {
        let Some(group) = self.groups.get_mut(key.namespace()) else {
            return;
        };
        if group.turns.remove(&place).is_some() {
            self.turns -= 1;
            if group.turns.is_empty() {
                self.round.remove(&group.place);
            }
        }
    }

    /// A namespace's function has taken a turn.
    fn charge(&mut self, namespace: &str) {
        let weight = self.weight(namespace);
        let Some(group) = self.groups.get_mut(namespace) else {
            return;
        };
        group.credit = group.credit.saturating_sub(1);
        if group.credit == 0 {
            group.credit = weight;
            if let Some(name) = self.round.remove(&group.place) {
                self.places += 1;
                group.place = self.places;
                self.round.insert(group.place, name);
            }
        }
    }

    /// Puts a call at the end of its function's line; gives it back if there is no room for it.
    ///
    /// # Errors
    /// The call, when there is no room.
    pub fn push(&mut self, key: K, call: V) -> Result<(), V> {
        if !self.has_room(&key) {
            return Err(call);
        }
        let group = self
            .groups
            .entry_ref(key.namespace())
            .or_insert_with(|| Group {
                turns: BTreeMap::new(),
                credit: 0,
                place: 0,
                waiting: 0,
            });
        group.waiting += 1;
        self.len += 1;
        if let Some(line) = self.lines.get_mut(&key) {
            line.waiting.push_back(call);
            return Ok(());
        }
        self.places += 1;
        let place = self.places;
        self.add_turn(place, key.clone());
        let line = Line {
            waiting: VecDeque::from([call]),
            credit: QUANTUM,
            place,
            held: false,
            goes_on: false,
            passed: 0,
        };
        self.lines.insert(key, line);
        Ok(())
    }

    /// Whose call is next. An instance of `prefer` is free: if that function has calls waiting and has not used up its
    /// turn, it goes on.
    pub fn next(&mut self, prefer: Option<&K>) -> Option<K> {
        if let Some(key) = prefer
            && let Some(line) = self.lines.get_mut(key)
        {
            let others = self.turns - usize::from(!line.held);
            if line.credit > 0 || others == 0 {
                line.goes_on = true;
                return Some(key.clone());
            }
            line.credit = QUANTUM;
            self.to_back(key, false);
        }
        let (_, first) = self.round.first_key_value()?;
        self.groups.get(first)?.turns.values().next().cloned()
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
        let (from, was_held) = (line.place, line.held);
        self.places += 1;
        let place = self.places;
        (line.place, line.held) = (place, held);
        if was_held {
            self.held.remove(&from);
        } else {
            self.remove_turn(from, key);
        }
        if held {
            self.held.insert(place, key.clone());
        } else {
            self.add_turn(place, key.clone());
        }
    }

    /// The call at the front of that function's line, without taking it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.lines.get(key)?.waiting.front()
    }

    /// Takes that function's next call.
    pub fn pop(&mut self, key: &K) -> Option<V> {
        self.pop_near(key, |_| true)
    }

    /// Takes one of that function's next calls that is near, or the first, which is passed over at most [`PASSED`] times.
    pub fn pop_near(&mut self, key: &K, is_near: impl Fn(&V) -> bool) -> Option<V> {
        let line = self.lines.get_mut(key)?;
        let near = line.waiting.iter().take(LOOKED_AT).position(is_near);
        let at = near.filter(|_| line.passed < PASSED).unwrap_or(0);
        line.passed = if at > 0 { line.passed + 1 } else { 0 };
        let call = line.waiting.remove(at)?;
        line.credit = line.credit.saturating_sub(1);
        let takes_turn = !core::mem::take(&mut line.goes_on);
        let (place, held, is_last) = (line.place, line.held, line.waiting.is_empty());
        self.len -= 1;
        if takes_turn && !held {
            self.charge(key.namespace());
        }
        if is_last {
            if held {
                self.held.remove(&place);
            } else {
                self.remove_turn(place, key);
            }
            self.lines.remove(key);
        }
        if let Some(group) = self.groups.get_mut(key.namespace()) {
            group.waiting -= 1;
            if group.waiting == 0 {
                self.groups.remove(key.namespace());
            }
        }
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    impl Member for &str {
        fn namespace(&self) -> &str {
            self.split_once('/').map_or("", |(namespace, _)| namespace)
        }
    }

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

    /// Serves `n` calls, each on an instance that was another function's.
    fn serve(queue: &mut FairQueue<&'static str, u32>, n: usize) -> Vec<&'static str> {
        let mut served = Vec::new();
        for _ in 0..n {
            let key = queue.next(None).unwrap();
            queue.pop(&key).unwrap();
            queue.to_back(&key, false);
            served.push(key);
        }
        served
    }

    #[test]
    fn namespaces_take_turns_however_many_functions_each_has() {
        let mut queue = FairQueue::new(1000);
        for key in ["many/a", "many/b", "many/c", "one/a"] {
            for n in 0..10 {
                queue.push(key, n).unwrap();
            }
        }
        let order = serve(&mut queue, 6);
        assert_eq!(
            order,
            ["many/a", "one/a", "many/b", "one/a", "many/c", "one/a"]
        );
    }

    #[test]
    fn a_namespace_has_as_many_turns_in_a_round_as_it_has_weight() {
        let mut queue = FairQueue::new(1000);
        queue.set_weights([("heavy", 3), ("light", 1)].into_iter());
        for key in ["light/a", "heavy/a", "light/b", "heavy/b"] {
            for n in 0..100 {
                queue.push(key, n).unwrap();
            }
        }
        let order = serve(&mut queue, 80);
        let heavy = order
            .iter()
            .filter(|key| key.namespace() == "heavy")
            .count();
        assert_eq!(heavy, 60);
    }

    #[test]
    fn a_free_instance_takes_no_turn_of_its_namespace() {
        let mut queue = FairQueue::new(1000);
        for key in ["a/hot", "a/other", "b/f"] {
            for n in 0..20 {
                queue.push(key, n).unwrap();
            }
        }
        for _ in 0..QUANTUM {
            assert_eq!(queue.next(Some(&"a/hot")), Some("a/hot"));
            queue.pop(&"a/hot").unwrap();
        }
        assert_eq!(
            queue.next(Some(&"a/hot")),
            Some("a/other"),
            "the turn is still a's"
        );
        queue.pop(&"a/other").unwrap();
        assert_eq!(queue.next(None), Some("b/f"));
    }

    #[test]
    fn one_of_several_namespaces_leaves_places_to_the_others() {
        let mut queue = FairQueue::new(100);
        queue.set_weights([("a", 1), ("b", 1), ("c", 1)].into_iter());
        let functions = ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "c/1"];
        let mut taken = [0; 3];
        for key in functions {
            while queue.push(key, 0).is_ok() {
                taken[usize::from(key.as_bytes()[0] - b'a')] += 1;
            }
        }
        assert_eq!(taken[0], 75);
        assert!(taken[1] > 10 && taken[2] > 2, "{taken:?}");
        queue.set_weights([("a", 1)].into_iter());
        while queue.len() < 100 {
            queue.push("a/4", 0).unwrap();
        }
    }

    #[test]
    fn what_is_emptied_leaves_nothing_behind() {
        let mut queue = FairQueue::new(1000);
        for (n, key) in ["a/x", "a/y", "b/x"].iter().cycle().take(90).enumerate() {
            queue.push(*key, n as u32).unwrap();
            if n % 4 == 0 {
                queue.hold(key);
            }
        }
        for key in ["a/x", "a/y", "b/x"] {
            queue.unhold(&key);
        }
        while let Some(key) = queue.next(None) {
            queue.pop(&key).unwrap();
        }
        assert!(queue.is_empty() && queue.is_nobodys_turn() && queue.held().next().is_none());
        assert!(queue.groups.is_empty() && queue.round.is_empty() && queue.lines.is_empty());
    }

    #[test]
    fn near_calls_go_first_and_the_first_one_soon() {
        let mut queue = FairQueue::new(100);
        for n in 0..20 {
            queue.push("f", n).unwrap();
        }
        let odd = |n: &u32| n % 2 == 1;
        let order: Vec<u32> = core::iter::from_fn(|| queue.pop_near(&"f", odd)).collect();
        // Four go before an even one, and then it is its turn.
        assert_eq!(order[..6], [1, 3, 5, 7, 0, 9]);
        let mut all = order.clone();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..20) && queue.is_empty());
        // Without any that is near they go as they came.
        queue.push("f", 2).unwrap();
        queue.push("f", 4).unwrap();
        assert_eq!(
            (queue.pop_near(&"f", odd), queue.pop(&"f")),
            (Some(2), Some(4))
        );
    }
}
