//! The queue of tasks that wait for one per-core object: first in, first out, O(1) to join and to leave at any place.
//!
//! Waiters live in a slab and are named by its index, so that a future that waits needs neither an allocation of its own
//! nor a pinned, self-referential node. A waiter is *waiting* (in the list, with a waker), or *answered* (out of the
//! list, its answer kept until the future comes for it or is dropped). No waker is woken or dropped in here: they are
//! returned, to be dealt with after the `RefCell` around the list is free again.

use alloc::vec::Vec;
use core::task::Waker;

const NIL: u32 = u32::MAX;

enum State<A> {
    Free,
    Waiting(Waker),
    Answered(A),
}

struct Entry<D, A> {
    next: u32,
    prev: u32,
    data: D,
    state: State<A>,
}

/// What has become of a waiter.
pub(super) enum Outcome<A> {
    /// It waits on; the waker that is no longer needed.
    Waiting(Option<Waker>),
    /// It has been answered and is forgotten now.
    Answered(A),
}

/// Waiters that carry a `D` and are answered with an `A`.
pub(super) struct Waiters<D, A> {
    entries: Vec<Entry<D, A>>,
    head: u32,
    tail: u32,
    free: u32,
    live: u32,
}

impl<D: Copy, A> Waiters<D, A> {
    pub(super) const fn new() -> Self {
        Waiters {
            entries: Vec::new(),
            head: NIL,
            tail: NIL,
            free: NIL,
            live: 0,
        }
    }

    /// Whether nobody is waiting (somebody may still have to fetch an answer).
    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// How many there are, waiting or answered.
    pub(super) fn len(&self) -> u32 {
        self.live
    }

    /// Puts a waiter last in the queue. Its index is valid until it has been answered and polled, or has left.
    pub(super) fn join(&mut self, data: D, waker: Waker) -> u32 {
        let entry = Entry {
            next: NIL,
            prev: self.tail,
            data,
            state: State::Waiting(waker),
        };
        let index = self.free;
        let index = if index == NIL {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = entry;
            index
        };
        match self.tail {
            NIL => self.head = index,
            tail => self.entries[tail as usize].next = index,
        }
        self.tail = index;
        self.live += 1;
        index
    }

    /// What the first in the queue carries.
    pub(super) fn front(&self) -> Option<D> {
        self.entries.get(self.head as usize).map(|e| e.data)
    }

    /// Answers the first in the queue; returns the waker to wake.
    pub(super) fn answer_front(&mut self, answer: A) -> Option<Waker> {
        let index = self.head;
        if index == NIL {
            return None;
        }
        self.unlink(index);
        match core::mem::replace(
            &mut self.entries[index as usize].state,
            State::Answered(answer),
        ) {
            State::Waiting(waker) => Some(waker),
            _ => None,
        }
    }

    /// A waiter asks whether it has been answered; if not, `waker` is to be woken.
    pub(super) fn poll(&mut self, index: u32, waker: &Waker) -> Outcome<A> {
        match &mut self.entries[index as usize].state {
            State::Waiting(old) if old.will_wake(waker) => Outcome::Waiting(None),
            State::Waiting(old) => Outcome::Waiting(Some(core::mem::replace(old, waker.clone()))),
            _ => self.leave(index),
        }
    }

    /// A waiter goes, answered or not. The caller looks after the answer.
    pub(super) fn leave(&mut self, index: u32) -> Outcome<A> {
        let entry = &mut self.entries[index as usize];
        let outcome = match core::mem::replace(&mut entry.state, State::Free) {
            State::Waiting(waker) => {
                self.unlink(index);
                Outcome::Waiting(Some(waker))
            }
            State::Answered(answer) => Outcome::Answered(answer),
            State::Free => Outcome::Waiting(None),
        };
        self.entries[index as usize].next = self.free;
        self.free = index;
        self.live -= 1;
        // A crowd that has gone leaves no memory behind.
        if self.live == 0 && self.entries.capacity() > 64 {
            self.entries = Vec::new();
            self.free = NIL;
        }
        outcome
    }

    fn unlink(&mut self, index: u32) {
        let &Entry { prev, next, .. } = &self.entries[index as usize];
        match prev {
            NIL => self.head = next,
            prev => self.entries[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.entries[next as usize].prev = prev,
        }
    }
}
