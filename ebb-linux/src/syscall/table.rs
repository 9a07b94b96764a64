//! The table of system calls: number, name, how arguments are printed, state, handler. The conformance table of the
//! documentation is made from it.
//!
//! Argument letters: `d` signed, `x` hexadecimal, `b` flags, `p` pointer, `f` descriptor, `s` string, `o` octal mode.

use super::call::{Call, Handler, Outcome, Stop};
use super::{
    advice, attributes, clone, copy, credentials, file, filesystem, futex, futex_vector, ioctl,
    ipc, kcmp, memory, misc, mmap, mqueue, namespace, numa, path, poll, positioned, process,
    remote, resource, scheduling, signal, socket, thread, time, timer,
};
use crate::abi::errno::Errno;

/// How complete a system call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As on Linux, as far as programs can tell.
    Full,
    /// What is missing.
    Partial(&'static str),
    /// `ENOSYS`.
    Absent,
}

/// What becomes of a call that waits, and has moved nothing, when a signal comes (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It never waits.
    DoesNotWait,
    /// Made again behind a handler with `SA_RESTART`, else `EINTR`. Without a handler it goes on. A call that has the
    /// socket's own time limit is as [`Restart::Never`].
    SaRestart,
    /// As [`Restart::SaRestart`] without a time limit, as [`Restart::UnlessHandled`] with one.
    SaRestartUntimed,
    /// As [`Restart::SaRestart`]; its time limit is a point in time, which is the same when it is made again.
    SaRestartAbsolute,
    /// `EINTR` behind every handler. Without one it goes on, and its time limit is not begun anew.
    UnlessHandled,
    /// `EINTR` behind every handler, and when the process was stopped and goes on.
    Never,
}

/// A system call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// How its arguments are printed.
    pub arguments: &'static str,
    /// How complete it is.
    pub state: State,
    /// What a signal makes of it while it waits.
    pub restart: Restart,
}

/// One more than the highest number.
pub const NUMBERS: usize = 451;

macro_rules! table {
    ($($number:literal $name:ident $arguments:literal $state:ident $(($missing:literal))? $([$restart:ident])? => $handler:path;)*
     absent { $($none:literal $absent:ident,)* }) => {
        /// Every system call by number.
        pub static TABLE: [Option<Entry>; NUMBERS] = {
            let mut table = [None; NUMBERS];
            $(
                table[$number] = Some(Entry {
                    name: stringify!($name),
                    arguments: $arguments,
                    state: State::$state$(($missing))?,
                    restart: table!(@ $($restart)?),
                });
            )*
            $(
                table[$none] = Some(Entry {
                    name: stringify!($absent),
                    arguments: "",
                    state: State::Absent,
                    restart: Restart::DoesNotWait,
                });
            )*
            table
        };

        /// The handlers by number, by themselves: the first thing that every call looks up.
        static HANDLERS: [Handler; NUMBERS] = {
            let mut handlers = [absent as Handler; NUMBERS];
            $(handlers[$number] = $handler;)*
            handlers
        };
    };
    (@) => { Restart::DoesNotWait };
    (@ $restart:ident) => { Restart::$restart };
}

