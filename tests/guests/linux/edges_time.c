// Clocks, timers, processes and scheduling at the edges of what calls take.
#include "checks.h"
#include <sys/pidfd.h>
#include <sys/select.h>
#include <sys/utsname.h>
#include <sys/sysinfo.h>

static char buffer[4096];
#define BAD ((void *)8)
#define T(s, ns) ((struct timespec[1]){{s, ns}})

static void clocks(void) {
    int ids[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 10, 12, 16, 100, -2, -6, (~getpid() << 3) | 2, (~1234567 << 3) | 2, (~getpid() << 3) | 6};
    struct timespec t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    timer_t made;
    for (int i = 0; i < sizeof ids / sizeof *ids; i++) {
        int id = ids[i], named = i > 14 ? -1000 - i : id;
        printf("clock %d:", named);
#define ONE(what, ...) ({ errno = 0; long r_ = (__VA_ARGS__); printf(" %s %s,", what, r_ == -1 ? strerrorname_np(errno) : "0"); })
        ONE("get", S(SYS_clock_gettime, id, &t)), ONE("resolution", S(SYS_clock_getres, id, &t)), ONE("no place", S(SYS_clock_getres, id, 0));
        ONE("bad", S(SYS_clock_gettime, id, BAD));
        (id == 2 || id == -6 || id <= -10) ? 0 : ONE("sleep", S(SYS_clock_nanosleep, id, 0, T(0, 1), 0)), ONE("sleep for none", S(SYS_clock_nanosleep, id, 0, T(0, 1000000000), 0)), ONE("since", S(SYS_clock_nanosleep, id, 1, T(0, 0), 0));
        ONE("timer", S(SYS_timer_create, id, &e, &made)), ONE("descriptor", ({ int f = S(SYS_timerfd_create, id, 0); f < 0 ? f : close(f); }));
        puts("");
    }
    R("sleep negative", nanosleep(T(-1, 0), 0)), R("sleep bad", nanosleep(BAD, 0)), R("nsec negative", nanosleep(T(0, -1), 0));
    R("flags of a sleep", S(SYS_clock_nanosleep, 1, 6, T(0, 1), 0)), R("since negative", S(SYS_clock_nanosleep, 1, 1, T(-1, 0), 0));
    int f = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec o, a = {{0, 0}, {0, 1000000000}}, b = {{-1, 0}, {1, 0}}, c = {{0, 5}, {0, 0}}, d = {{0, 0}, {1000000000, 0}};
    R("timerfd nsec", timerfd_settime(f, 0, &a, 0)), R("timerfd negative", timerfd_settime(f, 0, &b, 0)), R("timerfd interval alone", timerfd_settime(f, 0, &c, &o)), R("set", timerfd_settime(f, 0, &d, 0)), R("flags", timerfd_settime(f, 4, &d, 0)), R("cancel of monotonic", timerfd_settime(f, 3, &d, 0)), R("bad", timerfd_settime(f, 0, BAD, 0)), R("read of 7", read(f, buffer, 7)), R("read", read(f, buffer, 8)), R("write", write(f, buffer, 8)), R("pread", pread(f, buffer, 8, 0)), R("get bad", timerfd_gettime(f, BAD));
    struct itimerval v = {{0, 0}, {0, 1000000}};
    R("itimer usec", setitimer(ITIMER_REAL, &v, 0)), R("itimer 3", getitimer(3, &v)), R("itimer -1", setitimer(-1, &v, 0)), R("itimer bad", getitimer(0, BAD)), R("itimer null", setitimer(0, 0, 0)), v.it_value.tv_usec = 0, v.it_value.tv_sec = -1, R("itimer negative", setitimer(0, &v, 0));
    R("alarm", alarm(100)), R("alarm huge", alarm(0xffffffff)), R("alarm 0", alarm(0) > 1000);
    R("timer bad signal", ({ struct sigevent s = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65}; S(SYS_timer_create, 1, &s, &made); })), R("no signal", ({ struct sigevent s = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 0}; S(SYS_timer_create, 1, &s, &made); })), R("unknown way", ({ struct sigevent s = {.sigev_notify = 9}; S(SYS_timer_create, 1, &s, &made); })), R("another's thread", ({ struct sigevent s = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = 10}; s._sigev_un._tid = 4000000; S(SYS_timer_create, 1, &s, &made); })), R("bad place", S(SYS_timer_create, 1, 0, BAD)), R("no such timer", S(SYS_timer_settime, 777, 0, &d, 0)), R("gettime", S(SYS_timer_gettime, 777, &o)), R("overrun", S(SYS_timer_getoverrun, 777)), R("delete", S(SYS_timer_delete, -1));
    R("time", S(SYS_time, BAD)), R("gettimeofday", S(SYS_gettimeofday, BAD, 0)), R("of nothing", S(SYS_gettimeofday, 0, 0)), R("times", S(SYS_times, BAD)), R("of nothing", S(SYS_times, 0) > 0);
}

