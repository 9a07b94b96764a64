//! Processes: `fork`, `execve`, waiting for children, groups and sessions.

use super::credentials::thread_limit;
use super::path::path;
use super::thread::{New, duplicate, tell_child, tell_parent};
use super::time::rusage;
use super::{Call, Outcome, Stop, namespace};
use crate::abi::clone::{
    CLONE_CLEAR_SIGHAND, CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PIDFD, CLONE_SIGHAND,
    CLONE_THREAD, CLONE_VFORK, CLONE_VM,
};
use crate::abi::errno::Errno;
use crate::abi::exit::Exit;
use crate::abi::flags::{AT_FDCWD, AtFlags, OpenFlags};
use crate::abi::limit;
use crate::abi::signal::{SIGCHLD, SIGCONT, about_child};
use crate::image::exec::{self, Identity, Request};
use crate::object::vfs::Executable;
use crate::object::wait::Events;
use crate::state::process::{Memory, Process, Ran, Scheduling, Used, Zombie};
use crate::state::thread::{Rare, Thread, Waiting};
use crate::state::timer::Timers;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ebb_guest::Context;

/// Waits for news of processes.
fn wait_for_news(call: &Call<'_>) -> Outcome {
    let mut objects = call.objects();
    let queue = objects.child_queue();
    call.thread(|t| {
        t.waiting.get_or_insert_with(Waiting::default);
        objects.register_queue(queue, Events::all(), &mut t.registration, call.waker);
    })?;
    Err(Stop::Wait)
}

/// A new process: a copy of the calling one with the calling thread alone.
pub fn fork(call: &Call<'_>, new: &New) -> Outcome {
    if let Some((serial, pid)) = call.waited(|w| w.rare().child).flatten() {
        let processes = call.uc.processes.borrow();
        if processes.by_serial(serial).is_some_and(|p| p.borrows.get()) {
            return wait_for_news(call);
        }
        return Ok(pid.into());
    }
    let has = |flag| new.flags & flag != 0;
    let uc = call.uc;
    let (pid, serial) = {
        let mut processes = uc.processes.borrow_mut();
        let threads = processes.threads();
        let own = thread_limit(call);
        if processes.len() >= uc.options.processes
            || threads >= uc.options.threads
            || threads as u64 >= own
        {
            return Err(Errno::EAGAIN.into());
        }
        (processes.new_number(), processes.new_serial())
    };
    tell_parent(call, new, pid);
    if has(CLONE_PIDFD) {
        call.space().put(new.pidfd, -1i32)?;
    }
    let mut thread = duplicate(call, new, pid)?;
    let memory = if has(CLONE_VM) {
        Rc::clone(call.memory)
    } else {
        copy_memory(call)?
    };
    if !has(CLONE_VM) || has(CLONE_VFORK) {
        thread.alt_stack = call.thread(|t| t.alt_stack)?;
    }
    tell_child(&mut memory.space.borrow_mut(), new, pid);
    let files = {
        let mut objects = call.objects();
        if has(CLONE_FILES) {
            let files = call.process.files.get();
            objects.share_files(files);
            files
        } else {
            objects.fork_files()
        }
    };
    if has(CLONE_PIDFD) {
        let mut objects = call.objects();
        match objects.pidfd(pid, serial, OpenFlags::empty()) {
            Ok(fd) => drop(call.space().put(new.pidfd, fd)),
            Err(errno) => {
                // The child's files go again.
                objects.end_files(files);
                objects.run_files(call.process.files.get());
                return Err(errno.into());
            }
        }
    }
    let mut state = call.process.state.borrow().clone();
    if !has(CLONE_PARENT) || state.parent == 0 {
        state.parent = state.pid;
        state.orphan = false;
    }
    state.pid = pid;
    state.exit_signal = new.exit_signal;
    state.executed = false;
    state.pending = 0;
    state.queued = Vec::new();
    state.timers = Timers::default();
    state.ran = Ran::default();
    state.cpu_warned = 0;
    state.death_signal = 0;
    state.adopts_orphans = false;
    state.inherit_fixed_code();
    if state.scheduling.resets_on_fork {
        state.scheduling = Scheduling::default();
    }
    state.begun = crate::now();
    if has(CLONE_CLEAR_SIGHAND) {
        state.actions.reset();
    }
    let child = Process::new(serial, memory, files, state);
    child.borrows.set(has(CLONE_VFORK));
    uc.processes.borrow_mut().live.push(Rc::clone(&child));
    uc.add_thread(&child, thread);
    if !has(CLONE_VM) {
        uc.switch_again(call.process);
    }
    if !has(CLONE_VFORK) {
        return Ok(pid.into());
    }
    call.thread(|t| {
        t.waiting = Some(Waiting {
            rare: Some(Box::new(Rare {
                child: Some((serial, pid)),
                ..Rare::default()
            })),
            ..Waiting::default()
        });
    })?;
    wait_for_news(call)
}

