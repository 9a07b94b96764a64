// What do system calls cost? Built static and run unmodified in an image and in a Linux guest. Prints a line for each
// operation: `figure NAME NANOSECONDS`, the median of batches of at least 20 ms. With an argument it does each operation that
// often between two marks for the plugin that counts instructions, and prints `figure NAME 0`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 9
#define MIN_NS 20000000ull

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// How often each operation is done while its instructions are counted; 0 while it is timed.
static long counted;

static void mark(void) { __asm__ volatile("xchgw %%bx, %%bx" ::: "memory"); }

// `run` does an operation so often.
static void measure(const char *name, void (*run)(long)) {
    if (counted) {
        // What is done once, and translated once, first.
        run(counted / 10 + 1);
        mark();
        run(counted);
        mark();
        printf("figure %s 0\n", name);
        fflush(stdout);
        return;
    }
    long n = 16;
    for (;;) {
        uint64_t begun = now();
        run(n);
        uint64_t spent = now() - begun;
        if (spent > MIN_NS) break;
        n *= spent * 4 < MIN_NS ? 4 : 2;
    }
    double batches[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        uint64_t begun = now();
        run(n);
        batches[i] = (double)(now() - begun) / n;
    }
    qsort(batches, BATCHES, sizeof *batches, compare);
    printf("figure %s %.1f\n", name, batches[BATCHES / 2]);
    fflush(stdout);
}

static void null_call(long n) {
    while (n--) syscall(SYS_getppid);
}

// The shortest one that is not the answer to a question.
static void failing_call(long n) {
    while (n--) close(-1);
}

static int zero;

static void read_byte(long n) {
    char byte;
    while (n--) must(read(zero, &byte, 1) == 1, "read of /dev/zero");
}

static int file, written;

static void read_file(long n) {
    char byte;
    while (n--) must(pread(file, &byte, 1, 0) == 1, "pread of a file");
}

static void write_file(long n) {
    char byte = 0;
    while (n--) must(pwrite(written, &byte, 1, 0) == 1, "pwrite to a file");
}

static int self[2], pair[2], tcp[2];

// A byte into a descriptor and out of another, without a wait.
static void through(const int *ends, long n) {
    char byte = 0;
    while (n--) must(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1, "a byte through");
}

static void through_pipe(long n) { through(self, n); }
static void through_pair(long n) { through(pair, n); }

static void send_and_recv(long n) {
    char byte = 0;
    while (n--) must(send(pair[1], &byte, 1, 0) == 1 && recv(pair[0], &byte, 1, 0) == 1, "a byte sent");
}

static int counter;

static void through_eventfd(long n) {
    uint64_t one = 1;
    while (n--) must(write(counter, &one, 8) == 8 && read(counter, &one, 8) == 8, "an eventfd");
}

static void wake_nobody(long n) {
    int word = 0;
    while (n--) syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static void stat_file(long n) {
    struct stat status;
    while (n--) must(!stat("/dev/zero", &status), "stat");
}

static void clock_read(long n) {
    while (n--) now();
}

// Two threads take turns.
static struct {
    void *(*partner)(void *);
    long rounds;
} turn;

static void with_partner(void *(*partner)(void *), long rounds, void (*mine)(long)) {
    pthread_t thread;
    turn.rounds = rounds;
    must(!pthread_create(&thread, 0, partner, 0), "pthread_create");
    mine(rounds);
    pthread_join(thread, 0);
}

static int words[2];

static void wake(int *word) {
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static void wait(int *word) {
    while (!__atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST)) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
}

static void *futex_partner(void *unused) {
    for (long i = 0; i < turn.rounds; i++) {
        wait(&words[0]);
        wake(&words[1]);
    }
    return unused;
}

static void futex_mine(long n) {
    while (n--) {
        wake(&words[0]);
        wait(&words[1]);
    }
}

static void futex_turns(long n) { with_partner(futex_partner, n, futex_mine); }

static int events[2], polls[2];

static void tell(int side) {
    uint64_t one = 1;
    must(write(events[side], &one, 8) == 8, "write to an eventfd");
}

static void hear(int side) {
    struct epoll_event event;
    uint64_t count;
    must(epoll_wait(polls[side], &event, 1, -1) == 1, "epoll_wait");
    must(read(events[side], &count, 8) == 8, "read of an eventfd");
}

static void *epoll_partner(void *unused) {
    for (long i = 0; i < turn.rounds; i++) {
        hear(0);
        tell(1);
    }
    return unused;
}

static void epoll_mine(long n) {
    while (n--) {
        tell(0);
        hear(1);
    }
}

static void epoll_turns(long n) { with_partner(epoll_partner, n, epoll_mine); }

static int there[2], back[2];

static void *pipe_partner(void *unused) {
    char byte;
    for (long i = 0; i < turn.rounds; i++) {
        must(read(there[0], &byte, 1) == 1, "read of a pipe");
        must(write(back[1], &byte, 1) == 1, "write to a pipe");
    }
    return unused;
}

static void pipe_mine(long n) {
    char byte = 0;
    while (n--) {
        must(write(there[1], &byte, 1) == 1, "write to a pipe");
        must(read(back[0], &byte, 1) == 1, "read of a pipe");
    }
}

static void pipe_turns(long n) { with_partner(pipe_partner, n, pipe_mine); }

// 64 KiB at a time from one thread to another.
#define BULK 65536
static const int *bulk;

static void *bulk_partner(void *unused) {
    static char bytes[BULK];
    for (long left = turn.rounds * BULK; left > 0;) {
        ssize_t n = read(bulk[0], bytes, BULK);
        must(n > 0, "read in bulk");
        left -= n;
    }
    return unused;
}

static void bulk_mine(long n) {
    static char bytes[BULK];
    while (n--) must(write(bulk[1], bytes, BULK) == BULK, "write in bulk");
}

static void bulk_pipe(long n) {
    bulk = self;
    with_partner(bulk_partner, n, bulk_mine);
}

static void bulk_tcp(long n) {
    bulk = tcp;
    with_partner(bulk_partner, n, bulk_mine);
}

static void connect_both(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(!bind(listener, (void *)&address, len) && !listen(listener, 1), "listen");
    must(!getsockname(listener, (void *)&address, &len), "getsockname");
    tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(tcp[0], (void *)&address, len), "connect");
    tcp[1] = accept(listener, 0, 0);
    must(tcp[1] >= 0, "accept");
}