static void waits(void) {
    siginfo_t i;
    int s;
    R("wait for none", waitpid(-1, &s, 0)), R("waitid for none", waitid(P_ALL, 0, &i, WEXITED)), R("of no kind", waitid(9, 0, &i, WEXITED)), R("without options", waitid(P_ALL, 0, &i, 0)), R("group 0", waitid(P_PGID, 0, &i, WEXITED)), R("pid 0", waitid(P_PID, 0, &i, WEXITED)), R("group -1", waitid(P_PGID, -1, &i, WEXITED)), R("wait4 int min", wait4(INT_MIN, &s, 0, 0));
    fflush(stdout);
    pid_t child = fork();
    if (!child) _exit(7);
    memset(&i, 0x55, sizeof i);
    R("kept", waitid(P_PID, child, &i, WEXITED | WNOWAIT)), printf("%d %d %d %d\n", i.si_signo, i.si_code, i.si_status, i.si_pid == child);
    int p = pidfd_open(child, 0), own = pidfd_open(getpid(), 0);
    struct pollfd w = {p, -1};
    R("poll of a zombie", poll(&w, 1, 0)), printf("%x\n", w.revents);
    R("kcmp of a zombie", S(SYS_kcmp, getpid(), child, 0, 0, 0) >= 0 ? 0 : -1);
    // KCMP_IO, 5, tells whether the process has waited for a disk.
    for (int k = 0; k < 9; k++) if (k != 5) { R("kcmp kinds of a zombie", ({ long r = S(SYS_kcmp, getpid(), child, k, 0, 0); r > 0 ? 1 : r; })); }
    for (int k = 0; k < 9; k++) R("kcmp of two zombies", ({ long r = S(SYS_kcmp, child, child, k, 0, 0); r > 0 ? 1 : r; }));
    R("pidfd_getfd of a zombie", S(SYS_pidfd_getfd, p, 0, 0)), R("signal to a zombie", S(SYS_pidfd_send_signal, p, 0, 0, 0)), R("kill of a zombie", kill(child, SIGTERM)), R("tgkill", S(SYS_tgkill, child, child, 0)), R("getpgid", getpgid(child) == getpgrp()), R("getsid", getsid(child) == getsid(0)), R("its memory", S(SYS_process_vm_readv, child, 0, 0, 0, 0, 0));
    R("waitid by pidfd", waitid(P_PIDFD, p, &i, WEXITED | WNOHANG)), printf("%d\n", i.si_status), R("again", waitid(P_PIDFD, p, &i, WEXITED | WNOHANG)), R("poll of who is gone", ({ w.revents = 0; poll(&w, 1, 0); })), R("signal to who is gone", S(SYS_pidfd_send_signal, p, 0, 0, 0));
    R("pidfd flags", pidfd_open(getpid(), 1)), R("pidfd of 0", pidfd_open(0, 0)), R("of -1", pidfd_open(-1, 0)), R("of nobody", pidfd_open(4000000, 0)), R("read", read(own, buffer, 4)), R("write", write(own, buffer, 4)), R("lseek", lseek(own, 0, SEEK_CUR)), R("not a pidfd", S(SYS_pidfd_send_signal, 1, 0, 0, 0)), R("signal 65", S(SYS_pidfd_send_signal, own, 65, 0, 0)), R("flags", S(SYS_pidfd_send_signal, own, 0, 0, 0x10)), R("getfd flags", S(SYS_pidfd_getfd, own, 0, 1)), R("getfd of none", S(SYS_pidfd_getfd, own, 999, 0)), R("waiting by itself", waitid(P_PIDFD, own, &i, WEXITED | WNOHANG)), R("by -1", waitid(P_PIDFD, -1, &i, WEXITED)), R("by a file", waitid(P_PIDFD, 1, &i, WEXITED));
    R("info of another signal", ({ siginfo_t x = {.si_signo = 10, .si_code = -1}; S(SYS_pidfd_send_signal, own, 12, &x, 0); })), R("close", close(p));
    R("kill of nobody", kill(4000000, 0)), R("of 65", kill(getpid(), 65)), R("of -1", kill(getpid(), -1)), R("tkill 0", S(SYS_tkill, 0, 0)), R("tgkill mixed", S(SYS_tgkill, 1, getpid(), 0)), R("tgkill -1", S(SYS_tgkill, -1, getpid(), 0));
    sigset_t m;
    sigemptyset(&m);
    R("action 0", S(SYS_rt_sigaction, 0, 0, 0, 8)), R("action 65", S(SYS_rt_sigaction, 65, 0, 0, 8)), R("action 64", S(SYS_rt_sigaction, 64, 0, 0, 8)), R("of 4", S(SYS_rt_sigaction, 10, 0, 0, 4)), R("of KILL", ({ char a[32] = {0}; S(SYS_rt_sigaction, SIGKILL, a, 0, 8); })), R("told of KILL", S(SYS_rt_sigaction, SIGKILL, 0, buffer, 8)), R("mask how", S(SYS_rt_sigprocmask, 3, &m, 0, 8)), R("how without a set", S(SYS_rt_sigprocmask, 3, 0, 0, 8)), R("mask of 4", S(SYS_rt_sigprocmask, 0, &m, 0, 4)), R("bad", S(SYS_rt_sigprocmask, 0, BAD, 0, 8)), R("pending of 4", S(SYS_rt_sigpending, buffer, 4)), R("pending of 9", S(SYS_rt_sigpending, buffer, 9)), R("timedwait nsec", S(SYS_rt_sigtimedwait, &m, 0, T(0, -1), 8)), R("timedwait of none", S(SYS_rt_sigtimedwait, &m, 0, T(0, 1), 8)), R("suspend of 4", S(SYS_rt_sigsuspend, &m, 4)), R("signalfd of 4", S(SYS_signalfd4, -1, &m, 4, 0)), R("altstack flags", ({ stack_t a = {buffer, 4, 4096}; sigaltstack(&a, 0); })), R("small", ({ stack_t a = {buffer, 0, 100}; sigaltstack(&a, 0); }));
}

