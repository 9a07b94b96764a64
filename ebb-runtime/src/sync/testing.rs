//! For the tests of this folder: polls one future by hand and counts its wakes; makes a thread a core.

extern crate std;

use std::boxed::Box;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::epoch::{Core, Domain, Quiescence, Retired};

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Task<F> {
    pub(super) fn new(future: F) -> Self {
        Task {
            future: Box::pin(future),
            wakes: Arc::new(Wakes(AtomicUsize::new(0))),
        }
    }

    pub(super) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(super) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

std::thread_local! {
    static CORE: RefCell<Option<(usize, Rc<Core>)>> = const { RefCell::new(None) };
}

/// The cores that threads of a test have entered.
pub(super) struct Here;

/// Ends the thread's time as a core when dropped.
pub(super) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CORE.take();
    }
}

impl Here {
    pub(super) fn enter(domain: &Arc<Domain>, index: usize) -> Entered {
        let core = domain.join(index);
        core.unpark();
        CORE.set(Some((Arc::as_ptr(domain) as usize, Rc::new(core))));
        Entered
    }

    fn core() -> (usize, Rc<Core>) {
        CORE.with_borrow(|core| core.clone().expect("not a core"))
    }

    pub(super) fn boundary() {
        Self::core().1.poll();
    }

    pub(super) fn drain() {
        let core = Self::core().1;
        while core.is_pending() {
            core.poll();
            std::thread::yield_now();
        }
    }

    pub(super) fn park_and_drain() {
        Self::core().1.park();
        Self::drain();
    }
}

// SAFETY: `domain` panics off the test's cores; `retire` goes to the core that the thread is. The tests call `boundary`
// between reads only.
unsafe impl Quiescence for Here {
    fn domain() -> usize {
        Self::core().0
    }

    fn retire(action: Retired) {
        Self::core().1.retire(action);
    }
}
