// What is left of what has ended or never began: processes that nobody has waited for, sockets that are connected to nothing, files
// that have no name.
#include "checks.h"
#include <linux/sockios.h>

#define MSG_PROBE 0x10

static char buffer[70000];

static void entries(const char *of, pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, of);
    R(of, ({ int f = open(path, O_RDONLY | O_DIRECTORY); long n = f < 0 ? -1 : S(SYS_getdents64, f, buffer, sizeof buffer); close(f); n; }));
}

static void ended(void) {
    pid_t pid = fork();
    if (!pid) { int f = open("/dev/null", 0); pause(); close(f); }
    kill(pid, SIGKILL), waitid(P_PID, pid, 0, WEXITED | WNOWAIT);
    char path[64];
    R("signal to one that has ended", kill(pid, 0)), R("group", getpgid(pid) == getpgrp()), R("session", getsid(pid) == getsid(0));
    R("into a group of its own", setpgid(pid, pid)), R("which it is in", getpgid(pid) == pid);
    // Others of the pipeline come into the group of one that has ended.
    pid_t other = fork();
    if (!other) pause();
    R("another into that", setpgid(other, pid)), R("which it is in", getpgid(other) == pid), R("and back", setpgid(other, getpgrp()));
    entries("fd", pid), entries("fdinfo", pid);
    const char *links[] = {"cwd", "root", "exe"};
    for (int i = 0; i < 3; i++) { snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]); R(links[i], readlink(path, buffer, 100)); }
    const char *files[] = {"maps", "cmdline", "fd/0", "fdinfo/0"};
    for (int i = 0; i < 4; i++) { snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]); R(files[i], ({ int f = open(path, O_RDONLY); long n = f < 0 ? -1 : read(f, buffer, 100); close(f); n; })); }
    R("group -1", setpgid(0, -1)), R("-1", setpgid(-1, 0)), R("none", setpgid(4000000, 0)), R("group of none", setpgid(other, 4000000));
    R("wait", waitpid(pid, 0, 0) == pid), R("gone", setpgid(pid, 0)), R("its group is, too", setpgid(other, pid));
    kill(other, SIGKILL), waitpid(other, 0, 0);
}

// How it was scheduled, what it was allowed and who it was is known until it has been waited for, and may be changed.
static void kept(void) {
    pid_t pid = fork();
    if (!pid) { setpriority(PRIO_PROCESS, 0, 7); _exit(3); }
    siginfo_t info;
    waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
    struct rlimit limit;
    long words[16] = {0};
    struct sched_param param = {0};
    unsigned header[2] = {0x20080522, pid}, sets[6] = {0};
    R("priority", S(SYS_getpriority, PRIO_PROCESS, pid)), R("change", setpriority(PRIO_PROCESS, pid, 9)), R("is", S(SYS_getpriority, PRIO_PROCESS, pid)), R("ioprio", S(SYS_ioprio_get, 1, pid)), R("set", S(SYS_ioprio_set, 1, pid, (2 << 13) | 3)), R("limits", prlimit(pid, RLIMIT_NOFILE, 0, &limit)), R("set limits", prlimit(pid, RLIMIT_NOFILE, &limit, 0)), R("scheduler", sched_getscheduler(pid)), R("set scheduler", sched_setscheduler(pid, 0, &param)), R("param", sched_getparam(pid, &param)), R("set param", sched_setparam(pid, &param)), R("affinity", S(SYS_sched_getaffinity, pid, 64, words) > 0), R("set affinity", S(SYS_sched_setaffinity, pid, 8, &(long){1})), R("attr", S(SYS_sched_getattr, pid, words, 48, 0)), R("interval", S(SYS_sched_rr_get_interval, pid, words)), R("capget", S(SYS_capget, header, sets)), R("robust", S(SYS_get_robust_list, pid, words, words + 1)), R("vm", S(SYS_process_vm_readv, pid, &(struct iovec){words, 8}, 1, &(struct iovec){words, 8}, 1, 0)), R("pidfd", ({ int f = S(SYS_pidfd_open, pid, 0); struct pollfd p = {f, POLLIN}; poll(&p, 1, 0); printf("%x\n", p.revents); R("signal", S(SYS_pidfd_send_signal, f, 0, 0, 0)); R("getfd", S(SYS_pidfd_getfd, f, 0, 0)); R("madvise", S(SYS_process_madvise, f, &(struct iovec){words, 8}, 1, MADV_COLD, 0)); close(f); })), R("cpu clock", ({ struct timespec t; clock_gettime((~pid << 3) | 2, &t); })), R("clock id", ({ clockid_t c; clock_getcpuclockid(pid, &c); })), R("group", getpgid(pid) == getpgrp());
    waitpid(pid, 0, 0);
    R("gone", S(SYS_getpriority, PRIO_PROCESS, pid)), R("gone", prlimit(pid, RLIMIT_NOFILE, 0, &limit)), R("gone", S(SYS_capget, header, sets));
}

