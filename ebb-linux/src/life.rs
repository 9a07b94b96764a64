//! The ends of threads and processes, and what their processor time leads to.

use crate::abi::exit::Exit;
use crate::abi::limit;
use crate::abi::signal::{SI_KERNEL, SIGCHLD, SIGCONT, SIGHUP, SIGKILL, SigInfo};
use crate::crash;
use crate::object::env::Env;
use crate::owned;
use crate::signal;
use crate::state::futex::ThreadKey;
use crate::state::process::{Memory, Process, Processes, Used, Zombie};
use crate::state::thread::Thread;
use crate::state::timer::Clock;
use crate::uc::Uc;
use crate::uc::env::World;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Uc {
    /// The thread of this index is over: its memory says so to who waits for it. How its process ends, if it was the last:
    /// the caller then gives the memory back and calls [`process_ended`](Self::process_ended).
    pub(crate) fn thread_ended(&self, process: &Process, index: usize, status: u8) -> Option<Exit> {
        let mut thread = process.threads.borrow_mut().remove(index)?;
        process.state.borrow_mut().ran.gone += thread.ran;
        let key = ThreadKey {
            process: process.serial,
            index,
        };
        abandon(self, &mut thread, key);
        // What it locked may lie in memory that others have too, however it ends. One that makes room for a program has no
        // memory any more.
        let memory = process.memory();
        if self.exit.get().is_none() && !thread.doomed {
            release_robust_list(self, &memory, &thread);
            owned::owner_ended(self, thread.tid);
        }
        if process.exit.get().is_none() && !thread.doomed {
            let told = thread.clear_tid != 0
                && memory
                    .space
                    .borrow_mut()
                    .put(thread.clear_tid, 0u32)
                    .is_ok();
            if told {
                self.wake_futex(&memory, thread.clear_tid, 1, !0);
            }
        }
        if !process.threads.borrow().is_empty() {
            return None;
        }
        process.keep_memory_used();
        self.peak
            .set(self.peak.get().max(memory.space.borrow().peak()));
        let exit = process.exit.get().unwrap_or(Exit::Status(status));
        process.exit.set(Some(exit));
        Some(exit)
    }

    /// Frees a part of what its files hold once it is over and the last process ends; true when there is no more to be freed.
    pub(crate) fn release_files(&self) -> bool {
        let last = self.exit.get().is_some() && self.processes.borrow().live.len() == 1;
        !last || self.objects.borrow_mut().fs.release_part(1024)
    }

    /// A process has no thread left: its descriptors are closed, and its parent hears of it.
    pub(crate) fn process_ended(self: &Rc<Self>, process: &Rc<Process>, exit: Exit) {
        if process.serial == self.init.serial {
            self.end(exit);
        }
        if self.exit.get().is_some() {
            // All of it goes.
            let mut processes = self.processes.borrow_mut();
            processes.live.retain(|p| p.serial != process.serial);
            return;
        }
        let name = {
            use crate::object::env::ProcInfo;
            let world = World { uc: self, process };
            let comm = world.comm(0);
            let mut name = [0; 16];
            name[..comm.len()].copy_from_slice(&comm);
            name
        };
        let (zombie, orphan) = {
            let state = process.state.borrow();
            let zombie = Zombie {
                serial: process.serial,
                pid: state.pid,
                parent: state.parent,
                group: state.group,
                session: state.session,
                executed: state.executed,
                exit_signal: state.exit_signal,
                exit,
                used: Used {
                    ran: state.ran.gone,
                    waits: process.switches.get().0,
                    turns_lost: process.switches.get().1,
                    ..state.ran.programs
                }
                .and(state.ran.children),
                moved: process.moved.get(),
                name,
                scheduling: state.scheduling,
                limits: state.limits,
                credentials: Arc::clone(&state.credentials),
            };
            (zombie, state.orphan)
        };
        process.borrows.set(false);
        {
            let mut objects = self.objects.borrow_mut();
            objects.end_files(process.files.get());
            self.running.set(0);
            if objects.has_closed_network() {
                objects.sweep_network(&self.world());
            }
            if zombie.session == zombie.pid {
                objects.session_ends(zombie.pid, false);
            }
        }
        let mut bereaved = Vec::new();
        // Groups that it was the last to look after, or to be looked after in.
        let mut groups = Vec::new();
        let parent = {
            let mut processes = self.processes.borrow_mut();
            let init = self.init.pid();
            processes.live.retain(|p| p.serial != process.serial);
            let reaper = reaper_of(&processes, zombie.parent);
            match reaper {
                Some(reaper) => {
                    for left in processes.zombies.iter_mut() {
                        if left.parent == zombie.pid {
                            left.parent = reaper;
                        }
                    }
                }
                None => processes.zombies.retain(|z| z.parent != zombie.pid),
            }
            for child in &processes.live {
                let mut state = child.state.borrow_mut();
                if state.parent == zombie.pid {
                    if state.group != zombie.group && state.session == zombie.session {
                        groups.push(state.group);
                    }
                    // The first process need not wait for what it did not start.
                    (state.parent, state.orphan) =
                        reaper.map_or((init, true), |reaper| (reaper, false));
                    state.exit_signal = SIGCHLD;
                    if state.death_signal != 0 {
                        bereaved.push((Rc::clone(child), state.death_signal));
                    }
                }
            }
            let parent = processes.find(zombie.parent).filter(|_| !orphan).cloned();
            if parent.as_ref().is_some_and(|parent| {
                let parent = parent.state.borrow();
                parent.group != zombie.group && parent.session == zombie.session
            }) {
                groups.push(zombie.group);
            }
            let told = parent
                .as_ref()
                .is_some_and(|p| signal::wants_zombies(p, zombie.exit_signal));
            if told {
                processes.zombies.push(zombie.clone());
            }
            parent
        };
        if let Some(ipc) = self.ipc.borrow_mut().as_mut() {
            let now_s = (crate::unix_now() / 1_000_000_000) as i64;
            ipc.process_ended(zombie.serial, zombie.pid, now_s);
        }
        self.sweep_segments();
        self.tell_ipc_news();
        self.objects.borrow_mut().child_news();
        signal::send_noted(self);
        for (child, signal) in bereaved {
            let _ = signal::send_process(self, &child, SigInfo::new(signal, 0));
        }
        for group in groups {
            self.revive_orphans(group, zombie.session);
        }
        if let Some(parent) = parent.filter(|_| zombie.exit_signal != 0) {
            let _ = signal::send_process(self, &parent, signal::child_info(&zombie));
        }
    }

    /// What is stopped in a group that nobody looks after any more hears so (`SIGHUP`), and goes on.
    fn revive_orphans(self: &Rc<Self>, group: u32, session: u32) {
        let is_member = |p: &Rc<Process>| {
            let state = p.state.borrow();
            (state.group, state.session) == (group, session)
        };
        let mut members = self.processes.borrow().live.clone();
        members.retain(is_member);
        let stopped = members.iter().any(|p| p.stopped.get().is_some());
        if !stopped || !self.world().is_orphaned(group, session) {
            return;
        }
        for signal in [SIGHUP, SIGCONT] {
            for member in &members {
                let _ = signal::send_process(self, member, SigInfo::new(signal, SI_KERNEL));
            }
        }
    }

    /// Processor time that a thread of a process has just used, between two times of the machine's clock. Ends the UC when
    /// that is more than it may have.
    pub(crate) fn account(&self, process: &Process, index: usize, (begun, now): (u64, u64)) {
        let time = now.saturating_sub(begun);
        let ran = self.ran.get() + time;
        self.ran.set(ran);
        if let Some(thread) = process.threads.borrow_mut().get_mut(index) {
            thread.ran += time;
            if thread.context.quick_calls > 0 {
                let quick = core::mem::take(&mut thread.context.quick_calls);
                self.calls.set(self.calls.get() + quick);
            }
        }
        self.sample_load(now);
        if self.options.cpu.is_some_and(|most| ran >= most) && self.exit.get().is_none() {
            crash::out_of_time(self, process);
            self.end(Exit::Signal(SIGKILL));
        }
        let watched = {
            let state = process.state.borrow();
            state.soft(limit::CPU) != u64::MAX || state.timers.is_armed(Clock::Processor)
        };
        if watched {
            signal::processor_time(self, process);
        }
    }
}

