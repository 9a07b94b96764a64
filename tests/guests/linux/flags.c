// Each bit of the flags of calls, alone: what does not exist is refused, what exists is not.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/futex.h>
#include <unistd.h>

#define S syscall
// In a child, so that nothing of it stays.
#define BITS(name, count, ...) do { printf("%s:", #name); fflush(stdout); if (!fork()) { alarm(20); for (int i_ = -1; i_ < count; i_++) { \
    unsigned long x = i_ < 0 ? 0 : 1ul << i_; errno = 0; long r_ = (__VA_ARGS__); printf(" %ld", r_ < 0 ? -errno : r_); fflush(stdout); } _exit(0); } \
    int s_; wait(&s_), puts(s_ ? " signal" : ""); } while (0)
#define E(call) ({ errno = 0; long r_ = (call); r_ < 0 ? -errno : r_; })
#define Z(...) ((__VA_ARGS__) < 0 ? -1 : 0)

static char *page, *page2, bb[64];
static int F, D, us[2], ts[2], ud[2], sp[2], two[8];
static struct iovec iov;

static void bits(void) {
    BITS(mmap_prot, 32, Z((long)mmap(0, 4096, x, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)));
    BITS(mprotect_bits, 32, mprotect(page, 4096, x));
    BITS(msync_bits, 8, msync(page, 4096, x));
    BITS(msync_bits_unmapped, 8, msync((void*)0x10000000, 4096, x));
    BITS(mremap_bits, 8, Z(S(SYS_mremap, page, 4096, 8192, x, page2)));
    BITS(mlock2_bits, 8, S(SYS_mlock2, page, 4096, x));
    BITS(mlockall_bits, 8, mlockall(x));
    BITS(dup3_bits, 32, Z(S(SYS_dup3, F, 50, x)));
    BITS(eventfd2_bits, 32, Z(S(SYS_eventfd2, 0, x)));
    BITS(epoll_create1_bits, 32, Z(S(SYS_epoll_create1, x)));
    BITS(timerfd_create_bits, 32, Z(S(SYS_timerfd_create, 1, x)));
    BITS(inotify_init1_bits, 32, Z(S(SYS_inotify_init1, x)));
    BITS(getrandom_bits, 32, S(SYS_getrandom, bb, 16, x));
    BITS(unlinkat_bits, 32, S(SYS_unlinkat, -100, "none", x));
    BITS(linkat_bits, 32, S(SYS_linkat, -100, "none", -100, "none2", x));
    BITS(statx_bits, 32, S(SYS_statx, -100, "f", x, 0x7ff, bb+0 == 0 ? 0 : page2));
    BITS(fstatat_bits, 32, S(SYS_newfstatat, -100, "f", page2, x));
    BITS(fstatat_empty, 32, S(SYS_newfstatat, F, "", page2, x));
    BITS(faccessat2_bits, 32, S(439, -100, "f", 4, x));
    BITS(openat_bits, 32, Z(S(SYS_openat, -100, "f", x & ~0xc0, 0600)));
    BITS(openat_wr_bits, 32, Z(S(SYS_openat, -100, "f", (x & ~0xc3)|2, 0600)));
    BITS(openat_dir_bits, 32, Z(S(SYS_openat, -100, ".", x & ~0xc0, 0600)));
    BITS(openat_link_bits, 32, Z(S(SYS_openat, -100, "l", x & ~0xc0, 0600)));
    BITS(open_creat_bits, 32, Z(S(SYS_openat, -100, "f", x|O_CREAT, 0600)));
    BITS(open_creat_dir_bits, 32, Z(S(SYS_openat, -100, ".", x|O_CREAT, 0600)));
    BITS(open_path_bits, 32, Z(S(SYS_openat, -100, "l", x|O_PATH, 0600)));
    BITS(open_tmpfile_bits, 32, Z(S(SYS_openat, -100, ".", x|O_TMPFILE|2, 0600)));
    BITS(sync_range_bits, 32, S(SYS_sync_file_range, F, 0l, 10l, x));
    BITS(recv_unix_bits, 32, recv(us[0], bb, 4, x | MSG_DONTWAIT));
    BITS(recv_tcp_bits, 32, recv(ts[0], bb, 4, x | MSG_DONTWAIT));
    BITS(recv_udp_bits, 32, recv(ud[0], bb, 4, x | MSG_DONTWAIT));
    BITS(recv_udp_have, 32, ({ send(ud[1], "12345678", 8, 0); usleep(1000); recv(ud[0], bb, 4, x | MSG_DONTWAIT); }));
    BITS(recv_unix_have, 32, ({ send(us[1], "12345678", 8, 0); recv(us[0], bb, 4, x | MSG_DONTWAIT); }));
    BITS(recv_tcp_have, 32, ({ send(ts[1], "12345678", 8, 0); usleep(1000);recv(ts[0], bb, 4, x | MSG_DONTWAIT); }));
    BITS(recv_seq_have, 32, ({ send(sp[1], "12345678", 8, 0); recv(sp[0], bb, 4, x | MSG_DONTWAIT); }));
    BITS(send_tcp_bits, 32, send(ts[0], bb, 4, x | MSG_DONTWAIT));
    BITS(send_udp_bits, 32, send(ud[0], bb, 4, x | MSG_DONTWAIT));
    BITS(send_seq_bits, 32, send(sp[0], bb, 4, x | MSG_DONTWAIT));
    BITS(accept4_bits, 32, accept4(ts[0], 0, 0, x));
    BITS(socket_type_bits, 32, Z(socket(AF_INET, x, 0)));
    BITS(socket_typeor_bits, 32, Z(socket(AF_INET, x|1, 0)));
    BITS(socketpair_bits, 32, socketpair(AF_UNIX, x|1, 0, two));
    BITS(shutdown_how, 8, shutdown(us[0], x + 3));
    BITS(waitid_bits, 32, S(SYS_waitid, P_ALL, 0, page2, x, 0));
    BITS(waitid_or_bits, 32, S(SYS_waitid, P_ALL, 0, page2, x|WEXITED, 0));
    BITS(wait4_bits, 32, wait4(-1, two, x, 0));
    BITS(close_range_bits, 32, S(SYS_close_range, 200, 210, x));
    BITS(unshare_bits, 32, (x & 0x7e020080) ? 0 : unshare(x));
    BITS(timer_abs_bits, 8, ({ struct itimerspec t = {{0}}; int id; S(SYS_timer_create, 1, 0, &id); S(SYS_timer_settime, id, x, &t, 0); }));
    BITS(timerfd_set_bits, 8, ({ struct itimerspec t = {{0}}; int f = timerfd_create(0, 0); timerfd_settime(f, x, &t, 0); }));
    BITS(epoll_ctl_events, 32, ({ struct epoll_event e = {x}; int ep = epoll_create1(0); int r = epoll_ctl(ep, 1, us[0], &e); close(ep); r; }));
    BITS(epoll_excl_events, 32, ({ struct epoll_event e = {x | EPOLLEXCLUSIVE}; int ep = epoll_create1(0); int r = epoll_ctl(ep, 1, us[0], &e); close(ep); r; }));
    BITS(inotify_mask, 32, Z(({ int f = inotify_init1(0); int r = inotify_add_watch(f, "f", x); close(f); r; })));
    BITS(signalfd_bits, 32, Z(S(SYS_signalfd4, -1, bb, 8, x)));
    BITS(sigaltstack_bits, 32, ({ stack_t s = {page2, x, 8192}; sigaltstack(&s, 0); }));
    BITS(sigaction_flags, 32, ({ struct { void *h; unsigned long fl; void *r; unsigned long m; } a = {SIG_IGN, x, 0, 0}, g; S(SYS_rt_sigaction, SIGUSR1, &a, 0, 8); S(SYS_rt_sigaction, SIGUSR1, 0, &g, 8); g.fl == x ? 1 : g.fl; }));
    BITS(getrusage_who, 4, getrusage(x, (void*)page2));
    BITS(mknod_mode, 17, ({ int r = mknod("nn", x, 0); unlink("nn"); r; }));
    BITS(sendfile_flags, 3, sendfile(us[0], F, 0, 0));
    BITS(fadvise, 4, posix_fadvise(F, 0, 0, x));
    BITS(eventfd_init, 33, Z(S(SYS_eventfd2, x, 0)));
    BITS(umask_bits, 20, umask(x));
}

