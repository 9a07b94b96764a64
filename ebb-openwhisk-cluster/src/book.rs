//! The book of acknowledgements that the bus does not have yet.
//!
//! An activation whose result is known needs its slot no more, though its acknowledgement may be on its way for minutes: a controller's
//! topic can have no leader while others take theirs. The book says how much may be on its way.
//!
//! What must hold:
//! - All together take no more than [`BYTES`], but that each topic may have one acknowledgement whatever its size.
//! - No topic keeps others out: it gets as much as it leaves free for them (a "dynamic threshold", A. K. Choudhury and E. L. Hahne,
//!   "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). One that takes nothing comes to half of all, the
//!   next to a quarter.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ebb::time;
use ebb::time::Instant;

/// What acknowledgements on their way may take.
const BYTES: usize = 16 << 20;
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
        let free = BYTES.saturating_sub(state.bytes);
        match state.topics.get_mut(topic) {
            // What is left when it has its place.
            Some(on_its_way) if on_its_way.bytes + bytes > free.saturating_sub(bytes) => {
                return None;
            }
            Some(on_its_way) => on_its_way.bytes += bytes,
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

    /// The same, waiting for a topic that takes what it gets; `None` for one that does not.
    pub(crate) async fn wait(&self, topic: &str, bytes: usize) -> Option<Place> {
        loop {
            let place = self.place(topic, bytes);
            if place.is_some() || self.is_stalled(topic) {
                return place;
            }
            time::sleep(LOOK).await;
        }
    }

    fn is_stalled(&self, topic: &str) -> bool {
        let state = self.0.borrow();
        let on_its_way = state.topics.get(topic);
        on_its_way.is_some_and(|on_its_way| on_its_way.since.elapsed() >= STALLED)
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
        assert!((0.49..0.51).contains(&share(&first)), "{}", share(&first));
        let second = fill(&book, "completed2");
        assert!((0.24..0.26).contains(&share(&second)), "{}", share(&second));
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
    fn an_acknowledgement_larger_than_the_book_goes_when_it_is_its_topics_only_one() {
        let book = Book::default();
        let large = book.place("completed1", 2 * BYTES);
        assert!(large.is_some());
        assert!(book.place("completed1", KIB).is_none());
        assert!(book.place("completed2", KIB).is_some());
    }
}
