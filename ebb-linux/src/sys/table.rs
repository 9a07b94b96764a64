//! The table of system calls: number, name, how arguments are printed, state, handler. The conformance table of the
//! documentation is made from it.
//!
//! Argument letters: `d` signed, `x` hexadecimal, `b` flags, `p` pointer, `f` descriptor, `s` string, `o` octal mode.

use super::{Handler, file, futex, memory, misc, signal, thread, time};

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

/// A system call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// How its arguments are printed.
    pub arguments: &'static str,
    /// How complete it is.
    pub state: State,
    pub(super) handler: Handler,
}

/// One more than the highest number.
pub const NUMBERS: usize = 451;

macro_rules! table {
    ($($number:literal $name:ident $arguments:literal $state:ident $(($missing:literal))? => $handler:path;)*) => {
        /// Every system call by number.
        pub static TABLE: [Option<Entry>; NUMBERS] = {
            let mut table = [None; NUMBERS];
            $(
                table[$number] = Some(Entry {
                    name: stringify!($name),
                    arguments: $arguments,
                    state: State::$state$(($missing))?,
                    handler: table!(@ $state $handler),
                });
            )*
            table
        };
    };
    (@ Absent $handler:path) => { super::absent };
    (@ $state:ident $handler:path) => { $handler };
}

