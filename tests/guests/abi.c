// What the kernel must keep: registers over system calls and preemption, signals and their frames. Built static.
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fenv.h>
#include <immintrin.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)
static int failures;

static void registers(void) {
    uint64_t r[8];
    __asm__ volatile(
        "mov $0x1111, %%rbx; mov $0x2222, %%r12; mov $0x3333, %%r13; mov $0x4444, %%r14; mov $0x5555, %%r15;"
        "mov $0x6666, %%rdi; mov $0x7777, %%rsi; mov $0x8888, %%r8; mov $39, %%eax; syscall;"
        "mov %%rbx, 0(%0); mov %%r12, 8(%0); mov %%r13, 16(%0); mov %%r14, 24(%0); mov %%r15, 32(%0);"
        "mov %%rdi, 40(%0); mov %%rsi, 48(%0); mov %%r8, 56(%0)" ::"d"(r)
        : "rax", "rbx", "rcx", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "r8", "memory");
    for (int i = 0; i < 8; i++) CHECK(r[i] == 0x1111ull * (i + 1));
}

// Calls that the entry may answer by itself, and one that it does not: the result, and everything else as it was.
static void quick_calls(void) {
    int uid = getuid(), pid = getpid();
    struct { long number, result; } calls[] = {
        {SYS_getpid, pid}, {SYS_getppid, getppid()}, {SYS_gettid, syscall(SYS_gettid)}, {SYS_getuid, uid}, {SYS_getgid, uid},
        {SYS_geteuid, uid}, {SYS_getegid, uid}, {SYS_getpid | 0xabcdl << 32, pid}, {SYS_close, -EBADF}, {511, -ENOSYS},
        {512 + SYS_getpid, -ENOSYS}, {-1, -ENOSYS},
    };
    CHECK(pid == syscall(SYS_gettid));
    for (int i = 0; i < (int)(sizeof calls / sizeof *calls); i++) {
        uint64_t r[14] = {0}, vectors[32], after[32] = {0}, stack[2];
        for (int j = 0; j < 32; j++) vectors[j] = j * 0x0101010101010101 + i;
        struct { void *r, *in, *out; uint64_t number, *stack; } a = {r, vectors, after, calls[i].number, stack};
        __asm__ volatile(
            "push %%rbp; mov %%rax, %%rbp; mov %%rsp, %%r9; mov 32(%%rbp), %%rdx; mov %%r9, 0(%%rdx); mov 8(%%rbp), %%rdx;"
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu 16*\\n(%%rdx), %%xmm\\n\n .endr\n"
            "mov $0x1111, %%rbx; mov $-0x2222, %%rdi; mov $0x3333, %%rsi; mov $0x4444, %%rdx; mov $0x5555, %%r8;"
            "mov $0x6666, %%r9; mov $0x7777, %%r10; mov $0x8888, %%r12; mov $0x9999, %%r13; mov $0xaaaa, %%r14;"
            "mov $0xbbbb, %%r15; mov 24(%%rbp), %%rax; stc; syscall; mov 0(%%rbp), %%rcx; mov %%rbx, 0(%%rcx);"
            "mov %%rdi, 8(%%rcx); mov %%rsi, 16(%%rcx); mov %%rdx, 24(%%rcx); mov %%r8, 32(%%rcx); mov %%r9, 40(%%rcx);"
            "mov %%r10, 48(%%rcx); mov %%r12, 56(%%rcx); mov %%r13, 64(%%rcx); mov %%r14, 72(%%rcx); mov %%r15, 80(%%rcx);"
            "setc 88(%%rcx); mov %%rax, 96(%%rcx); mov 32(%%rbp), %%rdx; mov %%rsp, 8(%%rdx); mov 16(%%rbp), %%rdx;"
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu %%xmm\\n, 16*\\n(%%rdx)\n .endr\n"
            "pop %%rbp" ::"a"(&a)
            : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "xmm0",
              "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
              "xmm15");
        CHECK(r[0] == 0x1111 && r[1] == -0x2222ull);
        for (int j = 2; j < 11; j++) CHECK(r[j] == 0x1111ull * (j + 1));
        CHECK(r[11] == 1 && (long)r[12] == calls[i].result && stack[0] == stack[1]);
        CHECK(!memcmp(vectors, after, sizeof vectors));
    }
    pid_t child = fork();
    if (!child) _exit(getpid() == pid || getppid() != pid || syscall(SYS_gettid) != getpid());
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static volatile int alarms;
static void on_alarm(int s) { alarms = s; }

// A signal reaches a thread that does nothing but calls which the entry answers.
static void quick_calls_and_signals(void) {
    signal(SIGALRM, on_alarm);
    struct itimerval soon = {{0, 0}, {0, 20000}};
    CHECK(!setitimer(ITIMER_REAL, &soon, 0));
    while (!alarms) syscall(SYS_getppid);
    CHECK(alarms == SIGALRM);
}

// Each thread has its own GS, set by call or by instruction, whoever ran in between; a child has its parent's.
static void *bases(void *p) {
    uint64_t words[2] = {(uint64_t)p, (uint64_t)p * 3}, got, base;
    unsigned a, b = 0, c, d;
    __cpuid_count(7, 0, a, b, c, d);
    CHECK(!syscall(SYS_arch_prctl, 0x1001, words));
    for (int i = 0; i < 200; i++) {
        uint64_t *set = words + (i > 100 && b & 1);
        if (i == 101 && b & 1) __asm__ volatile("wrgsbase %0" ::"r"(set));
        syscall(i % 3 ? SYS_sched_yield : SYS_getppid);
        __asm__ volatile("mov %%gs:0, %0" : "=r"(got));
        CHECK(got == *set);
        if (i % 50 == 7) CHECK(!syscall(SYS_arch_prctl, 0x1004, &base) && base == (uint64_t)set);
        if (i == 50 || i == 150) {
            pid_t child = fork();
            __asm__ volatile("mov %%gs:0, %0" : "=r"(got));
            if (!child) _exit(got != *set);
            int status;
            CHECK(waitpid(child, &status, 0) == child && status == 0);
        }
    }
    return 0;
}

// Each thread keeps its own pattern in vector registers, x87 and MXCSR while the others run.
static int avx;
static void *vectors(void *p) {
    uint64_t seed = (uint64_t)p;
    fesetround(seed % 2 ? FE_UPWARD : FE_DOWNWARD);
    volatile double one = 1, three = 3;
    double mine = one / three;
    for (int round = 0; round < 60; round++) {
        uint64_t in[4] = {seed, seed * 3, seed * 5, seed * 7}, out[4] = {0};
        long double x87;
        if (avx) {
            __asm__ volatile("vmovdqu (%1), %%ymm5; fldpi; mov $300000, %%ecx; 1: dec %%ecx; jnz 1b; mov $24, %%eax; syscall;"
                             "vmovdqu %%ymm5, (%2); fstpt %0" : "=m"(x87) : "r"(in), "r"(out)
                             : "xmm5", "rax", "rcx", "r11", "memory", "st");
            CHECK(!memcmp(in, out, 32));
        } else {
            __asm__ volatile("movdqu (%1), %%xmm5; fldpi; mov $300000, %%ecx; 1: dec %%ecx; jnz 1b; mov $24, %%eax; syscall;"
                             "movdqu %%xmm5, (%2); fstpt %0" : "=m"(x87) : "r"(in), "r"(out)
                             : "xmm5", "rax", "rcx", "r11", "memory", "st");
            CHECK(!memcmp(in, out, 16));
        }
        CHECK(x87 > 3.14L && x87 < 3.15L);
        CHECK(one / three == mine);
    }
    return 0;
}

static volatile int caught, code;
static void *volatile where;
static sigjmp_buf back;
static void on_fault(int s, siginfo_t *i, void *u) { caught = s; code = i->si_code; where = i->si_addr; siglongjmp(back, 1); (void)u; }
static void on_signal(int s, siginfo_t *i, void *u) {
    caught = s; code = i->si_code;
    if (avx) __asm__ volatile("vpxor %%ymm5, %%ymm5, %%ymm5" ::: "xmm5");
    __asm__ volatile("pxor %%xmm6, %%xmm6" ::: "xmm6");
    (void)u;
}
static void handle(int s, void (*f)(int, siginfo_t *, void *), int flags) {
    struct sigaction a = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
    sigaction(s, &a, 0);
}

static void signals(void) {
    handle(SIGSEGV, on_fault, SA_ONSTACK);
    handle(SIGFPE, on_fault, 0);
    handle(SIGILL, on_fault, 0);
    handle(SIGBUS, on_fault, 0);
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(!sigaltstack(&alt, 0));
    if (!sigsetjmp(back, 1)) *(volatile int *)0x123000 = 1;
    CHECK(caught == SIGSEGV && where == (void *)0x123000 && code == SEGV_MAPERR);
    char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!sigsetjmp(back, 1)) *ro = 1;
    CHECK(caught == SIGSEGV && where == ro && code == SEGV_ACCERR);
    if (!sigsetjmp(back, 1)) { volatile int n = 5, z = 0; z = n / z; }
    CHECK(caught == SIGFPE && code == FPE_INTDIV);
    if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
    CHECK(caught == SIGILL);
    handle(SIGUSR1, on_signal, 0);
    uint64_t in[4] = {1, 2, 3, 4}, out[4] = {0}, out6[2] = {0};
    int tid = syscall(SYS_gettid);
    if (avx)
        __asm__ volatile("vmovdqu (%0), %%ymm5; vmovdqu %%xmm5, %%xmm6; mov $234, %%eax; mov $10, %%edx; syscall;"
                         "vmovdqu %%ymm5, (%1); vmovdqu %%xmm6, (%2)" ::"r"(in), "r"(out), "r"(out6), "S"(tid), "D"(getpid())
                         : "xmm5", "xmm6", "rax", "rcx", "r11", "rdx", "memory");
    else
        __asm__ volatile("movdqu (%0), %%xmm5; movdqu %%xmm5, %%xmm6; mov $234, %%eax; mov $10, %%edx; syscall;"
                         "movdqu %%xmm5, (%1); movdqu %%xmm6, (%2)" ::"r"(in), "r"(out), "r"(out6), "S"(tid), "D"(getpid())
                         : "xmm5", "xmm6", "rax", "rcx", "r11", "rdx", "memory");
    CHECK(caught == SIGUSR1 && !memcmp(in, out, avx ? 32 : 16) && !memcmp(in, out6, 16));
    sigset_t set, old;
    sigemptyset(&set); sigaddset(&set, SIGUSR1);
    caught = 0;
    sigprocmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR1);
    CHECK(!caught);
    sigprocmask(SIG_SETMASK, &old, 0);
    CHECK(caught == SIGUSR1);
}