/// A copy of the caller's memory, whose pages are shared until one side writes; they count for both.
fn copy_memory(call: &Call<'_>) -> Result<Rc<Memory>, Stop> {
    let used = call.uc.used();
    let mut space = call.space();
    if used.saturating_add(space.used()) > call.uc.options.memory {
        return Err(Errno::ENOMEM.into());
    }
    let copy = space.fork().ok_or(Errno::ENOMEM)?;
    let number = call.uc.processes.borrow_mut().new_serial();
    Ok(Memory::new(copy, number, call.memory.untold.get()))
}

/// The most bytes of one argument (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 128 << 10;

/// A list of strings that a null pointer ends.
fn strings(call: &Call<'_>, list: u64, room: &mut usize) -> Result<Vec<Vec<u8>>, Stop> {
    let mut strings = Vec::new();
    if list == 0 {
        return Ok(strings);
    }
    let mut space = call.space();
    for at in (0..).map(|i: u64| list.wrapping_add(8 * i)) {
        let pointer: u64 = space.get(at)?;
        if pointer == 0 {
            break;
        }
        let string = space.get_string(pointer, MAX_ARGUMENT)?;
        let string = string.ok_or(Errno::E2BIG)?;
        *room = room.checked_sub(string.len() + 9).ok_or(Errno::E2BIG)?;
        strings.push(string);
    }
    Ok(strings)
}

pub fn execve(call: &Call<'_>) -> Outcome {
    let [name, arguments, environment, ..] = call.args;
    let name = path(call, name)?;
    let file = call.on_objects(|o, w| o.executable(w, &name))?;
    start(call, file, name, arguments, environment)
}