/// The nearest process from `parent` upwards that takes in what its descendants leave behind (`PR_SET_CHILD_SUBREAPER`).
fn reaper_of(processes: &Processes, mut parent: u32) -> Option<u32> {
    // A parent is older than its children, so this ends; the bound is there for numbers given anew.
    for _ in 0..processes.live.len() {
        let process = processes.find(parent)?;
        let state = process.state.borrow();
        if state.adopts_orphans {
            return Some(parent);
        }
        parent = state.parent;
    }
    None
}

/// A thread ends, perhaps in the middle of a call that waits: nothing of it stays behind.
fn abandon(uc: &Uc, thread: &mut Thread, key: ThreadKey) {
    if let Some(waiting) = &thread.waiting {
        let any = waiting.rare().any_of.iter().flat_map(|a| &a.keys);
        for futex in waiting.futex.iter().chain(any) {
            uc.futexes.borrow_mut().cancel(*futex, key);
        }
    }
    release_wait(uc, thread);
}

/// Takes a thread out of the queues of objects, and gives up what its call held. The mask from before the call, if that had
/// one of its own.
pub(crate) fn release_wait(uc: &Uc, thread: &mut Thread) -> Option<u64> {
    let waiting = thread.waiting.take()?;
    let mut objects = uc.objects.borrow_mut();
    objects.unregister(&mut thread.registration);
    if let Some(held) = waiting.held {
        objects.stop_reading(held);
        objects.unhold(held);
    }
    if let Some(net) = waiting.rare().lingers {
        objects.close_network(net);
    }
    if let Some((set, key)) = waiting.rare().semaphores
        && let Some(ipc) = uc.ipc.borrow_mut().as_mut()
    {
        ipc.sem_leave(set, key);
    }
    if let Some(record) = waiting.rare().record {
        objects.stop_waiting_for_record(record);
    }
    if let Some(pending) = waiting.rare().fifo {
        objects.abandon_open(pending);
    }
    waiting.restore_mask
}

