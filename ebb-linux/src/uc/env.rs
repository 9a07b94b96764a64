//! What the objects of a UC see of the UC: time, randomness, facts for /proc.
//!
//! What must hold: these are called while `Uc::objects` is borrowed, so nothing here touches it; memory is borrowed for each
//! piece only, because /proc looks at it too.

use super::{Uc, cpu, maps};
use crate::abi::signal::bit;
use crate::image::{exec, vdso};
use crate::ipc::text::{self, Kind};
use crate::object::credentials::{Credentials, cap};
use crate::object::env::{CpuModel, Env, MemoryInfo, ProcInfo, Setting};
use crate::object::errno::{Errno, Result};
use crate::object::fd::FilesId;
use crate::object::id::NodeRef;
use crate::object::socket::network::Network;
use crate::state::process::{Process, Zombie};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use ebb_mem::space::{Area, Backing, Flags, PAGE};
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Entropy;

/// A UC as its objects see it, for one of its processes.
pub struct World<'a> {
    /// The UC.
    pub uc: &'a Uc,
    /// The process.
    pub process: &'a Process,
}

impl Env for World<'_> {
    fn monotonic(&self) -> u64 {
        self.uc.now()
    }

    fn realtime(&self) -> u64 {
        crate::unix_now()
    }

    fn random(&self, bytes: &mut [u8]) {
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }

    fn writably_mapped(&self, pages: u64) -> bool {
        let is_it = |a: &Area| {
            let object = matches!(&a.backing, Backing::Shared(s) if s.id() == pages);
            object && !a.flags.has(Flags::NEVER_WRITE)
        };
        let processes = self.uc.processes.borrow();
        processes
            .live
            .iter()
            .any(|p| p.memory().space.borrow().areas().any(is_it))
    }

    fn draw(&self, bytes: &mut [u8]) {
        self.uc.draw(bytes, true);
    }

    fn process(&self) -> &dyn ProcInfo {
        self
    }

    fn ipc(&self, kind: &str) -> String {
        let kind = match kind {
            "msg" => Kind::Messages,
            "sem" => Kind::Semaphores,
            _ => Kind::Segments,
        };
        let ipc = self.uc.ipc.borrow();
        text::text(ipc.as_deref(), kind, |pages| self.uc.mappings_of(pages))
    }

    fn load(&self) -> [u64; 3] {
        self.uc.sample_load(crate::now());
        self.uc.load.averages()
    }

    fn processes(&self) -> Vec<u32> {
        let processes = self.uc.processes.borrow();
        let live = processes.live.iter().map(|p| p.pid());
        let mut all: Vec<u32> = live
            .chain(processes.zombies.iter().map(|z| z.pid))
            .collect();
        all.sort_unstable();
        all
    }

    fn visit(&self, pid: u32, f: &mut dyn FnMut(&dyn ProcInfo)) -> bool {
        if pid == self.process.pid() {
            f(self);
            return true;
        }
        let processes = self.uc.processes.borrow();
        if let Some(process) = processes.find(pid).cloned() {
            drop(processes);
            f(&Other(World {
                uc: self.uc,
                process: &process,
            }));
            return true;
        }
        let zombie = processes.zombies.iter().find(|z| z.pid == pid).cloned();
        drop(processes);
        zombie.inspect(|zombie| f(zombie)).is_some()
    }

    fn change(&self, pid: u32, tid: u32, setting: Setting) -> Result<()> {
        let found = self.uc.processes.borrow().find(pid).cloned();
        let process = found.ok_or(Errno::ESRCH)?;
        let who = self.credentials();
        let same = pid == self.process.pid();
        match setting {
            Setting::Comm(_) if !same => return Err(Errno::EINVAL),
            Setting::Comm(name) => {
                let mut threads = process.threads.borrow_mut();
                let thread = threads.iter_mut().find(|t| t.tid == tid);
                thread.ok_or(Errno::ESRCH)?.name = name;
            }
            Setting::OomScoreAdj(adjustment) => {
                let mut state = process.state.borrow_mut();
                let mighty = who.has(cap::SYS_RESOURCE);
                if adjustment < state.oom.floor && !mighty {
                    return Err(Errno::EACCES);
                }
                state.oom.adjustment = adjustment;
                if mighty {
                    state.oom.floor = adjustment;
                }
            }
            Setting::TimerSlackNs(_) if !same && !who.has(cap::SYS_NICE) => {
                return Err(Errno::EPERM);
            }
            Setting::TimerSlackNs(slack) => process.state.borrow_mut().timer_slack_ns = slack,
            Setting::CoreFilter(filter) => process.state.borrow_mut().core_filter = filter,
        }
        Ok(())
    }

    fn runs(&self, program: NodeRef) -> bool {
        let processes = self.uc.processes.borrow();
        let mut live = processes.live.iter();
        live.any(|p| p.state.borrow().program == Some(program))
    }

    fn is_alive(&self, serial: u64) -> bool {
        self.uc.processes.borrow().by_serial(serial).is_some()
    }

    fn network(&self) -> Option<&dyn Network> {
        if self.uc.options.network {
            Some(self)
        } else {
            None
        }
    }

    fn pending_signals(&self, mask: u64) -> u64 {
        let threads = self.process.threads.borrow();
        let of_threads = threads.iter().fold(0, |all, t| all | t.pending);
        (of_threads | self.process.state.borrow().pending) & mask
    }

    fn take_signal(&self, mask: u64) -> Option<[u8; 128]> {
        let mut threads = self.process.threads.borrow_mut();
        for thread in threads.iter_mut() {
            if let Some(info) = crate::state::pending::take(thread, mask) {
                return Some(crate::abi::signal::for_signalfd(&info));
            }
        }
        let info =
            crate::state::pending::take_of_process(&mut self.process.state.borrow_mut(), mask)?;
        Some(crate::abi::signal::for_signalfd(&info))
    }
}