static void *alarm_main(void *p) { usleep(30000); pthread_kill((pthread_t)p, SIGUSR1); return 0; }
static void *late_writer(void *fd) { usleep(60000); char c = 7; if (write(*(int *)fd, &c, 1) < 0) abort(); return 0; }
static void interruption(void) {
    handle(SIGUSR1, on_signal, 0);
    pthread_t t;
    pthread_create(&t, 0, alarm_main, (void *)pthread_self());
    struct timespec long_time = {5, 0};
    CHECK(nanosleep(&long_time, 0) == -1 && errno == EINTR);
    pthread_join(t, 0);
    handle(SIGUSR1, on_signal, SA_RESTART);
    int p[2]; char b;
    CHECK(!pipe(p));
    pthread_create(&t, 0, alarm_main, (void *)pthread_self());
    caught = 0;
    pthread_t w;
    pthread_create(&w, 0, late_writer, &p[1]);
    CHECK(read(p[0], &b, 1) == 1 && b == 7 && caught == SIGUSR1);
    pthread_join(t, 0); pthread_join(w, 0);
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int count;
static void *counter(void *p) {
    for (int i = 0; i < 2000; i++) { pthread_mutex_lock(&m); count++; pthread_cond_signal(&cond); pthread_mutex_unlock(&m); }
    return p;
}
static void threads(void) {
    pthread_t t[8];
    for (long i = 0; i < 8; i++) pthread_create(t + i, 0, counter, (void *)i);
    pthread_mutex_lock(&m);
    while (count < 16000) pthread_cond_wait(&cond, &m);
    pthread_mutex_unlock(&m);
    for (long i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); CHECK(r == (void *)i); }
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    now.tv_nsec += 20000000; if (now.tv_nsec > 999999999) { now.tv_sec++; now.tv_nsec -= 1000000000; }
    pthread_mutex_lock(&m);
    CHECK(pthread_cond_timedwait(&cond, &m, &now) == ETIMEDOUT);
    pthread_mutex_unlock(&m);
}

