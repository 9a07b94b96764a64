//! Arenas: where kernel objects live, and the checked indices by which they name one another.
//!
//! An index carries the generation of its slot, so an index that outlives its object finds nothing
//! rather than the slot's next tenant. An arena is plain data: its clone holds clones of the
//! objects under the same indices, which is what makes a snapshot of a UC a `clone()`.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize, io};
use core::marker::PhantomData;

use super::id::Id;

#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
enum Slot<T> {
    Full { generation: u32, value: T },
    Free { generation: u32, next: Option<u32> },
}

/// Objects of one kind, named by [`Id`]; `N` is what the names are of.
#[derive(Clone, Debug)]
pub struct Arena<T, N = T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    len: usize,
    _names: PhantomData<fn() -> N>,
}

impl<T, N> Default for Arena<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, N> Arena<T, N> {
    /// An empty arena.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: None,
            len: 0,
            _names: PhantomData,
        }
    }

    /// How many objects live here.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none does.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves `value` in. The caller bounds how many there are.
    pub fn insert(&mut self, value: T) -> Id<N> {
        self.len += 1;
        let (index, generation) = match self.free {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                let Slot::Free { generation, next } = *slot else {
                    unreachable!("the free list names free slots only")
                };
                self.free = next;
                *slot = Slot::Full { generation, value };
                (index, generation)
            }
            None => {
                let index = self.slots.len() as u32;
                self.slots.push(Slot::Full {
                    generation: 0,
                    value,
                });
                (index, 0)
            }
        };
        Id::new(index as usize, generation)
    }

    /// Moves the object out; its id names nothing from now on.
    pub fn remove(&mut self, id: Id<N>) -> Option<T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        if !matches!(slot, Slot::Full { generation, .. } if *generation == id.generation()) {
            return None;
        }
        let free = Slot::Free {
            generation: id.generation().wrapping_add(1),
            next: self.free,
        };
        self.free = Some(id.index());
        self.len -= 1;
        match core::mem::replace(slot, free) {
            Slot::Full { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The object of this name, if it still lives.
    pub fn get(&self, id: Id<N>) -> Option<&T> {
        match self.slots.get(id.index() as usize) {
            Some(Slot::Full { generation, value }) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    /// The object of this name, if it still lives.
    pub fn get_mut(&mut self, id: Id<N>) -> Option<&mut T> {
        match self.slots.get_mut(id.index() as usize) {
            Some(Slot::Full { generation, value }) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    /// Every object with its name, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Id<N>, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| match slot {
            Slot::Full { generation, value } => Some((Id::new(index, *generation), value)),
            Slot::Free { .. } => None,
        })
    }

    /// Every object with its name, in slot order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<N>, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| match slot {
            Slot::Full { generation, value } => Some((Id::new(index, *generation), value)),
            Slot::Free { .. } => None,
        })
    }
}

impl<T: BorshSerialize, N> BorshSerialize for Arena<T, N> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.slots.serialize(writer)?;
        self.free.serialize(writer)
    }
}

impl<T: BorshDeserialize, N> BorshDeserialize for Arena<T, N> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let slots = Vec::<Slot<T>>::deserialize_reader(reader)?;
        let free = Option::<u32>::deserialize_reader(reader)?;
        let is_full = |slot: &&Slot<T>| matches!(slot, Slot::Full { .. });
        let len = slots.iter().filter(is_full).count();
        // `insert` follows the list without looking.
        let (mut listed, mut at) = (0, free);
        while let Some(index) = at {
            match slots.get(index as usize) {
                Some(Slot::Free { next, .. }) if listed < slots.len() => at = *next,
                _ => return Err(wrong("a list of free slots that names others")),
            }
            listed += 1;
        }
        if listed + len != slots.len() {
            return Err(wrong("free slots that no list has"));
        }
        Ok(Self {
            slots,
            free,
            len,
            _names: PhantomData,
        })
    }
}

/// What was written down is not what this machine writes.
pub(crate) fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_removed_object_finds_nothing_even_when_the_slot_is_reused() {
        let mut arena = Arena::<&str>::new();
        let a = arena.insert("a");
        assert_eq!(arena.remove(a), Some("a"));
        let b = arena.insert("b");
        assert_eq!(b.index(), a.index());
        assert_eq!(arena.get(a), None);
        assert_eq!(arena.remove(a), None);
        assert_eq!(arena.get(b), Some(&"b"));
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn a_clone_keeps_the_names_and_shares_nothing() {
        let mut arena = Arena::<i32>::new();
        let a = arena.insert(1);
        let mut copy = arena.clone();
        *copy.get_mut(a).unwrap() = 2;
        assert_eq!((arena.get(a), copy.get(a)), (Some(&1), Some(&2)));
    }
}
