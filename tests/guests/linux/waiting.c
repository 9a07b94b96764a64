// Random programs of calls that wait, disturbed by handlers, stops, timers and slow peers. Every byte and message is numbered:
// none may be lost, doubled or out of order, and what a call says must be what it did.
//
// `waiting [SEED [COUNT [FIRST]]]` prints a line for each program, the same on every kernel that is right. What depends on the moment
// (how much a call moved before a signal came) is checked here, by these rules:
// 1. A call that has moved something says how much; EINTR and EAGAIN mean that nothing was moved.
// 2. EINTR only where a handler ran, and with SA_RESTART only from calls that signal(7) says are never made again.
// 3. Without a disturbance a blocking write moves all, MSG_WAITALL too.
// 4. No time limit ends early; what is said to be left of it is no more than was asked, and no less than has not passed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BIG 200000
#define MS 1000000ull

// SplitMix64.
struct random { uint64_t state; };
static uint64_t next(struct random *r) {
    uint64_t x = r->state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}
static uint64_t below(struct random *r, uint64_t n) { return next(r) % n; }
// Small, medium and large ones.
static size_t size_of(struct random *r, size_t most) {
    static const size_t limits[] = {2, 100, 5000, 70000, BIG};
    size_t n = 1 + below(r, limits[below(r, 5)]);
    return n < most ? n : most;
}

enum { PIPE, FIFO, UNIX, TCP, SEQPACKET, DATAGRAM, EVENT, SLEEP, LIMIT, ACCEPT, CHILD, KINDS };
static const char *names[] = {"pipe", "fifo", "unix", "tcp", "seqpacket", "datagram", "eventfd", "sleep", "limit", "accept", "child"};
enum { HANDLERS = 1, RESTART = 2, STOPS = 4, TIMER = 8, SLOW = 16 };

static struct plan {
    int kind, how;
    uint64_t amount;
    struct random here, there;
} plan;
static const char *role = "";
static int program;
static volatile sig_atomic_t caught;

