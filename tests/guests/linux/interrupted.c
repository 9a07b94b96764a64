// What a handler makes of a call that waits: which calls are made again with SA_RESTART, which are not, and what they say of
// the time that was left (signal(7), "Interruption of system calls and library functions by signal handlers").
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static void on_signal(int s) { (void)s; caught++; }
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

// Pairs that others write to late, and things that nothing happens to.
static int late[2], empty[2], limited[2], events, set, listener, locked, queue, semaphores, word;
static struct timespec span = {3, 0}, left;

static long do_read(void) { char c; return read(late[0], &c, 1); }
static long do_recvmsg(void) { char c; struct iovec v = {&c, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; return recvmsg(late[0], &m, 0); }
static long do_all(void) { char c[10]; return recv(late[0], c, 10, MSG_WAITALL); }
static long do_wait(void) { return waitpid(-1, 0, 0); }
static long do_limited(void) { char c; return read(limited[0], &c, 1); }
static long do_limited_accept(void) { return accept(listener, 0, 0); }
static long do_limited_recvmmsg(void) { char c; struct iovec v = {&c, 1}; struct mmsghdr m = {{.msg_iov = &v, .msg_iovlen = 1}}; return recvmmsg(limited[0], &m, 1, 0, 0); }
static long do_eventfd(void) { uint64_t n; return read(events, &n, 8); }
static long do_poll(void) { struct pollfd p = {empty[0], POLLIN}; return poll(&p, 1, 3000); }
static long do_ppoll(void) { struct pollfd p = {empty[0], POLLIN}; left = span; return syscall(SYS_ppoll, &p, 1, &left, 0, 8); }
static long do_select(void) { fd_set s; FD_ZERO(&s); FD_SET(empty[0], &s); struct timeval t = {3, 0}; long r = syscall(SYS_select, empty[0] + 1, &s, 0, 0, &t); left = (struct timespec){t.tv_sec, t.tv_usec * 1000}; return r; }
static long do_pselect(void) { fd_set s; FD_ZERO(&s); FD_SET(empty[0], &s); left = span; return syscall(SYS_pselect6, empty[0] + 1, &s, 0, 0, &left, 0); }
static long do_epoll(void) { struct epoll_event e; return epoll_wait(set, &e, 1, 3000); }
static long do_nanosleep(void) { return syscall(SYS_nanosleep, &span, &left); }
static long do_clock_nanosleep(void) { return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &span, &left); }
static long do_until(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); t.tv_sec += 3; return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, &left); }
static long do_one_place(void) { left = span; return syscall(SYS_nanosleep, &left, &left); }
static long do_futex(void) { return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &span, 0, 0); }
static long do_sigtimedwait(void) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); return sigtimedwait(&s, 0, &span); }
static long do_pause(void) { return pause(); }
static long do_semop(void) { struct sembuf b = {0, -1, 0}; return semop(semaphores, &b, 1); }
static long do_msgrcv(void) { struct { long type; char text[8]; } m; return msgrcv(queue, &m, 8, 0, 0); }
static long do_flock(void) { return flock(locked, LOCK_EX); }

static void run(const char *name, long (*call)(void), int restart) {
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &a, 0);
    pid_t helper = 0;
    // Ends what is made again.
    if (!(helper = fork())) {
        usleep(1500000);
        uint64_t one = 1;
        write(late[1], "0123456789", call == do_all ? 10 : 1);
        write(events, &one, 8);
        _exit(0);
    }
    left = (struct timespec){77, 77};
    caught = 0;
    struct itimerval t = {.it_value = {0, 150000}};
    setitimer(ITIMER_REAL, &t, 0);
    double begun = now();
    long r = call();
    int error = errno;
    int quick = now() - begun < 1.0;
    printf("%s%s: %s%s, %s", name, restart ? ", SA_RESTART" : "", r < 0 ? strerrorname_np(error) : "done", caught ? "" : " without a signal", quick ? "at the signal" : "later");
    if (left.tv_sec == 77) puts("");
    else puts(left.tv_sec == 2 ? ", 2 s and more are left" : left.tv_sec == 3 ? ", 3 s are left" : ", something else is left");
    fflush(stdout);
    // The next one begins with nothing there.
    kill(helper, SIGKILL);
    while (waitpid(helper, 0, 0) < 0 && errno == EINTR) {}
    char c[16];
    uint64_t n;
    fcntl(late[0], F_SETFL, O_NONBLOCK), fcntl(events, F_SETFL, O_NONBLOCK);
    while (read(late[0], c, sizeof c) > 0) {}
    read(events, &n, 8);
    fcntl(late[0], F_SETFL, 0), fcntl(events, F_SETFL, 0);
}

