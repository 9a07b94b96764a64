//! Which item goes when memory is short: SIEVE (Zhang et al., NSDI 2024).
//!
//! Items stand in a line, the newest in front. A hit only marks the item, so it needs neither a lock nor, when the item
//! is marked already, a write. A hand walks from the back to the front: it clears marks and evicts the first item that
//! has none. What was just put in and never asked for leaves soon; what is asked for stays, whatever passes through.
//!
//! Slots are numbered, so that a sweep for expired items can go through them a few at a time. The items' `slot` says
//! where they stand. All of this is under the shard's lock.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use crate::item::Item;

const NONE: u32 = u32::MAX;

/// Most marks that one eviction clears. After that the next item goes, marked or not.
const PATIENCE: usize = 64;

#[derive(Debug)]
struct Slot {
    item: Option<Arc<Item>>,
    /// Towards the front; for a free slot the next free one.
    newer: u32,
    /// Towards the back.
    older: u32,
}

/// Items in the order of their arrival, and the hand.
#[derive(Debug)]
pub struct Sieve {
    slots: Vec<Slot>,
    free: u32,
    newest: u32,
    oldest: u32,
    hand: u32,
    len: usize,
}

impl Default for Sieve {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            hand: NONE,
            len: 0,
        }
    }
}

impl Sieve {
    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item in front. False when there is no memory for one more, and then it is as it was; there is after a
    /// [removal](Self::remove).
    #[must_use]
    pub fn insert(&mut self, item: Arc<Item>) -> bool {
        let at = if self.free == NONE {
            if self.slots.len() == self.slots.capacity() && self.slots.try_reserve(1).is_err() {
                return false;
            }
            self.slots.push(Slot {
                item: None,
                newer: NONE,
                older: NONE,
            });
            (self.slots.len() - 1) as u32
        } else {
            let at = self.free;
            self.free = self.slots[at as usize].newer;
            at
        };
        item.slot.store(at, Ordering::Relaxed);
        self.slots[at as usize] = Slot {
            item: Some(item),
            newer: NONE,
            older: self.newest,
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.slots[newest as usize].newer = at,
        }
        self.newest = at;
        self.len += 1;
        true
    }

    /// Lets `item` stand where `old` stood; that counts as a hit.
    pub fn replace(&mut self, old: &Item, item: Arc<Item>) {
        let at = old.slot.load(Ordering::Relaxed);
        item.slot.store(at, Ordering::Relaxed);
        item.visit();
        self.slots[at as usize].item = Some(item);
    }

    /// Takes an item out.
    pub fn remove(&mut self, item: &Item) {
        let at = item.slot.load(Ordering::Relaxed);
        let slot = &mut self.slots[at as usize];
        let (newer, older) = (slot.newer, slot.older);
        slot.item = None;
        slot.newer = self.free;
        self.free = at;
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        if self.hand == at {
            self.hand = newer;
        }
        self.len -= 1;
    }

    /// The item that should go, which stays until it is [removed](Self::remove). `dead` says that an item is of no use
    /// any more.
    pub fn victim(&mut self, dead: impl Fn(&Item) -> bool) -> Option<Arc<Item>> {
        for left in (0..=PATIENCE).rev() {
            if self.hand == NONE {
                self.hand = self.oldest;
            }
            let slot = self.slots.get(self.hand as usize)?;
            let item = slot.item.as_ref()?;
            if left == 0 || dead(item) || !item.take_visited() {
                return Some(Arc::clone(item));
            }
            self.hand = slot.newer;
        }
        None
    }

    /// How many slots there are, taken or free.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The item in a slot.
    #[must_use]
    pub fn get(&self, slot: usize) -> Option<&Arc<Item>> {
        self.slots.get(slot)?.item.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Draft;

    fn item(name: &[u8]) -> Arc<Item> {
        let draft = Draft::new(name, 0, 0, 0).expect("memory");
        Arc::new(draft.finish(0))
    }

    fn evict(sieve: &mut Sieve) -> Option<Vec<u8>> {
        let victim = sieve.victim(|_| false)?;
        sieve.remove(&victim);
        Some(victim.key().to_vec())
    }

    #[test]
    fn what_was_asked_for_outlives_what_was_not() {
        let mut sieve = Sieve::default();
        let items: Vec<_> = [b"a", b"b", b"c", b"d"].map(|n| item(n)).into();
        assert!(items.iter().all(|i| sieve.insert(i.clone())));
        items[0].visit();
        items[2].visit();
        assert_eq!(evict(&mut sieve).as_deref(), Some(&b"b"[..]));
        // The hand goes on from there, over c; then it starts at the back again, where a has lost its mark.
        assert_eq!(evict(&mut sieve).as_deref(), Some(&b"d"[..]));
        assert_eq!(evict(&mut sieve).as_deref(), Some(&b"a"[..]));
        assert_eq!(evict(&mut sieve).as_deref(), Some(&b"c"[..]));
        assert_eq!(evict(&mut sieve), None);
    }

    #[test]
    fn one_eviction_looks_at_a_bounded_number_of_items() {
        let mut sieve = Sieve::default();
        for n in 0..1000u32 {
            let item = item(&n.to_be_bytes());
            item.visit();
            assert!(sieve.insert(item));
        }
        assert!(evict(&mut sieve).is_some());
        let unmarked = (0..sieve.slots())
            .filter_map(|s| sieve.get(s))
            .filter(|i| !i.take_visited());
        assert_eq!(unmarked.count(), PATIENCE);
    }

    #[test]
    fn slots_are_used_again() {
        let mut sieve = Sieve::default();
        for n in 0..1000u32 {
            assert!(sieve.insert(item(&n.to_be_bytes())));
            if sieve.len() > 10 {
                assert!(evict(&mut sieve).is_some());
            }
        }
        assert_eq!(sieve.slots(), 11);
    }
}