// Each way to read, write and ask, before and behind each way to end it.
static void nowhere(const char *what, int s) {
    printf("== %s\n", what);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int value;
    socklen_t n;
    for (int how = -1; how < 3; how++) {
        if (how >= 0) R("shutdown", shutdown(s, how));
        struct msghdr m = {0};
        R("recv", recv(s, buffer, 5, MSG_DONTWAIT)), R("peek", recv(s, buffer, 5, MSG_PEEK | MSG_DONTWAIT)), R("recv of nothing", recv(s, buffer, 0, MSG_DONTWAIT));
        R("recvmsg", recvmsg(s, &m, MSG_DONTWAIT)), R("send", send(s, buffer, 5, MSG_NOSIGNAL | MSG_DONTWAIT)), R("send nothing", send(s, buffer, 0, MSG_NOSIGNAL | MSG_DONTWAIT));
        R("peer", ({ n = sizeof a; getpeername(s, (void *)&a, &n); }));
        struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP};
        poll(&p, 1, 0), printf("poll %x\n", p.revents);
    }
    R("error", ({ n = 4, value = -7, getsockopt(s, SOL_SOCKET, SO_ERROR, &value, &n); value; }));
    R("outq", ioctl(s, SIOCOUTQ, &value));
    close(s);
}

static int bound(int type, struct sockaddr_in *a) {
    int s = socket(AF_INET, type, 0);
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof *a;
    bind(s, (void *)a, n), getsockname(s, (void *)a, &n);
    return s;
}

static void sockets(void) {
    struct sockaddr_in a, b;
    nowhere("tcp", socket(AF_INET, SOCK_STREAM, 0)), nowhere("tcp6", socket(AF_INET6, SOCK_STREAM, 0)), nowhere("udp", socket(AF_INET, SOCK_DGRAM, 0));
    nowhere("unix", socket(AF_UNIX, SOCK_STREAM, 0)), nowhere("unix datagrams", socket(AF_UNIX, SOCK_DGRAM, 0));
    int s = bound(SOCK_DGRAM, &a), to = bound(SOCK_DGRAM, &b);
    connect(s, (void *)&b, sizeof b), nowhere("connected udp", s);
    s = bound(SOCK_STREAM, &a), listen(s, 3), nowhere("listener", s);
    s = socket(AF_INET, SOCK_STREAM, 0), close(bound(SOCK_STREAM, &b));
    R("refused", connect(s, (void *)&b, sizeof b)), nowhere("refused", s);
    // It may begin anew, and listens as any other does.
    s = bound(SOCK_STREAM, &a), R("shutdown", shutdown(s, SHUT_RDWR)), R("listen", listen(s, 1));
    struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP};
    poll(&p, 1, 0), printf("poll %x\n", p.revents);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    R("connect", connect(c, (void *)&a, sizeof a)), R("accept", accept(s, 0, 0) >= 0), close(c), close(s);
    // A wait at a socket that is connected to nothing ends with it.
    s = bound(SOCK_DGRAM, &a);
    pid_t pid = fork();
    if (!pid) { nap(20), shutdown(s, SHUT_RD); _exit(0); }
    R("recv", recv(s, buffer, 5, 0)), waitpid(pid, 0, 0), close(s);
    // A probe asks for the way, and sends nothing.
    s = bound(SOCK_DGRAM, &a);
    R("probe", sendto(s, buffer, 4, MSG_PROBE, (void *)&a, sizeof a)), R("recv", recv(s, buffer, 5, MSG_DONTWAIT)), R("of nothing", sendto(s, buffer, 0, MSG_PROBE, (void *)&a, sizeof a));
    // What only Unix sockets carry is left behind; a length of segments is of 16 bits.
    char control[64] = {0};
    struct iovec v = {buffer, 5};
    struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *head = (void *)control;
    struct { int level, type, length; } all[] = {{SOL_SOCKET, SCM_RIGHTS, 4}, {SOL_SOCKET, SCM_CREDENTIALS, 12}, {SOL_SOCKET, 77, 4}, {IPPROTO_UDP, 103, 2}, {IPPROTO_UDP, 103, 4}, {IPPROTO_UDP, 103, 1}};
    for (int i = 0; i < 6; i++) { *head = (struct cmsghdr){CMSG_LEN(all[i].length), all[i].level, all[i].type}; *(int *)CMSG_DATA(head) = 9; m.msg_controllen = CMSG_SPACE(all[i].length); R("beside", sendmsg(s, &m, 0)); }
    struct timeval limits[] = {{INT64_MAX, 0}, {1000, 0}, {0, 0}, {-1, 0}};
    socklen_t n = sizeof limits[0];
    for (int i = 0; i < 4; i++) { R("limit", setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, limits + i, n)); getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, limits + i, &n), printf("%ld %ld\n", limits[i].tv_sec, limits[i].tv_usec); }
    struct sockaddr_un name = {AF_UNIX, "/tmp/edges_gone"};
    unlink(name.sun_path), c = socket(AF_UNIX, SOCK_STREAM, 0), bind(c, (void *)&name, sizeof name), listen(c, 2);
    int value = -7;
    R("outq", ioctl(c, SIOCOUTQ, &value)), printf("%d\n", value), R("inq", ioctl(c, SIOCINQ, &value)), unlink(name.sun_path);
    // One that is still being connected is given up.
    s = bound(SOCK_STREAM, &a), listen(s, 0);
    for (int i = 0; i < 2; i++) { c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); connect(c, (void *)&a, sizeof a); }
    c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    R("connect", connect(c, (void *)&a, sizeof a)), R("shutdown", shutdown(c, SHUT_RDWR)), n = 4, getsockopt(c, SOL_SOCKET, SO_ERROR, &value, &n), printf("error %d\n", value);
}