pub fn execveat(call: &Call<'_>) -> Outcome {
    let [_, name, arguments, environment, flags, _] = call.args;
    let flags = AtFlags::from_bits_retain(flags as u32);
    let name = path(call, name)?;
    let empty = flags.contains(AtFlags::EMPTY_PATH);
    if name.is_empty() && !empty {
        return Err(Errno::ENOENT.into());
    }
    if !(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let file = call.on_objects(|o, w| o.executable_at(w, call.fd(0), &name, follow, empty))?;
    let known_as = if name.first() == Some(&b'/') || call.fd(0) == AT_FDCWD {
        name
    } else {
        // How Linux names it.
        let mut known_as = alloc::format!("/dev/fd/{}", call.fd(0)).into_bytes();
        if !name.is_empty() {
            known_as.push(b'/');
            known_as.extend_from_slice(&name);
        }
        known_as
    };
    start(call, file, known_as, arguments, environment)
}

/// Starts a program in the place of the one that calls.
fn start(
    call: &Call<'_>,
    file: Executable,
    known_as: Vec<u8>,
    arguments: u64,
    environment: u64,
) -> Outcome {
    let mut room = exec::MAX_STRINGS;
    let mut arguments = strings(call, arguments, &mut room)?;
    let environment = strings(call, environment, &mut room)?;
    if arguments.is_empty() {
        // As Linux does since 5.18.
        arguments.push(Vec::new());
    }
    let used = call.uc.used();
    let own = if is_shared(call) {
        0
    } else {
        call.space().used()
    };
    let limit = call
        .uc
        .options
        .memory
        .saturating_sub(used.saturating_sub(own));
    let stack = call.process.state.borrow().soft(limit::STACK);
    let mut credentials = (*super::credentials::of(call)).clone();
    let ownership = call.objects().program_ownership(&file)?;
    let secure = credentials.exec(ownership);
    let request = Request {
        identity: Identity::of(&credentials, secure),
        file,
        known_as,
        arguments,
        environment,
        stack,
        layout: call.uc.options.layout,
    };
    let loaded = exec::load(&call.objects(), &call.world(), request, limit)?;

    // From here on nothing fails.
    end_other_threads(call);
    {
        let mut objects = call.objects();
        let files = objects.unshare_files(call.process.files.get());
        call.process.files.set(files);
        objects.close_on_exec();
    }
    let number = call.uc.processes.borrow_mut().new_serial();
    let told = call.uc.behind == 0;
    let memory = Memory::new(loaded.space, number, !told);
    {
        let mut state = call.process.state.borrow_mut();
        state.brk = loaded.started.heap;
        state.started = loaded.started;
        state.path = loaded.path;
        state.program = Some(loaded.program);
        state.names = loaded.names;
        state.actions.reset();
        state.executed = true;
        state.drew = false;
        if secure {
            state.death_signal = 0;
        }
        state.dumpable = u8::from(!secure);
        state.barriers = 0;
        state.inherit_fixed_code();
        state.credentials = Arc::new(credentials);
        state.timers.end_posix();
    }
    begin_anew(call)?;
    call.process.keep_memory_used();
    call.process.set_memory(memory);
    call.uc.switch_again(call.process);
    if call.process.borrows.replace(false) {
        call.objects().child_news();
    }
    Err(Stop::Replaced)
}

/// A program that is replaced keeps the thread that calls.
fn end_other_threads(call: &Call<'_>) {
    for thread in call.process.threads.borrow_mut().iter_mut() {
        if thread.tid != call.tid {
            // Its number may be the process's, which is this thread's now.
            thread.tid = 0;
            thread.doomed = true;
            thread.wake();
        }
    }
}

/// The calling thread becomes the process's first, at the program's entry; what an exec keeps of a thread it keeps.
fn begin_anew(call: &Call<'_>) -> Result<(), Stop> {
    let mut context = Context::new();
    let pid = {
        let state = call.process.state.borrow();
        context.rip = state.started.entry;
        context.rsp = state.started.stack;
        state.pid
    };
    call.thread(|t| {
        let before = core::mem::replace(t, Thread::new(pid, context));
        t.mask = before.mask;
        t.memory_policy = before.memory_policy;
        t.pending = before.pending;
        t.queued = before.queued;
        t.ran = before.ran;
        t.registration = before.registration;
        t.waker = before.waker;
        t.context.quick_calls = before.context.quick_calls;
    })?;
    Ok(())
}

/// Whether another process has the caller's memory.
fn is_shared(call: &Call<'_>) -> bool {
    let processes = call.uc.processes.borrow();
    let same = |p: &&Rc<Process>| Rc::ptr_eq(&p.memory(), call.memory);
    processes.live.iter().filter(same).count() > 1
}

/// Which children a call asks for.
#[derive(Clone, Copy)]
enum Which {
    Any,
    Process(u32),
    Group(u32),
}

impl Which {
    fn matches(self, pid: u32, group: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Process(p) => p == pid,
            Self::Group(g) => g == group,
        }
    }
}

const WNOHANG: u64 = 1;
const WSTOPPED: u64 = 2;
const WEXITED: u64 = 4;
const WCONTINUED: u64 = 8;
const WNOWAIT: u64 = 0x100_0000;
/// Children whatever signal tells of their end.
const WALL: u64 = 0x4000_0000;
/// Children whose end another signal than `SIGCHLD` tells, or none.
const WCLONE: u64 = 0x8000_0000;
/// These and `__WNOTHREAD`, which makes no difference: children are a process's here.
const WAIT_FLAGS: u64 = 0xe000_0000;

/// What there is to say of a child.
enum News {
    Ended(Box<Zombie>),
    Stopped(u32, u8),
    Continued(u32),
}

