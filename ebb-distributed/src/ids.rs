//! A table by ids that mostly rise by one, as those of calls do: most of them lie where their number says.
//!
//! What must hold: `places` is ordered by id, its first and last are live, and at most half of it and a few are not. So memory is
//! bounded by what is live, however old the oldest is.

use alloc::collections::VecDeque;

/// Places without a value that are always allowed.
const SPARE: usize = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ids<T> {
    /// What was taken out of the middle is `None`.
    places: VecDeque<(u64, Option<T>)>,
    live: usize,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            live: 0,
        }
    }
}

impl<T> Ids<T> {
    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Where the id is, or where it belongs.
    #[inline]
    fn find(&self, id: u64) -> Result<usize, usize> {
        match self.places.front() {
            None => Err(0),
            Some(&(first, _)) if first == id => Ok(0),
            Some(&(first, _)) => self.find_behind(first, id),
        }
    }

    fn find_behind(&self, first: u64, id: u64) -> Result<usize, usize> {
        let guess = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
        if self
            .places
            .get(guess)
            .is_some_and(|&(there, _)| there == id)
        {
            return Ok(guess);
        }
        match self.places.back() {
            Some(&(last, _)) if last < id => Err(self.places.len()),
            _ => self.places.binary_search_by_key(&id, |&(id, _)| id),
        }
    }

    /// Gives the value that was there.
    pub fn insert(&mut self, id: u64, value: T) -> Option<T> {
        let before = match self.find(id) {
            Ok(place) => self.places[place].1.replace(value),
            Err(place) if place == self.places.len() => {
                self.places.push_back((id, Some(value)));
                None
            }
            Err(place) => {
                self.places.insert(place, (id, Some(value)));
                None
            }
        };
        self.live += usize::from(before.is_none());
        before
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let place = self.find(id).ok()?;
        self.places[place].1.as_mut()
    }

    pub fn contains(&self, id: u64) -> bool {
        self.find(id)
            .is_ok_and(|place| self.places[place].1.is_some())
    }

    pub fn remove(&mut self, id: u64) -> Option<T> {
        let place = self.find(id).ok()?;
        let value = self.places[place].1.take()?;
        self.live -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        while let Some((_, None)) = self.places.back() {
            self.places.pop_back();
        }
        if self.places.len() > 2 * self.live + SPARE {
            self.places.retain(|(_, value)| value.is_some());
        }
        Some(value)
    }
}

impl<T> IntoIterator for Ids<T> {
    type Item = (u64, T);
    type IntoIter = core::iter::FilterMap<
        alloc::collections::vec_deque::IntoIter<(u64, Option<T>)>,
        fn((u64, Option<T>)) -> Option<(u64, T)>,
    >;

    /// In the order of the ids.
    fn into_iter(self) -> Self::IntoIter {
        self.places
            .into_iter()
            .filter_map(|(id, value)| value.map(|value| (id, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use alloc::{collections::BTreeMap, vec::Vec};

    #[test]
    fn it_is_a_map_whatever_the_order_of_ids_and_keeps_no_more_than_it_has() {
        let mut chance = Chance::new(7);
        for spread in [1, 3, 1 << 20, u64::MAX] {
            let (mut ids, mut map) = (Ids::default(), BTreeMap::new());
            let mut next = 0_u64;
            for step in 0..20_000 {
                // One stays for long, as a call may that waits for an hour.
                let some = map.keys().nth(1 + step % 50).copied();
                match step % 7 {
                    0..=2 => {
                        next = next.wrapping_add(1 + chance.below(spread));
                        assert_eq!(ids.insert(next, step), map.insert(next, step));
                    }
                    3 => {
                        let id = chance.below(next.max(1));
                        assert_eq!(ids.insert(id, step), map.insert(id, step));
                    }
                    4 => {
                        let id = chance.below(next.max(1));
                        assert_eq!(ids.remove(id), map.remove(&id));
                        assert!(!ids.contains(id));
                    }
                    _ => {
                        if let Some(id) = some {
                            assert!(ids.contains(id));
                            assert_eq!(ids.get_mut(id), map.get_mut(&id));
                            assert_eq!(ids.remove(id), map.remove(&id));
                        }
                    }
                }
                assert_eq!((ids.len(), ids.is_empty()), (map.len(), map.is_empty()));
                assert!(ids.places.len() <= 2 * map.len() + SPARE);
            }
            let (ids, map): (Vec<_>, Vec<_>) =
                (ids.into_iter().collect(), map.into_iter().collect());
            assert_eq!(ids, map);
        }
    }
}