static void scheduled(void) {
    struct sched_param q = {0}, one = {1};
    for (int p = -1; p < 7; p++) printf("policy %d: %d %d", p, sched_get_priority_max(p), sched_get_priority_min(p)), R("", sched_setscheduler(0, p, &q));
    R("batch with 1", sched_setscheduler(0, SCHED_BATCH, &one)), R("other", sched_setscheduler(0, SCHED_OTHER, &q)), R("reset on fork", sched_setscheduler(0, SCHED_OTHER | 0x40000000, &q)), R("told", sched_getscheduler(0)), R("of nobody", sched_getscheduler(4000000)), R("of -1", sched_getscheduler(-1)), R("param null", sched_getparam(0, 0)), R("param of -1", sched_getparam(-1, &q)), R("set 1", sched_setparam(0, &one)), R("interval", sched_rr_get_interval(-1, (void *)buffer)), R("interval bad", S(SYS_sched_rr_get_interval, 0, BAD));
    struct { unsigned size, policy; unsigned long flags; int nice; unsigned priority; unsigned long times[3]; unsigned clamp[2]; } a;
    R("attr", S(SYS_sched_getattr, 0, &a, sizeof a, 0)), printf("size %u, policy %u, flags %lx, nice %d\n", a.size, a.policy, a.flags, a.nice), R("small", S(SYS_sched_getattr, 0, &a, 47, 0)), R("of 48", S(SYS_sched_getattr, 0, &a, 48, 0)), printf("size %u\n", a.size), R("of 5000", S(SYS_sched_getattr, 0, buffer, 5000, 0)), R("flags", S(SYS_sched_getattr, 0, &a, 48, 1)), R("of -1", S(SYS_sched_getattr, -1, &a, 48, 0)), a.size = 48, a.policy = 0, a.flags = 0, a.nice = 3, R("set", S(SYS_sched_setattr, 0, &a, 0)), R("nice", getpriority(0, 0)), R("set flags", S(SYS_sched_setattr, 0, &a, 1)), a.size = 10, R("set small", S(SYS_sched_setattr, 0, &a, 0)), printf("size %u\n", a.size), a.size = 48, a.policy = 9, R("policy 9", S(SYS_sched_setattr, 0, &a, 0)), a.policy = 0, a.flags = 0x800, R("flag", S(SYS_sched_setattr, 0, &a, 0)), a.flags = 0, a.nice = 40, R("nice 40", S(SYS_sched_setattr, 0, &a, 0)), R("is", getpriority(0, 0)), R("null", S(SYS_sched_setattr, 0, 0, 0));
    R("nice of a group", setpriority(PRIO_PGRP, 4000000, 0)), R("of a user", setpriority(PRIO_USER, 4000000, 0)), R("of no kind", setpriority(3, 0, 0)), R("get", S(SYS_getpriority, 3, 0)), R("raw", S(SYS_getpriority, 0, 0)), R("100", setpriority(0, 0, 100)), R("is", getpriority(0, 0));
    R("affinity of 0 bytes", S(SYS_sched_getaffinity, 0, 0, buffer)), R("of 4", S(SYS_sched_getaffinity, 0, 4, buffer)), R("of 9", S(SYS_sched_getaffinity, 0, 9, buffer)), R("of 8", S(SYS_sched_getaffinity, 0, 8, buffer)), R("bad", S(SYS_sched_getaffinity, 0, 8, BAD)), memset(buffer, 0, 8), R("no processor", S(SYS_sched_setaffinity, 0, 8, buffer)), R("0 bytes", S(SYS_sched_setaffinity, 0, 0, buffer)), buffer[0] = 1, R("first", S(SYS_sched_setaffinity, 0, 1, buffer)), R("bad", S(SYS_sched_setaffinity, 0, 8, BAD));
    R("ioprio kind", S(SYS_ioprio_get, 9, 0)), R("class 4", S(SYS_ioprio_set, 1, 0, 4 << 13)), R("idle", S(SYS_ioprio_set, 1, 0, 3 << 13)), R("told", S(SYS_ioprio_get, 1, 0)), R("none with 1", S(SYS_ioprio_set, 1, 0, 1)), R("of nobody", S(SYS_ioprio_get, 1, 4000000));
    unsigned cpu = 9, node = 9;
    R("getcpu", S(SYS_getcpu, &cpu, &node, 0)), printf("%u\n", node), R("of nothing", S(SYS_getcpu, 0, 0, 0)), R("bad", S(SYS_getcpu, BAD, 0, 0));
}