table! {
0 read "fpx" Full [SaRestart] => file::read;
1 write "fpx" Full [SaRestart] => file::write;
2 open "sbo" Full [SaRestart] => path::open;
3 close "f" Full [Never] => file::close;
4 stat "sp" Full => path::stat;
5 fstat "fp" Full => path::fstat;
6 lstat "sp" Full => path::lstat;
7 poll "pdd" Full [UnlessHandled] => poll::poll;
8 lseek "fdd" Full => file::lseek;
9 mmap "pxbbdx" Full => mmap::mmap;
10 mprotect "pxb" Full => memory::mprotect;
11 munmap "px" Full => memory::munmap;
12 brk "p" Full => memory::brk;
13 rt_sigaction "dppx" Full => signal::rt_sigaction;
14 rt_sigprocmask "dppx" Full => signal::rt_sigprocmask;
15 rt_sigreturn "" Full => signal::rt_sigreturn;
16 ioctl "fxp" Partial("the requests of descriptors, interfaces and terminals") [SaRestart] => ioctl::ioctl;
17 pread64 "fpxx" Full [SaRestart] => positioned::pread64;
18 pwrite64 "fpxx" Full [SaRestart] => positioned::pwrite64;
19 readv "fpd" Full [SaRestart] => file::readv;
20 writev "fpd" Full [SaRestart] => file::writev;
21 access "sd" Full => path::access;
22 pipe "p" Full => file::pipe;
23 select "dpppp" Full [UnlessHandled] => poll::select;
24 sched_yield "" Full => misc::sched_yield;
25 mremap "pxxbp" Full => memory::mremap;
26 msync "pxb" Full => memory::msync;
27 mincore "pxp" Full => memory::mincore;
28 madvise "pxd" Partial("nothing is merged, paged out or made of huge pages, which may be asked for; no MADV_COLLAPSE, guard pages and poison") => advice::madvise;
29 shmget "dxb" Full => ipc::shmget;
30 shmat "dpb" Full => ipc::shmat;
31 shmctl "ddp" Full => ipc::shmctl;
32 dup "f" Full => file::dup;
33 dup2 "ff" Full => file::dup2;
34 pause "" Full [UnlessHandled] => signal::pause;
35 nanosleep "pp" Full [UnlessHandled] => time::nanosleep;
36 getitimer "dp" Full => timer::getitimer;
37 alarm "d" Full => timer::alarm;
38 setitimer "dpp" Full => timer::setitimer;
39 getpid "" Full => thread::getpid;
40 sendfile "ffpx" Full [SaRestart] => copy::sendfile;
41 socket "ddd" Partial("TCP, UDP, Unix and NETLINK_ROUTE; no UDP-Lite, raw and packet sockets, VSOCK") => socket::socket;
42 connect "fpd" Full [SaRestart] => socket::connect;
43 accept "fpp" Full [SaRestart] => socket::accept;
44 sendto "fpxbpd" Full [SaRestart] => socket::sendto;
45 recvfrom "fpxbpp" Full [SaRestart] => socket::recvfrom;
46 sendmsg "fpb" Full [SaRestart] => socket::sendmsg;
47 recvmsg "fpb" Full [SaRestart] => socket::recvmsg;
48 shutdown "fd" Full => socket::shutdown;
49 bind "fpd" Full => socket::bind;
50 listen "fd" Full => socket::listen;
51 getsockname "fpp" Full => socket::getsockname;
52 getpeername "fpp" Full => socket::getpeername;
53 socketpair "dddp" Full => socket::socketpair;
54 setsockopt "fddpd" Full => socket::setsockopt;
55 getsockopt "fddpp" Full => socket::getsockopt;
56 clone "bpppp" Partial("name spaces are refused with EPERM; no tracing") => clone::clone;
57 fork "" Full => clone::fork_call;
58 vfork "" Full => clone::vfork;
59 execve "spp" Full => process::execve;
60 exit "d" Full => thread::exit;
61 wait4 "dpbp" Full [SaRestart] => process::wait4;
62 kill "dd" Full => signal::kill;
63 uname "p" Full => misc::uname;
64 semget "ddb" Full => ipc::semget;
65 semop "dpd" Full [Never] => ipc::semop;
66 semctl "dddx" Full => ipc::semctl;
67 shmdt "p" Full => ipc::shmdt;
68 msgget "db" Full => ipc::msgget;
69 msgsnd "dpxb" Full [UnlessHandled] => ipc::msgsnd;
70 msgrcv "dpxdb" Full [UnlessHandled] => ipc::msgrcv;
71 msgctl "ddp" Full => ipc::msgctl;
72 fcntl "fdx" Partial("no leases, no F_NOTIFY") [SaRestart] => file::fcntl;
73 flock "fd" Full [SaRestart] => file::flock;
74 fsync "f" Full => file::fsync;
75 fdatasync "f" Full => file::fsync;
76 truncate "sx" Full => path::truncate;
77 ftruncate "fx" Full => file::ftruncate;
78 getdents "fpx" Full => file::getdents;
79 getcwd "px" Full => path::getcwd;
80 chdir "s" Full => path::chdir;
81 fchdir "f" Full => path::fchdir;
82 rename "ss" Full => path::rename;
83 mkdir "so" Full => path::mkdir;
84 rmdir "s" Full => path::rmdir;
85 creat "so" Full [SaRestart] => path::creat;
86 link "ss" Full => path::link;
87 unlink "s" Full => path::unlink;
88 symlink "ss" Full => path::symlink;
89 readlink "spx" Full => path::readlink;
90 chmod "so" Full => path::chmod;
91 fchmod "fo" Full => path::fchmod;
92 chown "sdd" Full => path::chown;
93 fchown "fdd" Full => path::fchown;
94 lchown "sdd" Full => path::lchown;
161 chroot "s" Full => path::chroot;
95 umask "o" Full => path::umask;
96 gettimeofday "pp" Full => time::gettimeofday;
97 getrlimit "dp" Full => resource::getrlimit;
98 getrusage "dp" Partial("time, resident memory, page faults and switches, but for time those of a thread being its process's") => time::getrusage;
99 sysinfo "p" Full => misc::sysinfo;
100 times "p" Full => time::times;
102 getuid "" Full => credentials::getuid;
104 getgid "" Full => credentials::getgid;
105 setuid "d" Full => credentials::setuid;
106 setgid "d" Full => credentials::setgid;
107 geteuid "" Full => credentials::geteuid;
108 getegid "" Full => credentials::getegid;
109 setpgid "dd" Full => process::setpgid;
110 getppid "" Full => process::getppid;
111 getpgrp "" Full => process::getpgrp;
112 setsid "" Full => process::setsid;
113 setreuid "dd" Full => credentials::setreuid;
114 setregid "dd" Full => credentials::setregid;
115 getgroups "dp" Full => credentials::getgroups;
116 setgroups "dp" Full => credentials::setgroups;
117 setresuid "ddd" Full => credentials::setresuid;
118 getresuid "ppp" Full => credentials::getresuid;
119 setresgid "ddd" Full => credentials::setresgid;
120 getresgid "ppp" Full => credentials::getresgid;
121 getpgid "d" Full => process::getpgid;
122 setfsuid "d" Full => credentials::setfsuid;
123 setfsgid "d" Full => credentials::setfsgid;
124 getsid "d" Full => process::getsid;
125 capget "pp" Full => credentials::capget;
126 capset "pp" Full => credentials::capset;
127 rt_sigpending "px" Full => signal::rt_sigpending;
128 rt_sigtimedwait "pppx" Full [Never] => signal::rt_sigtimedwait;
129 rt_sigqueueinfo "ddp" Full => signal::rt_sigqueueinfo;
130 rt_sigsuspend "px" Full [UnlessHandled] => signal::rt_sigsuspend;
131 sigaltstack "pp" Partial("no SS_AUTODISARM") => signal::sigaltstack;
132 utime "sp" Full => path::utime;
133 mknod "sox" Full => path::mknod;
135 personality "x" Partial("kept and told; layouts stay varied, and addresses as they are") => misc::personality;
136 ustat "xp" Full => filesystem::ustat;
139 sysfs "dxp" Full => filesystem::sysfs;
137 statfs "sp" Full => path::statfs;
138 fstatfs "fp" Full => path::fstatfs;
140 getpriority "dd" Full => scheduling::getpriority;
141 setpriority "ddd" Full => scheduling::setpriority;
142 sched_setparam "dp" Full => scheduling::sched_setparam;
143 sched_getparam "dp" Full => scheduling::sched_getparam;
144 sched_setscheduler "ddp" Partial("real-time policies are refused with EPERM") => scheduling::sched_setscheduler;
145 sched_getscheduler "d" Full => scheduling::sched_getscheduler;
146 sched_get_priority_max "d" Full => scheduling::sched_get_priority_max;
147 sched_get_priority_min "d" Full => scheduling::sched_get_priority_min;
148 sched_rr_get_interval "dp" Full => scheduling::sched_rr_get_interval;
149 mlock "px" Full => advice::mlock;
150 munlock "px" Full => advice::munlock;
151 mlockall "b" Full => advice::mlockall;
152 munlockall "" Full => advice::munlockall;
157 prctl "dxxxx" Partial("no seccomp, no PR_SET_MM, no names of mappings, no core scheduling: EINVAL") => thread::prctl;
158 arch_prctl "xp" Full => thread::arch_prctl;
160 setrlimit "dp" Partial("enforced: CPU, FSIZE, DATA (heap), STACK (at execve), NPROC, NOFILE, AS; others are kept") => resource::setrlimit;
162 sync "" Full => misc::accept;
186 gettid "" Full => thread::gettid;
187 readahead "fxx" Full => file::readahead;
188 setxattr "sspxb" Partial("POSIX access control lists and capabilities of files are refused") => attributes::setxattr;
189 lsetxattr "sspxb" Partial("POSIX access control lists and capabilities of files are refused") => attributes::lsetxattr;
190 fsetxattr "fspxb" Partial("POSIX access control lists and capabilities of files are refused") => attributes::fsetxattr;
191 getxattr "sspx" Full => attributes::getxattr;
192 lgetxattr "sspx" Full => attributes::lgetxattr;
193 fgetxattr "fspx" Full => attributes::fgetxattr;
194 listxattr "spx" Full => attributes::listxattr;
195 llistxattr "spx" Full => attributes::llistxattr;
196 flistxattr "fpx" Full => attributes::flistxattr;
197 removexattr "ss" Full => attributes::removexattr;
198 lremovexattr "ss" Full => attributes::lremovexattr;
199 fremovexattr "fs" Full => attributes::fremovexattr;
200 tkill "dd" Full => signal::tkill;
201 time "p" Full => time::time;
202 futex "pddpps" Partial("no requeueing to locks with an owner (FUTEX_WAIT_REQUEUE_PI); nothing is inherited") [SaRestartUntimed] => futex::futex;
203 sched_setaffinity "dxp" Full => scheduling::sched_setaffinity;
204 sched_getaffinity "dxp" Full => scheduling::sched_getaffinity;
213 epoll_create "d" Full => poll::epoll_create;
216 remap_file_pages "pxbxb" Full => memory::remap_file_pages;
217 getdents64 "fpx" Full => file::getdents64;
218 set_tid_address "p" Full => thread::set_tid_address;
220 semtimedop "dpdp" Full [Never] => ipc::semtimedop;
221 fadvise64 "fxxd" Full => file::fadvise64;
222 timer_create "dpp" Full => timer::timer_create;
223 timer_settime "dbpp" Full => timer::timer_settime;
224 timer_gettime "dp" Full => timer::timer_gettime;
225 timer_getoverrun "d" Full => timer::timer_getoverrun;
226 timer_delete "d" Full => timer::timer_delete;
228 clock_gettime "dp" Full => time::clock_gettime;
229 clock_getres "dp" Full => time::clock_getres;
230 clock_nanosleep "ddpp" Full [UnlessHandled] => time::clock_nanosleep;
231 exit_group "d" Full => thread::exit_group;
232 epoll_wait "fpdd" Full [Never] => poll::epoll_wait;
233 epoll_ctl "fdfp" Full => poll::epoll_ctl;
234 tgkill "ddd" Full => signal::tgkill;
235 utimes "sp" Full => path::utimes;
237 mbind "pxxpdb" Partial("the policy of shared memory is a mapping's") => numa::mbind;
238 set_mempolicy "xpd" Full => numa::set_mempolicy;
239 get_mempolicy "ppdpb" Full => numa::get_mempolicy;
240 mq_open "sbop" Full => mqueue::mq_open;
241 mq_unlink "s" Full => mqueue::mq_unlink;
242 mq_timedsend "fpxxp" Full [SaRestartAbsolute] => mqueue::mq_timedsend;
243 mq_timedreceive "fpxpp" Full [SaRestartAbsolute] => mqueue::mq_timedreceive;
244 mq_notify "fp" Full => mqueue::mq_notify;
245 mq_getsetattr "fpp" Full => mqueue::mq_getsetattr;
247 waitid "ddpbp" Full [SaRestart] => process::waitid;
251 ioprio_set "ddx" Full => scheduling::ioprio_set;
252 ioprio_get "dd" Full => scheduling::ioprio_get;
253 inotify_init "" Full => path::inotify_init;
254 inotify_add_watch "fsb" Full => path::inotify_add_watch;
255 inotify_rm_watch "fd" Full => path::inotify_rm_watch;
256 migrate_pages "ddpp" Full => numa::migrate_pages;
257 openat "fsbo" Full [SaRestart] => path::openat;
258 mkdirat "fso" Full => path::mkdirat;
259 mknodat "fsox" Full => path::mknodat;
261 futimesat "fsp" Full => path::futimesat;
260 fchownat "fsddb" Full => path::fchownat;
262 newfstatat "fspb" Full => path::newfstatat;
263 unlinkat "fsb" Full => path::unlinkat;
264 renameat "fsfs" Full => path::renameat;
265 linkat "fsfsb" Full => path::linkat;
266 symlinkat "sfs" Full => path::symlinkat;
267 readlinkat "fspx" Full => path::readlinkat;
268 fchmodat "fso" Full => path::fchmodat;
269 faccessat "fsd" Full => path::faccessat;
270 pselect6 "dppppp" Full [UnlessHandled] => poll::pselect6;
271 ppoll "pdppx" Full [UnlessHandled] => poll::ppoll;
272 unshare "b" Partial("name spaces are refused with EPERM") => process::unshare;
273 set_robust_list "px" Full => futex::set_robust_list;
274 get_robust_list "dpp" Full => futex::get_robust_list;
277 sync_file_range "fxxb" Full => file::sync_file_range;
275 splice "fpfpxb" Full [SaRestart] => copy::splice;
276 tee "ffxb" Full [SaRestart] => copy::tee;
278 vmsplice "fpdb" Partial("copies: later changes of the memory are not seen") [SaRestart] => copy::vmsplice;
279 move_pages "ddpppb" Full => numa::move_pages;
280 utimensat "fspb" Full => path::utimensat;
281 epoll_pwait "fpddpx" Full [Never] => poll::epoll_pwait;
283 timerfd_create "db" Full => file::timerfd_create;
284 eventfd "d" Full => file::eventfd;
285 fallocate "fbxx" Full => file::fallocate;
286 timerfd_settime "fbpp" Full => file::timerfd_settime;
287 timerfd_gettime "fp" Full => file::timerfd_gettime;
288 accept4 "fppb" Full [SaRestart] => socket::accept4;
282 signalfd "fpx" Full => file::signalfd;
289 signalfd4 "fpxb" Full => file::signalfd4;
290 eventfd2 "db" Full => file::eventfd2;
291 epoll_create1 "b" Full => poll::epoll_create1;
292 dup3 "ffb" Full => file::dup3;
293 pipe2 "pb" Full => file::pipe2;
294 inotify_init1 "b" Full => path::inotify_init1;
295 preadv "fpdx" Full [SaRestart] => positioned::preadv;
296 pwritev "fpdx" Full [SaRestart] => positioned::pwritev;
297 rt_tgsigqueueinfo "dddp" Full => signal::rt_tgsigqueueinfo;
299 recvmmsg "fpdbp" Full [SaRestart] => socket::recvmmsg;
302 prlimit64 "ddpp" Partial("enforced: CPU, FSIZE, DATA (heap), STACK (at execve), NPROC, NOFILE, AS; others are kept") => resource::prlimit64;
303 name_to_handle_at "fsppb" Partial("handles tell files apart and cannot be opened") => filesystem::name_to_handle_at;
308 setns "fb" Partial("refused with EPERM: the UC has no right to it, and one of each") => namespace::setns;
312 kcmp "dddxx" Full => kcmp::kcmp;
306 syncfs "f" Full => file::syncfs;
307 sendmmsg "fpdb" Full [SaRestart] => socket::sendmmsg;
309 getcpu "ppp" Full => misc::getcpu;
310 process_vm_readv "dpdpdb" Full => remote::process_vm_readv;
311 process_vm_writev "dpdpdb" Full => remote::process_vm_writev;
314 sched_setattr "dpx" Full => scheduling::sched_setattr;
315 sched_getattr "dpxx" Full => scheduling::sched_getattr;
316 renameat2 "fsfsb" Full => path::renameat2;
318 getrandom "pxb" Full [SaRestart] => misc::getrandom;
319 memfd_create "sb" Full => file::memfd_create;
322 execveat "fsppb" Full => process::execveat;
324 membarrier "dbd" Partial("the global and private commands") => misc::membarrier;
325 mlock2 "pxb" Full => advice::mlock2;
326 copy_file_range "fpfpxb" Full => copy::copy_file_range;
327 preadv2 "fpdxxb" Full [SaRestart] => positioned::preadv2;
328 pwritev2 "fpdxxb" Full [SaRestart] => positioned::pwritev2;
332 statx "fsbxp" Full => path::statx;
329 pkey_mprotect "pxbd" Full => memory::pkey_mprotect;
330 pkey_alloc "bb" Full => memory::pkey_alloc;
331 pkey_free "d" Full => memory::pkey_free;
424 pidfd_send_signal "fdpb" Full => signal::pidfd_send_signal;
434 pidfd_open "db" Full => process::pidfd_open;
435 clone3 "px" Partial("name spaces are refused with EPERM; no tracing, no set_tid") => clone::clone3;
436 close_range "xxb" Full => file::close_range;
437 openat2 "fspx" Full [SaRestart] => path::openat2;
438 pidfd_getfd "fdb" Full => kcmp::pidfd_getfd;
439 faccessat2 "fsdb" Full => path::faccessat2;
440 process_madvise "fpddb" Partial("hints only, as before Linux 6.13") => advice::process_madvise;
441 epoll_pwait2 "fpdppx" Full [Never] => poll::epoll_pwait2;
449 futex_waitv "pdxpd" Full [SaRestartAbsolute] => futex_vector::futex_waitv;
450 set_mempolicy_home_node "pxdb" Full => numa::set_mempolicy_home_node;
153 vhangup "" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
155 pivot_root "ss" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
163 acct "s" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
165 mount "ssspp" Partial("checked, then refused with EPERM") => filesystem::mount;
166 umount2 "sb" Partial("checked, then refused with EPERM") => filesystem::umount2;
167 swapon "sb" Partial("checked, then refused with EPERM") => filesystem::swapon;
168 swapoff "s" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
169 reboot "xxxp" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
170 sethostname "px" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
171 setdomainname "px" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
172 iopl "d" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
173 ioperm "xxd" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
175 init_module "pxs" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
176 delete_module "sb" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
246 kexec_load "xxpb" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
304 open_by_handle_at "fpb" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
313 finit_module "fsb" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
321 bpf "dpx" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
103 syslog "dpx" Partial("refused with EPERM: the UC has no right to it") => misc::refuse;
159 adjtimex "p" Partial("tells that the clock is not disciplined; changes are refused with EPERM") => time::adjtimex;
164 settimeofday "pp" Partial("checked, then refused with EPERM") => time::settimeofday;
227 clock_settime "dp" Partial("checked, then refused with EPERM") => time::clock_settime;
305 clock_adjtime "dp" Partial("as adjtimex") => time::clock_adjtime;
absent {
101 ptrace,
134 uselib,
154 modify_ldt,
156 _sysctl,
174 create_module,
177 get_kernel_syms,
178 query_module,
179 quotactl,
180 nfsservctl,
181 getpmsg,
182 putpmsg,
183 afs_syscall,
184 tuxcall,
185 security,
205 set_thread_area,
206 io_setup,
207 io_destroy,
208 io_getevents,
209 io_submit,
210 io_cancel,
211 get_thread_area,
212 lookup_dcookie,
214 epoll_ctl_old,
215 epoll_wait_old,
219 restart_syscall,
236 vserver,
248 add_key,
249 request_key,
250 keyctl,
298 perf_event_open,
300 fanotify_init,
301 fanotify_mark,
317 seccomp,
320 kexec_file_load,
323 userfaultfd,
333 io_pgetevents,
334 rseq,
425 io_uring_setup,
426 io_uring_enter,
427 io_uring_register,
428 open_tree,
429 move_mount,
430 fsopen,
431 fsconfig,
432 fsmount,
433 fspick,
442 mount_setattr,
443 quotactl_fd,
444 landlock_create_ruleset,
445 landlock_add_rule,
446 landlock_restrict_self,
447 memfd_secret,
448 process_mrelease,
}
}

