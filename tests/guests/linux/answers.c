// What calls answer, and what they leave behind, in places where a good guess is wrong.
#include "checks.h"

static struct stat sb;
static void has(const char *path, const char *key) {
    char b[4096]; int f = open(path, O_RDONLY), n = read(f, b, 4095); b[n < 0 ? 0 : n] = 0; close(f);
    char *at = strstr(b, key); printf("%s: %.*s\n", key, at ? (int)strcspn(at, "\n") : 4, at ? at : "none");
}
static void shows(const char *path, const char *text) {
    char b[4096]; int f = open(path, O_RDONLY), n = read(f, b, 4095); b[n < 0 ? 0 : n] = 0; close(f); printf("%d\n", !!strstr(b, text));
}
static void mode(const char *p) { lstat(p, &sb); printf("%s %o %d:%d\n", p, sb.st_mode, sb.st_uid, sb.st_gid); fflush(stdout); }
static void descriptors(void) {
    char b[99]; int e = eventfd(7, EFD_SEMAPHORE), t = timerfd_create(CLOCK_MONOTONIC, 0), ep = epoll_create1(0), in = inotify_init(), p[2]; pipe(p);
    sigset_t set; sigemptyset(&set), sigaddset(&set, SIGUSR1); int sf = signalfd(-1, &set, 0);
    struct epoll_event ev = {EPOLLIN | EPOLLET, {.u64 = 0x1234}}; epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev); inotify_add_watch(in, ".", IN_CREATE | IN_DELETE);
    struct itimerspec it = {{3, 0}, {100, 0}}; timerfd_settime(t, 0, &it, 0);
    sprintf(b, "/proc/self/fdinfo/%d", e), has(b, "eventfd-count"), has(b, "eventfd-semaphore"), has(b, "flags");
    sprintf(b, "/proc/self/fdinfo/%d", t), has(b, "clockid"), has(b, "ticks"), has(b, "settime flags"), has(b, "it_interval");
    sprintf(b, "/proc/self/fdinfo/%d", sf), has(b, "sigmask");
    sprintf(b, "/proc/self/fdinfo/%d", ep), shows(b, "events: 80000019 data:             1234  pos:0");
    int on[] = {e, t, ep, in, p[0], socket(AF_UNIX, SOCK_STREAM, 0)}; struct statfs fs;
    for (int i = 0; i < 6; i++) fstatfs(on[i], &fs), printf("%lx ", (long)fs.f_type); puts("");
    R("mounts can be waited for", ({ struct epoll_event m = {EPOLLIN}; epoll_ctl(ep, EPOLL_CTL_ADD, open("/proc/self/mounts", O_RDONLY), &m); }));
    struct epoll_event got[4]; R("as many events", epoll_wait(ep, got, 1 << 30, 0)); R("no room", epoll_wait(ep, (void *)-4096l, 1, 0));
    uint64_t hint = 3; int f = open("hints", O_CREAT | O_RDWR, 0600); R("set hint", fcntl(f, F_SET_RW_HINT, &hint)); hint = 0; R("hint", fcntl(open("hints", O_RDONLY), F_GET_RW_HINT, &hint)); printf("%ld\n", hint);
    hint = 9; R("no such hint", fcntl(f, F_SET_RW_HINT, &hint)); R("lease", fcntl(f, F_GETLEASE)); R("no lease", fcntl(f, F_SETLEASE, F_UNLCK)); uint32_t users[2] = {7, 7};
    fcntl(p[0], F_SETOWN, getpid()); R("users", fcntl(p[0], 17, users)); printf("%d %d\n", users[0], users[1]);
    int flags = -1; R("flags", ioctl(f, FS_IOC_GETFLAGS, &flags)); printf("%d\n", flags); flags = FS_NODUMP_FL; R("set", ioctl(f, FS_IOC_SETFLAGS, &flags)); flags = 0; ioctl(f, FS_IOC_GETFLAGS, &flags); printf("%x\n", flags);
    struct statx x; statx(f, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x); printf("%x %llx\n", x.stx_mask & 0xfff, x.stx_attributes); statx(f, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x); printf("%x\n", x.stx_mask & 0xfff);
    statx(AT_FDCWD, "/proc", 0, STATX_BASIC_STATS, &x); printf("root of a mount %d\n", !!(x.stx_attributes & 0x2000)); struct statvfs v; fstatvfs(f, &v); printf("flags %lx\n", v.f_flag & ~ST_RELATIME);
    int md = memfd_create("m", MFD_ALLOW_SEALING); R("direct", fcntl(md, F_SETFL, O_DIRECT)); R("seal what runs", fcntl(md, F_ADD_SEALS, 0x20)); R("all", fcntl(md, F_GET_SEALS)); R("mandatory", flock(f, 32));
    int nt = open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600); R("never a name", linkat(nt, "", AT_FDCWD, "named", AT_EMPTY_PATH)); close(open("w", O_CREAT, 0600)); R("whiteout", renameat2(AT_FDCWD, "w", AT_FDCWD, "v", RENAME_WHITEOUT)); mode("w");
    R("end of a text", lseek(open("/proc/self/stat", O_RDONLY), 0, SEEK_END)); int m = open("/proc/self/mem", O_RDWR), five = 5, six = 6; pwrite(m, &six, 4, (long)&five); printf("%d\n", five); R("make in proc", mkdir("/proc/x", 0700));
    struct stat ps; stat("/proc/self/stat", &ps); printf("%ld\n", (long)ps.st_blksize); R("times of nothing", S(SYS_utimensat, AT_FDCWD, 0, 0, 0)); R("with flags", S(SYS_utimensat, f, 0, 0, AT_SYMLINK_NOFOLLOW));
    R("vectors of the wrong end", S(SYS_writev, p[0], 0, 1025)); R("of the right", S(SYS_writev, p[1], 0, 1025));
}
static void others(void) {
    chmod(".", 0777); close(open("theirs", O_CREAT, 0666)), chmod("theirs", 0666);
    CHILD(setgroups(0, 0); setresgid(10, 10, 10); setresuid(10, 10, 10); R("no trace", open("theirs", O_RDONLY | O_NOATIME)); R("later", fcntl(open("theirs", O_RDONLY), F_SETFL, O_NOATIME));
        close(open("own", O_CREAT, 0755)); chmod("own", 06755); int w = open("own", O_WRONLY); write(w, "x", 1); mode("own"); chmod("own", 06755); ftruncate(w, 0); mode("own"); chmod("own", 06755); fallocate(w, 0, 0, 9); mode("own"); chmod("own", 02644); write(w, "x", 1); mode("own");
        struct sockaddr_in a = {AF_INET, htons(80), {htonl(INADDR_LOOPBACK)}}; R("port 80", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, 16)); struct rlimit none = {0, 0}; setrlimit(RLIMIT_NPROC, &none); R("no child", fork()));
    CHILD(struct rlimit none = {0, 0}; setrlimit(RLIMIT_NPROC, &none); R("root's child", ({ pid_t p = fork(); if (!p) _exit(0); waitpid(p, 0, 0) == p; })));
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t rest[6]; } at = {47}; R("too short", S(SYS_sched_setattr, 0, &at, 0)); at.size = 48, at.flags = 1ull << 40; R("no such flag", S(SYS_sched_setattr, 0, &at, 0));
    R("broken memory early", prctl(33, 1, 1, 0, 0)); R("told", prctl(34, 0, 0, 0, 0)); R("as usual", prctl(33, 0, 0, 0, 0)); R("told", prctl(34, 0, 0, 0, 0)); R("speculation of no kind", prctl(52, 99, 0, 0, 0)); R("cpuid", S(SYS_arch_prctl, 0x1011)); R("no cpuid", S(SYS_arch_prctl, 0x1012, 0));
    timer_t id; struct sigevent se = {.sigev_notify = SIGEV_NONE}; struct itimerspec it = {{5, 0}, {100, 0}}; timer_create(CLOCK_MONOTONIC, &se, &id); timer_settime(id, 0, &it, 0); it.it_value.tv_sec = 0; timer_settime(id, 0, &it, 0); timer_gettime(id, &it); printf("period %ld\n", it.it_interval.tv_sec);
    struct rusage a, b; getrusage(RUSAGE_SELF, &a); nap(3), nap(3); getrusage(RUSAGE_SELF, &b); printf("waited %d\n", b.ru_nvcsw - a.ru_nvcsw >= 2); siginfo_t i; memset(&i, 0, sizeof i); i.si_code = 5; R("to a thread of nobody", S(SYS_rt_tgsigqueueinfo, 99999, gettid(), SIGUSR1, &i));
    struct msqid_ds q; int queue = msgget(IPC_PRIVATE, 0640); struct { long t; char b[5]; } msg = {1}; msgsnd(queue, &msg, 5, 0); FILE *f = fopen("/proc/sysvipc/msg", "r"); char line[300], want[30]; sprintf(want, " %d ", queue);
    while (fgets(line, 300, f)) if (strstr(line, want)) { int key, id, perm, bytes, num; sscanf(line, "%d %d %o %d %d", &key, &id, &perm, &bytes, &num); printf("queue %d %o %d %d, %zu\n", key, perm, bytes, num, strlen(line)); } msgctl(queue, IPC_RMID, 0);
}
static void tcp(int *a) { int l = socket(AF_INET, SOCK_STREAM, 0); struct sockaddr_in s = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}}; socklen_t n = sizeof s; bind(l, (void *)&s, n); listen(l, 5); getsockname(l, (void *)&s, &n); a[0] = socket(AF_INET, SOCK_STREAM, 0); connect(a[0], (void *)&s, n); a[1] = accept(l, 0, 0); R("bytes of a listener", ioctl(l, FIONREAD, &n)); }
static void sockets(void) {
    int sv[2], t[2], p[2]; char b[64]; pipe(p); socketpair(AF_UNIX, SOCK_STREAM, 0, sv); signal(SIGPIPE, SIG_IGN);
    char c[CMSG_SPACE(4)] = {0}; struct iovec v = {"r", 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c}; struct cmsghdr *h = CMSG_FIRSTHDR(&m); h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(4), *(int *)CMSG_DATA(h) = p[0];
    write(sv[0], "aa", 2), sendmsg(sv[0], &m, 0), write(sv[0], "bb", 2); R("up to the descriptor", read(sv[1], b, 20)); R("behind it", read(sv[1], b, 20));
    int d = socket(AF_UNIX, SOCK_DGRAM, 0), e = socket(AF_UNIX, SOCK_DGRAM, 0); struct sockaddr_un u = {AF_UNIX}; socklen_t n = sizeof u; R("any name", bind(d, (void *)&u, 2)); R("once more", bind(d, (void *)&u, 2)); getsockname(d, (void *)&u, &n); connect(e, (void *)&u, n); R("connected", send(e, "1", 1, 0)); struct sockaddr none = {0}; R("disconnect", connect(e, &none, 2)); R("to nobody", send(e, "1", 1, 0));
    R("no protocol", socket(AF_INET, SOCK_STREAM, 300)); R("ping", socket(AF_INET, SOCK_DGRAM, 1)); tcp(t); send(t[0], "abcd", 4, 0); nap(5); R("away with them", recv(t[1], 0, 3, MSG_TRUNC)); R("the rest", recv(t[1], b, 9, 0)); shutdown(t[0], SHUT_RD); write(t[1], "q", 1); nap(5); R("after no more reading", read(t[0], b, 3)); shutdown(t[0], SHUT_RDWR), shutdown(t[1], SHUT_RDWR); nap(5); R("closed already", shutdown(t[1], SHUT_RDWR));
    int l = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0), one = 1; struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}}; bind(l, (void *)&a, 16); n = 16; getsockname(l, (void *)&a, &n); R("asked", setsockopt(l, 0, 20, &one, 4)); R("losses", setsockopt(l, SOL_SOCKET, 40, &one, 4)); sendto(s, "x", 1, 0, (void *)&a, 16);
    char cb[128]; struct iovec w = {b, 9}; struct msghdr g = {.msg_iov = &w, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof cb}; recvmsg(l, &g, 0); h = CMSG_FIRSTHDR(&g); struct sockaddr_in *to = (void *)CMSG_DATA(h); printf("%d %d %d %d\n", h->cmsg_level, h->cmsg_type, to->sin_port == a.sin_port, to->sin_addr.s_addr == a.sin_addr.s_addr);
    int values[] = {9, 0, 256, 0x10, 0x10, 0x10}, kinds[] = {IP_TTL, IP_TTL, IP_TTL, IP_TOS, 77, 77}, levels[] = {0, 0, 0, 0, 0, 99}; m.msg_name = &a, m.msg_namelen = 16, h = CMSG_FIRSTHDR(&m); for (int i = 0; i < 6; i++) { h->cmsg_level = levels[i], h->cmsg_type = kinds[i], *(int *)CMSG_DATA(h) = values[i]; char what[30]; sprintf(what, "with %d %d", kinds[i], values[i]); R(what, sendmsg(s, &m, 0)); }
    char pc[CMSG_SPACE(12)] = {0}; m.msg_control = pc, m.msg_controllen = sizeof pc, h = CMSG_FIRSTHDR(&m), h->cmsg_level = 0, h->cmsg_type = IP_PKTINFO, h->cmsg_len = CMSG_LEN(12); *(int *)CMSG_DATA(h) = 99; R("no interface", sendmsg(s, &m, 0)); a.sin_port = 0; connect(s, (void *)&a, 16); R("to port 0", send(s, "x", 1, 0));
}
static void netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); struct sockaddr_nl a = {AF_NETLINK}; socklen_t n = sizeof a; bind(fd, (void *)&a, n); getsockname(fd, (void *)&a, &n); R("own number", a.nl_pid == getpid());
    struct { struct nlmsghdr h; struct ifinfomsg i; } q = {{sizeof q, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 5}, {.ifi_index = 1}}; static char b[8192]; send(fd, &q, sizeof q, 0); recv(fd, b, sizeof b, 0); struct nlmsghdr *h = (void *)b; printf("%d %x %d\n", h->nlmsg_type, h->nlmsg_flags, ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index);
    int types[] = {0, RTM_GETLINK, 999, NLMSG_NOOP}, indices[] = {0, 99, 1, 1}; for (int i = 0; i < 4; i++) { if (i) q.h.nlmsg_type = types[i], q.i.ifi_index = indices[i], send(fd, &q, sizeof q, 0); int r = recv(fd, b, sizeof b, 0); printf("%d: type %d flags %x error %d, %d\n", i, h->nlmsg_type, h->nlmsg_flags, ((struct nlmsgerr *)NLMSG_DATA(h))->error, r); }
    int one = 1; R("short answers", setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, 4)); q.h.nlmsg_type = 999; send(fd, &q, sizeof q, 0); int r = recv(fd, b, sizeof b, 0); printf("flags %x, %d\n", h->nlmsg_flags, r); q.h.nlmsg_type = RTM_GETNEIGH, q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP; R("nothing", send(fd, "x", 1, 0)); R("answers", recv(fd, b, 9, MSG_DONTWAIT));
}
int main(void) {
    char dir[] = "/dev/shm/answers-XXXXXX"; umask(022); mkdir("/dev/shm", 01777); mkdtemp(dir), chdir(dir); setvbuf(stdout, 0, _IONBF, 0);
    descriptors(), others(), sockets(), netlink();
}
