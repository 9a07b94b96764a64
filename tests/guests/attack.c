// Does one forbidden thing, named by its argument. Built static.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/mman.h>
#include <unistd.h>
#include <pthread.h>
#include <sched.h>

static void jump(uint64_t to) { ((void (*)(void))to)(); }
static volatile int sink;
static int overflow(int n) { volatile char big[4096]; big[0] = n; return overflow(n + 1) + big[0]; }
static void *spin(void *p) { for (;;) sink++; return p; }
static void nothing(int s) { (void)s; }
static void *sleeper(void *p) { pause(); return p; }

int main(int c, char **v) {
    const char *what = c > 1 ? v[1] : "";
    printf("attack: %s\n", what);
    fflush(stdout);
#define IS(x) (!strcmp(what, x))
    if (IS("read-null")) sink = *(volatile int *)8;
    if (IS("write-kernel")) *(volatile int *)0xffffffff80100000 = 1;
    if (IS("read-kernel")) sink = *(volatile int *)0xffff800000100000;
    if (IS("jump-kernel")) jump(0xffffffff80100000);
    if (IS("jump-noncanonical")) jump(0x8000000000000000);
    if (IS("jump-hole")) jump(0x7ffffffff000);
    if (IS("hlt")) __asm__ volatile("hlt");
    if (IS("cli")) __asm__ volatile("cli");
    if (IS("out")) __asm__ volatile("outb %al, $0xf4");
    if (IS("wrmsr")) __asm__ volatile("xor %ecx, %ecx; wrmsr");
    if (IS("cr3")) __asm__ volatile("mov %cr3, %rax");
    if (IS("lgdt")) __asm__ volatile("lgdt (%rsp)");
    if (IS("ud2")) __asm__ volatile("ud2");
    if (IS("int3")) __asm__ volatile("int3");
    if (IS("int80")) __asm__ volatile("int $0x80");
    if (IS("int-timer")) __asm__ volatile("int $0xf0");
    if (IS("swapgs")) __asm__ volatile("swapgs");
    if (IS("divide")) { volatile int n = 5, z = 0; sink = n / z; }
    if (IS("write-text")) *(volatile char *)main = 0;
    if (IS("run-stack")) { char code[] = {(char)0xc3}; jump((uint64_t)code); }
    if (IS("stack-overflow")) sink = overflow(0);
    if (IS("bad-stack")) __asm__ volatile("mov $0xffff800000000000, %rsp; push %rax");
    if (IS("bad-stack-syscall")) __asm__ volatile("mov $0x1234, %rsp; mov $39, %eax; syscall; push %rax");
    if (IS("trap-flag")) __asm__ volatile("pushfq; orq $0x100, (%rsp); popfq; nop; nop");
    if (IS("nested-task")) __asm__ volatile("pushfq; orq $0x4000, (%rsp); popfq; mov $39, %eax; syscall; iretq");
    if (IS("align-check")) __asm__ volatile("pushfq; orq $0x40000, (%rsp); popfq; mov $39, %eax; syscall");
    if (IS("exec-end")) {
        char *p = mmap((void *)0x7fffffffe000, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (p == MAP_FAILED) { puts("refused"); return 0; }
        p[4094] = 0x0f; p[4095] = 0x05;
        __asm__ volatile("mov $39, %%eax; jmp *%0" ::"r"(p + 4094));
    }
    if (IS("sigreturn")) __asm__ volatile("mov $15, %eax; mov $0x1000, %rsp; syscall");
    if (IS("all-memory")) for (;;) { char *p = malloc(1 << 20); if (!p) { puts("no more"); return 0; } memset(p, 1, 1 << 20); }
    if (IS("tables")) {
        for (uint64_t i = 0; i < 1 << 20; i++) {
            char *p = mmap((void *)(0x100000000 + (i << 30)), 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED) { puts("no more"); return 0; }
            *p = 1;
        }
    }
    if (IS("threads")) {
        int n = 0; pthread_t t;
        pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 16384);
        while (!pthread_create(&t, &a, sleeper, 0)) n++;
        printf("%d threads\n", n); fflush(stdout);
        _exit(0);
    }
    if (IS("descriptors")) { int n = 0; while (dup(1) >= 0) n++; fprintf(stderr, "%d descriptors\n", n); _exit(0); }
    if (IS("spin")) { pthread_t t; for (int i = 0; i < 4; i++) pthread_create(&t, 0, spin, 0); usleep(100000); _exit(0); }
    if (IS("forks")) {
        int n = 0;
        for (pid_t pid; (pid = fork()) >= 0; n++) if (!pid) { pause(); _exit(0); }
        printf("%d children\n", n); fflush(stdout);
        _exit(0);
    }
    if (IS("fork-bomb")) for (;;) fork();
    if (IS("vfork-bomb")) for (;;) vfork();
    if (IS("exec-loop")) for (;;) execl("/proc/self/exe", "attack", "exec-loop", (char *)0);
    if (IS("spin-for-ever")) for (;;) sink++;
    if (IS("syscall-for-ever")) for (;;) getppid();
    if (IS("failing-call-for-ever")) for (;;) close(-1);
    if (IS("yield-for-ever")) for (;;) sched_yield();
    if (IS("signal-storm")) {
        struct itimerval t = {{0, 1}, {0, 1}};
        signal(SIGALRM, nothing);
        setitimer(ITIMER_REAL, &t, 0);
        for (;;) kill(getpid(), SIGUSR2 * 0 + SIGCHLD);
    }
    if (IS("zombies")) { int n = 0; for (pid_t pid; (pid = fork()) >= 0; n++) if (!pid) _exit(0); printf("%d zombies\n", n); fflush(stdout); _exit(0); }
    puts("survived");
    return 0;
}
