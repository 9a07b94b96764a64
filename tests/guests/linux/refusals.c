// What does not exist is refused: flags, options, targets; and what is set is read back.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SAYS(what, call) ({ errno = 0; long r_ = (call); printf("%s: %ld errno %d\n", what, r_, r_ < 0 ? errno : 0); })

static void option(int s, const char *what, int level, int name, int value) {
    int got = -77;
    socklen_t n = sizeof got;
    int set = setsockopt(s, level, name, &value, sizeof value) ? -errno : 0;
    int get = getsockopt(s, level, name, &got, &n) ? -errno : 0;
    printf("%s %d: set %d, get %d %d\n", what, value, set, get, get ? 0 : got);
}

static void text(const char *path, const char *value) {
    char b[64] = "";
    int f = open(path, O_RDWR), w = write(f, value, strlen(value)) < 0 ? -errno : 0;
    close(f);
    f = open(path, O_RDONLY);
    int n = read(f, b, 63);
    b[n < 0 ? 0 : n] = 0, b[strcspn(b, "\n")] = 0;
    printf("%s: %s gives %d, is %s\n", path, value, w, b);
    close(f);
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    char dir[] = "/tmp/refusals-XXXXXX";
    mkdtemp(dir), chdir(dir);
    close(open("f", O_CREAT | O_RDWR, 0600));
    symlink("f", "l");
    struct timespec times[2] = {{1, 2}, {3, 4}};
    for (int flag = 0x100; flag <= 0x8000; flag <<= 1) {
        char what[40];
        sprintf(what, "fchownat %#x", flag), SAYS(what, fchownat(AT_FDCWD, "f", 0, 0, flag));
        sprintf(what, "utimensat %#x", flag), SAYS(what, syscall(SYS_utimensat, AT_FDCWD, "f", times, flag));
        sprintf(what, "unlinkat %#x", flag), SAYS(what, flag == 0x200 ? 0 : unlinkat(AT_FDCWD, "none", flag) && errno == ENOENT ? 0 : -1);
        sprintf(what, "linkat %#x", flag), SAYS(what, linkat(AT_FDCWD, "f", AT_FDCWD, "f", flag) && errno == EEXIST ? 0 : -1);
        sprintf(what, "faccessat2 %#x", flag), SAYS(what, syscall(439, AT_FDCWD, "f", R_OK, flag));
        struct stat st;
        sprintf(what, "fstatat %#x", flag), SAYS(what, syscall(SYS_newfstatat, AT_FDCWD, "f", &st, flag));
    }
    SAYS("membarrier with flags", syscall(SYS_membarrier, 0, 4, 0));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    SAYS("clock_settime of a clock that cannot be set", clock_settime(CLOCK_MONOTONIC, &now));
    now.tv_nsec = 2000000000;
    SAYS("clock_settime to no time", clock_settime(CLOCK_REALTIME, &now));
    struct timeval bad = {0, 1000000};
    SAYS("settimeofday to no time", settimeofday(&bad, 0));
    struct timex x = {0};
    int state = adjtimex(&x);
    printf("adjtimex: %d, tick %ld\n", state >= 0 && state <= 5, x.tick);
    if (!fork()) {
        setuid(1000);
        SAYS("chroot", chroot("/"));
        SAYS("sethostname", sethostname("x", 1));
        SAYS("mount", mount("a", "/tmp", "tmpfs", 0, 0));
        SAYS("settimeofday", settimeofday(&(struct timeval){1, 0}, 0));
        struct rlimit r;
        getrlimit(RLIMIT_NOFILE, &r), r.rlim_cur = 20, r.rlim_max = 30;
        SAYS("lower", setrlimit(RLIMIT_NOFILE, &r));
        r.rlim_max = 31;
        SAYS("raise", setrlimit(RLIMIT_NOFILE, &r));
        SAYS("another's", prlimit(1, RLIMIT_NOFILE, 0, &r));
        struct stat st;
        stat("/proc/self", &st);
        printf("/proc/self is %d's\n", st.st_uid);
        _exit(0);
    }
    wait(0);
    mkdir("cage", 0700), mkdir("cage/in", 0700), close(open("cage/in/file", O_CREAT | O_RDWR, 0600)), symlink("/in/file", "cage/link");
    if (!fork()) {
        char b[200] = "";
        SAYS("chroot to a file", chroot("f"));
        SAYS("chroot to nothing", chroot("nowhere"));
        SAYS("chroot", chroot("cage"));
        printf("outside: %s\n", getcwd(b, sizeof b) && b[0] == '/' ? "named" : "not reachable");
        chdir("/");
        SAYS("a file", access("/in/file", R_OK)), SAYS("through a link", access("/link", R_OK)), SAYS("above the root", access("/../../in/../in/file", R_OK)), SAYS("what is outside", access("/proc/self/stat", R_OK));
        printf("now %s", getcwd(b, sizeof b));
        chdir("in"), printf(", then %s\n", getcwd(b, sizeof b));
        _exit(0);
    }
    wait(0);
    SAYS("timing", prctl(PR_GET_TIMING)), SAYS("seccomp", prctl(PR_GET_SECCOMP)), SAYS("mce", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    int *tid_at = 0;
    SAYS("tid address", prctl(40, &tid_at)), printf("is there: %d\n", tid_at != 0);

    text("/proc/self/oom_score_adj", "500"), text("/proc/self/oom_score_adj", "1001"), text("/proc/self/oom_score_adj", "x");
    text("/proc/self/comm", "another"), text("/proc/self/comm", "longer than fifteen");
    text("/proc/self/timerslack_ns", "60000"), text("/proc/self/coredump_filter", "0x31"), text("/proc/self/coredump_filter", "nothing");
    char name[16];
    prctl(PR_GET_NAME, name), printf("named %s, slack %d\n", name, prctl(PR_GET_TIMERSLACK));

    int t = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
    int values[] = {-1, 0, 1, 300, 40000};
    for (int i = 0; i < 5; i++) {
        option(t, "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, values[i]), option(t, "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, abs(values[i]));
        option(t, "TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, values[i]), option(t, "TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, values[i] == 300 ? 100 : values[i]);
        option(t, "TCP_SYNCNT", IPPROTO_TCP, TCP_SYNCNT, values[i]), option(u, "IP_TTL", IPPROTO_IP, IP_TTL, values[i]);
        option(u, "UDP_SEGMENT", IPPROTO_UDP, 103, values[i] == -1 ? 70000 : values[i]), option(u, "IP_TOS", IPPROTO_IP, IP_TOS, values[i] & 0xfc);
        option(u, "IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER, values[i]), option(t, "SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, values[i] < 0 ? 0 : values[i]);
    }
    SAYS("an algorithm that is not there", setsockopt(t, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
    SAYS("a protocol above that is not there", setsockopt(t, IPPROTO_TCP, 31, "nosuch", 6));
    for (int i = 0; i < 6; i++) {
        int levels[] = {IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, 500, 255}, one = 1, got;
        socklen_t n = 4;
        printf("level %d: tcp %d, udp %d %d\n", levels[i], setsockopt(t, levels[i], 1, &one, 4) ? errno : 0, setsockopt(u, levels[i], 1, &one, 4) ? errno : 0, getsockopt(u, levels[i], 1, &got, &n) ? errno : 0);
    }
    option(t, "SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 1);
    SAYS("raw without a protocol", socket(AF_INET, SOCK_RAW, 0)), SAYS("a raw pair", socketpair(AF_INET, SOCK_RAW, 0, values));

    int f = open("f", O_RDWR), p[2];
    pipe(p);
    struct iovec v = {"0123456789", 4}, into = {values, 4};
    SAYS("a flag of a newer kernel", preadv2(f, &into, 1, 0, 0x4000)), SAYS("of pwritev2", pwritev2(f, &v, 1, 0, 0x4000));
    SAYS("at once from an empty pipe", preadv2(p[0], &into, 1, -1, 8));
    SAYS("written", pwritev2(f, &v, 1, 0, 2)), SAYS("appended", pwritev2(f, &v, 1, 0, 16)), SAYS("and again", pwritev2(f, &v, 1, 0, 16)), SAYS("the end", lseek(f, 0, SEEK_END));
    struct statx sx;
    SAYS("as fresh and as stale", statx(AT_FDCWD, "f", 0x6000, 0x7ff, &sx));
    SAYS("attributes of nothing", getxattr("nowhere", "user.a", values, 4)), SAYS("of no descriptor", fgetxattr(99, "user.a", values, 4));
    SAYS("personality", personality(ADDR_NO_RANDOMIZE)), SAYS("told", personality(0xffffffff)), SAYS("no more", personality(0));
    SAYS("processors of nobody", syscall(SYS_sched_getaffinity, -1, 8, values)), SAYS("chosen for nobody", syscall(SYS_sched_setaffinity, -1, 8, values));
    char own[32];
    sprintf(own, "/proc/%d", getpid());
    int folder = open(own, O_RDONLY | O_DIRECTORY), other = open("/proc", O_RDONLY | O_DIRECTORY);
    SAYS("a signal by a folder of /proc", syscall(SYS_pidfd_send_signal, folder, 0, 0, 0)), SAYS("by another folder", syscall(SYS_pidfd_send_signal, other, 0, 0, 0));
    SAYS("waiting by a folder", waitid(3, folder, (void *)values, WEXITED | WNOHANG));
    SAYS("the clock of a descriptor that has none", clock_gettime(-1, &now)), SAYS("its resolution", clock_getres(-1, &now));
    return 0;
}
