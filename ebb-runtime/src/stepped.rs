//! Cores that are run a step at a time: any number on one thread, of any number of machines, each with its own tasks, timers and Ebbs. A simulation is
//! made of them, with a platform that provides its clock, its network and its chance.
//!
//! Invariant: the thread that has made a [`Stepped`] is its core while `step` or `end` runs, and no core before and after. Those do nothing of the
//! program's but through pointers in memory (a task's table), so code in which a slot has been read, and may be taken to be unchanged, is never
//! part of the same function as the change.

use alloc::vec::Vec;
use core::{marker::PhantomData, ptr};

use crate::{
    Machine,
    event::{self, Core, Next},
    per_core::Part,
    remote::{RemoteHandle, spawn_to_any},
};

/// A core of a machine, which runs when it is told to. Belongs to the thread that made it.
///
/// Dropped without [`end`](Self::end), its tasks stay in memory and never run again. What a machine has of its own (its timers, the
/// representatives of well-known Ebbs) stays in any case.
pub struct Stepped {
    machine: &'static Machine,
    core: &'static Core,
    on_thread: PhantomData<*const ()>,
}

/// The calling thread is the core as long as this lives.
struct Entered(&'static Core);

impl Entered {
    fn new(machine: &Stepped) -> Self {
        let core = machine.core;
        // SAFETY: only this `Stepped` runs the core, and it stays on its thread.
        unsafe {
            core.enter();
            Machine::set_slot(machine.machine);
            core.constructions.slots.fill();
        }
        Self(core)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.constructions.slots.empty();
        // SAFETY: null belongs to no core.
        unsafe { Machine::set_slot(ptr::null()) };
        self.0.leave();
    }
}

impl Stepped {
    /// The cores of a machine that has nothing to do yet. [`Cores::wake`](crate::platform::Cores::wake) is called with their tokens.
    ///
    /// # Panics
    /// When there are no tokens, or more than 64.
    #[must_use]
    pub fn machine(tokens: &[usize]) -> Vec<Self> {
        let machine = Machine::new(tokens);
        let cores = machine.cores().iter();
        cores
            .map(|core| Self {
                machine,
                core,
                on_thread: PhantomData,
            })
            .collect()
    }

    /// Spawns a task on it, which builds the future itself. Nothing need be `Send`: all is on one thread.
    #[track_caller]
    pub fn spawn<F, Fut>(&self, f: F) -> RemoteHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + 'static,
        Fut: Future + 'static,
    {
        // SAFETY: the core runs on this thread only, and `end` takes all that has arrived before it shuts.
        unsafe { spawn_to_any(&self.core.home, f) }
    }

    /// Runs what there is to run at this moment of its machine's clock, a few dozen events at most.
    ///
    /// # Panics
    /// On a thread that is a core, as within another step.
    pub fn step(&self) -> Next {
        let _entered = Entered::new(self);
        event::step(self.core)
    }

    /// Asks its machine's program to end, as Ctrl-C and a power button do; see [`Machine::request_shutdown`].
    pub fn request_shutdown(&self, status: i32) {
        self.machine.request_shutdown(status);
    }

    /// Ends it: its tasks, and its part of Ebbs made at run time, are dropped, and nothing runs there any more. The other cores of the machine are to
    /// end, too.
    ///
    /// # Panics
    /// On a thread that is a core, as within a step.
    pub fn end(self) {
        self.machine.stop(0);
        let _entered = Entered::new(&self);
        event::end(self.core);
    }
}
