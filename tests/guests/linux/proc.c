// Files of /proc that programs read: that they are there, whose they are, and that they tell the truth.
#define _GNU_SOURCE
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 20];

static int load(const char *path) {
    int f = open(path, O_RDONLY), n = -1, m;
    if (f < 0) return -errno;
    for (n = 0; (m = read(f, text + n, sizeof text - 1 - n)) > 0; n += m) {}
    if (m < 0) n = -errno;
    text[n < 0 ? 0 : n] = 0, close(f);
    return n;
}

static void has(const char *path, const char *word) {
    int n = load(path);
    printf("%s: %s\n", path, n < 0 ? strerrorname_np(-n) : !*word ? "there" : strstr(text, word) ? "yes" : "no");
}

static void mode(const char *path) {
    struct stat s;
    int r = lstat(path, &s);
    printf("%s: %o\n", path, r ? -errno : s.st_mode);
}

static void pages(void) {
    char *m = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    m[0] = m[8192] = s[0] = 1;
    int f = open("/proc/self/pagemap", O_RDONLY);
    unsigned long e[4] = {0}, shared = 0;
    int n = pread(f, e, sizeof e, (unsigned long)m / 4096 * 8);
    printf("pagemap: %d bytes, present", n);
    for (int i = 0; i < 4; i++) printf(" %d", (int)(e[i] >> 63));
    pread(f, &shared, 8, (unsigned long)s / 4096 * 8);
    printf(", shared %d %d, alone %d", (int)(shared >> 63), (int)(shared >> 61 & 1), (int)(e[0] >> 61 & 1));
    printf(", odd %d %d, beyond %d\n", (int)pread(f, e, 8, 4) < 0 ? -errno : 0, (int)pread(f, e, 7, 0) < 0 ? -errno : 0, (int)pread(f, e, 8, 0x7fffffffffffff00 / 8 * 8));
    strcpy(m, "in memory");
    char b[16] = "";
    int g = open("/proc/self/mem", O_RDONLY);
    printf("mem: %d %s", (int)pread(g, b, 10, (long)m), b);
    printf(", up to a hole %d", (int)pread(g, text, 65536, (long)m) >= 4 * 4096), printf(", nothing there %d\n", (int)pread(g, b, 1, 4096) < 0 ? -errno : 0);
}

static volatile pid_t waiter;
static void *waits(void *p) { waiter = gettid(); pause(); return 0; }

static char state_of(pid_t thread) {
    char path[64];
    sprintf(path, "/proc/self/task/%d/stat", thread), load(path);
    return strrchr(text, ')')[2];
}

static pid_t locked;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *locks(void *p) { __atomic_store_n(&locked, gettid(), __ATOMIC_SEQ_CST), pthread_mutex_lock(&mutex); return 0; }

static void a_thread_at_a_lock(void) {
    pthread_t t;
    pthread_mutex_lock(&mutex), pthread_create(&t, 0, locks, 0);
    while (!__atomic_load_n(&locked, __ATOMIC_SEQ_CST)) usleep(1000);
    usleep(50000);
    printf("a thread at a lock: %c\n", state_of(locked));
    pthread_mutex_unlock(&mutex), pthread_join(t, 0);
}

static void threads(void) {
    pthread_t t;
    char path[64];
    pthread_create(&t, 0, waits, 0);
    while (!waiter) usleep(1000);
    usleep(50000);
    sprintf(path, "/proc/self/task/%d/syscall", waiter), load(path);
    printf("a thread that pauses is in call %d\n", atoi(text));
    printf("it sleeps: %c", state_of(waiter));
    printf(", whoever asks runs: %c, and its process: %c\n", state_of(getpid()), (load("/proc/self/stat"), strrchr(text, ')')[2]));
    sprintf(path, "/proc/self/task/%d/children", getpid());
    pid_t child = fork();
    if (!child) pause(), _exit(0);
    load(path);
    printf("children: %d\n", atoi(text) == child);
    sprintf(path, "/proc/%d/mem", child);
    int f = open(path, O_RDONLY);
    char b[8] = "";
    static char mine[] = "child's";
    printf("a child's memory: %d %s\n", (int)pread(f, b, 8, (long)mine), b);
    kill(child, SIGKILL), wait(0), close(f);
    load(path), printf("a memory of nobody: %d\n", load(path));
}

