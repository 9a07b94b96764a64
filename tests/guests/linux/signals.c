// Signals that queue: how many, in which order, with what, and what becomes of those that have no room; timers that come due unheard.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fails(long r) { return r < 0 ? -errno : 0; }
static int queue(int sig, int value) { return fails(sigqueue(getpid(), sig, (union sigval){.sival_int = value})); }
static sigset_t all;

static void taken(const char *what) {
    siginfo_t i;
    struct timespec none = {0};
    int n = 0;
    printf("%s:", what);
    for (int s; (s = sigtimedwait(&all, &i, &none)) > 0; n++)
        if (n < 12) printf(" %d%s%d/%d", s < SIGRTMIN ? s : s - SIGRTMIN, s < SIGRTMIN ? ":" : "rt", i.si_value.sival_int, i.si_code);
    printf(", %d\n", n);
}

static volatile int handled, order[64];
static void handler(int s, siginfo_t *i, void *c) { order[handled++ & 63] = i->si_value.sival_int; }

static void limits(void) {
    for (int soft = 3; soft >= 0; soft -= 3) {
        struct rlimit l = {soft, 100};
        setrlimit(RLIMIT_SIGPENDING, &l);
        printf("room for %d:", soft);
        for (int i = 0; i < 5; i++) printf(" %d", queue(SIGRTMIN, i));
        printf(", kill %d, tgkill %d, usr1 %d %d\n", fails(kill(getpid(), SIGRTMIN + 4)), fails(syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN + 4)), fails(kill(getpid(), SIGUSR1)), queue(SIGUSR1, 5));
        taken("taken");
    }
}

static void barriers(void) {
    printf("a barrier before it is registered for: %d", fails(syscall(SYS_membarrier, 8, 0, 0)));
    printf(", registered: %d", fails(syscall(SYS_membarrier, 16, 0, 0))), printf(" %d", fails(syscall(SYS_membarrier, 8, 0, 0)));
    printf(", no command %d, flags %d\n", fails(syscall(SYS_membarrier, 3, 0, 0)), fails(syscall(SYS_membarrier, 1, 2, 0)));
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    sigfillset(&all), sigprocmask(SIG_BLOCK, &all, 0);
    for (int i = 0; i < 5; i++) queue(SIGRTMIN + 3, i), queue(SIGRTMIN + 1, 10 + i), queue(SIGUSR1, 20 + i);
    kill(getpid(), SIGRTMIN + 1), kill(getpid(), SIGUSR2), kill(getpid(), SIGUSR2);
    taken("the lowest first, each in its order");
    for (int i = 0; i < 1000; i++) queue(SIGRTMIN, i);
    taken("a thousand");
    // A handler gets them one after another.
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | 0x100000};
    sigaction(SIGRTMIN + 5, &a, 0), sigaction(SIGRTMIN + 5, 0, &a);
    printf("flags that are kept: %#x\n", a.sa_flags & ~0x4000000);
    for (int i = 0; i < 6; i++) queue(SIGRTMIN + 5, i);
    sigset_t one;
    sigemptyset(&one), sigaddset(&one, SIGRTMIN + 5), sigprocmask(SIG_UNBLOCK, &one, 0);
    printf("handled %d:", handled);
    for (int i = 0; i < handled; i++) printf(" %d", order[i]);
    puts(""), sigprocmask(SIG_BLOCK, &one, 0);
    // What is ignored leaves the queue.
    for (int i = 0; i < 3; i++) queue(SIGRTMIN + 6, i);
    signal(SIGRTMIN + 6, SIG_IGN), signal(SIGRTMIN + 6, SIG_DFL), taken("ignored for a moment");
    // To one thread, and to the process: the thread's own first.
    syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN + 2), queue(SIGRTMIN + 2, 1), queue(SIGRTMIN, 2), taken("a thread's and a process'");
    // As many as may be: all of a user's count, so it is one who has none.
    if (!fork()) setuid(4321), limits(), _exit(0);
    wait(0);
    sigtimedwait(&all, 0, &(struct timespec){0});
    // A signalfd gives several at once.
    int f = signalfd(-1, &all, 0);
    for (int i = 0; i < 3; i++) queue(SIGRTMIN + i, 7 + i), queue(SIGRTMIN, 1);
    struct signalfd_siginfo si[10];
    int n = read(f, si, sizeof si) / (int)sizeof *si;
    printf("signalfd:");
    for (int i = 0; i < n; i++) printf(" %d=%d", si[i].ssi_signo - SIGRTMIN, si[i].ssi_int);
    puts(""), close(f);
    // A timer sends one signal until that is taken, and counts.
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 7, .sigev_value.sival_int = 99};
    struct itimerspec every = {{0, 1000000}, {0, 1000000}}, off = {{0}};
    timer_t t;
    timer_create(CLOCK_MONOTONIC, &e, &t), timer_settime(t, 0, &every, 0);
    usleep(100000);
    siginfo_t i;
    sigemptyset(&one), sigaddset(&one, SIGRTMIN + 7), sigwaitinfo(&one, &i);
    int told = i.si_overrun, asked = timer_getoverrun(t);
    printf("timer: value %d code %d, overruns told %d, the same asked for %d\n", i.si_value.sival_int, i.si_code, told > 20 && told < 20000, told == asked);
    timer_settime(t, 0, &off, 0), timer_delete(t);
    struct timespec none = {0};
    while (sigtimedwait(&all, &i, &none) > 0) {}
    // Timers of the time that a process or a thread runs, by its number.
    clockid_t own;
    clock_getcpuclockid(0, &own), printf("own time: %d", fails(timer_create(own, &e, &t))), timer_delete(t);
    pthread_getcpuclockid(pthread_self(), &own), printf(" %d", fails(timer_create(own, &e, &t))), timer_delete(t);
    printf(" %d, sleeping by it %d\n", fails(timer_create(CLOCK_MONOTONIC_COARSE, &e, &t)), -clock_nanosleep(own, 0, &(struct timespec){0, 1}, 0));
    // A child has none of its parent's, and limits and registrations of its own.
    queue(SIGRTMIN, 4);
    fflush(stdout);
    if (!fork()) taken("in the child"), barriers(), _exit(0);
    wait(0), taken("in the parent");
    printf("sizes of sets: %d %d %d\n", fails(syscall(SYS_rt_sigpending, &one, 4)), fails(syscall(SYS_rt_sigpending, &one, 8)), fails(syscall(SYS_rt_sigpending, &one, 16)));
}
