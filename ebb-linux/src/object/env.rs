//! What the objects of a UC ask of the UC around them: the time, randomness, signals, and the
//! facts that /proc shows.
//!
//! It is passed into the operations that need it rather than stored, so that objects stay plain
//! data and one set of objects can be tested with a world made up by the test.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::net::{IpAddr, SocketAddr};

use super::{
    credentials::Credentials,
    errno::{Errno, Result},
    id::{FilesId, NodeRef},
    tcp_info::TcpInfo,
    wait::Events,
};

/// A point in time or a span, as in Linux' `struct timespec`.
#[derive(
    BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default,
)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

impl Time {
    /// From nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self {
            sec: (ns / 1_000_000_000) as i64,
            nsec: (ns % 1_000_000_000) as u32,
        }
    }

    /// In nanoseconds, clamped to what fits; a time before the epoch is 0.
    pub const fn to_ns(self) -> u64 {
        if self.sec < 0 {
            return 0;
        }
        (self.sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(self.nsec as u64)
    }
}

/// The memory of a machine or of a UC, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What the UC may use at most.
    pub total: u64,
    /// How much of it is unused.
    pub free: u64,
    /// The size of the address space.
    pub virtual_size: u64,
    /// The largest it has been.
    pub virtual_peak: u64,
    /// What is resident.
    pub resident: u64,
    /// The most that was ever resident.
    pub resident_peak: u64,
    /// What is kept in memory (`mlock`).
    pub locked: u64,
    /// The resident part that is shared or backed by files.
    pub shared: u64,
    /// Writable private mappings.
    pub data: u64,
    /// The stack mapping of the first thread.
    pub stack: u64,
    /// The program's text.
    pub text: u64,
}