table! {
0 read "" Absent => absent;
1 write "fpx" Full => file::write;
2 open "" Absent => absent;
3 close "" Absent => absent;
4 stat "" Absent => absent;
5 fstat "" Absent => absent;
6 lstat "" Absent => absent;
7 poll "" Absent => absent;
8 lseek "" Absent => absent;
9 mmap "pxbbdx" Full => memory::mmap;
10 mprotect "pxb" Full => memory::mprotect;
11 munmap "px" Full => memory::munmap;
12 brk "p" Full => memory::brk;
13 rt_sigaction "dppx" Full => signal::rt_sigaction;
14 rt_sigprocmask "dppx" Full => signal::rt_sigprocmask;
15 rt_sigreturn "" Full => signal::rt_sigreturn;
16 ioctl "" Absent => absent;
17 pread64 "" Absent => absent;
18 pwrite64 "" Absent => absent;
19 readv "" Absent => absent;
20 writev "fpd" Full => file::writev;
21 access "" Absent => absent;
22 pipe "" Absent => absent;
23 select "" Absent => absent;
24 sched_yield "" Full => misc::accept;
25 mremap "pxxbp" Full => memory::mremap;
26 msync "pxb" Full => memory::msync;
27 mincore "pxp" Full => memory::mincore;
28 madvise "pxd" Full => memory::madvise;
29 shmget "" Absent => absent;
30 shmat "" Absent => absent;
31 shmctl "" Absent => absent;
32 dup "" Absent => absent;
33 dup2 "" Absent => absent;
34 pause "" Full => signal::pause;
35 nanosleep "pp" Full => time::nanosleep;
36 getitimer "" Absent => absent;
37 alarm "" Absent => absent;
38 setitimer "" Absent => absent;
39 getpid "" Full => thread::getpid;
40 sendfile "" Absent => absent;
41 socket "" Absent => absent;
42 connect "" Absent => absent;
43 accept "" Absent => absent;
44 sendto "" Absent => absent;
45 recvfrom "" Absent => absent;
46 sendmsg "" Absent => absent;
47 recvmsg "" Absent => absent;
48 shutdown "" Absent => absent;
49 bind "" Absent => absent;
50 listen "" Absent => absent;
51 getsockname "" Absent => absent;
52 getpeername "" Absent => absent;
53 socketpair "" Absent => absent;
54 setsockopt "" Absent => absent;
55 getsockopt "" Absent => absent;
56 clone "bpppp" Partial("threads only, no processes") => thread::clone;
57 fork "" Absent => absent;
58 vfork "" Absent => absent;
59 execve "" Absent => absent;
60 exit "d" Full => thread::exit;
61 wait4 "" Absent => absent;
62 kill "dd" Full => signal::kill;
63 uname "p" Full => misc::uname;
64 semget "" Absent => absent;
65 semop "" Absent => absent;
66 semctl "" Absent => absent;
67 shmdt "" Absent => absent;
68 msgget "" Absent => absent;
69 msgsnd "" Absent => absent;
70 msgrcv "" Absent => absent;
71 msgctl "" Absent => absent;
72 fcntl "" Absent => absent;
73 flock "" Absent => absent;
74 fsync "" Absent => absent;
75 fdatasync "" Absent => absent;
76 truncate "" Absent => absent;
77 ftruncate "" Absent => absent;
78 getdents "" Absent => absent;
79 getcwd "" Absent => absent;
80 chdir "" Absent => absent;
81 fchdir "" Absent => absent;
82 rename "" Absent => absent;
83 mkdir "" Absent => absent;
84 rmdir "" Absent => absent;
85 creat "" Absent => absent;
86 link "" Absent => absent;
87 unlink "" Absent => absent;
88 symlink "" Absent => absent;
89 readlink "" Absent => absent;
90 chmod "" Absent => absent;
91 fchmod "" Absent => absent;
92 chown "" Absent => absent;
93 fchown "" Absent => absent;
94 lchown "" Absent => absent;
95 umask "" Absent => absent;
96 gettimeofday "pp" Full => time::gettimeofday;
97 getrlimit "dp" Full => misc::getrlimit;
98 getrusage "dp" Full => time::getrusage;
99 sysinfo "p" Full => misc::sysinfo;
100 times "p" Full => time::times;
101 ptrace "" Absent => absent;
102 getuid "" Full => misc::zero;
103 syslog "" Absent => absent;
104 getgid "" Full => misc::zero;
105 setuid "ddd" Full => misc::set_id;
106 setgid "ddd" Full => misc::set_id;
107 geteuid "" Full => misc::zero;
108 getegid "" Full => misc::zero;
109 setpgid "" Absent => absent;
110 getppid "" Full => misc::zero;
111 getpgrp "" Full => thread::getpid;
112 setsid "" Full => thread::getpid;
113 setreuid "ddd" Full => misc::set_id;
114 setregid "ddd" Full => misc::set_id;
115 getgroups "dp" Full => misc::zero;
116 setgroups "ddd" Full => misc::set_id;
117 setresuid "ddd" Full => misc::set_id;
118 getresuid "ppp" Full => misc::getresuid;
119 setresgid "ddd" Full => misc::set_id;
120 getresgid "ppp" Full => misc::getresuid;
121 getpgid "d" Full => thread::getpid;
122 setfsuid "ddd" Full => misc::set_id;
123 setfsgid "ddd" Full => misc::set_id;
124 getsid "d" Full => thread::getpid;
125 capget "pp" Full => misc::capget;
126 capset "" Absent => absent;
127 rt_sigpending "px" Full => signal::rt_sigpending;
128 rt_sigtimedwait "pppx" Full => signal::rt_sigtimedwait;
129 rt_sigqueueinfo "" Absent => absent;
130 rt_sigsuspend "px" Full => signal::rt_sigsuspend;
131 sigaltstack "pp" Full => signal::sigaltstack;
132 utime "" Absent => absent;
133 mknod "" Absent => absent;
134 uselib "" Absent => absent;
135 personality "x" Full => misc::personality;
136 ustat "" Absent => absent;
137 statfs "" Absent => absent;
138 fstatfs "" Absent => absent;
139 sysfs "" Absent => absent;
140 getpriority "dd" Full => thread::getpriority;
141 setpriority "ddd" Partial("accepted and ignored") => misc::accept;
142 sched_setparam "" Absent => absent;
143 sched_getparam "dp" Full => thread::sched_getparam;
144 sched_setscheduler "ddp" Partial("accepted and ignored") => misc::accept;
145 sched_getscheduler "d" Full => misc::zero;
146 sched_get_priority_max "d" Full => misc::zero;
147 sched_get_priority_min "d" Full => misc::zero;
148 sched_rr_get_interval "" Absent => absent;
149 mlock "px" Full => memory::mlock;
150 munlock "px" Full => memory::mlock;
151 mlockall "b" Full => misc::accept;
152 munlockall "" Full => misc::accept;
153 vhangup "" Absent => absent;
154 modify_ldt "" Absent => absent;
155 pivot_root "" Absent => absent;
156 _sysctl "" Absent => absent;
157 prctl "dxxxx" Partial("names, dumpable, no_new_privs") => thread::prctl;
158 arch_prctl "xp" Full => thread::arch_prctl;
159 adjtimex "" Absent => absent;
160 setrlimit "dp" Full => misc::setrlimit;
161 chroot "" Absent => absent;
162 sync "" Absent => absent;
163 acct "" Absent => absent;
164 settimeofday "" Absent => absent;
165 mount "" Absent => absent;
166 umount2 "" Absent => absent;
167 swapon "" Absent => absent;
168 swapoff "" Absent => absent;
169 reboot "" Absent => absent;
170 sethostname "" Absent => absent;
171 setdomainname "" Absent => absent;
172 iopl "" Absent => absent;
173 ioperm "" Absent => absent;
174 create_module "" Absent => absent;
175 init_module "" Absent => absent;
176 delete_module "" Absent => absent;
177 get_kernel_syms "" Absent => absent;
178 query_module "" Absent => absent;
179 quotactl "" Absent => absent;
180 nfsservctl "" Absent => absent;
181 getpmsg "" Absent => absent;
182 putpmsg "" Absent => absent;
183 afs_syscall "" Absent => absent;
184 tuxcall "" Absent => absent;
185 security "" Absent => absent;
186 gettid "" Full => thread::gettid;
187 readahead "" Absent => absent;
188 setxattr "" Absent => absent;
189 lsetxattr "" Absent => absent;
190 fsetxattr "" Absent => absent;
191 getxattr "" Absent => absent;
192 lgetxattr "" Absent => absent;
193 fgetxattr "" Absent => absent;
194 listxattr "" Absent => absent;
195 llistxattr "" Absent => absent;
196 flistxattr "" Absent => absent;
197 removexattr "" Absent => absent;
198 lremovexattr "" Absent => absent;
199 fremovexattr "" Absent => absent;
200 tkill "dd" Full => signal::tkill;
201 time "p" Full => time::time;
202 futex "pddpps" Full => futex::futex;
203 sched_setaffinity "dxp" Partial("accepted; a program has one core") => misc::accept;
204 sched_getaffinity "dxp" Full => thread::sched_getaffinity;
205 set_thread_area "" Absent => absent;
206 io_setup "" Absent => absent;
207 io_destroy "" Absent => absent;
208 io_getevents "" Absent => absent;
209 io_submit "" Absent => absent;
210 io_cancel "" Absent => absent;
211 get_thread_area "" Absent => absent;
212 lookup_dcookie "" Absent => absent;
213 epoll_create "" Absent => absent;
214 epoll_ctl_old "" Absent => absent;
215 epoll_wait_old "" Absent => absent;
216 remap_file_pages "" Absent => absent;
217 getdents64 "" Absent => absent;
218 set_tid_address "p" Full => thread::set_tid_address;
219 restart_syscall "" Absent => absent;
220 semtimedop "" Absent => absent;
221 fadvise64 "" Absent => absent;
222 timer_create "" Absent => absent;
223 timer_settime "" Absent => absent;
224 timer_gettime "" Absent => absent;
225 timer_getoverrun "" Absent => absent;
226 timer_delete "" Absent => absent;
227 clock_settime "" Absent => absent;
228 clock_gettime "dp" Full => time::clock_gettime;
229 clock_getres "dp" Full => time::clock_getres;
230 clock_nanosleep "ddpp" Full => time::clock_nanosleep;
231 exit_group "d" Full => thread::exit_group;
232 epoll_wait "" Absent => absent;
233 epoll_ctl "" Absent => absent;
234 tgkill "ddd" Full => signal::tgkill;
235 utimes "" Absent => absent;
236 vserver "" Absent => absent;
237 mbind "" Absent => absent;
238 set_mempolicy "" Absent => absent;
239 get_mempolicy "" Absent => absent;
240 mq_open "" Absent => absent;
241 mq_unlink "" Absent => absent;
242 mq_timedsend "" Absent => absent;
243 mq_timedreceive "" Absent => absent;
244 mq_notify "" Absent => absent;
245 mq_getsetattr "" Absent => absent;
246 kexec_load "" Absent => absent;
247 waitid "" Absent => absent;
248 add_key "" Absent => absent;
249 request_key "" Absent => absent;
250 keyctl "" Absent => absent;
251 ioprio_set "" Absent => absent;
252 ioprio_get "" Absent => absent;
253 inotify_init "" Absent => absent;
254 inotify_add_watch "" Absent => absent;
255 inotify_rm_watch "" Absent => absent;
256 migrate_pages "" Absent => absent;
257 openat "" Absent => absent;
258 mkdirat "" Absent => absent;
259 mknodat "" Absent => absent;
260 fchownat "" Absent => absent;
261 futimesat "" Absent => absent;
262 newfstatat "" Absent => absent;
263 unlinkat "" Absent => absent;
264 renameat "" Absent => absent;
265 linkat "" Absent => absent;
266 symlinkat "" Absent => absent;
267 readlinkat "" Absent => absent;
268 fchmodat "" Absent => absent;
269 faccessat "" Absent => absent;
270 pselect6 "" Absent => absent;
271 ppoll "" Absent => absent;
272 unshare "" Absent => absent;
273 set_robust_list "px" Full => futex::set_robust_list;
274 get_robust_list "dpp" Full => futex::get_robust_list;
275 splice "" Absent => absent;
276 tee "" Absent => absent;
277 sync_file_range "" Absent => absent;
278 vmsplice "" Absent => absent;
279 move_pages "" Absent => absent;
280 utimensat "" Absent => absent;
281 epoll_pwait "" Absent => absent;
282 signalfd "" Absent => absent;
283 timerfd_create "" Absent => absent;
284 eventfd "" Absent => absent;
285 fallocate "" Absent => absent;
286 timerfd_settime "" Absent => absent;
287 timerfd_gettime "" Absent => absent;
288 accept4 "" Absent => absent;
289 signalfd4 "" Absent => absent;
290 eventfd2 "" Absent => absent;
291 epoll_create1 "" Absent => absent;
292 dup3 "" Absent => absent;
293 pipe2 "" Absent => absent;
294 inotify_init1 "" Absent => absent;
295 preadv "" Absent => absent;
296 pwritev "" Absent => absent;
297 rt_tgsigqueueinfo "" Absent => absent;
298 perf_event_open "" Absent => absent;
299 recvmmsg "" Absent => absent;
300 fanotify_init "" Absent => absent;
301 fanotify_mark "" Absent => absent;
302 prlimit64 "ddpp" Full => misc::prlimit64;
303 name_to_handle_at "" Absent => absent;
304 open_by_handle_at "" Absent => absent;
305 clock_adjtime "" Absent => absent;
306 syncfs "" Absent => absent;
307 sendmmsg "" Absent => absent;
308 setns "" Absent => absent;
309 getcpu "ppp" Full => misc::getcpu;
310 process_vm_readv "" Absent => absent;
311 process_vm_writev "" Absent => absent;
312 kcmp "" Absent => absent;
313 finit_module "" Absent => absent;
314 sched_setattr "" Absent => absent;
315 sched_getattr "" Absent => absent;
316 renameat2 "" Absent => absent;
317 seccomp "" Absent => absent;
318 getrandom "pxb" Full => misc::getrandom;
319 memfd_create "" Absent => absent;
320 kexec_file_load "" Absent => absent;
321 bpf "" Absent => absent;
322 execveat "" Absent => absent;
323 userfaultfd "" Absent => absent;
324 membarrier "dbd" Full => misc::membarrier;
325 mlock2 "pxb" Full => memory::mlock;
326 copy_file_range "" Absent => absent;
327 preadv2 "" Absent => absent;
328 pwritev2 "" Absent => absent;
329 pkey_mprotect "" Absent => absent;
330 pkey_alloc "" Absent => absent;
331 pkey_free "" Absent => absent;
332 statx "" Absent => absent;
333 io_pgetevents "" Absent => absent;
334 rseq "" Absent => absent;
424 pidfd_send_signal "" Absent => absent;
425 io_uring_setup "" Absent => absent;
426 io_uring_enter "" Absent => absent;
427 io_uring_register "" Absent => absent;
428 open_tree "" Absent => absent;
429 move_mount "" Absent => absent;
430 fsopen "" Absent => absent;
431 fsconfig "" Absent => absent;
432 fsmount "" Absent => absent;
433 fspick "" Absent => absent;
434 pidfd_open "" Absent => absent;
435 clone3 "px" Partial("threads only, no processes") => thread::clone3;
436 close_range "" Absent => absent;
437 openat2 "" Absent => absent;
438 pidfd_getfd "" Absent => absent;
439 faccessat2 "" Absent => absent;
440 process_madvise "" Absent => absent;
441 epoll_pwait2 "" Absent => absent;
442 mount_setattr "" Absent => absent;
443 quotactl_fd "" Absent => absent;
444 landlock_create_ruleset "" Absent => absent;
445 landlock_add_rule "" Absent => absent;
446 landlock_restrict_self "" Absent => absent;
447 memfd_secret "" Absent => absent;
448 process_mrelease "" Absent => absent;
449 futex_waitv "" Absent => absent;
450 set_mempolicy_home_node "" Absent => absent;}
