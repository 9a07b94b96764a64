// Waiting for children: all kinds of news, pidfds, reapers, and groups that nobody looks after.
#include "checks.h"

// What a child does at once; else it ends with this status, or by a signal.
#define WAITS -1
#define STOPS -2
#define BY_SIGNAL 1000

static siginfo_t info;
static int status;

static int child(int does) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid) return pid;
    if (does == WAITS) pause();
    if (does == STOPS) {
        raise(SIGSTOP);
        nap(20);
        _exit(7);
    }
    if (does >= BY_SIGNAL) raise(does - BY_SIGNAL);
    _exit(does);
}

// A check of a call that gives `info`.
static void tells(const char *what, int result) {
    if (result < 0)
        printf("%s: -%s\n", what, strerrorname_np(errno));
    else
        printf("%s: %d signo %d code %d status %d pid %s uid %d\n", what, result, info.si_signo, info.si_code,
               info.si_status, info.si_pid ? "set" : "0", info.si_uid);
    fflush(stdout);
}

#define W(what, kind, id, options) tells(what, waitid(kind, id, &info, options))

static void print_status(void) { printf("%x\n", status); }

static void kill_and_reap(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
}

static void news_may_stay(void) {
    struct rusage usage;
    pid_t pid = child(3);
    memset(&info, 0x55, sizeof info);
    W("wnowait", P_PID, pid, WEXITED | WNOWAIT);
    memset(&info, 0, sizeof info);
    W("again", P_PID, pid, WEXITED | WNOWAIT | WNOHANG);
    R("wait4", wait4(pid, &status, 0, &usage) == pid);
    print_status();
    R("gone", wait4(pid, &status, 0, 0));
    W("gone", P_PID, pid, WEXITED);
}

static void stops_and_goes_on(void) {
    memset(&info, 0x55, sizeof info);
    pid_t pid = child(WAITS);
    W("nohang", P_PID, pid, WEXITED | WNOHANG);
    R("w4 nohang", wait4(pid, &status, WNOHANG, 0));
    kill(pid, SIGSTOP);
    memset(&info, 0, sizeof info);
    W("stopped", P_PID, pid, WSTOPPED);
    W("stopped nohang", P_PID, pid, WSTOPPED | WNOHANG);
    kill(pid, SIGCONT);
    W("cont nowait", P_PID, pid, WCONTINUED | WNOWAIT);
    R("w4 cont", waitpid(pid, &status, WCONTINUED) == pid);
    printf("%x %d\n", status, WIFCONTINUED(status));
    kill(pid, SIGSTOP);
    R("w4 untraced", waitpid(pid, &status, WUNTRACED) == pid);
    print_status();
    kill(pid, SIGKILL);
    W("killed", P_ALL, 0, WEXITED);
}

static void ends_by_signals(void) {
    child(BY_SIGNAL + SIGSEGV);
    W("segv", P_PGID, 0, WEXITED);
    child(BY_SIGNAL + SIGRTMIN + 1);
    waitpid(-1, &status, 0);
    print_status();
}

static void what_waiting_refuses(void) {
    R("no opts", waitid(P_ALL, 0, &info, 0));
    R("bad opts", waitid(P_ALL, 0, &info, WEXITED | 0x100));
    R("w4 bad", wait4(-1, &status, 0x100, 0));
    R("w4 wexited", wait4(-1, &status, WEXITED, 0));
    R("bad type", waitid(9, 0, &info, WEXITED));
    R("pid 0", waitid(P_PID, 0, &info, WEXITED));
    R("pid neg", waitid(P_PID, -5, &info, WEXITED));
    R("pgid neg", waitid(P_PGID, -5, &info, WEXITED));
    R("wait4 intmin", wait4(INT_MIN, &status, 0, 0));
    R("none", wait(&status));
    R("w4 -9999", wait4(-9999, &status, 0, 0));
}

static long send_by(int fd, int signal, siginfo_t *with, int flags) {
    return S(SYS_pidfd_send_signal, fd, signal, with, flags);
}