static void spaces(void) {
    const char *names[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    for (int i = 0; i < 7; i++) {
        char path[64], to[64] = "";
        sprintf(path, "/proc/self/ns/%s", names[i]);
        int n = readlink(path, to, 63);
        printf("%s: %d\n", path, n > 0 && !strncmp(to, names[i], strlen(names[i])) && to[strlen(names[i])] == ':' && to[n - 1] == ']');
    }
}

// What the calls between two looks have moved, those of a child that was waited for too.
static void counted(const char *what) {
    static unsigned long before[4];
    unsigned long now[4];
    int f = open("/proc/self/io", O_RDONLY), n = pread(f, text, 4096, 0);
    close(f), text[n < 0 ? 0 : n] = 0;
    sscanf(text, "rchar: %lu wchar: %lu syscr: %lu syscw: %lu", now, now + 1, now + 2, now + 3);
    // The text of the look before is as long as its numbers.
    static int length;
    if (what) printf("%s: read %lu written %lu by %lu and %lu calls\n", what, now[0] - before[0] - length, now[1] - before[1], now[2] - before[2] - 1, now[3] - before[3]);
    fflush(stdout), memcpy(before, now, sizeof now), length = n;
}

static void io(void) {
    int p[2], f = open("/tmp/io", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char b[100] = "";
    struct iovec v[2] = {{b, 10}, {b + 10, 20}};
    pipe2(p, O_NONBLOCK), counted(0), counted("nothing");
    // What was printed is among what was written.
    pwrite(f, b, 100, 0), pread(f, b, 50, 10), lseek(f, 0, SEEK_SET), readv(f, v, 2), writev(f, v, 2), counted("a file");
    preadv(f, v, 2, 3), pwritev(f, v, 2, 4), preadv2(f, v, 2, 5, 0), preadv2(f, v, 2, -1, 0), pwritev2(f, v, 2, 6, 0), pwritev2(f, v, 2, 7, RWF_APPEND), counted("vectors");
    // More than is moved at once, and less than was asked for.
    char *most = calloc(1, 3 << 20);
    write(f, most, 3 << 20), pwrite(f, most, 2 << 20, 0), pread(f, most, 2 << 20, 0), read(f, most, 10), counted("much");
    free(most), lseek(f, 0, SEEK_SET), copy_file_range(f, 0, f, &(off_t){4 << 20}, 1000, 0), counted("a copy");
    write(p[1], b, 30), read(p[0], b, 100), read(p[0], b, 100), read(99, b, 1), write(p[1], b, 0), counted("a pipe");
    sendfile(p[1], f, 0, 25), read(p[0], b, 100), counted("sendfile");
    pid_t child = fork();
    if (!child) pread(f, b, 60, 0), pwrite(f, b, 40, 0), _exit(0);
    waitpid(child, 0, 0), counted("a child");
    close(f), close(p[0]), close(p[1]), unlink("/tmp/io");
}

// A value of /proc/cpuinfo, with a blank at either end.
static const char *of_processor(const char *key) {
    static char value[4096];
    load("/proc/cpuinfo");
    char *at = strstr(text, key), *from = at ? strchr(at, ':') + 1 : "";
    snprintf(value, sizeof value, "%.*s ", (int)strcspn(from, "\n"), from);
    return value;
}

static void processor(void) {
    static const char *known[] = {" fpu ", " tsc ", " cx8 ", " cmov ", " mmx ", " fxsr ", " sse ", " sse2 ", " syscall ", " nx ", " lm ", " pni ", " none "};
    printf("vendor %d, model %d", strlen(of_processor("vendor_id")) > 5, strlen(of_processor("model name")) > 5);
    printf(", family %d, MHz %d, bogomips %d\n", atoi(of_processor("cpu family")) > 0, atoi(of_processor("cpu MHz")) > 0, atoi(of_processor("bogomips")) > 0);
    for (int i = 0; i < sizeof known / sizeof *known; i++) printf("%s %d,", known[i], !!strstr(of_processor("flags"), known[i]));
    puts("");
    printf("AVX as the CPU says: %d\n", !!strstr(of_processor("flags"), " avx ") == !!__builtin_cpu_supports("avx"));
    printf("AVX2: %d\n", !!strstr(of_processor("flags"), " avx2 ") == !!__builtin_cpu_supports("avx2"));
    printf("POPCNT: %d\n", !!strstr(of_processor("flags"), " popcnt ") == !!__builtin_cpu_supports("popcnt"));
    printf("AVX512F: %d\n", !!strstr(of_processor("flags"), " avx512f ") == !!__builtin_cpu_supports("avx512f"));
    unsigned a, b, c, d, physical = 0, virtual = 0;
    __cpuid(0, a, b, c, d);
    printf("level %d", atoi(of_processor("cpuid level")) == a);
    sscanf(of_processor("address sizes"), " %u bits physical, %u bits virtual", &physical, &virtual);
    __cpuid(0x80000008, a, b, c, d);
    printf(", addresses %d %d\n", physical == (a & 255), virtual == (a >> 8 & 255));
    has("/proc/tty/drivers", "pty_slave"), has("/proc/self/status", "HugetlbPages"), has("/proc/sys/kernel/sched_rr_timeslice_ms", "");
    has("/sys/devices/system/clocksource/clocksource0/current_clocksource", ""), has("/sys/devices/system/cpu/smt/active", ""), mode("/sys/dev/block"), mode("/sys/class/block");
}

static void tell(const char *what) {
    for (int i = 0; i < 2; i++) {
        int n = load(i ? "/proc/self/environ" : "/proc/self/cmdline");
        printf("%s, %s: %d \"", what, i ? "environment" : "arguments", n);
        for (int k = 0; k < n; k++) putchar(text[k] ? text[k] : '.');
        puts("\"");
    }
}

// What servers do that say in `ps` what they are at: they write over their arguments, and over the environment behind these.
static void titles(char *arguments, char *environment) {
    int n = environment - arguments, all = n + strlen(environment) + 1;
    tell("as started");
    memset(arguments, 0, n), strcpy(arguments, "short"), tell("a short title");
    memset(arguments, 0, n), memset(arguments, 'x', n - 1), tell("one that just fits");
    memset(arguments, 'y', n), tell("without an end");
    memset(arguments, 0, all), memset(arguments, 'z', n + 3), tell("into the environment");
    memset(arguments, 'w', all - 1), tell("over all of it");
}

static void ended(void) {
    char path[40];
    int child = fork();
    siginfo_t info;
    if (!child) _exit(0);
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    sprintf(path, "/proc/%d/cmdline", child);
    printf("arguments of who has ended: %d\n", load(path)), wait(0);
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    if (argc == 2 && !strcmp(argv[0], "server")) titles(argv[0], environ[0]), _exit(0);
    if (!fork()) execve("/proc/self/exe", (char *[]){"server", "-config", 0}, (char *[]){"HOME=/root", 0});
    wait(0), ended();
    processor();
    has("/proc/self/smaps", "Rss:"), has("/proc/self/numa_maps", "default"), has("/proc/self/cpuset", "/"), has("/proc/self/mountstats", "fstype proc"), has("/proc/self/oom_adj", "0");
    has("/proc/self/stack", ""), has("/proc/self/timens_offsets", "monotonic"), has("/proc/self/projid_map", ""), has("/proc/self/wchan", ""), has("/proc/self/limits", "Max pending signals");
    has("/proc/net/sockstat6", "TCP6: inuse"), has("/proc/net/icmp", "local_address"), has("/proc/net/raw6", "local_address"), has("/proc/net/udplite", "local_address");
    has("/proc/cgroups", "memory"), has("/proc/softirqs", "CPU0"), has("/proc/execdomains", "kernel");
    has("/proc/sys/fs/mqueue/msg_max", ""), has("/proc/sys/fs/protected_fifos", ""), has("/proc/sys/fs/leases-enable", ""), has("/proc/sys/kernel/dmesg_restrict", ""), has("/proc/sys/kernel/panic_on_oops", "");
    has("/proc/sys/kernel/unprivileged_bpf_disabled", ""), has("/proc/sys/net/core/busy_poll", "0"), has("/proc/sys/net/ipv4/conf/all/forwarding", ""), has("/proc/sys/net/ipv4/conf/lo/rp_filter", "");
    has("/proc/sys/net/ipv4/ip_local_reserved_ports", ""), has("/proc/sys/net/ipv4/tcp_ecn", ""), has("/proc/sys/net/ipv6/conf/all/hop_limit", "64"), has("/proc/sys/vm/dirty_bytes", "0"), has("/proc/sys/vm/laptop_mode", "0");
    mode("/proc/self/auxv"), mode("/proc/self/environ"), mode("/proc/self/io"), mode("/proc/self/personality"), mode("/proc/self/syscall"), mode("/proc/self/stack"), mode("/proc/self/pagemap"), mode("/proc/self/maps"), mode("/proc/self/status");
    mode("/proc/self/fd"), mode("/proc/self/fdinfo"), mode("/proc/self/task"), mode("/proc/self/exe");
    pages(), threads(), a_thread_at_a_lock(), spaces(), io();
    struct sysinfo s;
    double loads[3];
    sysinfo(&s), getloadavg(loads, 3);
    printf("sysinfo and loadavg agree: %d\n", (int)(s.loads[0] * 100 / 65536) - (int)(loads[0] * 100 + .5) <= 1);
    if (!fork()) setuid(4321), printf("of root: environ %d, maps %d\n", load("/proc/1/environ"), load("/proc/1/stat") > 0), _exit(0);
    wait(0);
}
