//! Quiescence: when has every core passed an event boundary?
//!
//! Events are not preempted, and nothing read inside one (an RCU-protected pointer, a representative of an Ebb that is
//! being destroyed) is kept past its end. So what has been unlinked may be freed once every core has come to an event
//! boundary since, or stands outside events altogether (quiescent-state-based reclamation: McKenney and Slingwine,
//! PDCS 1998; Hart et al., JPDC 2007).
//!
//! A core that has retired something asks for a grace period by raising a counter all cores share. At its event
//! boundaries each core compares that counter with what it last saw: one load and one predicted branch. If it has moved,
//! the core publishes what it saw. A grace period is over when each core has published its number or is parked.
//!
//! What must hold, by whoever drives a [`Core`]:
//! - [`Core::poll`] is called between events only, and often: a core that neither polls nor parks holds up all;
//! - [`Core::park`] is called before the core stops looking (it sleeps, or ends), [`Core::unpark`] before its next event;
//! - while [`Core::is_pending`], the core polls now and then, also when it has nothing else to do: nobody wakes it
//!   when its grace period ends.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use crossbeam_utils::CachePadded;

use super::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// What is to be done after a grace period, on the core that retired it.
pub type Retired = Box<dyn FnOnce()>;

/// At most this many things are freed at one event boundary, or an eighth of what is due if that is more.
const BATCH: usize = 32;

/// `Core::seen` of a core that has something to do at the next boundary whatever the counter says.
const BUSY: u64 = u64::MAX;

/// What one core publishes.
struct Published {
    /// `2 * n` while parked, `2 * n + 1` while running, having seen grace period `n` at an event boundary.
    epoch: AtomicU64,
    taken: AtomicBool,
}

/// The cores that wait for one another. Shared by all of them.
pub struct Domain {
    /// The number of the last grace period asked for.
    asked: CachePadded<AtomicU64>,
    cores: Box<[CachePadded<Published>]>,
}

impl Domain {
    /// A domain of `cores` cores, all of them parked.
    pub fn new(cores: usize) -> Arc<Domain> {
        Arc::new(Domain {
            asked: CachePadded::new(AtomicU64::new(0)),
            cores: (0..cores)
                .map(|_| {
                    CachePadded::new(Published {
                        epoch: AtomicU64::new(0),
                        taken: AtomicBool::new(false),
                    })
                })
                .collect(),
        })
    }

    /// How many cores it has.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Joins as core `index`, parked. The result belongs to the thread that is that core.
    ///
    /// # Panics
    /// If there is no such core, or it has joined and has not been dropped.
    pub fn join(self: &Arc<Self>, index: usize) -> Core {
        assert!(
            !self.cores[index].taken.swap(true, Ordering::Acquire),
            "core {index} has joined this domain already"
        );
        Core {
            domain: self.clone(),
            index,
            running: Cell::new(false),
            seen: Cell::new(BUSY),
            open: RefCell::new(Vec::new()),
            waiting: RefCell::new(Vec::new()),
            awaited: Cell::new(0),
            cursor: Cell::new(0),
            due: RefCell::new(VecDeque::new()),
        }
    }

    /// Whether core `index` has nothing left from before grace period `number`.
    fn has_passed(&self, index: usize, number: u64) -> bool {
        // Acquire: what the core did before it published happened before what the caller does next.
        let epoch = self.cores[index].epoch.load(Ordering::Acquire);
        epoch & 1 == 0 || epoch / 2 >= number
    }
}

/// One core's part in its [`Domain`]; neither `Send` nor `Sync`.
///
/// Dropped, it parks. What it had retired and could not free yet is leaked: poll until nothing is pending first.
pub struct Core {
    domain: Arc<Domain>,
    index: usize,
    running: Cell<bool>,
    /// The grace period last published, or `BUSY`.
    seen: Cell<u64>,
    /// Retired since the last grace period was asked for.
    open: RefCell<Vec<Retired>>,
    /// What waits for grace period `awaited`; cores below `cursor` have passed.
    waiting: RefCell<Vec<Retired>>,
    awaited: Cell<u64>,
    cursor: Cell<usize>,
    /// What may be done now.
    due: RefCell<VecDeque<Retired>>,
}

