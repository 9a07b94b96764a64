//! The task that runs a guest thread: until it waits, its time slice is over, or it ends.

use crate::abi::exit::Exit;
use crate::abi::signal::{FaultInfo, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
use crate::state::process::{Memory, Process};
use crate::state::thread::Thread;
use crate::syscall::{self, PendingCall, Step, quick};
use crate::uc::Uc;
use crate::uc::caller::Caller;
use crate::{crash, now, signal};
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

    /// Whether a thread that waits has waited long enough. Sets the timer for that.
    #[inline]
    fn is_over(&mut self, task: &mut core::task::Context<'_>) -> bool {
        let deadline = {
            let threads = self.process.threads.borrow();
            let thread = threads.get(self.index);
            thread.and_then(|t| t.waiting.as_ref()?.deadline)
        };
        let Some(deadline) = deadline else {
            return false;
        };
        let deadline =
            Instant::now() + Duration::from_nanos(deadline.saturating_sub(self.uc.now()));
        let sleep = self.sleep.get_or_insert_with(|| sleep_until(deadline));
        if Pin::new(sleep).poll(task).is_pending() {
            return false;
        }
        // A later deadline of the same call gets a new timer.
        self.sleep = None;
        true
    }

    /// Runs the thread until it waits, its time is up, or it is gone.
    fn run(
        &mut self,
        task: &mut core::task::Context<'_>,
        begun: u64,
        mut asked: Option<PendingCall>,
    ) -> Left {
        let memory = self.process.memory();
        let mut limited = false;
        let mut result = None;
        loop {
            let caller = Caller {
                uc: &self.uc,
                process: &self.process,
                memory: &memory,
                index: self.index,
            };
            let Caller {
                uc, process, index, ..
            } = caller;
            if process.exit.get().is_some() {
                return Left::Gone(0);
            }
            let call = match asked.take() {
                Some(call) => call,
                None => {
                    let mut threads = process.threads.borrow_mut();
                    let Some(thread) = threads.get_mut(index) else {
                        return Left::Vanished;
                    };
                    if let Some(result) = result.take() {
                        syscall::finish(uc, thread, Some(result), false);
                    }
                    if signal::has_work(thread) {
                        drop(threads);
                        signal::deliver(&caller);
                        if process.stopped.get().is_some() && process.exit.get().is_none() {
                            return Left::Waits;
                        }
                        continue;
                    }
                    if !limited {
                        // Only now: a call that goes on waiting needs no timer.
                        EbbRef::<dyn GuestCpu>::get().interrupt_at(begun + SLICE);
                        limited = true;
                    }
                    match uc.enter(process, &memory, thread) {
                        Trap::Syscall => PendingCall::by(thread),
                        Trap::Interrupt => return Left::Yields,
                        Trap::PageFault {
                            address,
                            write,
                            execute,
                        } => {
                            drop(threads);
                            let access = match (write, execute) {
                                (true, _) => Access::Write,
                                (_, true) => Access::Execute,
                                _ => Access::Read,
                            };
                            let fault = memory.space.borrow_mut().fault(address, access);
                            if let Err(fault) = fault {
                                page_fault(&caller, address, access, fault);
                            }
                            continue;
                        }
                        Trap::Exception { vector, error } => {
                            drop(threads);
                            exception(&caller, vector, error);
                            continue;
                        }
                    }
                }
            };
            match syscall::dispatch(&caller, call, task.waker()) {
                Step::Finished(value) => {
                    result = Some(value);
                    self.sleep = None;
                }
                Step::FinishedInPlace => self.sleep = None,
                Step::Waits => {
                    if !self.is_over(task) {
                        return Left::Waits;
                    }
                    // The call finds its deadline passed.
                    let threads = self.process.threads.borrow();
                    asked = threads.get(index).map(PendingCall::by);
                }
                Step::Yields => return Left::Yields,
                Step::Gone(status) => return Left::Gone(status),
                Step::Replaced => {
                    caller.with_thread(|thread| quick::set(uc, process, thread));
                    if !Rc::ptr_eq(&process.memory(), &memory) {
                        // It has started a program.
                        self.left = Some(memory);
                        return Left::Yields;
                    }
                }
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
        let asked = {
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
            thread.waiting.is_some().then(|| PendingCall::by(thread))
        };
        if process.exit.get().is_none() && process.stopped.get().is_some() {
            // Whoever lets it go on, or ends it, wakes all its threads.
            return Poll::Pending;
        }
        if asked.is_none() && this.sleep.is_some() {
            // Who woke it has ended its call.
            this.sleep = None;
        }
        uc.switch(process);
        let begun = now();
        let left = this.run(task, begun, asked);
        let (uc, process) = (&this.uc, &this.process);
        if let Left::Vanished = left {
            return Poll::Ready(());
        }
        uc.account(process, index, now().saturating_sub(begun));
        match left {
            Left::Gone(status) => {
                return this.end(status, task);
            }
            Left::Yields => task.waker().wake_by_ref(),
            Left::Waits | Left::Vanished => {}
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
