//! Intrusive many-producer, one-consumer list whose push is wait-free; the executor's way in for wakes from other cores.
//!
//! A push is two atomic exchanges and never retries: the first puts the node in place of the head, the second stores
//! the old head in the node's link (the exchange is the one of Vyukov's intrusive MPSC queue; keeping the list newest
//! first lets the consumer take everything at once and makes "was empty" exact). Between the two the chain has a gap:
//! whatever is older than that node cannot be reached yet. A consumer that comes to a gap does not spin. It marks the
//! link, keeps its place and goes on with other work; the producer's second exchange finds the mark, and that push
//! then returns `true`, so the consumer is woken again.
//!
//! What must hold:
//! - a node is in at most one inbox at a time, and valid from its push until the consumer has been given it;
//! - one thread at a time is the consumer;
//! - whoever gets `true` from [`Inbox::push`] makes the consumer call [`Inbox::drain`] once more.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use super::atomic::{AtomicPtr, Ordering, const_fn};

/// A link whose producer has not stored the older part of the chain yet.
const PENDING: usize = 1;
/// The same, seen by the consumer, who wants to be woken when the link is stored.
const AWAITED: usize = 2;

fn mark<N>(value: usize) -> *mut N {
    ptr::without_provenance_mut(value)
}

/// The field by which a node hangs in an [`Inbox`].
pub struct Link<N> {
    next: AtomicPtr<N>,
}

impl<N> Link<N> {
    const_fn! {
        /// A link that is in no inbox.
        pub fn new() -> Self {
            Link { next: AtomicPtr::new(ptr::null_mut()) }
        }
    }
}

impl<N> Default for Link<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// An object that can hang in an [`Inbox`].
///
/// # Safety
/// [`link`](Node::link) returns the same place inside the object every time, nothing but the inbox uses that place
/// while the object is pushed, and the object's alignment is at least 4 (checked when [`Inbox::push`] is compiled).
pub unsafe trait Node: Sized {
    /// Where the object's link is.
    ///
    /// # Safety
    /// `this` points to a valid object. The object as a whole may be in use by others; only the link's place may be
    /// touched.
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>>;
}

/// What belongs to the consumer alone.
struct Consumer<N> {
    /// Nodes in order of arrival, ready to be handed out.
    ready: Cell<*mut N>,
    /// A chain that could not be followed to its end: the node with the gap ...
    gap: Cell<*mut N>,
    /// ... and the newer nodes of that chain, already in order of arrival.
    newer: Cell<*mut N>,
}

/// The list. It owns none of its nodes: dropping it forgets what is still in it.
pub struct Inbox<N> {
    /// The newest node.
    head: CachePadded<AtomicPtr<N>>,
    consumer: CachePadded<Consumer<N>>,
}

// SAFETY: producers only use `head`, an atomic; `drain` is unsafe and demands one consumer at a time, so the cells are
// never used by two threads. Nodes travel between threads only as the pointers their owners pass, under `push`'s terms.
unsafe impl<N> Sync for Inbox<N> {}
// SAFETY: as above; nothing here is tied to the thread that made it.
unsafe impl<N> Send for Inbox<N> {}

impl<N: Node> Default for Inbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Node> Inbox<N> {
    const_fn! {
        /// An empty inbox.
        pub fn new() -> Self {
            Inbox {
                head: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
                consumer: CachePadded::new(Consumer {
                    ready: Cell::new(ptr::null_mut()),
                    gap: Cell::new(ptr::null_mut()),
                    newer: Cell::new(ptr::null_mut()),
                }),
            }
        }
    }

    /// Adds `node`; any thread may. Returns whether the consumer has to be told: the inbox was empty, or the consumer
    /// stands waiting for this very push.
    ///
    /// Wait-free: two atomic exchanges, whatever other cores do. What was written before `push` is visible to the
    /// consumer when it is given the node.
    ///
    /// # Safety
    /// `node` is valid and stays so until the consumer has been given it, and it is in no inbox now.
    pub unsafe fn push(&self, node: NonNull<N>) -> bool {
        const {
            assert!(
                align_of::<N>() >= 4,
                "the low bits of a node's address carry marks"
            )
        };
        // SAFETY: the caller says the node is valid. The reference ends with this function; until the exchange on
        // `next` below has happened the consumer cannot pass the node, so it is alive for all of it.
        let link = unsafe { N::link(node).as_ref() };
        link.next.store(mark(PENDING), Ordering::Relaxed);
        // Release: the node's content and its PENDING mark go out with its address. Acquire is not needed: the old
        // head is only stored, never followed.
        let older = self.head.swap(node.as_ptr(), Ordering::Release);
        let was = link.next.swap(older, Ordering::AcqRel);
        older.is_null() || was == mark(AWAITED)
    }

    /// Whether nothing is there for [`drain`](Self::drain): neither pushed nor left over. One atomic load and two
    /// plain ones.
    ///
    /// A push that is still under way behind a gap does not count: its `true` is yet to come.
    ///
    /// # Safety
    /// The caller is the consumer.
    pub unsafe fn is_empty(&self) -> bool {
        let consumer = &*self.consumer;
        self.head.load(Ordering::Acquire).is_null()
            && consumer.ready.get().is_null()
            && NonNull::new(consumer.gap.get()).is_none_or(|node| {
                // SAFETY: a node with a gap has not been handed out.
                let link = unsafe { N::link(node).as_ref() };
                link.next.load(Ordering::Acquire) == mark(AWAITED)
            })
    }