impl Core {
    /// Says that this core is between two events. One load and one predicted branch if no core has asked for a grace
    /// period since, and this core has nothing retired. Otherwise bounded work: it looks at the cores that have not
    /// passed yet until it finds one that still has not, and runs at most 32 (or an eighth, if that is more) of the
    /// due actions, which may retire more.
    #[inline(always)]
    pub fn poll(&self) {
        // Acquire: whoever asked had unlinked before; from here on this core cannot come upon it.
        let asked = self.domain.asked.load(Ordering::Acquire);
        if asked != self.seen.get() {
            self.pass(asked);
        }
    }

    #[cold]
    fn pass(&self, asked: u64) {
        let published = &self.domain.cores[self.index].epoch;
        if self.running.get() {
            // Release: this core's reads before the boundary come before the freeing that this allows.
            published.store(2 * asked + 1, Ordering::Release);
        }
        let busy = self.advance();
        // An action that was run may have retired something, in which case `seen` is to stay `BUSY`.
        let idle = !busy && self.open.borrow().is_empty();
        self.seen.set(if idle { asked } else { BUSY });
    }

    /// Moves what was retired nearer to its end; says whether something is left.
    fn advance(&self) -> bool {
        let waiting = !self.waiting.borrow().is_empty();
        if waiting {
            let mut cursor = self.cursor.get();
            while cursor < self.domain.cores()
                && (cursor == self.index || self.domain.has_passed(cursor, self.awaited.get()))
            {
                cursor += 1;
            }
            self.cursor.set(cursor);
            if cursor == self.domain.cores() {
                self.due
                    .borrow_mut()
                    .extend(self.waiting.borrow_mut().drain(..));
            }
        }
        if self.waiting.borrow().is_empty() && !self.open.borrow().is_empty() {
            // Swapped, so that both lists keep their memory.
            self.open.swap(&self.waiting);
            // Release: the unlinking comes before the number. Acquire: keeps the chain of requests whole.
            let number = self.domain.asked.fetch_add(1, Ordering::AcqRel) + 1;
            // Pairs with the fence in `unpark`: either this core sees that one running, or that one sees the unlinking.
            fence(Ordering::SeqCst);
            self.awaited.set(number);
            self.cursor.set(0);
        }
        let due = self.due.borrow().len();
        for _ in 0..due.min(BATCH.max(due / 8)) {
            // Not borrowed while the action runs: it may retire something.
            let action = self.due.borrow_mut().pop_front();
            if let Some(action) = action {
                action();
            }
        }
        self.is_pending()
    }

    /// Has `action` run on this core after every core has passed an event boundary, this one included: never inside
    /// this call, but from a later [`poll`](Self::poll). What is to be freed must be unreachable for new readers by now.
    /// O(1), amortised.
    pub fn retire(&self, action: Retired) {
        self.open.borrow_mut().push(action);
        self.seen.set(BUSY);
    }

    /// Whether something this core retired has not been done yet.
    pub fn is_pending(&self) -> bool {
        !self.open.borrow().is_empty()
            || !self.waiting.borrow().is_empty()
            || !self.due.borrow().is_empty()
    }

    /// Whether this core is between [`unpark`](Self::unpark) and [`park`](Self::park), so that others wait for it.
    pub fn is_running(&self) -> bool {
        self.running.get()
    }

    /// This core runs no events from now on, so nobody need wait for it. It may still [`poll`](Self::poll). One store.
    pub fn park(&self) {
        self.running.set(false);
        let published = &self.domain.cores[self.index].epoch;
        let epoch = published.load(Ordering::Relaxed);
        // Release: as in `pass`.
        published.store(epoch & !1, Ordering::Release);
    }

    /// This core is about to run events. One store, one full fence, and a [`poll`](Self::poll).
    pub fn unpark(&self) {
        self.running.set(true);
        let published = &self.domain.cores[self.index].epoch;
        let epoch = published.load(Ordering::Relaxed);
        published.store(epoch | 1, Ordering::Relaxed);
        // Pairs with the fence in `advance`: whoever does not see the store above had asked before, and this core sees
        // the unlinking that went before that.
        fence(Ordering::SeqCst);
        self.poll();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.park();
        core::mem::forget(self.open.take());
        core::mem::forget(self.waiting.take());
        core::mem::forget(self.due.take());
        let published = &self.domain.cores[self.index];
        published.taken.store(false, Ordering::Release);
    }
}

