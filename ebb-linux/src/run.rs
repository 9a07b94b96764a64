//! The task that runs a guest thread: until it waits, its time slice is over, or it ends.

use crate::abi::exit::Exit;
use crate::abi::signal::{FaultInfo, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
use crate::state::process::{Memory, Process};
use crate::state::thread::Thread;
use crate::syscall::{self, Call, Step, quick};
use crate::uc::Uc;
use crate::uc::caller::Caller;
use crate::{crash, now, random_instructions, signal};
use alloc::rc::Rc;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use ebb_guest::{GuestCpu, Trap};
use ebb_mem::space::{Access, Fault};
use ebb_runtime::time::{Instant, Sleep, sleep_until};
use ebb_runtime::{EbbRef, spawn};

/// Starts the task for a thread; it ends with the thread, and nothing waits for it.
pub(crate) fn spawn_thread(uc: &Rc<Uc>, process: &Rc<Process>, index: usize) {
    drop(spawn(GuestThread::new(
        Rc::clone(uc),
        Rc::clone(process),
        index,
    )));
}

/// How long a thread runs before others get their turn, in nanoseconds.
const SLICE: u64 = 2_000_000;

/// The task of a guest thread.
pub struct GuestThread {
    uc: Rc<Uc>,
    process: Rc<Process>,
    index: usize,
    sleep: Option<Sleep>,
    /// Memory that it left, by `execve` or with the end of its process: it is given back part by part.
    left: Option<Rc<Memory>>,
    /// Its process ends so when that is done.
    over: Option<Exit>,
}

impl GuestThread {
    /// The task for the thread of this index.
    pub fn new(uc: Rc<Uc>, process: Rc<Process>, index: usize) -> Self {
        Self {
            uc,
            process,
            index,
            sleep: None,
            left: None,
            over: None,
        }
    }

    /// The thread is over; the last one of its process sees to the process's end.
    fn end(&mut self, status: u8, task: &mut core::task::Context<'_>) -> Poll<()> {
        let Some(exit) = self.uc.thread_ended(&self.process, self.index, status) else {
            return Poll::Ready(());
        };
        self.over = Some(exit);
        self.left = Some(self.process.memory());
        self.give_back(task).unwrap_or(Poll::Ready(()))
    }

    /// Gives a part of the memory back that the thread has left, if nobody else has it; `None` when none is left and the
    /// thread goes on.
    #[cold]
    fn give_back(&mut self, task: &mut core::task::Context<'_>) -> Option<Poll<()>> {
        if let Some(memory) = &self.left {
            // A process that ends has its own still.
            let holders = 1 + usize::from(self.over.is_some());
            if Rc::strong_count(memory) == holders && !memory.release_part() {
                task.waker().wake_by_ref();
                return Some(Poll::Pending);
            }
            self.left = None;
        }
        if self.over.is_some() && !self.uc.release_files() {
            task.waker().wake_by_ref();
            return Some(Poll::Pending);
        }
        self.uc.process_ended(&self.process, self.over?);
        Some(Poll::Ready(()))
    }

    /// Runs the thread until it waits, its time is up, or it is gone. `waits` when it waits in a call.
    fn run(
        &mut self,
        task: &mut core::task::Context<'_>,
        begun: u64,
        tid: u32,
        waits: bool,
    ) -> Left {
        let Self {
            uc, process, sleep, ..
        } = self;
        let memory = process.memory();
        let caller = Caller {
            uc,
            process,
            memory: &memory,
            index: self.index,
        };
        let mut turn = Turn {
            caller,
            uc,
            process,
            memory: &memory,
            ends_at: begun + SLICE,
            limited: false,
        };
        let mut call = Call::of(caller, tid, task.waker());
        let mut step = match waits {
            true => turn.try_again(&mut call),
            false => Step::FinishedInPlace,
        };
        loop {
            let result = match step {
                Step::Finished(value) => Some(value),
                Step::FinishedInPlace => None,
                Step::Waits => {
                    if !is_over(&caller, sleep, task) {
                        return Left::Waits;
                    }
                    // The call finds its deadline passed.
                    step = turn.try_again(&mut call);
                    continue;
                }
                Step::Yields => return Left::Yields,
                Step::Gone(status) => return Left::Gone(status),
                Step::Replaced => {
                    caller.with_thread(|thread| quick::set(caller.uc, caller.process, thread));
                    if !Rc::ptr_eq(&process.memory(), &memory) {
                        // It has started a program.
                        self.left = Some(memory);
                        return Left::Yields;
                    }
                    None
                }
            };
            *sleep = None;
            turn.begin();
            if let Some(left) = turn.until_call(&mut call, result) {
                return left;
            }
            if caller.uc.options.trace {
                step = syscall::dispatch_traced(&call);
                continue;
            }
            // One call after another that neither waits nor ends anything: nothing but the way of most.
            step = loop {
                match syscall::dispatch(&call) {
                    Ok(value) => {
                        if let Some(left) = turn.until_call(&mut call, Some(value)) {
                            return left;
                        }
                    }
                    Err(step) => break step,
                }
            };
        }
    }
}

/// Whether a thread that waits has waited long enough. Sets the timer for that.
#[inline]
fn is_over(
    caller: &Caller<'_>,
    sleep: &mut Option<Sleep>,
    task: &mut core::task::Context<'_>,
) -> bool {
    let deadline = {
        let threads = caller.process.threads.borrow();
        let thread = threads.get(caller.index);
        thread.and_then(|t| t.waiting.as_ref()?.deadline)
    };
    let Some(deadline) = deadline else {
        return false;
    };
    let deadline = Instant::now() + Duration::from_nanos(deadline.saturating_sub(caller.uc.now()));
    let timer = sleep.get_or_insert_with(|| sleep_until(deadline));
    if Pin::new(timer).poll(task).is_pending() {
        return false;
    }
    // A later deadline of the same call gets a new timer.
    *sleep = None;
    true
}

/// A thread's turn on the core.
struct Turn<'a> {
    caller: Caller<'a>,
    // What the caller names, without the way through its references.
    uc: &'a Uc,
    process: &'a Process,
    memory: &'a Memory,
    /// When others have theirs, in nanoseconds of the machine's clock.
    ends_at: u64,
    /// The timer is set for that.
    limited: bool,
}