/// The facts about a UC that /proc and /sys show. The defaults describe an empty machine.
pub trait ProcInfo {
    /// The process id.
    fn pid(&self) -> u32 {
        1
    }
    /// The number of the process that started it; 0 for the first.
    fn parent(&self) -> u32 {
        0
    }
    /// Its process group and its session.
    fn group(&self) -> (u32, u32) {
        (self.pid(), self.pid())
    }
    /// What the thread `tid` does: `R`uns, `S`leeps, is s`T`opped, or is over and unasked for (`Z`).
    fn state(&self, tid: u32) -> char {
        let _ = tid;
        'R'
    }
    /// How likely it is to be ended for want of memory (`oom_score_adj`), from -1000 to 1000.
    fn oom_score_adj(&self) -> i16 {
        0
    }
    /// What it has told `personality`.
    fn personality(&self) -> u32 {
        0
    }
    /// Which mappings a core dump would have (`coredump_filter`).
    fn core_filter(&self) -> u32 {
        0x33
    }
    /// How late its timers may be, in nanoseconds.
    fn timer_slack_ns(&self) -> u64 {
        50_000
    }
    /// Whether others of the same user may look into it (`PR_SET_DUMPABLE`).
    fn is_dumpable(&self) -> bool {
        true
    }
    /// Its descriptors, working directory and the rest, among the UC's; those that are in place if `None`.
    fn files(&self) -> Option<FilesId> {
        None
    }
    /// Who it is, and what it may do.
    fn credentials(&self) -> Arc<Credentials> {
        Arc::default()
    }
    /// Its priority (`nice`), from -20 to 19.
    fn nice(&self) -> i32 {
        0
    }
    /// The ids of its threads, the first of which is the process id.
    fn threads(&self) -> Vec<u32> {
        Vec::from([self.pid()])
    }
    /// The absolute path of the program.
    fn exe(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The name of the thread `tid` (at most 15 bytes), as in `comm`.
    fn comm(&self, tid: u32) -> Vec<u8> {
        let _ = tid;
        let exe = self.exe();
        let name = exe.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
        name[..name.len().min(15)].to_vec()
    }
    /// The arguments, each ended by a zero byte.
    fn cmdline(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The environment the program was started with, each entry ended by a zero byte.
    fn environ(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The auxiliary vector as the program got it.
    fn auxv(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Appends the lines of `/proc/self/maps`.
    fn maps(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    /// Appends the lines of `/proc/self/numa_maps`.
    fn numa_maps(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    /// Copies memory from an address; how many bytes.
    ///
    /// # Errors
    /// `EIO` when nothing can be read there.
    fn read_memory(&self, address: u64, to: &mut [u8]) -> Result<usize> {
        let _ = (address, to);
        Err(Errno::EIO)
    }
    /// Writes to the process's memory; how many bytes.
    fn write_memory(&self, address: u64, from: &[u8]) -> Result<usize> {
        let _ = (address, from);
        Err(Errno::EIO)
    }
    /// How often its threads have waited, and how often they have had to let others run.
    fn switches(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Fills `to` with what `/proc/self/pagemap` tells of the pages from `page` on; how many bytes.
    fn read_page_map(&self, page: u64, to: &mut [u8]) -> usize {
        let _ = (page, to);
        0
    }
    /// The system call that the thread `tid` is in: its number, six arguments, stack pointer, instruction pointer.
    fn call(&self, tid: u32) -> Option<[u64; 9]> {
        let _ = tid;
        None
    }
    /// Appends the lines of `/proc/self/smaps`.
    fn smaps(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    /// Appends the lines of `/proc/self/smaps_rollup`.
    fn smaps_rollup(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    /// The UC's memory.
    fn memory(&self) -> MemoryInfo {
        MemoryInfo::default()
    }
    /// How many processors the guest is to see.
    fn cpus(&self) -> u32 {
        1
    }
    /// The processor's name and flags: lines that go into /proc/cpuinfo as they are.
    fn cpu_model(&self) -> CpuModel {
        CpuModel::default()
    }
    /// Bytes read and written, and how many calls did that, with those of children that have been waited for.
    fn moved(&self) -> [u64; 4] {
        [0; 4]
    }
    /// Processor time used so far, in nanoseconds: in user mode, in the kernel.
    fn cpu_time(&self) -> (u64, u64) {
        (0, 0)
    }
    /// The same of its children that it has waited for, theirs included.
    fn children_time(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Page faults: its own, and those of children that it has waited for.
    fn faults(&self) -> (u64, u64) {
        (0, 0)
    }
    /// When the process started, in nanoseconds of the monotonic clock.
    fn started(&self) -> u64 {
        0
    }
    /// Soft and hard limit of the resource with this `RLIMIT_*` number; `u64::MAX` is unlimited.
    fn rlimit(&self, resource: u32) -> (u64, u64) {
        let _ = resource;
        (u64::MAX, u64::MAX)
    }
    /// Signal sets for `/proc/self/status`: sent to the thread `tid`, sent to the process, held off by the thread, ignored,
    /// caught.
    fn signal_sets(&self, tid: u32) -> [u64; 5] {
        let _ = tid;
        [0; 5]
    }
    /// The machine's name.
    fn hostname(&self) -> Vec<u8> {
        b"ebb".to_vec()
    }
    /// The kernel release that `uname` gives.
    fn release(&self) -> &'static str {
        "6.1.0-ebb"
    }
}

/// What /proc/cpuinfo says of each processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuModel {
    /// `vendor_id`, such as `GenuineIntel`.
    pub vendor: Vec<u8>,
    /// `model name`, from CPUID leaves 0x80000002 to 4.
    pub name: Vec<u8>,
    /// `cpu family`, `model`, `stepping`.
    pub signature: (u32, u32, u32),
    /// `cpuid level`: the highest leaf of CPUID.
    pub level: u32,
    /// `cache size`, of the last level that a core does not have to leave, in KiB; 0 if the CPU does not tell.
    pub cache_kib: u32,
    /// `address sizes`: bits of physical and virtual addresses.
    pub address_bits: (u32, u32),
    /// `cpu MHz`.
    pub mhz: u32,
    /// `flags`, separated by blanks.
    pub flags: Vec<u8>,
}

/// What a write to a file of `/proc/PID` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The name of the thread, ended by zeroes.
    Comm([u8; 16]),
    /// See [`ProcInfo::oom_score_adj`].
    OomScoreAdj(i16),
    /// See [`ProcInfo::timer_slack_ns`].
    TimerSlackNs(u64),
    /// See [`ProcInfo::core_filter`].
    CoreFilter(u32),
}

/// The world around a UC's objects.
pub trait Env {
    /// Nanoseconds of the monotonic clock.
    fn monotonic(&self) -> u64;
    /// Nanoseconds since 1970.
    fn realtime(&self) -> u64;
    /// Fills `bytes` with cryptographically strong randomness, for the kernel's own use.
    fn random(&self, bytes: &mut [u8]);
    /// The same for a program, which may keep it: it is counted (see `Uc::draws`).
    fn draw(&self, bytes: &mut [u8]) {
        self.random(bytes);
    }
    /// Facts for /proc about the caller.
    fn process(&self) -> &dyn ProcInfo;
    /// The numbers of all processes, in order, those included that are over and that nobody has asked for.
    fn processes(&self) -> Vec<u32> {
        Vec::from([self.process().pid()])
    }
    /// The text of a file of /proc/sysvipc, by its name.
    fn ipc(&self, kind: &str) -> String {
        let _ = kind;
        String::new()
    }
    /// The load averages over 1, 5 and 15 minutes, in units of 1/2048.
    fn load(&self) -> [u64; 3] {
        [0; 3]
    }
    /// Calls `f` with facts about the process of a number; false when there is none.
    fn visit(&self, pid: u32, f: &mut dyn FnMut(&dyn ProcInfo)) -> bool {
        let found = pid == self.process().pid();
        if found {
            f(self.process());
        }
        found
    }

    /// Changes what is known of the thread `tid` of a process.
    ///
    /// # Errors
    /// `ESRCH` when it is gone, `EACCES` or `EPERM` when the caller may not, `EINVAL`.
    fn change(&self, pid: u32, tid: u32, setting: Setting) -> Result<()> {
        let _ = (pid, tid, setting);
        Err(Errno::EACCES)
    }

    /// Whether some process has the shared pages of this identifier mapped so that it may write to them, or could come to.
    fn writably_mapped(&self, pages: u64) -> bool {
        let _ = pages;
        false
    }

    /// Whether a process group has no member whose parent is in another group of the session: nobody would let it go on if
    /// it were stopped.
    fn is_orphaned(&self, group: u32, session: u32) -> bool {
        self.processes().into_iter().all(|pid| {
            let (mut of, mut parent) = ((0, 0), 0);
            self.visit(pid, &mut |process| {
                (of, parent) = (process.group(), process.parent());
            });
            if of.0 != group || parent == 0 {
                return true;
            }
            let mut guarded = false;
            self.visit(parent, &mut |parent| {
                let (other, same) = parent.group();
                guarded = other != group && same == session;
            });
            !guarded
        })
    }

    /// Whether some process runs the program in this file, by the name of
    /// [`Objects::program_node`](super::Objects::program_node).
    fn runs(&self, program: NodeRef) -> bool {
        let _ = program;
        false
    }

    /// Whether the process of a serial number has not ended.
    fn is_alive(&self, serial: u64) -> bool {
        let _ = serial;
        false
    }

    /// The signals of `mask` (bit `n - 1` is signal `n`) that are pending for the caller.
    fn pending_signals(&self, mask: u64) -> u64 {
        let _ = mask;
        0
    }
    /// Dequeues one pending signal of `mask` as a `struct signalfd_siginfo`.
    fn take_signal(&self, mask: u64) -> Option<[u8; 128]> {
        let _ = mask;
        None
    }
    /// The network beyond loopback, if this UC has one.
    fn network(&self) -> Option<&dyn Network> {
        None
    }
}

/// A socket of the stack that [`Network`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetSocket(pub u32);

/// What a datagram brings along beside its bytes and its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Where it was sent to.
    pub to: IpAddr,
    /// TTL, hop limit.
    pub hop_limit: u8,
    /// Type of service, traffic class.
    pub traffic_class: u8,
}

/// What was answered to a datagram that could not be delivered (`struct sock_extended_err`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it was sent to.
    pub to: SocketAddr,
    /// Who answered.
    pub offender: IpAddr,
    /// Type and code of the ICMP message.
    pub kind: u8,
    /// See `kind`.
    pub code: u8,
    /// The path's MTU if that is what is wrong.
    pub mtu: u32,
    /// As an error.
    pub errno: Errno,
    /// What was sent, as far as it was quoted.
    pub payload: Vec<u8>,
}

/// How a connection is asked whether it lives: after how much silence, how often, how many times in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Seconds of silence.
    pub idle_s: u32,
    /// Seconds between questions.
    pub interval_s: u32,
    /// Questions without an answer that end it.
    pub count: u8,
}

/// A network card, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCard {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest IP packet that it sends.
    pub mtu: u32,
    /// Its addresses, with the bits of each that name its network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its routers.
    pub gateways: Vec<IpAddr>,
}

/// The seam to the network beyond the UC: what a socket asks of a TCP/IP stack. Loopback never comes here.
///
/// Sockets of the stack are numbers here, because objects are plain data and a stack's sockets are not. The guest's socket
/// keeps the number; when the stack has news of one, [`Objects::network_event`](super::Objects::network_event) carries it
/// to those who wait.
///
/// Nothing here blocks; `EAGAIN` means that an event will be announced.
pub trait Network {
    /// The addresses of this machine beyond loopback.
    fn addresses(&self) -> Vec<IpAddr>;
    /// The same, with the bits of each that name its network.
    fn prefixes(&self) -> Vec<(IpAddr, u8)> {
        let whole = |ip: IpAddr| (ip, if ip.is_ipv4() { 32 } else { 128 });
        self.addresses().into_iter().map(whole).collect()
    }
    /// Routers, that of the default route first.
    fn gateways(&self) -> Vec<IpAddr> {
        Vec::new()
    }
    /// The interface's hardware address and the longest IP packet that it sends.
    fn link(&self) -> ([u8; 6], u32) {
        ([0; 6], 1500)
    }
    /// The cards, each with what is its own.
    fn cards(&self) -> Vec<NetworkCard> {
        let (mac, mtu) = self.link();
        let (addresses, gateways) = (self.prefixes(), self.gateways());
        if mac == [0; 6] && addresses.is_empty() {
            return Vec::new();
        }
        alloc::vec![NetworkCard {
            mac,
            mtu,
            addresses,
            gateways,
        }]
    }
    /// The longest IP packet that reaches `to` as far as is known.
    fn path_mtu(&self, to: IpAddr) -> u32 {
        let _ = to;
        self.link().1
    }
    /// Listens for TCP connections.
    fn listen(&self, local: SocketAddr, only_v6: bool, backlog: usize) -> Result<NetSocket>;
    /// Takes an established connection: it, and its peer.
    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)>;
    /// Starts connecting.
    fn connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<NetSocket>;
    /// Whether a connection is established; `EAGAIN` while it is not.
    fn connected(&self, socket: NetSocket) -> Result<()>;
    /// Receives from a connection; 0 at its end.
    fn receive(&self, socket: NetSocket, buffer: &mut [u8], peek: bool) -> Result<usize>;
    /// Sends over a connection.
    fn send(&self, socket: NetSocket, bytes: &[u8]) -> Result<usize>;
    /// Ends the sending side.
    fn shutdown(&self, socket: NetSocket) -> Result<()>;
    /// Binds a UDP socket; `shared`: others that say so may have the same address.
    fn bind(&self, local: SocketAddr, only_v6: bool, shared: bool) -> Result<NetSocket>;
    /// Sets the one peer that a UDP socket hears, or lets it hear all.
    fn set_peer(&self, socket: NetSocket, peer: Option<SocketAddr>) -> Result<()>;
    /// Receives a datagram, or looks at it (`peek`): how long it is, from whom, and what came with it. What does not fit the
    /// buffer is lost.
    fn receive_from(
        &self,
        socket: NetSocket,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<(usize, SocketAddr, Carried)>;
    /// Sends a datagram; `from` is the address to send it from, if not the usual.
    fn send_to(
        &self,
        socket: NetSocket,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<usize>;
    /// Bytes that were sent and not acknowledged, and bytes that can be received: those of the next datagram.
    fn queued(&self, socket: NetSocket) -> (usize, usize);
    /// What a connection or a connected UDP socket has met with, once.
    fn take_error(&self, socket: NetSocket) -> Option<Errno>;
    /// The oldest answer to a datagram that was not delivered, once.
    fn take_report(&self, socket: NetSocket) -> Option<Report>;
    /// Enters a group, or leaves it.
    fn set_member(&self, socket: NetSocket, group: IpAddr, enter: bool) -> Result<()>;
    /// Whom a member of a group hears there: only these, or all but these.
    fn set_senders(
        &self,
        socket: NetSocket,
        group: IpAddr,
        only: bool,
        senders: &[IpAddr],
    ) -> Result<()>;
    /// Ends a connection with a reset and closes its socket.
    fn abort(&self, socket: NetSocket);
    /// The local address of any socket.
    fn local(&self, socket: NetSocket) -> Result<SocketAddr>;
    /// Hands on an integer option that concerns the wire (`TCP_NODELAY` and the like); unknown
    /// ones are ignored.
    fn set_option(&self, socket: NetSocket, level: u32, name: u32, value: i32);
    /// How a connection fares, if that is known.
    fn tcp_info(&self, socket: NetSocket) -> Option<TcpInfo> {
        let _ = socket;
        None
    }
    /// How a connection is asked whether it lives; `None` for never.
    fn set_keep_alive(&self, socket: NetSocket, how: Option<KeepAlive>);
    /// What a socket is ready for; asking for a state that is not there announces it later.
    fn readiness(&self, socket: NetSocket) -> Events;
    /// Closes a socket.
    fn close(&self, socket: NetSocket);
}
