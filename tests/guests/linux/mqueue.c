/* POSIX message queues, one rule a line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void told(const char *what, long result) {
    if (result < 0) printf("%s %s\n", what, strerrorname_np(errno));
    else printf("%s %ld\n", what, result);
}

static void took(const char *what, mqd_t q, size_t room) {
    char b[9000];
    unsigned priority = 99;
    ssize_t n = mq_receive(q, b, room, &priority);
    if (n < 0) printf("%s %s\n", what, strerrorname_np(errno));
    else printf("%s \"%.*s\" priority %u\n", what, (int)n, b, priority);
}

static struct timespec in_ms(long ms) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static volatile sig_atomic_t caught;
static siginfo_t last;
static void handler(int n, siginfo_t *info, void *c) { caught++; last = *info; }

static sem_t heard;
static void in_thread(union sigval v) { printf("thread hears %d\n", v.sival_int); sem_post(&heard); }

static void action(int flags) {
    struct sigaction a = { 0 };
    a.sa_sigaction = handler;
    a.sa_flags = SA_SIGINFO | flags;
    sigaction(SIGUSR1, &a, 0);
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    mq_unlink("/ebb-q");
    struct mq_attr attr = { 0, 3, 16 }, got;
    told("open what is not there", mq_open("/ebb-q", O_RDWR));
    told("slash within", mq_open("/a/b", O_RDWR | O_CREAT, 0600, 0));
    told("dot", mq_open("/.", O_RDWR | O_CREAT, 0600, 0));
    told("empty", mq_open("/", O_RDWR | O_CREAT, 0600, 0));
    char longest[300];
    memset(longest, 'x', 299); longest[0] = '/'; longest[299] = 0;
    told("too long", mq_open(longest, O_RDWR | O_CREAT, 0600, 0));
    struct mq_attr wrong = { 0, 0, 16 };
    told("no messages", mq_open("/ebb-q", O_RDWR | O_CREAT, 0600, &wrong));
    wrong = (struct mq_attr){ 0, 3, -1 };
    told("no size", mq_open("/ebb-q", O_RDWR | O_CREAT, 0600, &wrong));
    wrong = (struct mq_attr){ 0, 65537, 16 };
    told("too many", mq_open("/ebb-q", O_RDWR | O_CREAT, 0600, &wrong));
    mqd_t q = mq_open("/ebb-q", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
    printf("opened %d\n", q >= 0);
    told("again exclusively", mq_open("/ebb-q", O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    printf("close on exec %d\n", fcntl(q, F_GETFD));
    mq_getattr(q, &got);
    printf("attributes %ld %ld %ld %ld\n", got.mq_flags, got.mq_maxmsg, got.mq_msgsize, got.mq_curmsgs);
    told("empty queue", mq_receive(q, longest, 16, 0));
    printf("poll %x\n", ({ struct pollfd p = { q, POLLIN | POLLOUT }; poll(&p, 1, 0); p.revents; }));
    told("send", mq_send(q, "low", 3, 1));
    told("send", mq_send(q, "high", 4, 7));
    told("send", mq_send(q, "low two", 7, 1));
    told("full", mq_send(q, "x", 1, 0));
    printf("poll %x\n", ({ struct pollfd p = { q, POLLIN | POLLOUT }; poll(&p, 1, 0); p.revents; }));
    told("too long", mq_send(q, "12345678901234567", 17, 0));
    told("priority", mq_send(q, "x", 1, 32768));
    mq_getattr(q, &got);
    printf("there are %ld\n", got.mq_curmsgs);
    took("small buffer", q, 15);
    took("first", q, 16);
    took("second", q, 16);
    took("third", q, 16);
    told("empty message", mq_send(q, "", 0, 0));
    took("empty message", q, 16);
    mqd_t r = mq_open("/ebb-q", O_RDONLY), w = mq_open("/ebb-q", O_WRONLY);
    told("send to a reader", mq_send(r, "x", 1, 0));
    took("receive from a writer", w, 16);
    told("not a queue", mq_send(1, "x", 1, 0));
    told("mq_open with 3", mq_open("/ebb-q", 3));
    struct timespec bad = { 0, 1000000000 }, soon;
    told("bad time", mq_timedreceive(q, longest, 16, 0, &bad));
    soon = in_ms(100);
    told("in time", mq_timedreceive(r, longest, 16, 0, &soon));
    soon = in_ms(-1000);
    told("past time", mq_timedreceive(r, longest, 16, 0, &soon));
    for (int i = 0; i < 3; i++) mq_send(q, "f", 1, 0);
    soon = in_ms(50);
    told("full in time", mq_timedsend(w, "x", 1, 0, &soon));
    struct mq_attr set = { O_NONBLOCK, 9, 9, 9 };
    mq_setattr(w, &set, &got);
    printf("was %ld\n", got.mq_flags);
    told("full", mq_send(w, "x", 1, 0));
    set.mq_flags = 0; mq_setattr(w, &set, 0);
    set.mq_flags = 1;
    told("other flags", syscall(SYS_mq_getsetattr, w, &set, 0));

    /* Waiting. */
    pid_t child = fork();
    if (!child) { usleep(50000); char b[16]; mq_receive(q, b, 16, 0); _exit(0); }
    told("room comes", mq_send(w, "last", 4, 9));
    wait(0);
    took("the last is first", q, 16);
    while (mq_receive(q, longest, 16, 0) >= 0) ;
    child = fork();
    if (!child) { usleep(50000); mq_send(w, "came", 4, 2); _exit(0); }
    took("a message comes", r, 16);
    wait(0);
    action(0);
    child = fork();
    if (!child) { usleep(50000); kill(getppid(), SIGUSR1); _exit(0); }
    told("interrupted", mq_receive(r, longest, 16, 0));
    wait(0);
    action(SA_RESTART);
    child = fork();
    if (!child) { usleep(50000); kill(getppid(), SIGUSR1); usleep(50000); mq_send(w, "after", 5, 0); _exit(0); }
    soon = in_ms(5000);
    told("made again", mq_timedreceive(r, longest, 16, 0, &soon));
    wait(0);

    /* Notices. */
    struct sigevent e = { 0 };
    e.sigev_notify = SIGEV_SIGNAL; e.sigev_signo = SIGUSR1; e.sigev_value.sival_int = 42;
    caught = 0;
    told("notify", mq_notify(q, &e));
    told("again", mq_notify(q, &e));
    child = fork();
    if (!child) { told("another", mq_notify(q, &e)); _exit(0); }
    wait(0);
    child = fork();
    if (!child) { mq_send(w, "n", 1, 0); _exit(0); }
    waitpid(child, 0, 0);
    printf("told %d code %d value %d by the sender %d\n", caught, last.si_code, last.si_value.sival_int, last.si_pid == child);
    mq_send(w, "n", 1, 0);
    printf("once %d\n", caught);
    told("notify with messages there", mq_notify(q, &e));
    mq_send(w, "n", 1, 0);
    printf("not told %d\n", caught);
    while (mq_receive(q, longest, 16, 0) >= 0) ;
    told("forget", mq_notify(q, 0));
    mq_send(w, "n", 1, 0);
    printf("not told %d\n", caught);
    while (mq_receive(q, longest, 16, 0) >= 0) ;
    told("notify", mq_notify(q, &e));
    child = fork();
    if (!child) { mq_receive(r, longest, 16, 0); _exit(0); }
    usleep(50000);
    mq_send(w, "n", 1, 0);
    wait(0);
    printf("a receiver was there: not told %d\n", caught);
    mq_send(w, "n", 1, 0);
    printf("told %d\n", caught);
    while (mq_receive(q, longest, 16, 0) >= 0) ;
    e.sigev_notify = 77;
    told("notify how", mq_notify(q, &e));
    e.sigev_notify = SIGEV_SIGNAL; e.sigev_signo = 65;
    told("notify by 65", mq_notify(q, &e));
    e.sigev_notify = SIGEV_NONE;
    told("nothing", mq_notify(q, &e));
    e.sigev_signo = SIGUSR1; e.sigev_notify = SIGEV_SIGNAL;
    told("taken", mq_notify(q, &e));
    told("forget", mq_notify(q, 0));
    sem_init(&heard, 0, 0);
    e = (struct sigevent){ 0 };
    e.sigev_notify = SIGEV_THREAD; e.sigev_notify_function = in_thread; e.sigev_value.sival_int = 7;
    told("thread", mq_notify(q, &e));
    mq_send(w, "t", 1, 0);
    sem_wait(&heard);

    /* Names, limits, permissions. */
    told("unlink", mq_unlink("/ebb-q"));
    told("again", mq_unlink("/ebb-q"));
    took("still there", q, 16);
    told("close", mq_close(q));
    told("closed", mq_send(q, "x", 1, 0));
    mq_close(r); mq_close(w);
    struct rlimit limit = { 1000, 819200 };
    setrlimit(RLIMIT_MSGQUEUE, &limit);
    attr = (struct mq_attr){ 0, 10, 100 };
    told("beyond the limit", mq_open("/ebb-l", O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){ 0, 1, 100 };
    printf("within %d\n", mq_open("/ebb-l", O_RDWR | O_CREAT, 0640, &attr) >= 0);
    child = fork();
    if (!child) {
        setresuid(1000, 1000, 1000);
        told("another's", mq_open("/ebb-l", O_RDONLY));
        told("another's name", mq_unlink("/ebb-l"));
        limit = (struct rlimit){ 819200, 819200 };
        setrlimit(RLIMIT_MSGQUEUE, &limit);
        attr = (struct mq_attr){ 0, 11, 8 };
        told("more than usual", mq_open("/ebb-u", O_RDWR | O_CREAT, 0600, &attr));
        _exit(0);
    }
    wait(0);
    mq_unlink("/ebb-l");
    return 0;
}