impl Turn<'_> {
    /// Tries again the call in which the thread waits.
    fn try_again(&self, call: &mut Call<'_>) -> Step {
        if self.caller.process.exit.get().is_some() {
            return Step::Gone(0);
        }
        match self.caller.with_thread(|thread| call.ask(thread, false)) {
            Some(()) => syscall::try_again(call),
            None => Step::FinishedInPlace,
        }
    }

    /// Before the thread is entered: a call that goes on waiting needs none of this.
    #[inline]
    fn begin(&mut self) {
        if !self.limited {
            EbbRef::<dyn GuestCpu>::get().interrupt_at(self.ends_at);
            self.limited = true;
            self.uc.tell_clock(self.process, self.memory);
        }
    }

    /// Ends a call with its result, if it has one yet, and runs the thread until it makes the next. `None` when it has.
    ///
    /// This is the way of every system call that finds nothing else to do; the others are [`until_call_slowly`]'s.
    ///
    /// [`until_call_slowly`]: Self::until_call_slowly
    #[inline(always)]
    fn until_call(&mut self, call: &mut Call<'_>, result: Option<u64>) -> Option<Left> {
        let (uc, process, memory) = (self.uc, self.process, self.memory);
        if process.exit.get().is_some() {
            return Some(Left::Gone(0));
        }
        let mut threads = process.threads.borrow_mut();
        let Some(thread) = threads.get_mut(self.caller.index) else {
            return Some(Left::Vanished);
        };
        if let Some(result) = result {
            syscall::finish(uc, thread, Some(result), false);
        }
        if signal::has_work(thread) {
            drop(threads);
            return self.until_call_slowly(call, None);
        }
        let trap = memory.enter(thread);
        if trap == Trap::Syscall {
            call.ask(thread, true);
            drop(threads);
            return None;
        }
        drop(threads);
        self.until_call_slowly(call, Some(trap))
    }

    /// As [`until_call`](Self::until_call), for what comes between: signals, a trap that was no system call.
    #[inline(never)]
    fn until_call_slowly(&mut self, call: &mut Call<'_>, mut trap: Option<Trap>) -> Option<Left> {
        let (process, memory, index) = (self.process, self.memory, self.caller.index);
        loop {
            match trap {
                None | Some(Trap::Syscall) => {}
                Some(Trap::Interrupt) => return Some(Left::Yields),
                Some(Trap::PageFault {
                    address,
                    write,
                    execute,
                }) => {
                    let access = match (write, execute) {
                        (true, _) => Access::Write,
                        (_, true) => Access::Execute,
                        _ => Access::Read,
                    };
                    let fault = memory.space.borrow_mut().fault(address, access);
                    if let Err(fault) = fault {
                        page_fault(&self.caller, address, access, fault);
                    }
                }
                Some(Trap::Exception { vector, error }) => exception(&self.caller, vector, error),
            }
            if process.exit.get().is_some() {
                return Some(Left::Gone(0));
            }
            let mut threads = process.threads.borrow_mut();
            let Some(thread) = threads.get_mut(index) else {
                return Some(Left::Vanished);
            };
            if signal::has_work(thread) {
                drop(threads);
                signal::deliver(&self.caller);
                if process.stopped.get().is_some() && process.exit.get().is_none() {
                    return Some(Left::Waits);
                }
                trap = None;
                continue;
            }
            match memory.enter(thread) {
                Trap::Syscall => {
                    call.ask(thread, true);
                    return None;
                }
                other => trap = Some(other),
            }
        }
    }
}

