//! Waiting: event masks, wait queues, and the hub that carries a wake-up to tasks and epoll sets.
//!
//! Operations never block. One that would returns `EAGAIN`; its caller registers a waker on the
//! object's queue, awaits, and tries again. Because a UC lives on one core, trying and registering
//! in one borrow cannot miss a wake-up. A waker is dropped when it has been woken or cancelled, and
//! a clone of the hub has none: the threads of a cloned UC restart their system calls.
//!
//! Queues live beside the objects and not inside them so that waking one needs only the hub, while
//! the object that wakes is being changed.

mod events;
mod interest;

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::task::Waker;

pub use self::events::Events;
pub use self::interest::{Epoll, Item};
use super::{
    arena::Arena,
    id::{DescId, Id, QueueId, of},
};

/// The name of one registration of a waker, over however many queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

#[derive(Debug)]
struct Waiter {
    token: Token,
    events: Events,
    waker: Waker,
}

/// Whom an object's signal is for.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process.
    Process(u32),
    /// All processes of a group.
    Group(u32),
}

/// What objects leave to be done outside when a call is over.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub(crate) struct News {
    /// Signals to be sent, in order.
    pub(crate) signals: Vec<(Target, u8)>,
    /// A deadline was set.
    pub(crate) deadline: bool,
}

/// An epoll item that watches a queue.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) epoll: Id<Epoll>,
    pub(crate) item: Id<Item>,
    pub(crate) desc: DescId,
    /// Of several such watches whose sets are waited for, one wake-up is for one.
    pub(crate) exclusive: bool,
}

/// Who wants to hear of an object.
#[derive(BorshSerialize, BorshDeserialize, Debug, Default)]
pub struct Queue {
    #[borsh(skip)]
    tasks: Vec<Waiter>,
    watches: Vec<Watch>,
}

impl Clone for Queue {
    /// Epoll sets go on watching; tasks are not part of a snapshot.
    fn clone(&self) -> Self {
        Self {
            tasks: Vec::new(),
            watches: self.watches.clone(),
        }
    }
}

/// All wait queues and epoll sets of a UC, and the deadlines at which queues are woken.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Hub {
    queues: Arena<Queue, of::Queue>,
    pub(crate) epolls: Arena<Epoll>,
    deadlines: BTreeSet<(u64, QueueId)>,
    next_token: u64,
    stamp: u64,
    /// The queue of what never has news.
    pub(crate) idle: QueueId,
    /// Signals that become pending.
    pub(crate) signals: QueueId,
    /// Locks that are let go.
    pub(crate) locks: QueueId,
    /// Processes that end, stop or go on.
    pub(crate) children: QueueId,
    /// The set of what tells by signals that it is ready (`O_ASYNC`).
    pub(crate) signalling: Id<Epoll>,
    news: News,
    /// Whether there is any.
    has_news: bool,
}

impl Default for Hub {
    fn default() -> Self {
        let mut queues = Arena::new();
        let mut queue = || queues.insert(Queue::default());
        let (idle, signals, locks, children) = (queue(), queue(), queue(), queue());
        let news = queues.insert(Queue::default());
        let mut epolls = Arena::new();
        let signalling = epolls.insert(Epoll::new(news));
        Self {
            queues,
            epolls,
            deadlines: BTreeSet::new(),
            next_token: 0,
            stamp: 0,
            idle,
            signals,
            locks,
            children,
            signalling,
            news: News::default(),
            has_news: false,
        }
    }
}

impl Hub {
    /// A signal is to be sent when the call is over.
    pub(crate) fn note_signal(&mut self, target: Target, signal: u8) {
        self.news.signals.push((target, signal));
        self.has_news = true;
    }

    /// Whoever drives deadlines is to look again.
    pub(crate) fn note_deadline(&mut self) {
        self.news.deadline = true;
        self.has_news = true;
    }

    /// Whether a call has left something to be done.
    #[inline]
    pub(crate) const fn has_news(&self) -> bool {
        self.has_news
    }

    /// What is to be done.
    pub(crate) fn take_news(&mut self) -> News {
        self.has_news = false;
        core::mem::take(&mut self.news)
    }

