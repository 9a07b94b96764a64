// Futexes with an owner (priority inheritance), their owners' ends, and waiting for any of several.
#include "checks.h"
#include <linux/futex.h>

// futex_waitv(2), and what it takes (include/uapi/linux/futex.h).
#define FUTEX_WAITV 449
struct waiter {
    uint64_t value, address;
    uint32_t flags, reserved;
};
#define OF_32_BITS 2

static pthread_mutex_t mutex;
static int order[20], locked;
static volatile int holds;
static int word;     // a futex with an owner
static int words[3]; // futexes for futex_waitv

static struct timespec later(clockid_t clock, long ns) {
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_nsec += ns;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

static void on_signal(int signal) {}

static void interrupt(pthread_t thread, int restarts_not) {
    signal(SIGUSR1, on_signal);
    siginterrupt(SIGUSR1, restarts_not);
    pthread_kill(thread, SIGUSR1);
}

static pthread_t thread_of(void *(*runs)(void *), void *argument) {
    pthread_t thread;
    pthread_create(&thread, 0, runs, argument);
    return thread;
}

// Locks the mutex, and notes its turn.
static void *takes_turn(void *number) {
    int error = pthread_mutex_lock(&mutex);
    order[locked++] = (long)number;
    if (error) printf("lock %s\n", strerrorname_np(error));
    if (error == EOWNERDEAD) pthread_mutex_consistent(&mutex);
    nap(2);
    pthread_mutex_unlock(&mutex);
    return 0;
}

// Locks the mutex, and ends with it.
static void *dies_with_it(void *unused) {
    pthread_mutex_lock(&mutex);
    holds = 1;
    nap(30);
    return 0;
}

// Locks the word, with a time limit or without.
static void *locks_word(void *limited) {
    struct timespec limit = later(CLOCK_REALTIME, 30000000);
    errno = 0;
    long r = S(SYS_futex, &word, FUTEX_LOCK_PI, 0, limited ? &limit : 0);
    int is_owner = (word & FUTEX_TID_MASK) == gettid();
    printf("lock_pi %ld %s %d\n", r, r ? strerrorname_np(errno) : "", is_owner);
    fflush(stdout);
    if (!r) S(SYS_futex, &word, FUTEX_UNLOCK_PI);
    return 0;
}

static long waits(struct waiter *all, unsigned count, struct timespec *limit, clockid_t clock) {
    return S(FUTEX_WAITV, all, count, 0, limit, clock);
}

static struct waiter waiter_of(int *at) {
    return (struct waiter){0, (long)at, OF_32_BITS | FUTEX_PRIVATE_FLAG, 0};
}

static void *waits_for_any(void *unused) {
    struct waiter all[3];
    for (int i = 0; i < 3; i++) all[i] = waiter_of(&words[i]);
    errno = 0;
    long r = waits(all, 3, 0, 0);
    printf("waitv %ld %s\n", r, r < 0 ? strerrorname_np(errno) : "");
    fflush(stdout);
    return 0;
}

static long wakes(int *at, int most) { return S(SYS_futex, at, FUTEX_WAKE_PRIVATE, most); }

// Wakes one, and waits for the end of the thread that this wakes.
static long wakes_thread(int *at, pthread_t thread) {
    long woken = wakes(at, 1);
    pthread_join(thread, 0);
    return woken;
}

static void threads_get_it_in_their_order(void) {
    pthread_t threads[5];
    pthread_mutex_lock(&mutex);
    for (long i = 0; i < 5; i++) {
        threads[i] = thread_of(takes_turn, (void *)i);
        nap(5);
    }
    nap(5);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], 0);
    for (int i = 0; i < 5; i++) printf("%d ", order[i]);
    puts("");
    R("trylock", pthread_mutex_trylock(&mutex));
    R("trylock2", pthread_mutex_trylock(&mutex));
    pthread_mutex_unlock(&mutex);
    struct timespec now = later(CLOCK_REALTIME, 0);
    R("timedlock", pthread_mutex_timedlock(&mutex, &now));
    pthread_mutex_unlock(&mutex);
}

