// Calls every system call with hostile arguments: random words, kernel addresses, edges of mappings. Built static.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t state;
static uint64_t next(void) { state ^= state >> 12; state ^= state << 25; state ^= state >> 27; return state * 0x2545f4914f6cdd1d; }
static char *area;
static uint64_t word(void) {
    static const uint64_t odd[] = {0, 1, 2, 3, 7, 8, 0xfff, 0x1000, 4097, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000,
        0xffff800000000000, 0xffffffff80000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull, ~0ull - 4095, 0xfffffff0, 0x80000000};
    switch (next() % 6) {
    case 0: return odd[next() % (sizeof odd / sizeof *odd)];
    case 1: return (uint64_t)area + 8192 - next() % 64;
    case 2: return (uint64_t)area + next() % 8192;
    case 3: return next() % 16;
    case 4: return next();
    default: return 1ull << next() % 64;
    }
}
// Wakes the fuzzer out of calls that wait.
static void woken(int s) { (void)s; }
static void *watch(void *p) {
    for (;;) { usleep(3000); syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1); }
    return p;
}
int main(int c, char **v) {
    struct sigaction a = {.sa_handler = woken};
    sigaction(SIGUSR1, &a, 0);
    pthread_t t;
    pthread_create(&t, 0, watch, 0);
    state = c > 1 ? strtoull(v[1], 0, 0) | 1 : 88172645463325252ull;
    int rounds = c > 2 ? atoi(v[2]) : 20;
    area = mmap((void *)0x200000000, 8192 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(area + 8192, 4096);
    for (int round = 0; round < rounds; round++)
        for (long n = 0; n < 460; n++) {
            // Those that end, park or unmap the fuzzer itself.
            switch (n) {
            case 15: case 60: case 231: case 34: case 56: case 435: case 128: case 130: case 35: case 230:
            case 62: case 200: case 234: case 11: case 9: case 10: case 25: case 158: case 3: case 436: case 33: case 292:
            case 22: case 293: case 13: case 14: case 131: case 28: case 12: continue;
            }
            uint64_t a[6];
            for (int i = 0; i < 6; i++) a[i] = word();
            for (int i = 0; i < 16; i++) ((uint64_t *)area)[next() % 1024] = word();
            // Waiting for ever is not a crash: bound the timeouts.
            if (n == 7 || n == 232 || n == 281) a[n == 7 ? 2 : 3] = a[4] = 0;
            if (n == 202) a[1] = (a[1] & ~0x7full) | 1;
            if (n == 23 || n == 270 || n == 271 || n == 441) continue;
            register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
            uint64_t result;
            __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                             : "rcx", "r11", "memory");
            (void)result;
        }
    static const char done[] = "fuzzed\n";
    // Descriptor 1 may have been closed or changed; the exit status tells.
    if (write(1, done, 7) < 0) {}
    _exit(0);
}