    /// A new queue for a new object.
    pub fn new_queue(&mut self) -> QueueId {
        self.queues.insert(Queue::default())
    }

    /// Ends a queue with its object. Whoever still waits is woken and finds the object gone.
    pub fn remove_queue(&mut self, queue: QueueId) {
        self.wake(queue, Events::all());
        self.queues.remove(queue);
    }

    /// A name for one blocked operation.
    pub fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Wakes `waker` at the next wake-up of `queue` that concerns `events`. A later registration
    /// under the same token takes the place of an earlier one.
    pub fn register(&mut self, queue: QueueId, token: Token, events: Events, waker: &Waker) {
        let Some(queue) = self.queues.get_mut(queue) else {
            waker.wake_by_ref();
            return;
        };
        match queue.tasks.iter_mut().find(|w| w.token == token) {
            Some(waiter) => {
                waiter.events |= events;
                waiter.waker.clone_from(waker);
            }
            None => queue.tasks.push(Waiter {
                token,
                events,
                waker: waker.clone(),
            }),
        }
    }

    /// Takes a registration back. Harmless when it was woken already.
    pub fn cancel(&mut self, queue: QueueId, token: Token) {
        if let Some(queue) = self.queues.get_mut(queue)
            && !queue.tasks.is_empty()
        {
            queue.tasks.retain(|w| w.token != token);
        }
    }

    /// Whether a task waits on `queue` for one of `events`.
    pub(crate) fn is_awaited(&self, queue: QueueId, events: Events) -> bool {
        let queue = self.queues.get(queue);
        queue.is_some_and(|q| q.tasks.iter().any(|w| w.events.intersects(events)))
    }

    /// How many tasks wait on `queue`.
    pub fn waiting(&self, queue: QueueId) -> usize {
        self.queues.get(queue).map_or(0, |q| q.tasks.len())
    }

    /// Tells everybody who waits on `queue` for one of `events` that it is worth trying again.
    ///
    /// An epoll set that gets a ready item passes the news on to its own queue. Each set is
    /// visited once per wake-up, so the work is bounded by the number of items.
    #[inline]
    pub fn wake(&mut self, queue: QueueId, events: Events) {
        let Some(first) = self.queues.get_mut(queue) else {
            return;
        };
        if !first.tasks.is_empty() {
            wake_tasks(first, events);
        }
        if !first.watches.is_empty() {
            self.wake_sets(queue, events);
        }
    }

    /// Tells the epoll sets that watch `queue`.
    fn wake_sets(&mut self, queue: QueueId, events: Events) {
        let Some(found) = self.queues.get(queue) else {
            return;
        };
        let mut first: Option<QueueId> = None;
        for watch in &found.watches {
            let Some(epoll) = self.epolls.get_mut(watch.epoll) else {
                continue;
            };
            if epoll.notify(watch.item, events) && first.replace(epoll.queue).is_some() {
                return self.wake_all_sets(queue, events);
            }
        }
        // One has news, as it mostly is.
        let Some(news) = first.and_then(|f| self.queues.get_mut(f)) else {
            return;
        };
        wake_tasks(news, Events::READ);
        if let Some(first) = first.filter(|_| !news.watches.is_empty()) {
            self.wake_all_sets(first, Events::READ);
        }
    }

    /// Tells the epoll sets that watch `queue`, and those that watch them, in the order they get the news. That an item is
    /// on a ready list already does not matter.
    fn wake_all_sets(&mut self, queue: QueueId, events: Events) {
        self.stamp += 1;
        let mut work = VecDeque::from([(queue, events)]);
        while let Some((queue, events)) = work.pop_front() {
            let Some(found) = self.queues.get(queue) else {
                continue;
            };
            let begun = work.len();
            let mut taken = false;
            for watch in &found.watches {
                if watch.exclusive && taken {
                    continue;
                }
                let Some(epoll) = self.epolls.get_mut(watch.epoll) else {
                    continue;
                };
                if epoll.notify(watch.item, events) && epoll.stamp != self.stamp {
                    epoll.stamp = self.stamp;
                    work.push_back((epoll.queue, Events::READ));
                    let news = self.queues.get(epoll.queue);
                    taken |= watch.exclusive && news.is_some_and(|q| !q.tasks.is_empty());
                }
            }
            for (news, events) in work.range(begun..).copied() {
                if let Some(news) = self.queues.get_mut(news) {
                    wake_tasks(news, events);
                }
            }
        }
    }