static void fault(const char *format, ...) {
    char text[300];
    va_list list;
    va_start(list, format);
    int n = snprintf(text, sizeof text, "program %d, %s of %s, how %d: ", program, role, names[plan.kind], plan.how);
    n += vsnprintf(text + n, sizeof text - n, format, list);
    va_end(list);
    if (n > (int)sizeof text - 2) n = sizeof text - 2;
    text[n++] = '\n';
    if (write(1, text, n) != n) _exit(2);
    _exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void on_signal(int s) { (void)s; caught++; }

// A process of the program: what disturbs it from within.
static void begin(const char *name) {
    role = name;
    // Nothing of this may last.
    alarm(60);
    if (plan.how & HANDLERS && plan.how & TIMER) {
        struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
        timer_t timer;
        struct itimerspec t = {{0, 3 * MS}, {0, 2 * MS}};
        if (timer_create(CLOCK_MONOTONIC, &e, &timer) || timer_settime(timer, 0, &t, 0)) fault("no timer");
    }
}

static void dawdle(struct random *r) {
    if (plan.how & SLOW && !below(r, 12)) usleep(below(r, 4000));
}

static int disturbed(void) { return plan.how & (HANDLERS | STOPS); }

// A call has failed. `timed` if it has a limit of its own.
static void failed(const char *call, int timed) {
    if (errno != EINTR) fault("%s: %s", call, strerror(errno));
    if (timed ? !disturbed() : !(plan.how & HANDLERS) || plan.how & RESTART) fault("%s: EINTR, which nothing explains", call);
}

static unsigned char number(uint64_t at) { return at ^ at >> 8 ^ at >> 16 ^ at * 7 >> 3; }

// ---- Bytes ----

static unsigned char buffer[BIG];

static void write_bytes(int out) {
    begin("writer");
    struct random *r = &plan.here;
    int socket = plan.kind == UNIX || plan.kind == TCP, file = memfd_create("bytes", 0);
    for (uint64_t at = 0; at < plan.amount; at += BIG) {
        size_t n = plan.amount - at < BIG ? plan.amount - at : BIG;
        for (size_t i = 0; i < n; i++) buffer[i] = number(at + i);
        if (write(file, buffer, n) != (ssize_t)n) fault("the file");
    }
    for (uint64_t at = 0; at < plan.amount;) {
        dawdle(r);
        size_t n = size_of(r, plan.amount - at);
        for (size_t i = 0; i < n; i++) buffer[i] = number(at + i);
        size_t third = n / 3;
        struct iovec parts[3] = {{buffer, third}, {buffer + third, third}, {buffer + 2 * third, n - 2 * third}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        struct mmsghdr two[2] = {{message}, {{.msg_iov = parts + 2, .msg_iovlen = 1}}};
        two[0].msg_hdr.msg_iovlen = 2;
        off_t offset = at;
        int blocks = 1;
        ssize_t done;
        const char *call;
        switch (below(r, socket ? 7 : 5)) {
        case 0: call = "write", done = write(out, buffer, n); break;
        case 1: call = "writev", done = writev(out, parts, 3); break;
        case 2:
            // A pipe gets what there is room for.
            blocks = socket;
            call = "sendfile", done = sendfile(out, file, &offset, n);
            if (offset != (off_t)(at + (done > 0 ? done : 0))) fault("sendfile: %zd, and the offset moved by %lld", done, (long long)(offset - at));
            break;
        case 3:
            blocks = 0;
            fcntl(out, F_SETFL, O_NONBLOCK);
            call = "write that does not wait", done = write(out, buffer, n);
            fcntl(out, F_SETFL, 0);
            if (done < 0 && errno == EAGAIN) {
                struct pollfd p = {out, POLLOUT};
                call = "poll", done = poll(&p, 1, -1);
                if (done < 0 && errno == EINTR && plan.how & HANDLERS) continue;
                if (done >= 0) continue;
            }
            break;
        case 4:
            if (socket) { call = "sendmsg", done = sendmsg(out, &message, 0); break; }
            call = "splice", done = splice(file, &offset, out, 0, n, 0), blocks = 0;
            if (done >= 0 && offset != (off_t)at + done) fault("splice: %zd, and the offset moved by %lld", done, (long long)(offset - at));
            break;
        case 5: call = "send", done = send(out, buffer, n, 0); break;
        default:
            if (!third) continue;
            call = "sendmmsg", done = sendmmsg(out, two, 2, 0);
            if (done > 0) done = two[0].msg_len + (done > 1 ? two[1].msg_len : 0);
        }
        if (done < 0) { failed(call, 0); continue; }
        if (done == 0 || done > (ssize_t)n) fault("%s of %zu: %zd", call, n, done);
        if (blocks && done < (ssize_t)n && !disturbed()) fault("%s of %zu moved %zd, and nothing disturbed it", call, n, done);
        at += done;
    }
    _exit(0);
}

static void read_bytes(int in) {
    begin("reader");
    struct random *r = &plan.there;
    int socket = plan.kind == UNIX || plan.kind == TCP;
    for (uint64_t at = 0;;) {
        dawdle(r);
        size_t n = size_of(r, BIG), half = n / 2;
        struct iovec parts[2] = {{buffer, half}, {buffer + half, n - half}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        struct pollfd p = {in, POLLIN};
        ssize_t done;
        int all = 0, peek = 0;
        const char *call;
        memset(buffer, 0xee, n);
        switch (below(r, socket ? 8 : 3)) {
        case 0: call = "read", done = read(in, buffer, n); break;
        case 1: call = "readv", done = readv(in, parts, 2); break;
        case 2:
            call = "poll", done = poll(&p, 1, -1);
            if (done < 0 && errno == EINTR && plan.how & HANDLERS) continue;
            if (done == 1) call = "read", done = read(in, buffer, n);
            break;
        case 3: call = "recv", done = recv(in, buffer, n, 0); break;
        case 4: call = "recvmsg", done = recvmsg(in, &message, 0); break;
        case 5: call = "recvmsg of all", all = 1, done = recvmsg(in, &message, MSG_WAITALL); break;
        case 6: call = "look", peek = 1, done = recv(in, buffer, n, MSG_PEEK); break;
        default: call = "recv of all", all = 1, done = recv(in, buffer, n, MSG_WAITALL);
        }
        if (done < 0) { failed(call, 0); continue; }
        if (done > (ssize_t)n) fault("%s of %zu: %zd", call, n, done);
        for (ssize_t i = 0; i < done; i++)
            if (buffer[i] != number(at + i)) fault("%s of %zu at %llu: byte %llu of %zd is wrong", call, n, (unsigned long long)at, (unsigned long long)(at + i), done);
        if (peek && done) continue;
        at += done;
        if (all && done < (ssize_t)n && !disturbed() && at < plan.amount) fault("%s of %zu: %zd, and nothing disturbed it", call, n, done);
        if (!done && at < plan.amount) fault("the end after %llu bytes of %llu", (unsigned long long)at, (unsigned long long)plan.amount);
        if (at > plan.amount) fault("more bytes than were written");
        if (!done) _exit(0);
    }
}

// ---- Messages, each whole or not at all ----

static size_t message_of(struct random *r, uint64_t n, unsigned char *to) {
    size_t size = 8 + below(r, 3000);
    memcpy(to, &n, 8);
    for (size_t i = 8; i < size; i++) to[i] = number(n * 3001 + i);
    return size;
}

static void write_messages(int out) {
    begin("writer");
    struct random *r = &plan.here, sizes = {plan.there.state};
    for (uint64_t n = 0; n < plan.amount; n++) {
        size_t size = message_of(&sizes, n, buffer);
        ssize_t done;
        do {
            dawdle(r);
            struct iovec parts[2] = {{buffer, 5}, {buffer + 5, size - 5}};
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
            uint64_t how = below(r, 4);
            done = how == 0 ? write(out, buffer, size) : how == 1 ? writev(out, parts, 2) : how == 2 ? send(out, buffer, size, 0) : sendmsg(out, &message, 0);
            if (done < 0) failed("sending", 0);
        } while (done < 0);
        if (done != (ssize_t)size) fault("a message of %zu: %zd", size, done);
    }
    _exit(0);
}

static void read_messages(int in) {
    begin("reader");
    struct random *r = &plan.here, sizes = {plan.there.state};
    static unsigned char right[4096];
    for (uint64_t n = 0; n < plan.amount; n++) {
        size_t size = message_of(&sizes, n, right);
        ssize_t done;
        do {
            dawdle(r);
            struct iovec parts[2] = {{buffer, 7}, {buffer + 7, 4089}};
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
            uint64_t how = below(r, 4);
            done = how == 0 ? read(in, buffer, 4096) : how == 1 ? readv(in, parts, 2) : how == 2 ? recv(in, buffer, 4096, 0) : recvmsg(in, &message, 0);
            if (done < 0) failed("receiving", 0);
        } while (done < 0);
        if (done != (ssize_t)size || memcmp(buffer, right, size)) fault("message %llu is not what was sent", (unsigned long long)n);
    }
    _exit(0);
}

// ---- Counters ----

static uint64_t count_of(struct random *r) { return below(r, 8) ? 1 + below(r, 1000) : ~0ull - 1 - below(r, 3); }

static void write_counts(int fd) {
    begin("writer");
    struct random *r = &plan.here, counts = {plan.there.state};
    for (uint64_t n = 0; n < plan.amount; n++) {
        uint64_t count = count_of(&counts);
        ssize_t done;
        while ((done = write(fd, &count, 8)) < 0) failed("write", 0);
        if (done != 8) fault("write: %zd", done);
        dawdle(r);
    }
    _exit(0);
}

static void read_counts(int fd) {
    begin("reader");
    struct random *r = &plan.here, counts = {plan.there.state};
    uint64_t left = 0;
    for (uint64_t n = 0; n < plan.amount; n++) left += count_of(&counts);
    // Modulo 2^64 on both sides; the writer is behind until all is there.
    while (left) {
        uint64_t count = 0;
        ssize_t done = read(fd, &count, 8);
        if (done < 0) { failed("read", 0); continue; }
        if (done != 8 || !count) fault("read: %zd", done);
        left -= count;
        dawdle(r);
    }
    _exit(0);
}

// ---- Time ----

static void sleeper(void) {
    begin("sleeper");
    struct random *r = &plan.here;
    for (uint64_t n = 0; n < plan.amount; n++) {
        uint64_t span = below(r, 15 * MS), begun = now();
        struct timespec t = {0, span}, left = {9, 9};
        int raw = below(r, 2);
        while (raw ? nanosleep(&t, &left) : (errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left))) {
            failed("sleep", 1);
            if (!(plan.how & HANDLERS)) fault("a stop ended a sleep");
            uint64_t rest = left.tv_sec * 1000 * MS + left.tv_nsec;
            // Linux adds the slack of timers, 50 us.
            if (left.tv_sec || rest > (uint64_t)t.tv_nsec + 100000) fault("of %ld ns are left %llu", t.tv_nsec, (unsigned long long)rest);
            if (rest + (now() - begun) + 1000 < span) fault("what is left is less than what has not passed");
            t = left;
        }
        if (now() - begun < span) fault("a sleep of %llu ns took %llu", (unsigned long long)span, (unsigned long long)(now() - begun));
    }
    _exit(0);
}

static void limited(void) {
    begin("waiter");
    struct random *r = &plan.here;
    int p[2], set = epoll_create1(0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, p);
    struct epoll_event event = {EPOLLIN};
    epoll_ctl(set, EPOLL_CTL_ADD, p[0], &event);
    // Full, so that it is not written to either.
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    while (write(p[0], buffer, 4096) > 0) {}
    fcntl(p[0], F_SETFL, 0);
    for (uint64_t n = 0; n < plan.amount; n++) {
        // Linux counts the limits of sockets in ticks, of which the first may be nearly over.
        uint64_t how = below(r, 13), tick = how < 8 ? 10 * MS : 0, span = tick + (1 + below(r, 12)) * MS, begun = now(), rest = ~0ull;
        struct timeval limit = {0, span / 1000};
        setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        struct iovec part = {buffer, 100};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        struct pollfd poller = {p[0], POLLIN};
        struct timespec t = {0, span};
        fd_set fds;
        FD_ZERO(&fds);
        FD_SET(p[0], &fds);
        ssize_t done = how == 0 ? read(p[0], buffer, 100)
            : how == 1 ? readv(p[0], &part, 1)
            : how == 2 ? recv(p[0], buffer, 100, MSG_WAITALL)
            : how == 3 ? recvmsg(p[0], &message, 0)
            : how == 4 ? write(p[0], buffer, 100)
            : how == 5 ? writev(p[0], &part, 1)
            : how == 6 ? send(p[0], buffer, 100, 0)
            : how == 7 ? sendmsg(p[0], &message, 0)
            : how == 8 ? poll(&poller, 1, span / MS)
            : how == 9 ? epoll_wait(set, &event, 1, span / MS)
            : how == 10 ? syscall(SYS_select, p[0] + 1, &fds, 0, 0, &limit)
            : how == 11 ? syscall(SYS_pselect6, p[0] + 1, &fds, 0, 0, &t, 0)
            : syscall(SYS_ppoll, &poller, 1, &t, 0, 8);
        if (how == 10) rest = limit.tv_usec * 1000;
        if (how >= 11) rest = t.tv_nsec;
        int late = how < 8 ? done < 0 && errno == EAGAIN : done == 0;
        uint64_t passed = now() - begun;
        if (late && passed + tick < span) fault("call %d ended %llu ns early", (int)how, (unsigned long long)(span - passed));
        if (late && how >= 10 && rest) fault("call %d was late, and has %llu ns left", (int)how, (unsigned long long)rest);
        if (!late && done < 0) failed("a call with a limit", 1);
        if (!late && done >= 0) fault("call %d: %zd", (int)how, done);
        if (!late && how >= 10 && (rest > span || rest + passed + 1000 < span)) fault("call %d: of %llu ns are left %llu after %llu", (int)how, (unsigned long long)span, (unsigned long long)rest, (unsigned long long)passed);
    }
    _exit(0);
}

// ---- Connections, each once and in order; children ----

static void connector(struct sockaddr_un *at) {
    begin("connector");
    for (uint64_t n = 0; n < plan.amount; n++) {
        dawdle(&plan.here);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        while (connect(s, (struct sockaddr *)at, sizeof *at)) failed("connect", 0);
        ssize_t done;
        while ((done = write(s, &n, 8)) < 0) failed("write", 0);
        if (done != 8) fault("write: %zd", done);
        close(s);
    }
    _exit(0);
}

static void acceptor(int listener) {
    begin("acceptor");
    for (uint64_t n = 0; n < plan.amount; n++) {
        int s;
        uint64_t got;
        dawdle(&plan.there);
        while ((s = accept(listener, 0, 0)) < 0) failed("accept", 0);
        ssize_t done;
        while ((done = read(s, &got, 8)) < 0) failed("read", 0);
        if (done != 8 || got != n) fault("connection %llu is %llu", (unsigned long long)n, (unsigned long long)got);
        close(s);
    }
    _exit(0);
}

static void parent(void) {
    begin("parent");
    for (uint64_t n = 0; n < plan.amount; n++) {
        unsigned nap = below(&plan.here, 3000);
        int status;
        pid_t child = fork(), got;
        if (!child) {
            uint64_t until = now() + nap * 1000ull;
            while (now() < until) {}
            _exit(n % 100);
        }
        while ((got = waitpid(child, &status, 0)) < 0) failed("waitpid", 0);
        if (got != child || !WIFEXITED(status) || WEXITSTATUS(status) != n % 100) fault("a child: status %x", status);
    }
    _exit(0);
}

// ---- The program ----

static pid_t start(void (*run)(int), int own, int other) {
    pid_t pid = fork();
    if (pid) return pid;
    if (other >= 0) close(other);
    run(own);
    _exit(3);
}

static void connected(int p[2]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    p[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1) || getsockname(listener, (struct sockaddr *)&at, &size)
        || connect(p[1], (struct sockaddr *)&at, size) || (p[0] = accept(listener, 0, 0)) < 0)
        fault("no connection: %s", strerror(errno));
    close(listener);
}

static struct sockaddr_un here;
static void run_connector(int unused) { (void)unused; connector(&here); }
static void run_sleeper(int unused) { (void)unused; sleeper(); }
static void run_limited(int unused) { (void)unused; limited(); }
static void run_parent(int unused) { (void)unused; parent(); }

// Disturbs processes from without until they have ended; whether all was right.
static int disturb(struct random *r, pid_t *pids, int count) {
    int right = 1, left = count;
    while (left) {
        if (disturbed()) usleep(300 + below(r, 3000));
        for (int i = 0; i < count; i++) {
            int status;
            if (!pids[i]) continue;
            pid_t got = waitpid(pids[i], &status, disturbed() ? WNOHANG : 0);
            if (got != pids[i]) continue;
            if (!WIFEXITED(status) || WEXITSTATUS(status)) {
                if (WIFSIGNALED(status)) printf("program %d: a process of %s, how %d, ended by signal %d\n", program, names[plan.kind], plan.how, WTERMSIG(status));
                right = 0;
                for (int k = 0; k < count; k++)
                    if (pids[k] && k != i) kill(pids[k], SIGKILL);
            }
            pids[i] = 0, left--;
        }
        pid_t victim = pids[below(r, count)];
        if (!victim || !disturbed()) continue;
        if (plan.how & STOPS && below(r, 2)) {
            kill(victim, SIGSTOP);
            if (below(r, 2)) usleep(below(r, 2000));
            kill(victim, SIGCONT);
        } else if (plan.how & HANDLERS) kill(victim, SIGUSR1);
    }
    return right;
}

static int run(uint64_t seed) {
    struct random r = {seed};
    plan.kind = below(&r, KINDS);
    plan.how = below(&r, 32);
    if (!(plan.how & HANDLERS)) plan.how &= ~(RESTART | TIMER);
    // Before there is anybody to get them.
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = plan.how & RESTART ? SA_RESTART : 0};
    sigaction(SIGUSR1, &a, 0);
    sigaction(SIGUSR2, &a, 0);
    plan.here.state = next(&r), plan.there.state = next(&r);
    static const int amounts[] = {1500000, 1500000, 1500000, 1500000, 300, 300, 300, 20, 20, 60, 20};
    plan.amount = 1 + below(&r, amounts[plan.kind]);
    int p[2] = {-1, -1}, count = 2;
    pid_t pids[2];
    char path[64];
    snprintf(path, sizeof path, "/tmp/waiting-%d-%d", (int)getpid(), program);
    void (*reader)(int) = read_bytes, (*writer)(int) = write_bytes;
    switch (plan.kind) {
    case PIPE: pipe(p); break;
    case FIFO:
        mkfifo(path, 0600);
        p[0] = open(path, O_RDONLY | O_NONBLOCK), p[1] = open(path, O_WRONLY);
        fcntl(p[0], F_SETFL, 0);
        unlink(path);
        break;
    case UNIX: socketpair(AF_UNIX, SOCK_STREAM, 0, p); break;
    case TCP: connected(p); break;
    case SEQPACKET: case DATAGRAM:
        socketpair(AF_UNIX, plan.kind == SEQPACKET ? SOCK_SEQPACKET : SOCK_DGRAM, 0, p);
        reader = read_messages, writer = write_messages;
        break;
    case EVENT: p[0] = eventfd(0, 0), p[1] = dup(p[0]), reader = read_counts, writer = write_counts; break;
    case SLEEP: count = 1, reader = run_sleeper; break;
    case LIMIT: count = 1, reader = run_limited; break;
    case CHILD: count = 1, reader = run_parent; break;
    case ACCEPT:
        here.sun_family = AF_UNIX;
        memset(here.sun_path, 0, sizeof here.sun_path);
        // Of no file.
        snprintf(here.sun_path + 1, sizeof here.sun_path - 1, "%s", path);
        p[0] = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(p[0], (struct sockaddr *)&here, sizeof here) || listen(p[0], 1 + below(&r, 5))) fault("bind");
        reader = acceptor, writer = run_connector;
    }
    fflush(stdout);
    pids[0] = start(reader, p[0], p[1]);
    if (count == 2) pids[1] = start(writer, p[1], p[0]);
    if (p[0] >= 0) close(p[0]);
    if (p[1] >= 0) close(p[1]);
    int right = disturb(&r, pids, count);
    printf("program %d: %llu of %s%s%s%s%s%s: %s\n", program, (unsigned long long)plan.amount, names[plan.kind],
        plan.how & HANDLERS ? ", handlers" : "", plan.how & RESTART ? " that restart" : "", plan.how & TIMER ? ", a timer" : "",
        plan.how & STOPS ? ", stops" : "", plan.how & SLOW ? ", slow" : "", right ? "right" : "WRONG");
    fflush(stdout);
    return right;
}

int main(int c, char **v) {
    uint64_t seed = c > 1 ? strtoull(v[1], 0, 0) : 1;
    int count = c > 2 ? atoi(v[2]) : 40, wrong = 0;
    signal(SIGPIPE, SIG_IGN);
    for (program = c > 3 ? atoi(v[3]) : 0; program < count; program++) {
        struct random r = {seed * 1000003 + program};
        wrong += !run(next(&r));
    }
    printf("%d programs, %d wrong\n", count, wrong);
    return wrong != 0;
}