// A pidfd of a child, from its birth until it is reaped; gives the number that it had.
static pid_t pidfd_of_a_child(void) {
    pid_t pid = child(WAITS);
    int fd = S(SYS_pidfd_open, pid, 0);
    R("pidfd", fd >= 0);
    struct pollfd ready = {fd, POLLIN};
    R("poll", poll(&ready, 1, 0));
    R("send bad", send_by(fd, 99, 0, 0));
    R("send 0", send_by(fd, 0, 0, 0));
    R("flags", send_by(fd, 0, 0, 16));
    memset(&info, 0, sizeof info);
    info.si_signo = SIGTERM;
    info.si_code = SI_QUEUE;
    R("info", send_by(fd, SIGUSR1, &info, 0));
    R("send term", send_by(fd, SIGTERM, &info, 0));
    R("poll", poll(&ready, 1, 1000));
    printf("%x\n", ready.revents);
    W("P_PIDFD", P_PIDFD, fd, WEXITED | WNOWAIT);
    R("read", read(fd, &status, 4));
    R("signal zombie", send_by(fd, 0, 0, 0));
    W("P_PIDFD", P_PIDFD, fd, WEXITED);
    R("send gone", send_by(fd, 0, 0, 0));
    W("again", P_PIDFD, fd, WEXITED);
    return pid;
}

static void how_pidfds_are_opened(pid_t gone) {
    R("open bad pid", S(SYS_pidfd_open, 0, 0));
    R("neg", S(SYS_pidfd_open, -1, 0));
    R("flags", S(SYS_pidfd_open, getpid(), 1));
    R("gone", S(SYS_pidfd_open, gone, 0));
}

static void pidfd_of_this_process(void) {
    char text[300];
    struct stat stat;
    int fd = S(SYS_pidfd_open, getpid(), O_NONBLOCK);
    R("nonblock fl", fcntl(fd, F_GETFL));
    R("cloexec", fcntl(fd, F_GETFD));
    W("not child", P_PIDFD, fd, WEXITED);
    pid_t pid = child(WAITS);
    W("nonblock wait", P_PIDFD, S(SYS_pidfd_open, pid, O_NONBLOCK), WEXITED);
    kill_and_reap(pid);
    sprintf(text, "/proc/self/fdinfo/%d", fd);
    int length = read(open(text, O_RDONLY), text, sizeof text - 1);
    text[length] = 0;
    char *line = strstr(text, "Pid");
    printf("%d\n", line && atoi(line + 4) == getpid());
    printf("NSpid %d\n", !!strstr(text, "NSpid"));
    fstat(fd, &stat);
    printf("mode %o\n", stat.st_mode & S_IFMT);
}

// The child of a child: it has another parent when its own has ended, and writes which.
static void tells_its_new_parent(int to) {
    pid_t own = getppid();
    for (int tries = 0; getppid() == own && tries < 100; tries++) nap(5);
    pid_t parent = getppid();
    write(to, &parent, sizeof parent);
    _exit(9);
}

static void a_reaper_of_orphans(void) {
    int is_reaper = -1, ends[2];
    R("get", prctl(PR_GET_CHILD_SUBREAPER, &is_reaper));
    printf("%d\n", is_reaper);
    R("set", prctl(PR_SET_CHILD_SUBREAPER, 5));
    prctl(PR_GET_CHILD_SUBREAPER, &is_reaper);
    printf("%d\n", is_reaper);
    pipe(ends);
    // What waits to be printed is printed by both.
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_GET_CHILD_SUBREAPER, &is_reaper);
        printf("inherited %d\n", is_reaper);
        fflush(stdout);
        if (!fork()) tells_its_new_parent(ends[1]);
        nap(5);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    pid_t parent;
    read(ends[0], &parent, sizeof parent);
    R("orphan to us", parent == getpid());
    R("wait", wait(&status) > 0);
    print_status();
}

static void children_that_nobody_waits_for(void) {
    signal(SIGCHLD, SIG_IGN);
    R("ign wait", waitpid(child(1), &status, 0));
    child(1);
    nap(20);
    R("ign wait -1", wait(&status));
    signal(SIGCHLD, SIG_DFL);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &action, 0);
    R("nocldwait", waitpid(child(1), &status, 0));
    action.sa_flags = 0;
    sigaction(SIGCHLD, &action, 0);
}

static void what_the_signal_tells(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, 0);
#define NEWS(what) tells(what, sigwaitinfo(&set, &info) > 0 ? 0 : -1)
    pid_t pid = child(4);
    NEWS("chld exit");
    printf("times %d\n", info.si_utime < 5 && info.si_stime < 5);
    waitpid(pid, 0, 0);
    pid = child(STOPS);
    NEWS("chld stop");
    kill(pid, SIGCONT);
    NEWS("chld cont");
    NEWS("chld exit");
    waitpid(pid, 0, 0);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    struct timespec moment = {0, 1000000};
    sigaction(SIGCHLD, &action, 0);
    pid = child(STOPS);
    waitpid(pid, &status, WUNTRACED);
    R("nocldstop", sigtimedwait(&set, &info, &moment));
    kill(pid, SIGCONT);
    NEWS("exit");
    waitpid(pid, 0, 0);
}