/// Where deferred reclamation goes: the event boundaries of the caller's cores. A type without values, so that what is
/// built on it carries no reference.
///
/// # Safety
/// - [`domain`](Self::domain) returns only on a core, inside an event, and panics elsewhere. Cores that wait for one
///   another get the same number, and other cores a different one; 0 is nobody's.
/// - An action given to [`retire`](Self::retire) runs on the core that gave it, no sooner than every core of that domain
///   has come to an event boundary or been parked since, with the orderings of [`Core`].
pub unsafe trait Quiescence: 'static {
    /// The domain whose core the caller runs on.
    fn domain() -> usize;
    /// See [`Core::retire`].
    fn retire(action: Retired);
}

/// Keeps a structure to one domain: the first that uses it.
pub(super) struct Bound(AtomicUsize);

impl Bound {
    pub(super) fn new() -> Self {
        Bound(AtomicUsize::new(0))
    }

    /// Panics unless the caller is a core of the domain. Two loads and a branch.
    #[inline(always)]
    pub(super) fn check<Q: Quiescence>(&self) {
        let domain = Q::domain();
        if self.0.load(Ordering::Relaxed) != domain {
            self.bind(domain);
        }
    }

    #[cold]
    fn bind(&self, domain: usize) {
        let bound = self
            .0
            .compare_exchange(0, domain, Ordering::Relaxed, Ordering::Relaxed);
        assert!(
            bound.is_ok_and(|_| domain != 0) || bound == Err(domain),
            "this RCU structure belongs to the cores of another machine; make one for each machine"
        );
    }
}

/// Tears a retired object down.
///
/// # Safety
/// `object` came from `Box::into_raw`, and is unreachable for whoever starts to look after this call.
pub(super) unsafe fn retire_box<T: Send + 'static, Q: Quiescence>(object: *mut T) {
    // A raw pointer up to the last moment: a `Box` would claim an object that others still read.
    Q::retire(Box::new(move || {
        // SAFETY: the caller's promise, and every core has passed an event boundary since.
        drop(unsafe { Box::from_raw(object) })
    }));
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::rc::Rc;

    use super::*;

    fn counter() -> (Rc<Cell<usize>>, impl Fn() -> Retired) {
        let count = Rc::new(Cell::new(0));
        let made = count.clone();
        (count, move || {
            let count = made.clone();
            Box::new(move || count.set(count.get() + 1))
        })
    }

    #[test]
    fn nothing_is_freed_before_every_running_core_has_polled() {
        let domain = Domain::new(3);
        let [a, b, c] = [0, 1, 2].map(|i| domain.join(i));
        a.unpark();
        b.unpark();
        let (count, action) = counter();
        a.retire(action());
        for _ in 0..5 {
            a.poll();
            assert_eq!(count.get(), 0);
        }
        // A core that wakes up now cannot have seen what was retired.
        c.unpark();
        a.poll();
        assert_eq!(count.get(), 0);
        b.poll();
        a.poll();
        assert_eq!(count.get(), 1);
        assert!(!a.is_pending());
    }

    #[test]
    fn a_poll_before_the_retirement_does_not_count() {
        let domain = Domain::new(2);
        let [a, b] = [0, 1].map(|i| domain.join(i));
        a.unpark();
        b.unpark();
        let (count, action) = counter();
        a.retire(action());
        a.poll();
        b.poll();
        // The second waits for a grace period of its own.
        a.retire(action());
        a.poll();
        assert_eq!(count.get(), 1);
        a.poll();
        assert_eq!(count.get(), 1);
        b.park();
        a.poll();
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn a_boundary_frees_a_bounded_number_and_a_backlog_drains() {
        let domain = Domain::new(1);
        let core = domain.join(0);
        core.unpark();
        let (count, action) = counter();
        for _ in 0..10_000 {
            core.retire(action());
        }
        let mut polls = 0;
        while core.is_pending() {
            let before = count.get();
            core.poll();
            assert!(count.get() - before <= 1250);
            polls += 1;
        }
        assert_eq!(count.get(), 10_000);
        assert!(polls < 200, "{polls}");
    }

    #[test]
    fn an_action_may_retire_more() {
        let domain = Domain::new(1);
        let core = Rc::new(domain.join(0));
        core.unpark();
        let (count, action) = counter();
        let (inner, again) = (action(), core.clone());
        core.retire(Box::new(move || again.retire(inner)));
        for _ in 0..4 {
            core.poll();
        }
        assert_eq!(count.get(), 1);
        assert!(!core.is_pending());
    }
}