// A part has come when the handler runs.
static void part(int restart) {
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &a, 0);
    write(late[1], "abcde", 5);
    struct itimerval t = {.it_value = {0, 100000}};
    setitimer(ITIMER_REAL, &t, 0);
    char text[11] = "";
    long n = recv(late[0], text, 10, MSG_WAITALL);
    printf("MSG_WAITALL with a part%s: %ld %s\n", restart ? ", SA_RESTART" : "", n, text);
    // Two messages, of which the second does not come.
    struct iovec v[2] = {{text, 5}, {text + 5, 5}};
    struct mmsghdr m[2] = {{{.msg_iov = v, .msg_iovlen = 1}}, {{.msg_iov = v + 1, .msg_iovlen = 1}}};
    write(late[1], "fghij", 5);
    setitimer(ITIMER_REAL, &t, 0);
    n = recvmmsg(late[0], m, 2, 0, 0);
    printf("recvmmsg with one of two%s: %ld, %u bytes\n", restart ? ", SA_RESTART" : "", n, m[0].msg_len);
    fflush(stdout);
}

static void segv(int s) { (void)s; write(1, "SIGSEGV's handler runs on the usual stack\n", 42); _exit(0); }

// What is left of a limit where the call need not wait: something is there, or the limit is shorter than the look.
static void at_once(int how, int is_ready) {
    static const char *names[] = {"ppoll", "select", "pselect6"};
    int p[2];
    pipe(p);
    if (is_ready) write(p[1], "x", 1);
    struct timespec t = {is_ready ? 3 : 0, is_ready ? 0 : 1};
    struct timeval limit = {t.tv_sec, !is_ready};
    struct pollfd poller = {p[0], POLLIN};
    fd_set fds;
    FD_ZERO(&fds);
    FD_SET(p[0], &fds);
    long done = how == 0 ? syscall(SYS_ppoll, &poller, 1, &t, 0, 8)
        : how == 1 ? syscall(SYS_select, p[0] + 1, &fds, 0, 0, &limit)
        : syscall(SYS_pselect6, p[0] + 1, &fds, 0, 0, &t, 0);
    if (how == 1) t = (struct timespec){limit.tv_sec, limit.tv_usec * 1000};
    printf("%s that need not wait: %ld, %s\n", names[how], done, !t.tv_sec && !t.tv_nsec ? "nothing left" : t.tv_sec < 3 ? "less is left" : "all is left");
    close(p[0]), close(p[1]);
}

int main(void) {
    socketpair(AF_UNIX, SOCK_STREAM, 0, late);
    socketpair(AF_UNIX, SOCK_STREAM, 0, empty);
    socketpair(AF_UNIX, SOCK_STREAM, 0, limited);
    struct timeval limit = {3, 0};
    setsockopt(limited[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    events = eventfd(0, 0);
    set = epoll_create1(0);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un at = {AF_UNIX, "\0interrupted"};
    bind(listener, (struct sockaddr *)&at, sizeof at);
    listen(listener, 1);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    queue = msgget(IPC_PRIVATE, 0600);
    // Somebody holds the lock for a while.
    char path[] = "/tmp/interruptedXXXXXX";
    locked = mkstemp(path);
    static const struct { const char *name; long (*call)(void); } calls[] = {
        {"read", do_read}, {"recvmsg", do_recvmsg}, {"recv of all", do_all}, {"eventfd", do_eventfd}, {"waitpid", do_wait},
        {"read with a limit", do_limited}, {"accept with a limit", do_limited_accept}, {"recvmmsg with a limit", do_limited_recvmmsg},
        {"poll", do_poll}, {"ppoll", do_ppoll}, {"select", do_select}, {"pselect6", do_pselect}, {"epoll_wait", do_epoll},
        {"nanosleep", do_nanosleep}, {"clock_nanosleep", do_clock_nanosleep}, {"clock_nanosleep until", do_until},
        {"nanosleep in one place", do_one_place}, {"futex", do_futex}, {"sigtimedwait", do_sigtimedwait}, {"pause", do_pause},
        {"semop", do_semop}, {"msgrcv", do_msgrcv},
    };
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int restart = 0; restart < 2; restart++) run(calls[i].name, calls[i].call, restart);
    for (int restart = 0; restart < 2; restart++) {
        int ready[2];
        pipe(ready);
        pid_t holder = fork();
        if (!holder) {
            int own = open(path, O_RDWR);
            flock(own, LOCK_EX);
            write(ready[1], "x", 1);
            usleep(1500000);
            _exit(0);
        }
        char c;
        read(ready[0], &c, 1);
        run("flock", do_flock, restart);
        while (waitpid(holder, 0, 0) < 0 && errno == EINTR) {}
        flock(locked, LOCK_UN);
    }
    unlink(path);
    part(0), part(1);
    for (int how = 0; how < 3; how++) at_once(how, 0), at_once(how, 1);
    printf("the thread's processor time: %s\n", strerrorname_np(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &span, 0)));
    semctl(semaphores, 0, IPC_RMID), msgctl(queue, IPC_RMID, 0);
    fflush(stdout);
    // A handler whose own stack cannot be written.
    void *stack = mmap(0, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t own = {.ss_sp = stack, .ss_size = 65536};
    sigaltstack(&own, 0);
    struct sigaction a = {.sa_handler = segv};
    sigaction(SIGSEGV, &a, 0);
    a = (struct sigaction){.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &a, 0);
    raise(SIGUSR1);
    puts("back");
}