    /// Everything that has arrived, oldest first (in the order in which the pushes took effect).
    ///
    /// Costs one atomic exchange and two passes over the nodes; never waits. Nodes that are pushed while the iterator
    /// runs are left to the next call (their producer is told so). What the iterator is dropped upon stays for the
    /// next call. A node may be pushed again as soon as the iterator has returned it.
    ///
    /// # Safety
    /// The caller is the consumer, and it finishes with the iterator before it calls `drain` again.
    pub unsafe fn drain(&self) -> Drain<'_, N> {
        let mut drain = Drain {
            inbox: self,
            may_take: true,
            _consumer: PhantomData,
        };
        let consumer = &*self.consumer;
        if !consumer.gap.get().is_null() {
            let (gap, newer) = (consumer.gap.take(), consumer.newer.take());
            // A chain with a gap was all there was when it was taken, so `ready` was empty then.
            if !self.follow(gap, newer) {
                drain.may_take = false;
            }
        }
        drain
    }

    /// Turns the chain that starts with `node` around, into `ready`; `newer` has been turned already. Says `false` if
    /// it came to a gap, where it left a mark.
    fn follow(&self, mut node: *mut N, mut newer: *mut N) -> bool {
        while let Some(current) = NonNull::new(node) {
            // SAFETY: the node was pushed and has not been handed out, so it is valid.
            let link = unsafe { N::link(current).as_ref() };
            // Acquire: pairs with the producer's exchange; shows what the older nodes' producers wrote, too, since
            // their exchanges of `head` form one release sequence that the consumer's own exchange read from.
            let mut older = link.next.load(Ordering::Acquire);
            if older == mark(PENDING) {
                match link.next.compare_exchange(
                    mark(PENDING),
                    mark(AWAITED),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => older = mark(AWAITED),
                    Err(stored) => older = stored,
                }
            }
            if older == mark(AWAITED) {
                self.consumer.gap.set(node);
                self.consumer.newer.set(newer);
                return false;
            }
            link.next.store(newer, Ordering::Relaxed);
            newer = node;
            node = older;
        }
        self.consumer.ready.set(newer);
        true
    }

    /// Takes all that has been pushed.
    fn take(&self) -> bool {
        // The load keeps an empty inbox's line shared with the producers.
        if self.head.load(Ordering::Relaxed).is_null() {
            return false;
        }
        let newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        self.follow(newest, ptr::null_mut())
    }
}

/// The iterator of [`Inbox::drain`].
pub struct Drain<'a, N: Node> {
    inbox: &'a Inbox<N>,
    may_take: bool,
    /// The consumer's state is in cells: the iterator stays with the consumer.
    _consumer: PhantomData<*mut N>,
}

impl<N: Node> Iterator for Drain<'_, N> {
    type Item = NonNull<N>;

    fn next(&mut self) -> Option<NonNull<N>> {
        let ready = &self.inbox.consumer.ready;
        if ready.get().is_null() {
            if !self.may_take || !self.inbox.take() {
                return None;
            }
            self.may_take = false;
        }
        let node = NonNull::new(ready.get())?;
        // SAFETY: the node has not been handed out. From here on it has, and the inbox does not touch it again.
        let next = unsafe { N::link(node).as_ref() }
            .next
            .load(Ordering::Relaxed);
        ready.set(next);
        Some(node)
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::boxed::Box;
    use std::sync::Arc;
    use std::vec::Vec;

    use super::*;

    struct Item {
        link: Link<Item>,
        value: (usize, usize),
    }

    // SAFETY: the link is a field, used by the inbox only.
    unsafe impl Node for Item {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
            // SAFETY: `this` is valid, so is the place of its field.
            unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).link) }
        }
    }

    fn push(inbox: &Inbox<Item>, value: (usize, usize)) -> bool {
        let node = Box::leak(Box::new(Item {
            link: Link::new(),
            value,
        }));
        // SAFETY: freshly leaked; freed by `take` below.
        unsafe { inbox.push(NonNull::from(node)) }
    }

    fn free(node: NonNull<Item>) -> (usize, usize) {
        // SAFETY: handed out by the inbox, made by `push` above.
        unsafe { Box::from_raw(node.as_ptr()) }.value
    }

    #[test]
    fn nodes_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::new();
        assert!(push(&inbox, (0, 1)));
        assert!(!push(&inbox, (0, 2)));
        // SAFETY: this thread is the only consumer.
        let mut drain = unsafe { inbox.drain() };
        assert_eq!(drain.next().map(free), Some((0, 1)));
        assert!(push(&inbox, (0, 3)));
        // A dropped iterator leaves the rest, and the order.
        // SAFETY: as above.
        let rest: Vec<_> = unsafe { inbox.drain() }.map(free).collect();
        assert_eq!(
            rest,
            [(0, 2)].into_iter().chain([(0, 3)]).collect::<Vec<_>>()
        );
        // SAFETY: as above.
        assert!(unsafe { inbox.is_empty() });
    }

    #[test]
    fn every_push_arrives_once_and_in_its_producers_order() {
        const PRODUCERS: usize = 3;
        const EACH: usize = if cfg!(miri) { 50 } else { 50_000 };
        let inbox = Arc::new(Inbox::new());
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|p| {
                let inbox = inbox.clone();
                std::thread::spawn(move || (0..EACH).for_each(|n| _ = push(&inbox, (p, n))))
            })
            .collect();
        let mut expected = [0; PRODUCERS];
        let mut left = PRODUCERS * EACH;
        while left > 0 {
            // SAFETY: this thread is the only consumer.
            for (p, n) in unsafe { inbox.drain() }.map(free) {
                assert_eq!(n, expected[p]);
                expected[p] += 1;
                left -= 1;
            }
            std::thread::yield_now();
        }
        for producer in producers {
            producer.join().unwrap();
        }
    }
}