// A child whose end is told by this signal, or by none.
static pid_t clone_with(int signal) {
    pid_t pid = S(SYS_clone, signal, 0, 0, 0, 0);
    if (!pid) _exit(5);
    return pid;
}

static void children_of_another_signal(void) {
    pid_t pid = clone_with(0);
    nap(10);
    R("clone wait", waitpid(pid, &status, 0));
    R("WCLONE", waitpid(pid, &status, __WCLONE) == pid);
    signal(SIGUSR2, SIG_IGN);
    pid = clone_with(SIGUSR2);
    R("WALL", 0);
    R("wall", waitpid(pid, &status, __WALL) == pid);
}

static void addresses_that_are_none(void) {
    pid_t pid = child(2);
    R("efault", wait4(pid, (int *)8, 0, 0));
    R("after efault", waitpid(pid, &status, 0));
    pid = child(2);
    R("rusage efault", wait4(pid, &status, 0, (void *)8));
    R("after", waitpid(pid, &status, 0));
    pid = child(2);
    R("waitid efault", waitid(P_PID, pid, (void *)8, WEXITED));
    R("after", waitpid(pid, &status, 0));
}

static void groups_and_sessions(void) {
    pid_t pid = child(WAITS);
    setpgid(pid, pid);
    R("pgid", waitid(P_PGID, pid, &info, WEXITED | WNOHANG));
    kill(-pid, SIGTERM);
    W("pgid", P_PGID, pid, WEXITED);
    R("kill empty grp", kill(-pid, 0));
    R("kill -1 pgid", kill(-99999, 0));
    R("setpgid self neg", setpgid(0, -1));
    R("setpgid 99999", setpgid(0, 99999));
    R("getpgid", getpgid(99999));
    R("getsid", getsid(99999));
    R("getsid -1", getsid(-1));
    kill_and_reap(child(WAITS));
    CHILD(
        R("setsid", setsid() == getpid());
        R("again", setsid());
        R("setpgid leader", setpgid(0, 0))
    );
}

static void a_signal_at_the_parents_end(void) {
    int signal = -1;
    R("pd get", prctl(PR_GET_PDEATHSIG, &signal));
    printf("%d\n", signal);
    R("pd set", prctl(PR_SET_PDEATHSIG, 99));
    R("pd set", prctl(PR_SET_PDEATHSIG, -1));
    R("pd set", prctl(PR_SET_PDEATHSIG, 64));
    prctl(PR_GET_PDEATHSIG, &signal);
    printf("%d\n", signal);
    CHILD(prctl(PR_GET_PDEATHSIG, &signal); printf("in child %d\n", signal));
    R("efault", prctl(PR_GET_PDEATHSIG, 8));
}

static int report;
static void on_hangup(int signal) { write(report, "h", 1); }

// In a group of its own: is stopped, goes on, and is hung up.
static void goes_through_it(void) {
    setpgid(0, 0);
    raise(SIGTSTP);
    write(report, "t", 1);
    signal(SIGHUP, on_hangup);
    raise(SIGSTOP);
    write(report, "c", 1);
    _exit(0);
}

// A group that nobody looks after is not stopped by keys, and hears of it when its last guardian ends.
static void groups_that_nobody_looks_after(void) {
    int ends[2], length = 0, more;
    char text[9] = {0};
    pipe(ends);
    report = ends[1];
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        setsid();
        pid_t stopped = fork();
        if (!stopped) goes_through_it();
        nap(20);
        kill(stopped, SIGCONT);
        nap(30);
        _exit(0);
    }
    waitpid(pid, 0, 0);
    close(ends[1]);
    while ((more = read(ends[0], text + length, 8 - length)) > 0) length += more;
    printf("stopped, continued, hung up: %s\n", text);
    pipe(ends);
    fflush(stdout);
    pid = fork();
    if (!pid) {
        setsid();
        raise(SIGTSTP);
        write(ends[1], "x", 1);
        _exit(0);
    }
    close(ends[1]);
    R("orphans are not stopped", read(ends[0], text, 1));
    waitpid(pid, 0, 0);
}

int main(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    news_may_stay();
    stops_and_goes_on();
    ends_by_signals();
    what_waiting_refuses();
    how_pidfds_are_opened(pidfd_of_a_child());
    pidfd_of_this_process();
    a_reaper_of_orphans();
    children_that_nobody_waits_for();
    what_the_signal_tells();
    children_of_another_signal();
    addresses_that_are_none();
    groups_and_sessions();
    a_signal_at_the_parents_end();
    groups_that_nobody_looks_after();
    return 0;
}
