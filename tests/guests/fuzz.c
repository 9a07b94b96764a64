// Calls every system call with hostile arguments: random words, kernel addresses, edges of mappings, and structures whose
// fields are the same. Children do it, so nothing is left out: whatever one does to itself, the first process goes on with the
// next. Built static.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBERS 460
#define CALLS 46

static uint64_t state;
static uint64_t next(void) { state ^= state >> 12; state ^= state << 25; state ^= state >> 27; return state * 0x2545f4914f6cdd1d; }
static char *area;
static volatile uint32_t *made;
static uint64_t word(void) {
    static const uint64_t odd[] = {0, 1, 2, 3, 7, 8, 0xfff, 0x1000, 4097, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000,
        0xffff800000000000, 0xffffffff80000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull, ~0ull - 4095, 0xfffffff0, 0x80000000};
    switch (next() % 8) {
    case 0: return odd[next() % (sizeof odd / sizeof *odd)];
    case 1: return (uint64_t)area + 8192 - next() % 64;
    case 2: return (uint64_t)area + next() % 8192;
    case 3: case 4: return next() % 16;
    case 5: return next();
    case 6: return ((uint64_t)area + next() % 1024 * 8) & ~7ull;
    default: return 1ull << next() % 64;
    }
}
static uint64_t call(long n, const uint64_t *a) {
    register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    uint64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
static uint64_t simple(long n, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    uint64_t args[6] = {a, b, c, d, 0, 0};
    return call(n, args);
}
static void woken(int s) { (void)s; }

// A structure that is nearly right, so that it gets past the first check: pointers into the area, small counts.
static void structure(uint64_t *at) {
    static const uint64_t strings[] = {0x006578652f666c65 /* "elf/exe" */, 0x6c65732f636f7270, 0x2f706d742f, 0x2e2e2f2e2e};
    uint64_t kind = next() % 8;
    for (int i = 0; i < 16; i++) at[i] = word();
    switch (kind) {
    case 0: for (int i = 0; i < 16; i += 2) { at[i] = word(); at[i + 1] = next() % 4096; } break;         // iovec, timespec
    case 1: at[1] = next() % 128; at[2] = (uint64_t)area; at[3] = next() % 8; at[5] = next() % 64; break; // msghdr
    case 2: at[0] = next() & 0x1ffffff00; at[4] = 17; break;                                            // clone_args
    case 3: at[1] &= 0xd8000007 | 0x04000000; at[2] = (uint64_t)area; at[3] = word(); break;              // sigaction
    case 4: at[0] = strings[next() % 4]; at[1] = 0; break;                                              // path
    case 5: at[0] = next() % 4 << 32 | next() % 1000000000; at[1] = next() % 1000000000; break;
    case 6: for (int i = 0; i < 16; i++) at[i] = next() % 64 << 32 | next() % 16; break;                 // pollfd, epoll_event
    default: break;
    }
}

static void child(int batch) {
    static const uint64_t usec = 2000;
    pid_t me = simple(SYS_getpid, 0, 0, 0, 0);
    for (int i = 0; i < CALLS; i++) {
        // All numbers in turn, each batch in an order of its own.
        long n = (batch * CALLS + i * 29) % NUMBERS;
        struct { void (*handler)(int); uint64_t flags; void *restorer; uint64_t mask; } action, old;
        struct sigaction a = {.sa_handler = woken};
        sigaction(SIGALRM, &a, 0);
        uint64_t none = 0, often[4] = {0, usec, 0, usec};
        simple(SYS_rt_sigprocmask, 2, (uint64_t)&none, 0, 8);
        simple(SYS_setitimer, 0, (uint64_t)often, 0, 0);
        uint64_t args[6];
        for (int k = 0; k < 6; k++) args[k] = word();
        for (int k = 0; k < 4; k++) structure((uint64_t *)area + next() % 1000);
        // Everybody may be killed but the first process, whose end would be that of all.
        if ((n == SYS_kill || n == SYS_tkill || n == SYS_tgkill || n == SYS_rt_sigqueueinfo || n == SYS_rt_tgsigqueueinfo) &&
            ((int)args[0] <= 1 || (int)args[1] == 1)) args[0] = me;
        if ((n == SYS_prlimit64 && args[0] == 1)) args[0] = 0;
        (*made)++;
        uint64_t result = call(n, args);
        (void)result;
        if ((pid_t)simple(SYS_getpid, 0, 0, 0, 0) != me) simple(SYS_exit_group, 0, 0, 0, 0);
    }
    simple(SYS_exit_group, 0, 0, 0, 0);
}

int main(int c, char **v) {
    state = c > 1 ? strtoull(v[1], 0, 0) | 1 : 88172645463325252ull;
    int batches = c > 2 ? atoi(v[2]) : 100;
    made = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    area = mmap((void *)0x200000000, 8192 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(area + 8192, 4096);
    int ended = 0, killed = 0;
    for (int batch = 0; batch < batches; batch++) {
        next();
        pid_t pid = fork();
        if (pid < 0) { puts("no fork"); return 1; }
        if (!pid) { setsid(); child(batch); }
        int status = 0, i;
        for (i = 0; i < 250 && waitpid(pid, &status, WNOHANG) != pid; i++) usleep(2000);
        ended += i < 250;
        killed += i == 250;
        // It, and what it started.
        kill(-1, SIGKILL);
        while (wait(0) > 0) {}
    }
    printf("%d batches: %d ended, %d were killed; %u calls made\n", batches, ended, killed, *made);
    return 0;
}