static void touch(long pages, int advice) {
    for (long left = pages; left > 0; left -= 16384) {
        size_t len = (left < 16384 ? left : 16384) * 4096;
        char *memory = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(memory != MAP_FAILED, "mmap");
        if (advice) madvise(memory, len, advice);
        for (size_t at = 0; at < len; at += 4096) memory[at] = 1;
        munmap(memory, len);
    }
}

// One page each, whatever the kernel would rather do.
static void page_fault(long n) { touch(n, MADV_NOHUGEPAGE); }

// What a program sees that touches 64 MiB.
static void touch_page(long n) { touch(n, 0); }

static void map_unmap(long n) {
    while (n--) {
        char *memory = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(memory != MAP_FAILED, "mmap");
        memory[0] = 1;
        munmap(memory, 65536);
    }
}

static char *page;

static void protect(long n) {
    while (n--) {
        mprotect(page, 4096, PROT_READ);
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
        *page = 1;
    }
}

static void *nothing(void *unused) { return unused; }

static void thread_life(long n) {
    while (n--) {
        pthread_t thread;
        must(!pthread_create(&thread, 0, nothing, 0), "pthread_create");
        pthread_join(thread, 0);
    }
}

int main(int count, char **arguments) {
    counted = count > 1 ? atol(arguments[1]) : 0;
    for (int i = 0; i < 2; i++) {
        events[i] = eventfd(0, 0);
        polls[i] = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN};
        must(!epoll_ctl(polls[i], EPOLL_CTL_ADD, events[i], &event), "epoll_ctl");
    }
    must(!pipe(there) && !pipe(back), "pipe");
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    zero = open("/dev/zero", O_RDONLY);
    must(!pipe(self) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pipe and socketpair");
    counter = eventfd(0, 0);
    file = open("/tmp/syscalls-read", O_RDWR | O_CREAT, 0600);
    written = open("/tmp/syscalls-written", O_RDWR | O_CREAT, 0600);
    must(write(file, "x", 1) == 1 && written >= 0, "files in /tmp");
    connect_both();
    measure("null_call", null_call);
    measure("failing_call", failing_call);
    measure("read_byte", read_byte);
    measure("pread_file_byte", read_file);
    measure("pwrite_file_byte", write_file);
    measure("pipe_byte", through_pipe);
    measure("eventfd_count", through_eventfd);
    measure("unix_byte", through_pair);
    measure("unix_send_recv_byte", send_and_recv);
    measure("futex_wake_nobody", wake_nobody);
    measure("stat", stat_file);
    measure("futex_round_trip", futex_turns);
    measure("epoll_round_trip", epoll_turns);
    measure("pipe_round_trip", pipe_turns);
    measure("pipe_64_kib", bulk_pipe);
    measure("tcp_64_kib", bulk_tcp);
    measure("page_fault", page_fault);
    measure("touch_64_mib_per_page", touch_page);
    measure("mmap_touch_munmap", map_unmap);
    measure("mprotect_pair", protect);
    measure("thread_create_join", thread_life);
    measure("clock_gettime", clock_read);
    return 0;
}
