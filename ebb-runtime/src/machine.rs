//! A machine: its cores and what they share. Native programs have one; a Linux process may run
//! several, one after another or side by side (every hosted test has its own).

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    task::Waker,
};

use once_cell::race::OnceBox;

use crate::{
    EbbRef,
    model::{DynamicIds, SharedReps},
    per_core::{Core, CoreId},
    platform::Cores,
    sync::epoch::Domain,
};

/// The cores of one machine. Made once by the platform, lives as long as the program.
pub struct Machine {
    /// Filled in right after the machine is made: the cores point back to it.
    cores: OnceBox<Vec<&'static Core>>,
    pub(crate) shared: SharedReps,
    pub(crate) dynamic: DynamicIds,
    pub(crate) quiesce: Arc<Domain>,
    /// [`RUNNING`], or what the machine ends with.
    status: AtomicI64,
    running: AtomicUsize,
    pub(crate) shutdown: ShutdownRequest,
}

/// The status of a machine that nobody has stopped; no `i32`.
const RUNNING: i64 = i64::MIN;

/// Whether the program was asked to end, and who wants to know.
#[derive(Default)]
pub(crate) struct ShutdownRequest {
    pub asked: AtomicBool,
    /// Wakers of [`Shutdown`](crate::Shutdown) futures that wait, by number.
    pub waiting: spin::Mutex<BTreeMap<u64, Waker>>,
}

impl Machine {
    /// A machine with one core per token. The token is the platform's own name for the core; it
    /// comes back in [`Cores::wake`] and [`Cores::park`].
    ///
    /// # Panics
    /// When there are no tokens, or more than 64.
    #[must_use]
    pub fn new(tokens: &[usize]) -> &'static Self {
        assert!(
            (1..=64).contains(&tokens.len()),
            "a machine has 1 to 64 cores, not {}",
            tokens.len()
        );
        let machine: &'static Self = Box::leak(Box::new(Self {
            cores: OnceBox::new(),
            shared: SharedReps::default(),
            dynamic: DynamicIds::default(),
            quiesce: Domain::new(tokens.len()),
            status: AtomicI64::new(RUNNING),
            running: AtomicUsize::new(tokens.len()),
            shutdown: ShutdownRequest::default(),
        }));
        machine.cores.get_or_init(|| {
            let cores = tokens.iter().enumerate().map(|(n, &token)| {
                let core = Core::new(CoreId::new(n), machine, token);
                &*Box::leak(Box::new(core))
            });
            Box::new(cores.collect())
        });
        machine
    }

    /// Its cores, by number.
    #[inline]
    pub(crate) fn cores(&self) -> &[&'static Core] {
        self.cores.get().map_or(&[], Vec::as_slice)
    }

    /// Asks every core to stop: tasks are dropped, event loops return. The first status counts.
    pub fn stop(&self, status: i32) {
        // Only the first is taken.
        let _ = self.status.compare_exchange(
            RUNNING,
            i64::from(status),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        for core in self.cores() {
            EbbRef::<dyn Cores>::get().wake(core.token);
        }
    }

    /// Asks the program to end: Ctrl-C, a power button. A program that waits for it (with
    /// [`shutdown`](crate::shutdown)) is told; any other is stopped with `status`, and so is one that
    /// is asked again.
    pub fn request_shutdown(&self, status: i32) {
        let again = self.shutdown.asked.swap(true, Ordering::AcqRel);
        let waiting = core::mem::take(&mut *self.shutdown.waiting.lock());
        if again || waiting.is_empty() {
            self.stop(status);
        }
        waiting.into_values().for_each(Waker::wake);
    }

    /// True from the moment that [`stop`](Self::stop) was called.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.status.load(Ordering::Relaxed) != RUNNING
    }

    /// What the machine ends with; 0 before [`stop`](Self::stop).
    pub fn status(&self) -> i32 {
        i32::try_from(self.status.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Cores whose event loop has not returned yet.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Makes `start` the first event on core 0. To be called before the cores run, or from any
    /// thread while they do.
    pub fn start(&'static self, start: impl FnOnce() + Send + 'static) {
        let handle = crate::remote::spawn_to(self.cores()[0], async move || start());
        drop(handle);
    }

    pub(crate) fn core(&self, id: CoreId) -> &'static Core {
        match self.cores().get(id.number()) {
            Some(core) => core,
            None => panic!(
                "there is no {id:?}: this machine has {} cores",
                self.cores().len()
            ),
        }
    }
}

/// Runs the event loop of a core on the calling thread until the machine stops.
///
/// # Safety
/// Called once for each core, on a thread whose thread-local storage holds the program's slots,
/// zero-initialised.
pub unsafe fn core_main(machine: &'static Machine, id: CoreId) {
    let core = machine.core(id);
    // SAFETY: the caller calls this once for each core.
    unsafe { crate::per_core::enter(core) };
    crate::event::run(core);
    machine.running.fetch_sub(1, Ordering::AcqRel);
    crate::per_core::leave();
}