static void ioctls(void) {
    // Of no descriptor in particular, of sockets, and of those that know requests of their own.
    int fds[] = {F, D, us[0], ts[0], ud[0], epoll_create1(0), open("/dev/urandom", O_RDWR), open("/dev/null", O_RDWR), open("/proc/self/status", O_RDONLY)};
    unsigned requests[] = {FIONREAD, 0x5460, 2, 0x40049409, 0x8901, 0x8903, 0x8904, 0x8905, 0x894b, 0x8915, 0x8913, 0x5401, 0x5413, 0x80045200};
    for (int f = 0; f < 9; f++) {
        printf("ioctls of %d:", f);
        for (int r = 0; r < sizeof requests / sizeof *requests; r++) {
            memset(page2, 0, 4096), strcpy(page2, requests[r] == 0x8901 ? "" : "lo");
            if (requests[r] == FIONREAD && f == 6) continue;
            printf(" %x=%d", requests[r], Z(ioctl(fds[f], requests[r], page2)) ? -errno : 0);
        }
        puts("");
    }
    int mine = getpid(), got = 0;
    printf("owner: %d", Z(ioctl(us[0], 0x8902, &mine))), ioctl(us[0], 0x8904, &got), printf(" %d, as fcntl says %d\n", got == mine, fcntl(us[0], F_GETOWN) == mine);
}