static void limited(void) {
    struct rlimit r, l;
    for (int i = -1; i < 18; i++) R("limit", prlimit(0, i, 0, &r));
    R("both null", S(SYS_prlimit64, 0, 7, 0, 0)), R("bad", S(SYS_prlimit64, 0, 7, 0, BAD)), R("bad new", S(SYS_prlimit64, 0, 7, BAD, 0)), R("of nobody", S(SYS_prlimit64, 4000000, 7, 0, &r)), R("of -1", S(SYS_prlimit64, -1, 7, 0, &r)), l = (struct rlimit){5, 4}, R("soft above hard", prlimit(0, RLIMIT_CORE, &l, 0)), l = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY}, R("all descriptors", setrlimit(RLIMIT_NOFILE, &l));
    fflush(stdout);
    pid_t child = fork();
    if (!child) pause(), _exit(0);
    l = (struct rlimit){11, 12}, R("of a child", prlimit(child, RLIMIT_CORE, &l, &r)), R("read back", prlimit(child, RLIMIT_CORE, 0, &r)), printf("%ld %ld\n", (long)r.rlim_cur, (long)r.rlim_max), getrlimit(RLIMIT_CORE, &r), printf("own %d\n", r.rlim_max != 12), kill(child, 9), waitpid(child, 0, 0);
    struct rusage u;
    for (int i = -3; i < 3; i++) R("usage", getrusage(i, &u));
    R("usage bad", S(SYS_getrusage, 0, BAD)), R("sysinfo bad", S(SYS_sysinfo, BAD)), R("uname bad", S(SYS_uname, BAD));
    struct sysinfo s;
    sysinfo(&s), printf("unit %u, processes %d, swap %d, high %ld, total %d\n", s.mem_unit, s.procs > 0, s.freeswap <= s.totalswap, (long)s.totalhigh, s.freeram + s.bufferram + s.sharedram < s.totalram);
    struct utsname n;
    uname(&n), printf("%s %s %s\n", n.sysname, n.machine, n.domainname);
    R("random", S(SYS_getrandom, buffer, 10, 7)), R("both", S(SYS_getrandom, buffer, 10, 6)), R("insecure", S(SYS_getrandom, buffer, 10, 4)), R("nothing", S(SYS_getrandom, 0, 0, 0)), R("nowhere", S(SYS_getrandom, BAD, 1, 0)), R("in part", S(SYS_getrandom, buffer, 300, 3));
}