/// Why a thread runs no longer.
enum Left {
    /// It waits, or is stopped.
    Waits,
    /// Others have their turn.
    Yields,
    /// It is over, with this status.
    Gone(u8),
    /// Somebody has removed it.
    Vanished,
}

impl Future for GuestThread {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut core::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.left.is_some()
            && let Some(poll) = this.give_back(task)
        {
            return poll;
        }
        let (uc, process, index) = (&this.uc, &this.process, this.index);
        let (tid, waits) = {
            let mut threads = process.threads.borrow_mut();
            let Some(thread) = threads.get_mut(index) else {
                return Poll::Ready(());
            };
            if thread
                .waker
                .as_ref()
                .is_none_or(|w| !w.will_wake(task.waker()))
            {
                thread.waker = Some(task.waker().clone());
            }
            if thread.doomed && process.exit.get().is_none() {
                drop(threads);
                uc.switch(process);
                return this.end(0, task);
            }
            quick::set(uc, process, thread);
            (thread.tid, thread.waiting.is_some())
        };
        if process.exit.get().is_none() && process.stopped.get().is_some() {
            // Whoever lets it go on, or ends it, wakes all its threads.
            return Poll::Pending;
        }
        if !waits && this.sleep.is_some() {
            // Who woke it has ended its call.
            this.sleep = None;
        }
        uc.switch(process);
        let begun = now();
        let left = this.run(task, begun, tid, waits);
        let (uc, process) = (&this.uc, &this.process);
        if let Left::Vanished = left {
            return Poll::Ready(());
        }
        uc.account(process, index, (begun, now()));
        let (waits, turns_lost) = process.switches.get();
        match left {
            Left::Gone(status) => {
                return this.end(status, task);
            }
            Left::Yields => {
                process.switches.set((waits, turns_lost + 1));
                task.waker().wake_by_ref();
            }
            Left::Waits => process.switches.set((waits + 1, turns_lost)),
            Left::Vanished => {}
        }
        Poll::Pending
    }
}

/// A fault that the guest's memory does not explain away.
fn page_fault(caller: &Caller<'_>, address: u64, access: Access, fault: Fault) {
    let (number, code) = match fault {
        Fault::NotMapped => (SIGSEGV, 1),
        Fault::Denied => (SIGSEGV, 2),
        Fault::BeyondEnd => (SIGBUS, 2),
        Fault::OutOfMemory => {
            crash::out_of_memory(caller, address);
            caller.uc.end_without_memory(caller.process);
            return;
        }
    };
    let error = match access {
        Access::Read => 4,
        Access::Write => 6,
        Access::Execute => 20,
    };
    signal::fault(
        caller,
        number,
        FaultInfo {
            code,
            address,
            vector: 14,
            error,
        },
    );
}

fn exception(caller: &Caller<'_>, vector: u8, error: u64) {
    if vector == 6 && random_instructions::carry_out(caller) {
        return;
    }
    let (number, code) = match vector {
        0 => (SIGFPE, 1),
        1 => (SIGTRAP, 2),
        3 => (SIGTRAP, 0x80),
        4 | 5 => (SIGSEGV, 0x80),
        6 => (SIGILL, 2),
        16 | 19 => (SIGFPE, 3),
        17 => (SIGBUS, 1),
        _ => (SIGSEGV, 0x80),
    };
    let address = match vector {
        0 | 1 | 6 | 16 | 19 => {
            let rip = |t: &mut Thread| t.context.rip;
            caller.with_thread(rip).unwrap_or(0)
        }
        _ => 0,
    };
    signal::fault(
        caller,
        number,
        FaultInfo {
            code,
            address,
            vector,
            error,
        },
    );
}
