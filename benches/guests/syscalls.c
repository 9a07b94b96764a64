// What do system calls cost? Built static and run unmodified in an image and in a Linux guest. Prints a line for each
// operation: `figure NAME NANOSECONDS`, the median of batches of at least 20 ms.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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

// `run` does an operation so often.
static void measure(const char *name, void (*run)(long)) {
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

int main(void) {
    for (int i = 0; i < 2; i++) {
        events[i] = eventfd(0, 0);
        polls[i] = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN};
        must(!epoll_ctl(polls[i], EPOLL_CTL_ADD, events[i], &event), "epoll_ctl");
    }
    must(!pipe(there) && !pipe(back), "pipe");
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    zero = open("/dev/zero", O_RDONLY);
    measure("null_call", null_call);
    measure("failing_call", failing_call);
    measure("read_byte", read_byte);
    measure("stat", stat_file);
    measure("futex_round_trip", futex_turns);
    measure("epoll_round_trip", epoll_turns);
    measure("pipe_round_trip", pipe_turns);
    measure("page_fault", page_fault);
    measure("touch_64_mib_per_page", touch_page);
    measure("mmap_touch_munmap", map_unmap);
    measure("mprotect_pair", protect);
    measure("thread_create_join", thread_life);
    measure("clock_gettime", clock_read);
    return 0;
}
