//! Starting clones.

use super::{Snapshot, vectors};
use crate::abi::errno::Errno;
use crate::run;
use crate::state::process::{Memory, Process, Processes};
use crate::state::thread::Threads;
use crate::uc::{Options, Parts, Stdio, Uc};
use alloc::rc::Rc;
use ebb_guest::GuestCpu;
use ebb_mem::frame;
use ebb_runtime::EbbRef;

/// Frames that must be free before a clone or a snapshot is made, so that copying its kernel objects cannot use up the
/// last memory of the machine: 4 MiB.
const RESERVE: u64 = 1024;

/// How a clone differs from the UC that was captured.
#[derive(Clone, Debug, Default)]
pub struct CloneOptions {
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
    frame::stats().free_for_pages() >= RESERVE
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
    pub fn start_clone(&self, how: CloneOptions) -> Result<Rc<Uc>, Errno> {
        if EbbRef::<dyn GuestCpu>::get().kernel_root() == 0 {
            return Err(Errno::ENOSYS);
        }
        if !enough_memory() {
            return Err(Errno::ENOMEM);
        }
        let from = &*self.0;
        let options = how.options.unwrap_or_else(|| from.options.clone());
        // The machine may have started later than the one that the snapshot was taken on: it wraps then.
        let behind = crate::now().wrapping_sub(from.now_ns);
        let mut processes = Processes {
            zombies: from.zombies.clone(),
            last: from.last,
            serial: from.last_serial,
            ..Processes::default()
        };
        let (mut objects, made) = from.objects.duplicate().ok_or(Errno::ENOMEM)?;
        let all = from.processes.iter().flat_map(|p| p.pages.all_objects());
        let segments = from.ipc.iter().flat_map(|ipc| ipc.all_pages().cloned());
        let all = all.chain(segments);
        let made = super::copy_shared(all, made, objects.fs.quota()).ok_or(Errno::ENOMEM)?;
        let mut ipc = from.ipc.clone();
        if let Some(ipc) = &mut ipc {
            ipc.exchange_pages(&made);
        }
        for (index, frozen) in from.processes.iter().enumerate() {
            let mut space = frozen.pages.thaw().ok_or(Errno::ENOMEM)?;
            if !made.is_empty() {
                let exchanged = space.exchange_shared(|s| made.get(&s.id()).cloned());
                exchanged.map_err(|_| Errno::ENOMEM)?;
            }
            // What no copy may have, by the program's word.
            space.wipe().map_err(|_| Errno::ENOMEM)?;
            space.set_limit(options.memory);
            if index == 0
                && let Some(set) = self.working_set().filter(|_| !how.no_prefetch)
                && let Some(whole) = frozen.pages.whole()
            {
                space.prefetch(set, whole, vectors::claim());
            }
            let memory = Memory::new(space, frozen.memory, behind != 0);
            let process = Process::new(frozen.serial, memory, frozen.files, frozen.state.clone());
            let threads = frozen
                .threads
                .iter()
                .map(|slot| Some(slot.as_ref()?.thaw()));
            process
                .threads
                .replace(Threads::from_slots(threads.collect()));
            process.stopped.set(frozen.stopped);
            process.news.set(frozen.news);
            processes.live.push(process);
        }
        if let Some(pid) = how.pid {
            processes.renumber_first(pid);
        }
        let console = from.console;
        for channel in [console.input, console.output, console.error] {
            objects.channel_reset(channel);
        }
        if options.stdio != Stdio::Owner {
            objects.channel_end_input(console.input);
        }
        let uc = Uc::assemble(Parts {
            options,
            processes,
            objects,
            futexes: from.futexes.clone(),
            ipc,
            console,
            origin: Some(Rc::new(self.clone())),
            behind,
            ran: from.ran,
            run_thread: run::spawn_thread,
        })
        .ok_or(Errno::EIO)?;
        {
            let world = uc.world();
            let mut objects = uc.objects.borrow_mut();
            objects.reseed(&world);
            objects.reset_connections(&world);
        }
        uc.switch_again(&Rc::clone(uc.init()));
        if uc.next_deadline().is_some() {
            uc.timers_changed();
        }
        if uc.objects.borrow().tells_by_signals() {
            crate::signal::ready::start(&uc);
        }
        uc.run_threads();
        Ok(uc)
    }
}
