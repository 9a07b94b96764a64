//! Starting clones.

use super::Snapshot;
use crate::object::errno::Errno;
use crate::thread::Threads;
use crate::uc::{Options, Parts, Stdio, Uc};
use crate::world::World;
use alloc::rc::Rc;
use ebb_mem::frame;
use ebb_runtime::EbbRef;
use ebb_runtime::guest::GuestCpu;

/// Frames that must be free before a clone or a snapshot is made, so that copying its kernel objects cannot use up the
/// last memory of the machine: 4 MiB.
const RESERVE: u64 = 1024;

/// How a clone differs from the UC that was captured.
#[derive(Clone, Debug, Default)]
pub struct Deploy {
    /// Its options; those of the captured UC if `None`.
    pub options: Option<Options>,
    /// Its process id; that of the captured UC if `None`. Libraries that keep random state (OpenSSL) notice by it that they
    /// were cloned.
    pub pid: Option<u32>,
    /// Leaves the snapshot's working set to faults.
    pub no_prefetch: bool,
}

/// Whether there is memory to begin with.
pub(super) fn enough_memory() -> bool {
    frame::stats().free >= RESERVE
}

impl Snapshot {
    /// A clone that runs on this core from where the captured UC stood.
    ///
    /// Its memory is the snapshot's until it writes to it. What it was given to read and had not read, and what it had
    /// written and nobody had taken, is gone; connections over the network are reset; everything within the program (pipes,
    /// epoll sets, timers, futexes, pending signals) is as it was.
    ///
    /// # Errors
    /// `ENOMEM` when memory is short: nothing has been used then. `ENOSYS` where there is no user mode.
    pub fn deploy(&self, deploy: Deploy) -> Result<Rc<Uc>, Errno> {
        if EbbRef::<dyn GuestCpu>::get().kernel_root() == 0 {
            return Err(Errno::ENOSYS);
        }
        if !enough_memory() {
            return Err(Errno::ENOMEM);
        }
        let from = &*self.0;
        let mut space = from.space.thaw().ok_or(Errno::ENOMEM)?;
        let options = deploy.options.unwrap_or_else(|| from.options.clone());
        space.set_limit(options.memory);
        if let Some(set) = self.working_set().filter(|_| !deploy.no_prefetch) {
            space.prefetch(set);
        }
        let mut objects = from.objects.clone();
        let console = from.console;
        for channel in [console.input, console.output, console.error] {
            objects.channel_reset(channel);
        }
        if options.stdio == Stdio::Machine {
            objects.channel_end_input(console.input);
        }
        let mut process = from.process.clone();
        if let Some(pid) = deploy.pid {
            process.pid = pid;
        }
        let threads = from.threads.iter().map(|slot| Some(slot.as_ref()?.thaw()));
        let uc = Uc::assemble(Parts {
            options,
            space,
            threads: Threads::from_slots(threads.collect(), from.last_tid),
            objects,
            futexes: from.futexes.clone(),
            process,
            console,
            origin: Some(self.clone()),
            behind: crate::now().saturating_sub(from.now),
        });
        {
            let world = World(&uc);
            let mut objects = uc.objects.borrow_mut();
            objects.reseed(&world);
            objects.reset_connections(&world);
        }
        if uc.objects.borrow().next_deadline().is_some() {
            uc.timers_changed();
        }
        uc.run_threads();
        Ok(uc)
    }
}