/// Tells the waiters of the locks that a dead thread held. The list is the guest's: it may be a cycle, or nonsense.
fn release_robust_list(uc: &Uc, memory: &Memory, thread: &Thread) {
    const OWNER_DIED: u32 = 0x4000_0000;
    const WAITERS: u32 = 0x8000_0000;
    let (head, _) = thread.robust;
    if head == 0 {
        return;
    }
    let header: Result<[u64; 3], _> = memory.space.borrow_mut().get(head);
    let Ok([first, offset, pending]) = header else {
        return;
    };
    let release = |entry: u64| {
        // Bit 0 marks priority-inheriting locks.
        let word = (entry & !1).wrapping_add(offset);
        if !word.is_multiple_of(4) {
            return;
        }
        let mut space = memory.space.borrow_mut();
        let Ok(value) = space.get::<u32>(word) else {
            return;
        };
        if value & 0x3fff_ffff == thread.tid
            && space.put(word, value & WAITERS | OWNER_DIED).is_ok()
        {
            drop(space);
            if value & WAITERS != 0 {
                uc.wake_futex(memory, word, 1, !0);
            }
        }
    };
    let mut entry = first;
    for _ in 0..2048 {
        if entry & !1 == head {
            break;
        }
        let next = memory.space.borrow_mut().get::<u64>(entry & !1);
        if entry != pending {
            release(entry);
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => break,
        }
    }
    if pending != 0 {
        release(pending);
    }
}