static void names(void) {
    char path[64];
    int f = open("/tmp", O_TMPFILE | O_RDWR, 0600), x = open("/tmp", O_TMPFILE | O_RDWR | O_EXCL, 0600), m = memfd_create("x", 0), p[2];
    pipe(p), chdir("/tmp");
    unlink("gone1"), unlink("gone2"), unlink("gone3");
    R("file without a name", linkat(f, "", AT_FDCWD, "gone1", AT_EMPTY_PATH)), R("a second one", linkat(f, "", AT_FDCWD, "gone2", AT_EMPTY_PATH)), unlink("gone1"), unlink("gone2"), R("when both are gone", linkat(f, "", AT_FDCWD, "gone3", AT_EMPTY_PATH));
    R("exclusive", linkat(x, "", AT_FDCWD, "gone3", AT_EMPTY_PATH)), R("memfd", linkat(m, "", AT_FDCWD, "gone3", AT_EMPTY_PATH)), R("pipe", linkat(p[0], "", AT_FDCWD, "gone3", AT_EMPTY_PATH));
    snprintf(path, sizeof path, "/proc/self/fd/%d", m), R("by its path", linkat(AT_FDCWD, path, AT_FDCWD, "gone3", AT_SYMLINK_FOLLOW));
    R("of /proc", link("/proc/self/stat", "gone3")), R("out of it", rename("/proc/self/stat", "gone3")), R("into it", ({ close(open("gone1", O_CREAT | O_WRONLY, 0600)); rename("gone1", "/proc/gone"); })), unlink("gone1");
    // A file that has lost one of its names is known by the other.
    mkdir("gone_a", 0700), mkdir("gone_b", 0700), x = open("gone_a/f", O_CREAT | O_RDWR, 0600);
    int i = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(i, "gone_a", IN_MODIFY | IN_ATTRIB), inotify_add_watch(i, "gone_b", IN_MODIFY | IN_ATTRIB);
    link("gone_a/f", "gone_b/g"), unlink("gone_b/g"), read(i, buffer, sizeof buffer);
    R("write", write(x, "a", 1)), R("heard", read(i, buffer, sizeof buffer)), printf("%d %s\n", ((struct inotify_event *)buffer)->wd, ((struct inotify_event *)buffer)->name);
    snprintf(path, sizeof path, "/proc/self/fd/%d", x), R("path", readlink(path, buffer, sizeof buffer)), printf("%.11s\n", buffer);
    unlink("gone_a/f"), rmdir("gone_a"), rmdir("gone_b");
    // The best of several that have none of their own follows from how nice they are.
    CHILD(setpgid(0, 0), setpriority(PRIO_PROCESS, 0, 10), S(SYS_ioprio_set, 1, 0, 0), R("own", S(SYS_ioprio_get, 1, 0)), R("of the group", S(SYS_ioprio_get, 2, 0)), S(SYS_ioprio_set, 1, 0, 3 << 13), R("idle", S(SYS_ioprio_get, 2, 0)),
          CHILD(S(SYS_ioprio_set, 1, 0, 2 << 13 | 5), R("the better", S(SYS_ioprio_get, 2, 0)), S(SYS_ioprio_set, 1, 0, 0), R("of none", S(SYS_ioprio_get, 2, 0))));
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN);
    ended(), kept(), sockets(), names();
}