/// The world while a UC is made.
pub struct Boot;

impl ProcInfo for Boot {}

impl Env for Boot {
    fn monotonic(&self) -> u64 {
        crate::now()
    }

    fn realtime(&self) -> u64 {
        crate::unix_now()
    }

    fn random(&self, bytes: &mut [u8]) {
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }

    fn process(&self) -> &dyn ProcInfo {
        self
    }
}

impl World<'_> {
    /// What a process has between two addresses, as far as there is memory: of its strings, over which it may have written.
    fn strings(&self, start: u64, end: u64) -> Vec<u8> {
        // A snapshot that was read may say anything.
        let most = exec::MAX_STRINGS as u64;
        let mut bytes = vec![0; end.saturating_sub(start).min(most) as usize];
        let read = self.read_memory(start, &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }
}

impl ProcInfo for World<'_> {
    fn pid(&self) -> u32 {
        self.process.state.borrow().pid
    }

    fn parent(&self) -> u32 {
        self.process.state.borrow().parent
    }

    fn group(&self) -> (u32, u32) {
        let state = self.process.state.borrow();
        (state.group, state.session)
    }

    fn state(&self, tid: u32) -> char {
        let process = self.process;
        if process.stopped.get().is_some() {
            return 'T';
        }
        let threads = process.threads.borrow();
        let waits = threads.iter().any(|t| t.tid == tid && t.waiting.is_some());
        if waits { 'S' } else { 'R' }
    }

    fn oom_score_adj(&self) -> i16 {
        self.process.state.borrow().oom.adjustment
    }

    fn personality(&self) -> u32 {
        self.process.state.borrow().personality
    }

    fn core_filter(&self) -> u32 {
        self.process.state.borrow().core_filter
    }

    fn timer_slack_ns(&self) -> u64 {
        self.process.state.borrow().timer_slack_ns
    }

    fn is_dumpable(&self) -> bool {
        self.process.state.borrow().dumpable == 1
    }

    fn files(&self) -> Option<FilesId> {
        Some(self.process.files.get())
    }

    fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.process.state.borrow().credentials)
    }

    fn nice(&self) -> i32 {
        self.process.state.borrow().scheduling.nice.into()
    }

    fn signal_sets(&self, tid: u32) -> [u64; 5] {
        let threads = self.process.threads.borrow();
        let state = self.process.state.borrow();
        let thread = threads.iter().find(|t| t.tid == tid);
        let (pending, blocked) = thread.map_or((0, 0), |t| (t.pending, t.mask));
        let mut sets = [pending, state.pending, blocked, 0, 0];
        for signal in 1..=64 {
            match state.actions.get(signal).map(|a| a.handler) {
                None | Some(0) => {}
                Some(1) => sets[3] |= bit(signal),
                Some(_) => sets[4] |= bit(signal),
            }
        }
        sets
    }

    fn threads(&self) -> Vec<u32> {
        self.process
            .threads
            .borrow()
            .iter()
            .map(|t| t.tid)
            .collect()
    }

    fn exe(&self) -> Vec<u8> {
        self.process.state.borrow().path.clone()
    }

    fn comm(&self, tid: u32) -> Vec<u8> {
        let threads = self.process.threads.borrow();
        let name = threads
            .iter()
            .find(|t| t.tid == tid)
            .map_or([0; 16], |t| t.name);
        if name[0] != 0 {
            let end = name.iter().position(|b| *b == 0).unwrap_or(15);
            return name[..end].to_vec();
        }
        let exe = self.exe();
        let name = exe.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
        name[..name.len().min(15)].to_vec()
    }

    fn cmdline(&self) -> Vec<u8> {
        let [start, end, ..] = self.process.state.borrow().started.strings;
        let arguments = self.strings(start, end);
        // A title is written over the arguments, may go on in the environment behind them, and ends with its first zero byte.
        if arguments.last().is_none_or(|last| *last == 0) {
            return arguments;
        }
        let mut title = self.strings(start, start.saturating_add(PAGE));
        if let Some(end) = title.iter().position(|byte| *byte == 0) {
            title.truncate(end + 1);
        }
        title
    }

    fn environ(&self) -> Vec<u8> {
        let [.., start, end] = self.process.state.borrow().started.strings;
        self.strings(start, end)
    }

    fn auxv(&self) -> Vec<u8> {
        self.process.state.borrow().started.auxv.clone()
    }

    fn maps(&self, out: &mut Vec<u8>) {
        maps::maps(self.process, out);
    }

    fn numa_maps(&self, out: &mut Vec<u8>) {
        maps::numa_maps(self.process, out);
    }

    fn read_memory(&self, address: u64, to: &mut [u8]) -> Result<usize> {
        let memory = self.process.memory();
        let mut space = memory.space.borrow_mut();
        let mut done = 0;
        while done < to.len() {
            let at = address.checked_add(done as u64).ok_or(Errno::EIO)?;
            let n = (PAGE - at % PAGE).min((to.len() - done) as u64) as usize;
            match space.read(at, &mut to[done..done + n]) {
                Ok(()) => done += n,
                Err(_) if done > 0 => break,
                Err(_) => return Err(Errno::EIO),
            }
        }
        Ok(done)
    }

    fn write_memory(&self, address: u64, from: &[u8]) -> Result<usize> {
        let memory = self.process.memory();
        let mut space = memory.space.borrow_mut();
        let mut done = 0;
        while done < from.len() {
            let at = address.checked_add(done as u64).ok_or(Errno::EIO)?;
            let n = (PAGE - at % PAGE).min((from.len() - done) as u64) as usize;
            match space.write(at, &from[done..done + n]) {
                Ok(()) => done += n,
                Err(_) if done > 0 => break,
                Err(_) => return Err(Errno::EIO),
            }
        }
        Ok(done)
    }

    fn switches(&self) -> (u64, u64) {
        self.process.switches.get()
    }

    fn read_page_map(&self, page: u64, to: &mut [u8]) -> usize {
        maps::page_map(self.process, page, to)
    }

    fn call(&self, tid: u32) -> Option<[u64; 9]> {
        let threads = self.process.threads.borrow();
        let thread = threads.iter().find(|t| t.tid == tid)?;
        let c = &thread.context;
        // The only one that does not wait is the one that asks.
        let running = threads.iter().filter(|t| t.waiting.is_none()).count();
        (thread.waiting.is_some() || running == 1)
            .then_some([c.rax, c.rdi, c.rsi, c.rdx, c.r10, c.r8, c.r9, c.rsp, c.rip])
    }

    fn smaps(&self, out: &mut Vec<u8>) {
        maps::smaps(self.process, out);
    }

    fn smaps_rollup(&self, out: &mut Vec<u8>) {
        maps::rollup(self.process, out);
    }

    fn memory(&self) -> MemoryInfo {
        let memory = self.process.memory();
        let space = memory.space.borrow();
        MemoryInfo {
            total: self.uc.options.memory,
            free: self.uc.options.memory.saturating_sub(self.uc.used()),
            virtual_size: space.mapped(),
            virtual_peak: space.mapped_peak(),
            locked: space.locked(),
            resident: space.resident(),
            resident_peak: space.peak(),
            data: space
                .areas()
                .filter(|a| a.protection.write)
                .map(|a| a.end - a.start)
                .sum(),
            stack: crate::image::exec::STACK,
            ..MemoryInfo::default()
        }
    }

    fn cpu_model(&self) -> CpuModel {
        let vdso = self.process.state.borrow().started.vdso;
        let memory = self.process.memory();
        let mhz = vdso::frequency_mhz(&mut memory.space.borrow_mut(), vdso);
        cpu::model(mhz)
    }

    fn moved(&self) -> [u64; 4] {
        let moved = self.process.moved.get();
        [moved.read, moved.written, moved.reads, moved.writes]
    }

    fn cpu_time(&self) -> (u64, u64) {
        (self.process.ran(), 0)
    }

    fn children_time(&self) -> (u64, u64) {
        (self.process.state.borrow().ran.children.ran, 0)
    }

    fn faults(&self) -> (u64, u64) {
        let children = self.process.state.borrow().ran.children.faults;
        (self.process.used().faults, children)
    }

    fn started(&self) -> u64 {
        self.process.state.borrow().begun
    }

    fn rlimit(&self, resource: u32) -> (u64, u64) {
        let state = self.process.state.borrow();
        state
            .limits
            .get(resource as usize)
            .copied()
            .unwrap_or((u64::MAX, u64::MAX))
    }
}