static void others(void) {
    for (int op = 0; op < 11; op++) {
        if (op == 5 || op == 6 || op == 7 || op == 8 || op == 3 || op == 4) continue;
        int w[2] = {5, 5};
        struct timespec t = {0, 1};
        printf("futex %d: %ld realtime %ld odd %ld nobody's %ld\n", op, E(S(SYS_futex, w, op, 4, &t, w + 1, -1)), E(S(SYS_futex, w, op | 256, 4, &t, w + 1, -1)), E(S(SYS_futex, (char *)w + 1, op, 4, &t, w + 1, -1)), E(S(SYS_futex, 0, op, 4, &t, w + 1, -1)));
    }
    struct timespec now = {0, 1};
    for (int c = 3; c < 10; c++) if (c != 7) printf("sleep by clock %d: %ld\n", c, E(S(SYS_clock_nanosleep, c, 1, &now, 0)));
    printf("pkey: alloc %ld %ld, free %ld, protect %ld %ld\n", E(S(SYS_pkey_alloc, 1, 0)), E(S(SYS_pkey_alloc, 0, 4)), E(S(SYS_pkey_free, 77)), E(S(SYS_pkey_mprotect, page, 4096, PROT_READ, -1)), E(S(SYS_pkey_mprotect, page, 4096, PROT_READ, 77)));
    int o[] = {PR_MCE_KILL_GET, PR_GET_TSC, PR_GET_THP_DISABLE, PR_SET_THP_DISABLE, PR_GET_SECUREBITS};
    for (int i = 0; i < 5; i++) printf("prctl %d: %ld, more %ld\n", o[i], E(S(SYS_prctl, o[i], o[i] == PR_GET_TSC ? (long)page2 : 0, 0, 0, 0)), E(S(SYS_prctl, o[i], 1, 1, 1, 1)));
    printf("huge pages off: %ld", E(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))), printf(", then %ld\n", E(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
    long locks[] = {1, 2, 3, 0, 0x100};
    for (int i = 0; i < 5; i++) printf("securebits %lx: %ld\n", locks[i], E(prctl(PR_SET_SECUREBITS, locks[i], 0, 0, 0)));
    struct timeval tv[2] = {{5, 6}, {7, 8}};
    struct stat st;
    printf("futimesat: %ld", E(S(SYS_futimesat, D, "f", tv))), stat("f", &st), printf(" %ld.%ld, of the descriptor %ld, of none %ld\n", st.st_mtim.tv_sec, st.st_mtim.tv_nsec, E(S(SYS_futimesat, F, 0, tv)), E(S(SYS_futimesat, -1, 0, tv)));
    sigset_t m;
    sigemptyset(&m), sigaddset(&m, SIGUSR1);
    printf("signalfd: %d\n", Z(S(SYS_signalfd, -1, &m, 8)));
    printf("no parts: %ld %ld %ld\n", E(readv(us[0], &iov, 0)), E(writev(us[0], &iov, 0)), E(readv(900, &iov, 0)));
}

// How many of three that wait for a word have been woken: a count of none, and less than none, wakes one.
static int word, unrelated;
static volatile int awake, asleep;
static void *wait_for_it(void *x) {
    __atomic_add_fetch(&asleep, 1, 5), S(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0), __atomic_add_fetch(&awake, 1, 5);
    return 0;
}
static void woken(const char *what, long told, int expected) {
    for (int i = 0; i < 500 && awake < expected; i++) usleep(10000);
    // One more than there should be would come now.
    usleep(50000), printf("%s: %ld told, %d awake\n", what, told, awake);
}
static void counts(void) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, wait_for_it, 0);
    while (asleep < 4) usleep(1000);
    usleep(200000);
    woken("wake 0", S(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 0, 0, 0, 0), 1);
    woken("wake -1", S(SYS_futex, &word, FUTEX_WAKE_PRIVATE, -1, 0, 0, 0), 2);
    woken("wake bitset 0", S(SYS_futex, &word, FUTEX_WAKE_BITSET_PRIVATE, 0, 0, 0, ~0), 3);
    woken("wake op 0", S(SYS_futex, &word, FUTEX_WAKE_OP_PRIVATE, 0, 0, &unrelated, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 5)), 4);
    S(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 4, 0, 0, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN);
    char dir[] = "/tmp/flags-XXXXXX";
    mkdtemp(dir), chdir(dir), D = open(".", O_RDONLY);
    page = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), mmap(0, 4096, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page2 = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    F = open("f", O_RDWR | O_CREAT, 0600), write(F, "0123456789", 10), symlink("f", "l");
    iov = (struct iovec){bb, 4};
    socketpair(AF_UNIX, SOCK_STREAM, 0, us), socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sp);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (void *)&a, n), listen(l, 5), getsockname(l, (void *)&a, &n), ts[0] = socket(AF_INET, SOCK_STREAM, 0), connect(ts[0], (void *)&a, n), ts[1] = accept(l, 0, 0);
    for (int i = 0; i < 2; i++) a.sin_port = 0, ud[i] = socket(AF_INET, SOCK_DGRAM, 0), bind(ud[i], (void *)&a, n);
    for (int i = 0; i < 2; i++) n = sizeof a, getsockname(ud[!i], (void *)&a, &n), connect(ud[i], (void *)&a, n);
    bits(), ioctls(), others(), counts();
    unlink("f"), unlink("l"), unlink("ra"), unlink("rb"), chdir("/"), rmdir(dir);
}