static void memory(void) {
    char *p = mmap(0, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(!mprotect(p + 4096, 8192, PROT_READ | PROT_WRITE));
    strcpy(p + 4096, "kept");
    CHECK(!mprotect(p + 4096, 8192, PROT_NONE));
    CHECK(!mprotect(p + 4096, 4096, PROT_READ));
    CHECK(!strcmp(p + 4096, "kept"));
    CHECK(!mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE));
    CHECK(!madvise(p + 4096, 4096, MADV_DONTNEED) && p[4096] == 0);
    char *q = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    q[8191] = 9;
    char *r = mremap(q, 8192, 1 << 20, MREMAP_MAYMOVE);
    CHECK(r != MAP_FAILED && r[8191] == 9 && r[1 << 19] == 0);
    CHECK(mmap(r, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
    CHECK(!munmap(p, 64 << 20) && !munmap(r, 1 << 20));
    void *top = sbrk(0);
    CHECK(sbrk(1 << 20) == top && sbrk(-(1 << 20)) != (void *)-1 && sbrk(0) == top);
    unsigned char *code = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 50; i++) {
        CHECK(!mprotect(code, 4096, PROT_READ | PROT_WRITE));
        code[0] = 0xb8; code[1] = i; code[2] = code[3] = code[4] = 0; code[5] = 0xc3;
        CHECK(!mprotect(code, 4096, PROT_READ | PROT_EXEC));
        CHECK(((int (*)(void))code)() == i);
    }
}

static void name(void) {
    char got[16];
    prctl(PR_SET_NAME, "a name that is longer than fits");
    prctl(PR_GET_NAME, got);
    CHECK(!strcmp(got, "a name that is "));
}

// Instructions that draw, whether the processor has them or the kernel carries them out: the register's other bits, and the flags.
static void random_instructions(void) {
    uint64_t a, b, flags, more = 0x5555555555555555;
#define DRAW(bytes, to) __asm__ volatile("cmp %%al, %%al; .byte " bytes "; pushf; pop %0" : "=&r"(flags), to(more) : : "cc", "rcx", "r11", "r14")
    // rdrand %rax, rdseed %rax
    for (int tries = 0; tries < 100; tries++) { DRAW("0x48,0x0f,0xc7,0xf0", "+a"); if (flags & 1) break; }
    a = more;
    for (int tries = 0; tries < 100; tries++) { DRAW("0x48,0x0f,0xc7,0xf8", "+a"); if (flags & 1) break; }
    b = more;
    CHECK(a != b && a != 0x5555555555555555 && b != 0x5555555555555555 && (flags & 0x8d5) == 1);
    // rdrand %edx clears the upper half, rdrand %dx keeps what is above it.
    more = ~0ull;
    DRAW("0x0f,0xc7,0xf2", "+d");
    CHECK(!(more >> 32));
    more = 0x1122334455660000;
    uint64_t seen = 0;
    for (int i = 0; i < 16; i++) { DRAW("0x66,0x0f,0xc7,0xf2", "+d"); CHECK(more >> 16 == 0x112233445566); seen |= more & 0xffff; }
    CHECK(seen);
    // rdrand %r14, rdseed %r11d
    uint64_t far = 0;
    __asm__ volatile("xor %%r14d, %%r14d; 1: .byte 0x49,0x0f,0xc7,0xf6; jnc 1b; mov %%r14, %0" : "=r"(far) : : "cc", "r14");
    CHECK(far >> 32);
    __asm__ volatile("mov $-1, %%r11; 1: .byte 0x41,0x0f,0xc7,0xfb; jnc 1b; mov %%r11, %0" : "=r"(far) : : "cc", "r11");
    CHECK(!(far >> 32));
}

int main(void) {
    avx = __builtin_cpu_supports("avx");
    registers();
    random_instructions();
    quick_calls();
    quick_calls_and_signals();
    pthread_t t[4];
    for (long i = 0; i < 4; i++) pthread_create(t + i, 0, bases, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    for (long i = 0; i < 4; i++) pthread_create(t + i, 0, vectors, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    signals();
    interruption();
    threads();
    memory();
    name();
    printf(failures ? "%d failures\n" : "all kept\n", failures);
    return failures != 0;
}