static void the_word_says_who_owns_it(void) {
    word = gettid();
    pthread_join(thread_of(locks_word, (void *)1), 0);
    printf("word %x\n", word & (FUTEX_WAITERS | FUTEX_OWNER_DIED));
    R("unlock", S(SYS_futex, &word, FUTEX_UNLOCK_PI));
    printf("%x\n", word);
    word = gettid();
    pthread_t thread = thread_of(locks_word, 0);
    nap(20);
    interrupt(thread, 1);
    nap(10);
    R("unlock", S(SYS_futex, &word, FUTEX_UNLOCK_PI));
    pthread_join(thread, 0);
}

static void an_owner_that_ends_leaves_it_to_the_next(pthread_mutexattr_t *attributes) {
    pthread_mutexattr_setrobust(attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, attributes);
    locked = 0;
    pthread_t owner = thread_of(dies_with_it, 0);
    while (!holds) nap(1);
    pthread_t next = thread_of(takes_turn, (void *)7);
    pthread_join(owner, 0);
    pthread_join(next, 0);
    R("after", pthread_mutex_lock(&mutex));
    pthread_mutex_unlock(&mutex);
}

static void so_does_a_process_that_ends(pthread_mutexattr_t *attributes) {
    pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutex_init(shared, attributes);
    pthread_mutex_lock(shared);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        R("child lock", pthread_mutex_lock(shared));
        _exit(0);
    }
    nap(20);
    pthread_mutex_unlock(shared);
    waitpid(child, 0, 0);
    R("owner dead", pthread_mutex_lock(shared));
    pthread_mutex_consistent(shared);
    pthread_mutex_unlock(shared);
}

static void any_of_several_wakes(void) {
    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        thread = thread_of(waits_for_any, 0);
        nap(10);
        R("wake", wakes_thread(&words[i], thread));
    }
    R("wake none", wakes(&words[0], 9) + wakes(&words[1], 9));
    thread = thread_of(waits_for_any, 0);
    nap(10);
    interrupt(thread, 1);
    pthread_join(thread, 0);
    thread = thread_of(waits_for_any, 0);
    nap(10);
    interrupt(thread, 0);
    nap(10);
    wakes_thread(&words[2], thread);
}

static void what_futex_waitv_refuses(void) {
    struct waiter one = waiter_of(&words[0]);
    struct timespec limit = later(CLOCK_MONOTONIC, 10000000);
    long begun = ms();
    R("timeout", waits(&one, 1, &limit, CLOCK_MONOTONIC));
    printf("%d\n", ms() - begun >= 9);
    R("clock 2", waits(&one, 1, &limit, 2));
    one.address = 8;
    R("efault", waits(&one, 1, 0, 0));
    one.address = (long)&words[0] + 1;
    R("unal", waits(&one, 1, 0, 0));
    one.address = (long)&words[0];
    one.reserved = 1;
    R("reserved", waits(&one, 1, 0, 0));
    R("null", waits(0, 1, 0, 0));
}

static void waiters_are_moved_to_another_word(void) {
    int other = 0;
    pthread_t thread = thread_of(waits_for_any, 0);
    nap(10);
    R("requeue", S(SYS_futex, &words[1], FUTEX_REQUEUE_PRIVATE, 0, 1, &other));
    R("wake X", wakes_thread(&other, thread));
}

int main(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&mutex, &attributes);
    threads_get_it_in_their_order();
    the_word_says_who_owns_it();
    an_owner_that_ends_leaves_it_to_the_next(&attributes);
    so_does_a_process_that_ends(&attributes);
    any_of_several_wakes();
    what_futex_waitv_refuses();
    waiters_are_moved_to_another_word();
    return 0;
}