static void polled(void) {
    static fd_set in[64];
    int p[2];
    struct timeval t = {0, 0}, bad = {0, 1000000}, negative = {-1, 0};
    pipe(p), memset(in, 0, sizeof in), FD_SET(p[0], in), write(p[1], "x", 1);
    R("select -1", select(-1, in, 0, 0, &t)), R("select far", select(4096, in, 0, 0, &t)), FD_SET(p[0], in), R("select farther", S(SYS_select, 1 << 20, in, 0, 0, &t)), R("select all", S(SYS_select, INT_MAX, in, 0, 0, &t)), memset(in, 0, sizeof in), FD_SET(1000, in), R("select of none", select(1024, in, 0, 0, &t)), memset(in, 0, sizeof in), ((char *)in)[3000] = 1, R("beyond the table", S(SYS_select, 32000, in, 0, 0, &t)), R("is", ((char *)in)[3000]), R("select usec", select(0, 0, 0, 0, &bad)), R("select negative", select(0, 0, 0, 0, &negative)), R("bad", select(p[0] + 1, BAD, 0, 0, &t)), R("bad time", S(SYS_select, 0, 0, 0, 0, BAD));
    R("pselect nsec", S(SYS_pselect6, 0, 0, 0, 0, T(0, 1000000000), 0)), R("pselect of 4", S(SYS_pselect6, 0, 0, 0, 0, T(0, 0), ((long[]){(long)in, 4}))), R("no set", S(SYS_pselect6, 0, 0, 0, 0, T(0, 0), ((long[]){0, 4}))), R("bad", S(SYS_pselect6, 0, 0, 0, 0, T(0, 0), 8));
    struct pollfd w[3] = {{p[0], POLLIN | POLLRDNORM | 0x4000}, {-5, POLLIN, 77}, {900, POLLIN}};
    R("poll", poll(w, 3, 0)), printf("%x %x %x\n", w[0].revents, w[1].revents, w[2].revents), R("poll of many", S(SYS_poll, w, 1 << 21, 0)), R("poll bad", S(SYS_poll, BAD, 1, 0)), R("ppoll nsec", S(SYS_ppoll, w, 1, T(0, -1), 0, 8)), R("ppoll of 4", S(SYS_ppoll, w, 1, T(0, 0), in, 4)), R("without a set", S(SYS_ppoll, w, 1, T(0, 0), 0, 4)), R("negative", S(SYS_ppoll, w, 1, T(-1, 0), 0, 8));
    int e = epoll_create1(0);
    struct epoll_event v = {EPOLLIN, {1}}, got[2];
    R("create 0", epoll_create(0)), R("create -1", epoll_create(-1)), R("ctl 0", epoll_ctl(e, 0, p[0], &v)), R("ctl 4", epoll_ctl(e, 4, p[0], &v)), R("delete none", epoll_ctl(e, EPOLL_CTL_DEL, p[0], 0)), R("mod none", epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v)), R("add", epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v)), R("again", epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v)), R("itself", epoll_ctl(e, EPOLL_CTL_ADD, e, &v)), R("add bad", epoll_ctl(e, EPOLL_CTL_ADD, p[1], BAD)), R("delete bad", epoll_ctl(e, EPOLL_CTL_DEL, p[1], BAD)), R("none", epoll_ctl(e, EPOLL_CTL_ADD, 900, &v)), R("wait of 0", epoll_wait(e, got, 0, 0)), R("of -1", epoll_wait(e, got, -1, 0)), R("of many", epoll_wait(e, got, INT_MAX, 0)), R("bad", epoll_wait(e, BAD, 1, 0)), R("pwait of 4", S(SYS_epoll_pwait, e, got, 1, 0, in, 4)), R("no set", S(SYS_epoll_pwait, e, got, 1, 0, 0, 4)), R("pwait2", S(441, e, got, 1, T(0, 1), 0, 0)), R("nsec", S(441, e, got, 1, T(0, 1000000000), 0, 0)), R("negative", S(441, e, got, 1, T(-1, 0), 0, 0)), R("time bad", S(441, e, got, 1, 8, 0, 0)), R("set of 4", S(441, e, got, 1, T(0, 0), in, 4));
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN);
    // A child, because the first process of a machine is like no other.
    CHILD(clocks(), waits(), scheduled(), limited(), polled());
}