    /// When the earliest deadline is, in nanoseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|&(due_ns, _)| due_ns)
    }

    /// Wakes what waits for [`Events::IN`] on `queue` at `due_ns`. A queue has as many deadlines as were set.
    pub(crate) fn set_deadline(&mut self, queue: QueueId, due_ns: u64) {
        self.deadlines.insert((due_ns, queue));
    }

    /// Takes a deadline back; false when it is over or never was.
    pub(crate) fn cancel_deadline(&mut self, queue: QueueId, due_ns: u64) -> bool {
        self.deadlines.remove(&(due_ns, queue))
    }

    /// Wakes every queue whose deadline is over at `now_ns`.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(due_ns, queue)) = self.deadlines.first()
            && due_ns <= now_ns
        {
            self.deadlines.pop_first();
            self.wake(queue, Events::IN);
        }
    }

    /// Moves every deadline by `delta_ns`: for a clone whose clock differs from its parent's.
    pub(crate) fn shift_deadlines(&mut self, delta_ns: i64) {
        let moved =
            |&(due_ns, queue): &(u64, QueueId)| (due_ns.saturating_add_signed(delta_ns), queue);
        self.deadlines = self.deadlines.iter().map(moved).collect();
    }

    pub(crate) fn watch(&mut self, queue: QueueId, watch: Watch) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.watches.push(watch);
        }
    }

    pub(crate) fn unwatch(&mut self, queue: QueueId, epoll: Id<Epoll>, item: Id<Item>) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue
                .watches
                .retain(|w| !(w.epoll == epoll && w.item == item));
        }
    }

    /// The epoll sets that watch `queue`.
    pub(crate) fn watchers(&self, queue: QueueId) -> impl Iterator<Item = Id<Epoll>> {
        self.queues
            .get(queue)
            .into_iter()
            .flat_map(|q| q.watches.iter().map(|w| w.epoll))
    }

    /// Removes a closed description from every epoll set that watches it; says from how many.
    pub(crate) fn forget(&mut self, queue: QueueId, desc: DescId) -> usize {
        let Some(queue) = self.queues.get_mut(queue) else {
            return 0;
        };
        let mut removed = 0;
        for watch in queue.watches.extract_if(.., |w| w.desc == desc) {
            if let Some(epoll) = self.epolls.get_mut(watch.epoll) {
                removed += usize::from(epoll.remove(watch.item).is_some());
            }
        }
        removed
    }
}

fn wake_tasks(queue: &mut Queue, events: Events) {
    if let [only] = queue.tasks.as_slice() {
        // As it mostly is.
        if only.events.intersects(events)
            && let Some(waiter) = queue.tasks.pop()
        {
            waiter.waker.wake();
        }
        return;
    }
    for waiter in queue.tasks.extract_if(.., |w| w.events.intersects(events)) {
        waiter.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use alloc::{sync::Arc, task::Wake};
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_is_woken_once_by_what_it_asked_for_and_not_after_a_cancel() {
        let mut hub = Hub::default();
        let queue = hub.new_queue();
        let (a, b) = (hub.new_token(), hub.new_token());
        let count = Arc::new(Count(AtomicU32::new(0)));
        let waker = Waker::from(count.clone());
        hub.register(queue, a, Events::IN, &waker);
        hub.register(queue, b, Events::IN, &waker);
        hub.cancel(queue, b);
        hub.wake(queue, Events::OUT);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        hub.wake(queue, Events::IN);
        hub.wake(queue, Events::IN);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(hub.waiting(queue), 0);
    }

    #[test]
    fn the_clone_of_a_queue_has_no_waiters() {
        let mut hub = Hub::default();
        let queue = hub.new_queue();
        let token = hub.new_token();
        hub.register(queue, token, Events::IN, Waker::noop());
        assert_eq!((hub.waiting(queue), hub.clone().waiting(queue)), (1, 0));
    }
}