/// A process as another one sees it.
struct Other<'a>(World<'a>);

/// Passes facts on to what `$inner` gives.
macro_rules! pass_on {
    ($inner:tt: $($name:ident($($argument:ident: $type:ty)?) -> $result:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)?) -> $result { self.$inner.$name($($argument)?) })*
    };
}

impl ProcInfo for Other<'_> {
    fn read_memory(&self, address: u64, to: &mut [u8]) -> Result<usize> {
        self.0.read_memory(address, to)
    }

    fn write_memory(&self, address: u64, from: &[u8]) -> Result<usize> {
        self.0.write_memory(address, from)
    }

    fn switches(&self) -> (u64, u64) {
        self.0.switches()
    }

    fn read_page_map(&self, page: u64, to: &mut [u8]) -> usize {
        self.0.read_page_map(page, to)
    }

    fn call(&self, tid: u32) -> Option<[u64; 9]> {
        let threads = self.0.process.threads.borrow();
        let waits = threads.iter().any(|t| t.tid == tid && t.waiting.is_some());
        drop(threads);
        self.0.call(tid).filter(|_| waits)
    }

    pass_on! { 0:
        pid() -> u32;
        state(tid: u32) -> char;
        oom_score_adj() -> i16;
        personality() -> u32;
        core_filter() -> u32;
        timer_slack_ns() -> u64;
        is_dumpable() -> bool;
        parent() -> u32;
        group() -> (u32, u32);
        files() -> Option<FilesId>;
        credentials() -> Arc<Credentials>;
        nice() -> i32;
        signal_sets(tid: u32) -> [u64; 5];
        threads() -> Vec<u32>;
        exe() -> Vec<u8>;
        comm(tid: u32) -> Vec<u8>;
        cmdline() -> Vec<u8>;
        environ() -> Vec<u8>;
        auxv() -> Vec<u8>;
        maps(out: &mut Vec<u8>) -> ();
        numa_maps(out: &mut Vec<u8>) -> ();
        smaps(out: &mut Vec<u8>) -> ();
        smaps_rollup(out: &mut Vec<u8>) -> ();
        memory() -> MemoryInfo;
        cpu_model() -> CpuModel;
        moved() -> [u64; 4];
        cpu_time() -> (u64, u64);
        children_time() -> (u64, u64);
        faults() -> (u64, u64);
        started() -> u64;
        rlimit(resource: u32) -> (u64, u64);
    }
}

impl ProcInfo for Zombie {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn parent(&self) -> u32 {
        self.parent
    }

    fn group(&self) -> (u32, u32) {
        (self.group, self.session)
    }

    fn state(&self, _: u32) -> char {
        'Z'
    }

    fn comm(&self, _: u32) -> Vec<u8> {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(15);
        self.name[..end].to_vec()
    }

    fn cpu_time(&self) -> (u64, u64) {
        (self.used.ran, 0)
    }
}
