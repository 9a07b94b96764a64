//! Sending signals, to a thread or a process, and what sending alone does.

use crate::abi::exit::Exit;
use crate::abi::limit::{self, MAX_SIGNALS};
use crate::abi::signal::{
    SA_NOCLDSTOP, SA_NOCLDWAIT, SI_KERNEL, SI_TIMER, SIGCHLD, SIGCONT, SIGKILL, SIGXCPU, STOPS,
    SigInfo, about_child, bit, is_ignored_by_default,
};
use crate::object::wait::Target;
use crate::state::pending::{FIRST_QUEUED, queue};
use crate::state::process::{Process, Zombie};
use crate::state::thread::Thread;
use crate::state::timer::{Clock, Due, Notify};
use crate::uc::Uc;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It is pending, or would have had no effect.
    Done,
    /// There is no such thread.
    Nobody,
    /// As many are queued as may be (`RLIMIT_SIGPENDING`).
    Full,
}

fn post(thread: &mut Thread, info: SigInfo, room: bool) -> Sent {
    let kept = queue(&mut thread.pending, &mut thread.queued, info, room);
    thread.wake();
    match kept {
        true => Sent::Done,
        false => Sent::Full,
    }
}

/// Whether one more signal may be queued for a process: how many there are of its user's, and how many it may have.
fn has_room(uc: &Uc, process: &Process, info: &SigInfo) -> bool {
    if info.signal() < FIRST_QUEUED && info.code() >= 0 {
        return true;
    }
    has_room_of(uc, process)
}

/// Whether one more signal that is queued, or timer that sends one, may be of a process.
pub fn has_room_of(uc: &Uc, process: &Process) -> bool {
    let (user, most) = {
        let state = process.state.borrow();
        (state.credentials.user.real, state.soft(limit::SIGPENDING))
    };
    let most = most.min(MAX_SIGNALS);
    let mut queued = 0;
    for process in &uc.processes.borrow().live {
        let state = process.state.borrow();
        if state.credentials.user.real == user {
            queued += state.queued.len() + state.timers.count();
            let threads = process.threads.borrow();
            queued += threads.iter().map(|t| t.queued.len()).sum::<usize>();
        }
    }
    (queued as u64) < most
}

/// What a signal does to other signals and to a stopped process when it is sent, whoever takes it.
fn on_sending(uc: &Uc, process: &Process, signal: u8) {
    if signal == SIGCONT || signal == SIGKILL {
        if signal == SIGCONT {
            forget(process, STOPS);
        }
        stop_process(uc, process, None);
    } else if STOPS & bit(signal) != 0 {
        forget(process, bit(SIGCONT));
    }
}

/// Takes signals back that nobody has taken.
pub fn forget(process: &Process, set: u64) {
    let mut state = process.state.borrow_mut();
    state.pending &= !set;
    state.queued.retain(|q| bit(q.signal()) & set == 0);
    for thread in process.threads.borrow_mut().iter_mut() {
        thread.pending &= !set;
        thread.queued.retain(|q| bit(q.signal()) & set == 0);
    }
}

/// Sends a signal to one thread. No table of the UC may be borrowed.
pub fn send_thread(uc: &Uc, process: &Process, tid: u32, info: SigInfo) -> Sent {
    let signal = info.signal();
    if process.threads.borrow().iter().all(|t| t.tid != tid) {
        return Sent::Nobody;
    }
    if signal == 0 {
        return Sent::Done;
    }
    on_sending(uc, process, signal);
    let effect = has_effect(process, signal);
    let room = has_room(uc, process, &info);
    let mut sent = Sent::Done;
    if let Some(thread) = process
        .threads
        .borrow_mut()
        .iter_mut()
        .find(|t| t.tid == tid)
        && (effect || thread.mask & bit(signal) != 0)
    {
        sent = post(thread, info, room);
    }
    uc.objects.borrow_mut().signal_arrived();
    sent
}

/// Sends a signal to a process: to some thread that does not block it. No table of the UC may be borrowed.
pub fn send_process(uc: &Uc, process: &Process, info: SigInfo) -> Sent {
    let signal = info.signal();
    if signal == 0 {
        return Sent::Done;
    }
    on_sending(uc, process, signal);
    let effect = has_effect(process, signal);
    let room = has_room(uc, process, &info);
    let mut sent = Sent::Done;
    {
        let mut threads = process.threads.borrow_mut();
        let free = threads
            .iter_mut()
            .find(|t| t.mask & bit(signal) == 0 && !t.doomed);
        match free {
            Some(thread) if effect => sent = post(thread, info, room),
            Some(_) => {}
            None => {
                let state = &mut *process.state.borrow_mut();
                if !queue(&mut state.pending, &mut state.queued, info, room) {
                    sent = Sent::Full;
                }
                // Somebody may wait for it with `sigtimedwait`, or in a call whose mask is about to end.
                for thread in threads.iter() {
                    if thread.waiting.is_some() {
                        thread.wake();
                    }
                }
            }
        }
    }
    uc.objects.borrow_mut().signal_arrived();
    sent
}

/// What tells a parent of a child's end.
#[must_use]
pub fn child_info(zombie: &Zombie) -> SigInfo {
    // CLD_EXITED, CLD_KILLED
    let (code, status) = match zombie.exit {
        Exit::Status(status) => (1, status),
        Exit::Signal(signal) => (2, signal),
    };
    about_child(
        zombie.exit_signal,
        code,
        zombie.pid,
        status,
        zombie.used.ran,
    )
}