impl News {
    fn pid(&self) -> u32 {
        match self {
            Self::Ended(zombie) => zombie.pid,
            Self::Stopped(pid, _) | Self::Continued(pid) => *pid,
        }
    }
}

/// Looks for news of a child; `None` when there are children but no news.
fn look(call: &Call<'_>, which: Which, options: u64) -> Result<Option<News>, Stop> {
    let me = call.process.pid();
    let mut processes = call.uc.processes.borrow_mut();
    let meant = |signal: u8| options & WALL != 0 || (signal != SIGCHLD) == (options & WCLONE != 0);
    let ended = processes
        .zombies
        .iter()
        .position(|z| z.parent == me && meant(z.exit_signal) && which.matches(z.pid, z.group));
    if let Some(index) = ended.filter(|_| options & WEXITED != 0) {
        let zombie = processes.zombies[index].clone();
        if options & WNOWAIT == 0 {
            processes.zombies.remove(index);
            let ran = &mut call.process.state.borrow_mut().ran;
            ran.children = ran.children.and(zombie.used);
            let moved = call.process.moved.get();
            call.process.moved.set(moved.and(zombie.moved));
        }
        return Ok(Some(News::Ended(Box::new(zombie))));
    }
    let mut any = ended.is_some();
    for child in &processes.live {
        let state = child.state.borrow();
        if state.parent != me
            || state.orphan
            || !meant(state.exit_signal)
            || !which.matches(state.pid, state.group)
        {
            continue;
        }
        any = true;
        let news = match child.news.get() {
            Some(SIGCONT) if options & WCONTINUED != 0 => News::Continued(state.pid),
            Some(SIGCONT) | None => continue,
            Some(signal) if options & WSTOPPED != 0 => News::Stopped(state.pid, signal),
            Some(_) => continue,
        };
        if options & WNOWAIT == 0 {
            child.news.set(None);
        }
        return Ok(Some(news));
    }
    if any {
        Ok(None)
    } else {
        Err(Errno::ECHILD.into())
    }
}

fn give_usage(call: &Call<'_>, news: &News, address: u64) -> Result<(), Stop> {
    if address != 0 {
        let used = match news {
            News::Ended(zombie) => zombie.used,
            _ => Used::default(),
        };
        call.space().put(address, rusage(&used))?;
    }
    Ok(())
}