/// The handler of a system call.
#[inline]
pub(super) fn handler(number: u64) -> Handler {
    match HANDLERS.get(number as usize) {
        Some(&handler) => handler,
        None => absent,
    }
}

/// What a signal makes of a system call that waits.
pub(super) fn restart(number: u64) -> Restart {
    let entry = TABLE.get(number as usize).copied().flatten();
    entry.map_or(Restart::DoesNotWait, |e| e.restart)
}

fn absent(call: &Call<'_>) -> Outcome {
    *call
        .uc
        .missing
        .borrow_mut()
        .entry(call.number.min(NUMBERS as u64))
        .or_default() += 1;
    Err(Stop::Error(Errno::ENOSYS))
}

/// The name of a system call by number.
#[must_use]
pub fn name(number: u64) -> &'static str {
    let entry = usize::try_from(number)
        .ok()
        .and_then(|n| TABLE.get(n))
        .copied()
        .flatten();
    entry.map_or("unknown", |e| e.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, fs, string::String};

    /// The conformance table of the documentation.
    fn document() -> String {
        let count = |f: fn(&State) -> bool| TABLE.iter().flatten().filter(|e| f(&e.state)).count();
        let mut out = format!(
            "# System calls\n\nMade from the table in `ebb-linux/src/syscall/table.rs` by its test \
             (`EBB_BLESS=1 cargo test -p ebb-linux --lib table` writes it): {} full, {} in part, {} answered with `ENOSYS`, \
             which counts them.\n\nThe last column says what a signal makes of a call that waits and has moved nothing: *again* behind a handler with \
             `SA_RESTART` (`EINTR` if the socket has a time limit of its own), *goes on* without a handler and `EINTR` with one, \
             or *never*: `EINTR` even when the process was only stopped and goes on.\n\n| number | name | state | interrupted |\n|---|---|---|---|\n",
            count(|s| *s == State::Full),
            count(|s| matches!(s, State::Partial(_))),
            count(|s| *s == State::Absent),
        );
        for (number, entry) in TABLE.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let state = match entry.state {
                State::Full => String::from("full"),
                State::Partial(missing) => format!("in part: {missing}"),
                State::Absent => String::from("ENOSYS"),
            };
            let interrupted = match entry.restart {
                Restart::DoesNotWait => "",
                Restart::SaRestart | Restart::SaRestartUntimed | Restart::SaRestartAbsolute => {
                    "again"
                }
                Restart::UnlessHandled => "goes on",
                Restart::Never => "never",
            };
            out.push_str(&format!(
                "| {number} | `{}` | {state} | {interrupted} |\n",
                entry.name
            ));
        }
        out
    }

    #[test]
    fn the_documentation_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/syscalls.md");
        let made = document();
        if std::env::var_os("EBB_BLESS").is_some() {
            fs::write(path, &made).expect("the chapter is written");
        }
        let written = fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == made,
            "docs/src/syscalls.md is out of date; run this test with EBB_BLESS=1"
        );
    }
}
