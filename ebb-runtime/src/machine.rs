//! A machine: its cores and what they share. Native programs have one; a Linux process may run
//! several, one after another or side by side (every hosted test has its own).

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::Waker,
};

use once_cell::race::OnceBox;

use crate::{
    EbbRef,
    event::{self, Core, Home, Homes, IdleList, StopStatus},
    model::{Constructions, DynamicEbbs, DynamicIds, SharedReps},
    per_core::{CoreId, Part, Seat, part},
    platform::Cores,
    quiesce::Boundaries,
    sync::epoch::Domain,
    time::Timers,
    trace::{Ring, Rings},
};

/// The cores of one machine. Made once by the platform, lives as long as the program.
pub struct Machine {
    /// Filled in right after the machine is made: the cores point into it.
    cores: OnceBox<Vec<&'static Core>>,
    homes: Homes,
    shared: SharedReps,
    dynamic: DynamicIds,
    quiesce: Arc<Domain>,
    rings: Rings,
    stop: StopStatus,
    /// Cores whose event loop has not returned yet.
    running: AtomicUsize,
    pub(crate) shutdown: ShutdownRequest,
}

part!("__ebb_machine", Machine);

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
            homes: Homes::new(),
            shared: SharedReps::default(),
            dynamic: DynamicIds::default(),
            quiesce: Domain::new(tokens.len()),
            rings: Rings::default(),
            stop: StopStatus::new(),
            running: AtomicUsize::new(tokens.len()),
            shutdown: ShutdownRequest::default(),
        }));
        let cores = tokens
            .iter()
            .enumerate()
            .map(|(n, &token)| {
                let id = CoreId::new(n);
                &*Box::leak(Box::new(Core {
                    seat: Seat {
                        core: id,
                        core_count: tokens.len(),
                    },
                    home: Home::new(token, &machine.homes),
                    timers: Timers::new(0),
                    idle: IdleList::default(),
                    constructions: Constructions::new(id, &machine.shared),
                    dynamic: DynamicEbbs::new(&machine.dynamic),
                    boundaries: Boundaries::new(Arc::clone(&machine.quiesce)),
                    ring: Ring::new(&machine.rings),
                    stop: &machine.stop,
                    origin: Cell::new((0, 0)),
                }))
            })
            .collect::<Vec<_>>();
        let homes = cores.iter().map(|core| &core.home).collect();
        machine.homes.get_or_init(|| Box::new(homes));
        machine
            .rings
            .set(cores.iter().map(|core| &core.ring).collect());
        machine.cores.get_or_init(|| Box::new(cores));
        machine
    }

    /// Asks every core to stop: tasks are dropped, event loops return. The first status counts.
    pub fn stop(&self, status: i32) {
        self.stop.set(status);
        for home in self.homes() {
            EbbRef::<dyn Cores>::get().wake(home.token);
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
        self.stop.is_set()
    }

    /// What the machine ends with; 0 before [`stop`](Self::stop).
    pub fn status(&self) -> i32 {
        self.stop.get().unwrap_or(0)
    }

    /// Cores whose event loop has not returned yet.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Makes `start` the first event on core 0. To be called before the cores run, or from any
    /// thread while they do.
    pub fn start(&'static self, start: impl FnOnce() + Send + 'static) {
        let handle = crate::remote::spawn_to(self.homes()[0], async move || start());
        drop(handle);
    }

    /// What its cores have recorded, by number.
    pub fn rings(&self) -> &Rings {
        &self.rings
    }

    /// Its cores, by number.
    #[cfg(feature = "stepped")]
    pub(crate) fn cores(&self) -> &[&'static Core] {
        self.cores.get().map_or(&[], Vec::as_slice)
    }

    /// What other cores know of its cores, by number.
    fn homes(&self) -> &[&'static Home] {
        self.homes.get().map_or(&[], Vec::as_slice)
    }
}

/// Runs the event loop of a core on the calling thread until the machine stops.
///
/// # Safety
/// Called once for each core, on a thread whose thread-local storage holds the program's slots,
/// zero-initialised.
pub unsafe fn core_main(machine: &'static Machine, id: CoreId) {
    let cores = machine.cores.get().map_or(&[][..], Vec::as_slice);
    let core = *cores
        .get(id.number())
        .unwrap_or_else(|| panic!("there is no {id:?}: this machine has {} cores", cores.len()));
    // SAFETY: the caller calls this once for each core.
    unsafe {
        core.enter();
        Machine::set_slot(machine);
    }
    event::run(core);
    machine.running.fetch_sub(1, Ordering::AcqRel);
    // SAFETY: null belongs to no core.
    unsafe { Machine::set_slot(ptr::null()) };
    core.leave();
}