pub fn wait4(call: &Call<'_>) -> Outcome {
    let [pid, status, options, usage, ..] = call.args;
    let options = options & 0xffff_ffff;
    if options & !(WNOHANG | WSTOPPED | WCONTINUED | WAIT_FLAGS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match pid as i32 {
        -1 => Which::Any,
        0 => Which::Group(call.process.state.borrow().group),
        i32::MIN => return Err(Errno::ESRCH.into()),
        pid @ 1.. => Which::Process(pid as u32),
        group => Which::Group(group.unsigned_abs()),
    };
    let Some(news) = look(call, which, options | WEXITED)? else {
        if options & WNOHANG != 0 {
            return Ok(0);
        }
        return wait_for_news(call);
    };
    if status != 0 {
        let word: u32 = match &news {
            News::Ended(zombie) => match zombie.exit {
                Exit::Status(status) => u32::from(status) << 8,
                Exit::Signal(signal) => signal.into(),
            },
            News::Stopped(_, signal) => u32::from(*signal) << 8 | 0x7f,
            News::Continued(_) => 0xffff,
        };
        call.space().put(status, word)?;
    }
    give_usage(call, &news, usage)?;
    Ok(news.pid().into())
}

pub fn waitid(call: &Call<'_>) -> Outcome {
    let (outcome, info) = (wait_by_kind(call), call.args[2]);
    if matches!(outcome, Err(Stop::Error(_))) && info != 0 {
        tell_nothing(call, info)?;
    }
    outcome
}

/// No signal, no process: there was nothing.
fn tell_nothing(call: &Call<'_>, info: u64) -> Result<(), Stop> {
    let mut space = call.space();
    space.put(info, [0u32; 3])?;
    Ok(space.put(info.wrapping_add(16), [0u32; 3])?)
}

fn wait_by_kind(call: &Call<'_>) -> Outcome {
    let [kind, id, info, options, usage, _] = call.args;
    let options = options & 0xffff_ffff;
    let known = WNOHANG | WSTOPPED | WEXITED | WCONTINUED | WNOWAIT | WAIT_FLAGS;
    if options & !known != 0 || options & (WSTOPPED | WEXITED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let id = id as u32;
    let mut nonblocking = options & WNOHANG != 0;
    let which = match kind {
        // P_PIDFD
        3 if (id as i32) < 0 => return Err(Errno::EINVAL.into()),
        3 => {
            let (pid, serial, at_once) = call.objects().process_of(id as i32)?;
            let processes = call.uc.processes.borrow();
            // Its number may be somebody else's by now.
            let same = processes.by_serial(serial).is_some()
                || processes.zombies.iter().any(|z| z.serial == serial);
            if !same {
                return Err(Errno::ECHILD.into());
            }
            nonblocking |= at_once;
            Which::Process(pid)
        }
        0 => Which::Any,
        1 if id as i32 > 0 => Which::Process(id),
        2 if id == 0 => Which::Group(call.process.state.borrow().group),
        2 if id as i32 > 0 => Which::Group(id),
        _ => return Err(Errno::EINVAL.into()),
    };
    let Some(news) = look(call, which, options)? else {
        if nonblocking && options & WNOHANG == 0 {
            return Err(Errno::EAGAIN.into());
        }
        if nonblocking {
            if info != 0 {
                tell_nothing(call, info)?;
            }
            return Ok(0);
        }
        return wait_for_news(call);
    };
    if info != 0 {
        let told = match &news {
            News::Ended(zombie) => {
                let (code, status) = match zombie.exit {
                    Exit::Status(status) => (1, status),
                    Exit::Signal(signal) => (2, signal),
                };
                about_child(SIGCHLD, code, zombie.pid, status, zombie.used.ran)
            }
            News::Stopped(pid, signal) => about_child(SIGCHLD, 5, *pid, *signal, 0),
            News::Continued(pid) => about_child(SIGCHLD, 6, *pid, SIGCONT, 0),
        };
        call.space().put(info, told.0)?;
    }
    give_usage(call, &news, usage)?;
    Ok(0)
}

pub fn getppid(call: &Call<'_>) -> Outcome {
    Ok(call.process.state.borrow().parent.into())
}

/// The process that a number names, the caller for 0.
fn process(call: &Call<'_>, pid: u64) -> Result<Rc<Process>, Stop> {
    match pid as u32 {
        0 => Ok(Rc::clone(call.process)),
        pid => {
            let processes = call.uc.processes.borrow();
            let process = processes.find(pid).cloned();
            process.ok_or(Stop::Error(Errno::ESRCH))
        }
    }
}

pub fn getpgrp(call: &Call<'_>) -> Outcome {
    Ok(call.process.state.borrow().group.into())
}

/// Group and session of a process that lives or was not waited for.
fn group_and_session(call: &Call<'_>, pid: u64) -> Result<(u32, u32), Stop> {
    if let Ok(process) = process(call, pid) {
        let state = process.state.borrow();
        return Ok((state.group, state.session));
    }
    let processes = call.uc.processes.borrow();
    let ended = processes.zombies.iter().find(|z| z.pid == pid as u32);
    Ok(ended.map(|z| (z.group, z.session)).ok_or(Errno::ESRCH)?)
}

pub fn getpgid(call: &Call<'_>) -> Outcome {
    Ok(group_and_session(call, call.args[0])?.0.into())
}

pub fn getsid(call: &Call<'_>) -> Outcome {
    Ok(group_and_session(call, call.args[0])?.1.into())
}

/// A process as `setpgid` looks at it: one that has ended stays in its group until it was waited for.
struct Member {
    pid: u32,
    parent: u32,
    session: u32,
    executed: bool,
}

fn member(call: &Call<'_>, pid: u64) -> Result<Member, Stop> {
    if let Ok(process) = process(call, pid) {
        let state = process.state.borrow();
        return Ok(Member {
            pid: state.pid,
            parent: state.parent,
            session: state.session,
            executed: state.executed,
        });
    }
    let processes = call.uc.processes.borrow();
    let ended = processes.zombies.iter().find(|z| z.pid == pid as u32);
    let ended = ended.ok_or(Errno::ESRCH)?;
    Ok(Member {
        pid: ended.pid,
        parent: ended.parent,
        session: ended.session,
        executed: ended.executed,
    })
}

pub fn setpgid(call: &Call<'_>) -> Outcome {
    let [pid, group, ..] = call.args;
    let group = if group as u32 == 0 { pid } else { group };
    if (group as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = member(call, pid)?;
    let (me, session) = {
        let state = call.process.state.borrow();
        (state.pid, state.session)
    };
    if target.pid != me {
        if target.parent != me {
            return Err(Errno::ESRCH.into());
        }
        if target.session != session {
            return Err(Errno::EPERM.into());
        }
        if target.executed {
            return Err(Errno::EACCES.into());
        }
    }
    if target.session == target.pid {
        return Err(Errno::EPERM.into());
    }
    let group = match group as u32 {
        0 => target.pid,
        group => group,
    };
    let mut processes = call.uc.processes.borrow_mut();
    let of_live = |p: &Rc<Process>| {
        let state = p.state.borrow();
        state.group == group && state.session == session
    };
    let exists = group == target.pid
        || processes.live.iter().any(of_live)
        || processes
            .zombies
            .iter()
            .any(|z| z.group == group && z.session == session);
    if !exists {
        return Err(Errno::EPERM.into());
    }
    if let Some(process) = processes.find(target.pid) {
        process.state.borrow_mut().group = group;
    } else if let Some(ended) = processes.zombies.iter_mut().find(|z| z.pid == target.pid) {
        ended.group = group;
    }
    Ok(0)
}

pub fn setsid(call: &Call<'_>) -> Outcome {
    let pid = call.process.pid();
    let leads = {
        let processes = call.uc.processes.borrow();
        let group = |p: &Rc<Process>| p.state.borrow().group == pid;
        processes.live.iter().any(group)
    };
    // The first process leads its group from the start; programs that become daemons may still call this.
    if leads && call.process.state.borrow().parent != 0 {
        return Err(Errno::EPERM.into());
    }
    let mut state = call.process.state.borrow_mut();
    state.group = pid;
    state.session = pid;
    Ok(pid.into())
}

pub fn unshare(call: &Call<'_>) -> Outcome {
    /// `CLONE_SYSVSEM`.
    const CLONE_SYSVSEM: u64 = 0x4_0000;
    // What threads have in common by being threads, which a single one has for itself.
    let flags = namespace::without_new(call.args[0]);
    let alone = flags & (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) == 0
        || call.process.threads.borrow().iter().count() == 1;
    let known = CLONE_FILES | CLONE_FS | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if flags & !known != 0 || !alone {
        return Err(Errno::EINVAL.into());
    }
    if namespace::is_new(call.args[0]) {
        return Err(Errno::EPERM.into());
    }
    let files = call.objects().unshare_files(call.process.files.get());
    call.process.files.set(files);
    Ok(0)
}

/// The serial number of a process that lives or was not waited for.
pub(super) fn serial_of(call: &Call<'_>, pid: u32) -> Result<u64, Errno> {
    let processes = call.uc.processes.borrow();
    let ended = processes.zombies.iter().find(|z| z.pid == pid);
    let live = processes.find(pid).map(|p| p.serial);
    live.or(ended.map(|z| z.serial)).ok_or(Errno::ESRCH)
}

/// `pidfd_open`: a descriptor that is readable when the process has ended.
pub fn pidfd_open(call: &Call<'_>) -> Outcome {
    let flags = OpenFlags::from_bits_retain(call.args[1] as u32);
    let pid = call.args[0] as i32;
    if pid <= 0 || !OpenFlags::NONBLOCK.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let pid = pid as u32;
    let serial = serial_of(call, pid)?;
    Ok(call.objects().pidfd(pid, serial, flags)? as u64)
}