/// Whether a parent wants to be asked for its children before they go for good.
#[must_use]
pub fn wants_zombies(parent: &Process, exit_signal: u8) -> bool {
    if exit_signal != SIGCHLD {
        return true;
    }
    let action = parent
        .state
        .borrow()
        .actions
        .get(SIGCHLD)
        .unwrap_or_default();
    action.handler != 1 && action.flags & SA_NOCLDWAIT == 0
}

/// Tells a parent that a signal has stopped its child, or that the child goes on.
fn tell_of_stop(uc: &Uc, parent: &Process, pid: u32, stopped: Option<u8>) {
    let action = parent
        .state
        .borrow()
        .actions
        .get(SIGCHLD)
        .unwrap_or_default();
    if action.flags & SA_NOCLDSTOP == 0 {
        // CLD_STOPPED, CLD_CONTINUED
        let code = if stopped.is_some() { 5 } else { 6 };
        let status = stopped.unwrap_or(SIGCONT);
        let _ = send_process(uc, parent, about_child(SIGCHLD, code, pid, status, 0));
    }
}

/// A signal stops a process, or lets it go on (`None`).
pub fn stop_process(uc: &Uc, process: &Process, signal: Option<u8>) {
    if process.stopped.get().is_some() == signal.is_some() {
        return;
    }
    process.stopped.set(signal);
    process.news.set(Some(signal.unwrap_or(SIGCONT)));
    if signal.is_none() {
        process.wake();
    }
    let (pid, parent) = {
        let state = process.state.borrow();
        (state.pid, state.parent)
    };
    let parent = uc.processes.borrow().find(parent).cloned();
    uc.objects.borrow_mut().child_news();
    if let Some(parent) = parent {
        tell_of_stop(uc, &parent, pid, signal);
    }
}

/// Adds to the signal of a POSIX timer that waits to be taken how often the timer came due since; false when none waits.
fn count_overrun(process: &Process, timer: usize, times: u64) -> bool {
    let mut threads = process.threads.borrow_mut();
    let state = &mut *process.state.borrow_mut();
    let all = threads.iter_mut().flat_map(|t| t.queued.iter_mut());
    let mut all = all.chain(&mut state.queued);
    let Some(info) = all.find(|info| info.timer() == Some(timer as u32)) else {
        return false;
    };
    if let Some(timer) = state.timers.get_mut(timer) {
        timer.overrun = timer.overrun.saturating_add(times);
        info.set_overrun(timer.overrun);
    }
    true
}

/// A timer of a process has come due.
pub fn timer_due(uc: &Uc, process: &Process, due: Due) {
    if let Some((timer, _)) = due.posix {
        if count_overrun(process, timer, due.times) {
            return;
        }
        let mut state = process.state.borrow_mut();
        if let Some(timer) = state.timers.get_mut(timer) {
            timer.overrun = due.times - 1;
        }
    }
    let info = |signal| {
        let Some((timer, value)) = due.posix else {
            return SigInfo::new(signal, SI_KERNEL);
        };
        let mut info = SigInfo::new(signal, SI_TIMER);
        info.0[16..20].copy_from_slice(&(timer as u32).to_le_bytes());
        info.set_overrun(due.times - 1);
        info.0[24..32].copy_from_slice(&value.to_le_bytes());
        info
    };
    match due.notify {
        Notify::Nothing => {}
        Notify::Process(signal) => {
            let _ = send_process(uc, process, info(signal));
        }
        Notify::Thread(signal, tid) => {
            let _ = send_thread(uc, process, tid, info(signal));
        }
    }
}

/// Sends what is due by a process's use of the processor: timers of it, and what `RLIMIT_CPU` asks for.
#[cold]
pub fn processor_time(uc: &Uc, process: &Process) {
    let ran = process.ran();
    let due = {
        let mut state = process.state.borrow_mut();
        state.timers.expire(Clock::Processor, ran)
    };
    for due in due {
        timer_due(uc, process, due);
    }
    let seconds = ran / 1_000_000_000;
    let (soft, hard, warned) = {
        let state = process.state.borrow();
        let (soft, hard) = state.limits[limit::CPU];
        (soft, hard, state.cpu_warned)
    };
    if seconds >= hard {
        let _ = send_process(uc, process, SigInfo::new(SIGKILL, SI_KERNEL));
    } else if seconds >= soft && seconds > warned {
        process.state.borrow_mut().cpu_warned = seconds;
        let _ = send_process(uc, process, SigInfo::new(SIGXCPU, SI_KERNEL));
    }
}

/// Whether a signal that becomes pending will have any effect.
fn has_effect(process: &Process, signal: u8) -> bool {
    let state = process.state.borrow();
    match state.actions.get(signal).map(|a| a.handler) {
        // Nobody could let the first process go on.
        Some(0) if STOPS & bit(signal) != 0 => state.parent != 0,
        Some(0) => !is_ignored_by_default(signal),
        Some(1) => false,
        _ => true,
    }
}

/// Sends the signals that objects have asked for, terminals mostly. True when they have set a deadline, too, of which
/// whoever drives them is to hear. No table of the UC may be borrowed.
pub fn send_noted(uc: &Uc) -> bool {
    let news = {
        let mut objects = uc.objects.borrow_mut();
        if !objects.hub.has_news() {
            return false;
        }
        objects.hub.take_news()
    };
    for (target, signal) in news.signals {
        let info = SigInfo::new(signal, SI_KERNEL);
        let live = uc.processes.borrow().live.clone();
        match target {
            Target::Process(pid) => {
                if let Some(process) = live.iter().find(|p| p.pid() == pid) {
                    let _ = send_process(uc, process, info);
                }
            }
            Target::Group(group) => {
                for process in live.iter().filter(|p| p.state.borrow().group == group) {
                    let _ = send_process(uc, process, info.clone());
                }
            }
        }
    }
    news.deadline
}
