//! The book of acknowledgements that the bus does not have yet.
//!
//! An activation whose result is known needs its slot no more, though its acknowledgement may be on its way for minutes: a controller's
//! topic can have no leader while others take theirs. The book says how much may be on its way.
//!
//! What must hold:
//! - All together take no more than [`BYTES`], however many topics there are and however large an acknowledgement is.
//! - No topic keeps others out: what it gets depends on what it leaves free for them (a "dynamic threshold", A. K. Choudhury and E. L.
//!   Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). One that takes nothing comes to a fifth of all,
//!   the next to a fifth of the rest.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ebb::time;
use ebb::time::Instant;

/// What acknowledgements on their way may take.
const BYTES: usize = 16 << 20;
/// A topic has no more than this part of what it leaves free. The smaller, the more topics may take nothing before others have no room.
const SHARE: usize = 4;
/// What one takes besides its text, here and in the bus.
const EACH: usize = 512;
/// A topic that has taken nothing for so long is waited for no more.
const STALLED: Duration = Duration::from_secs(10);
/// How often it is looked for room.
const LOOK: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Book(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    bytes: usize,
    topics: HashMap<String, OnItsWay>,
}

/// What is on its way to a topic; there is something.
struct OnItsWay {
    bytes: usize,
    /// Since when the topic has taken none of it.
    since: Instant,
}

impl OnItsWay {
    fn is_stalled(&self, now: Instant) -> bool {
        now.since(self.since) >= STALLED
    }
}

/// An acknowledgement's place in the book, until it is dropped.
pub(crate) struct Place {
    book: Book,
    topic: String,
    bytes: usize,
}

impl Book {
    /// A place for acknowledgements of so many bytes to a topic, if there is room.
    pub(crate) fn place(&self, topic: &str, bytes: usize) -> Option<Place> {
        let bytes = bytes + EACH;
        let mut state = self.0.borrow_mut();
        let left = (BYTES - state.bytes).checked_sub(bytes)?;
        match state.topics.get_mut(topic) {
            Some(on_its_way) if on_its_way.bytes + bytes > left / SHARE => return None,
            Some(on_its_way) => on_its_way.bytes += bytes,
            // The only one of its topic may be larger.
            None if bytes > left => return None,
            None => {
                let since = Instant::now();
                let first = OnItsWay { bytes, since };
                state.topics.insert(topic.to_owned(), first);
            }
        }
        state.bytes += bytes;
        Some(Place {
            book: self.clone(),
            topic: topic.to_owned(),
            bytes,
        })
    }

    /// The same, waiting while there may be room soon: not for a topic that takes nothing, nor for what others that take nothing keep.
    pub(crate) async fn wait(&self, topic: &str, bytes: usize) -> Option<Place> {
        loop {
            let place = self.place(topic, bytes);
            if place.is_some() || self.is_in_vain(topic, bytes, Instant::now()) {
                return place;
            }
            time::sleep(LOOK).await;
        }
    }

    fn is_in_vain(&self, topic: &str, bytes: usize, now: Instant) -> bool {
        let state = self.0.borrow();
        let stalled = state.topics.iter().filter(|(_, of)| of.is_stalled(now));
        let (mut kept, mut is_stalled) = (0, false);
        for (name, of) in stalled {
            is_stalled |= name == topic;
            kept += of.bytes;
        }
        is_stalled || 2 * (bytes + EACH) > BYTES - kept
    }

    /// Bytes of all.
    pub(crate) fn bytes(&self) -> usize {
        self.0.borrow().bytes
    }
}

impl Place {
    /// The topic has taken something.
    pub(crate) fn taken(&self) {
        let mut state = self.book.0.borrow_mut();
        if let Some(on_its_way) = state.topics.get_mut(&self.topic) {
            on_its_way.since = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.book.0.borrow_mut();
        state.bytes -= self.bytes;
        if let Some(on_its_way) = state.topics.get_mut(&self.topic) {
            on_its_way.bytes -= self.bytes;
            if on_its_way.bytes == 0 {
                state.topics.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn fill(book: &Book, topic: &str) -> Vec<Place> {
        std::iter::from_fn(|| book.place(topic, KIB)).collect()
    }

    fn share(places: &[Place]) -> f64 {
        places.iter().map(|place| place.bytes).sum::<usize>() as f64 / BYTES as f64
    }

    #[test]
    fn topics_that_take_nothing_leave_room_for_others() {
        let book = Book::default();
        let first = fill(&book, "completed1");
        assert!((0.19..0.21).contains(&share(&first)), "{}", share(&first));
        let second = fill(&book, "completed2");
        assert!((0.15..0.17).contains(&share(&second)), "{}", share(&second));
        assert!(book.place("completed3", KIB).is_some());
        assert!(book.bytes() <= BYTES);
    }

    #[test]
    fn what_is_taken_makes_room() {
        let book = Book::default();
        let mut places = fill(&book, "completed1");
        assert!(book.place("completed1", KIB).is_none());
        places.pop();
        assert!(book.place("completed1", KIB).is_some());
        places.clear();
        assert_eq!(book.bytes(), 0);
        assert!(book.0.borrow().topics.is_empty());
    }

    #[test]
    fn one_by_itself_may_be_larger_but_not_as_large_as_what_is_free() {
        let book = Book::default();
        assert!(book.place("completed1", BYTES / 2).is_none());
        let large = book.place("completed1", BYTES / 2 - EACH);
        assert!(large.is_some());
        assert!(book.place("completed1", KIB).is_none());
        assert!(book.place("completed2", KIB).is_some());
    }

    #[test]
    fn many_topics_that_take_nothing_come_to_no_more_than_all_and_leave_some_to_one_that_does() {
        let book = Book::default();
        let mut places: Vec<Place> = Vec::new();
        for topic in 0..1000 {
            let topic = format!("completed{topic}");
            places.extend(book.place(&topic, 1 << 20));
            places.extend(std::iter::from_fn(|| book.place(&topic, KIB)));
            assert!(book.bytes() <= BYTES);
            if topic == "completed9" {
                assert!(book.place("completed", 32 * KIB).is_some());
            }
        }
        assert!(places.len() > 1000);
        places.clear();
        assert_eq!(book.bytes(), 0);
    }

    #[test]
    fn what_cannot_find_room_is_not_waited_for() {
        let book = Book::default();
        let now = Instant::now();
        assert!(book.is_in_vain("completed1", BYTES, now));
        let _places = fill(&book, "completed1");
        assert!(!book.is_in_vain("completed1", KIB, now));
        assert!(!book.is_in_vain("completed2", BYTES / 2 - EACH, now));
        let later = Instant::now() + STALLED;
        assert!(book.is_in_vain("completed1", KIB, later));
        assert!(book.is_in_vain("completed2", BYTES / 2 - EACH, later));
        assert!(!book.is_in_vain("completed2", BYTES / 3, later));
    }
}
