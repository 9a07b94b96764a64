// Memory, sockets and other objects at the edges of what calls take.
#include "checks.h"
#include <linux/fib_rules.h>
#include <netinet/tcp.h>

#define BAD ((void *)8)
#define PAGE 4096ul
static char buffer[8192];

static void option(int s, int level, int name, int value) {
    int got = -77;
    socklen_t n = sizeof got;
    int set = setsockopt(s, level, name, &value, sizeof value) ? -errno : 0, get = getsockopt(s, level, name, &got, &n) ? -errno : 0;
    printf("option %d %d to %d: %d, %d %d\n", level, name, value, set, get, get ? 0 : got);
}

static void sockets(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, told;
    socklen_t n = sizeof a;
    // A port that the system has chosen, at `bind` or at `listen`, and what is left of it when the listener ends.
    for (int way = 0; way < 4; way++) {
        int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), again;
        if (way & 1) R("bind", bind(l, (void *)&a, sizeof a));
        R("listen", listen(l, 5)), n = sizeof told, getsockname(l, (void *)&told, &n);
        int port = told.sin_port;
        printf("way %d, port %d\n", way, port != 0);
        if (way & 2) { told.sin_addr.s_addr = htonl(INADDR_LOOPBACK), R("connect", connect(c, (void *)&told, sizeof told)); }
        R("shutdown", shutdown(l, SHUT_RD)), n = sizeof told, R("name", getsockname(l, (void *)&told, &n)), printf("port %d, address %d\n", told.sin_port == port ? 1 : told.sin_port ? 2 : 0, told.sin_addr.s_addr != 0);
        struct pollfd w = {l, POLLIN | POLLOUT | POLLRDHUP};
        R("poll", poll(&w, 1, 0)), printf("%x\n", w.revents), R("accept", accept(l, 0, 0)), R("peer", getpeername(l, (void *)&told, &n));
        int state;
        struct tcp_info info;
        n = sizeof info, getsockopt(l, IPPROTO_TCP, TCP_INFO, &info, &n), printf("state %d\n", info.tcpi_state);
        again = socket(AF_INET, SOCK_STREAM, 0), told = a, told.sin_port = port, R("bind of another", bind(again, (void *)&told, sizeof told)), close(again);
        R("listen again", listen(l, 5)), n = sizeof told, getsockname(l, (void *)&told, &n), printf("port %d\n", told.sin_port == port ? 1 : told.sin_port ? 2 : 0);
        close(l), close(c);
    }
    int u[2], p[2], t = socket(AF_INET, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0), v6 = socket(AF_INET6, SOCK_STREAM, 0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, u), pipe(p);
    int values[] = {-1, 0, 3, -5, INT_MIN, INT_MAX, -1};
    for (int i = 0; i < 7; i++) option(u[0], SOL_SOCKET, SO_PEEK_OFF, values[i]);
    option(u[0], SOL_SOCKET, SO_PEEK_OFF, -7), write(u[1], "abcdef", 6), R("peek", recv(u[0], buffer, 2, MSG_PEEK)), option(u[0], SOL_SOCKET, SO_PEEK_OFF, 1), R("peek", recv(u[0], buffer, 2, MSG_PEEK)), printf("%.2s\n", buffer), n = 4, getsockopt(u[0], SOL_SOCKET, SO_PEEK_OFF, values, &n), printf("then %d\n", values[0]), R("read", read(u[0], buffer, 2)), getsockopt(u[0], SOL_SOCKET, SO_PEEK_OFF, values, &n), printf("then %d\n", values[0]);
    for (int length = -1; length < 6; length++) { int one = 1; printf("length %d:", length), R("set", setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &one, length)), n = length, R("get", getsockopt(t, SOL_SOCKET, SO_REUSEADDR, &one, &n)), printf("told %d\n", n); }
    n = 4, R("set bad", setsockopt(t, SOL_SOCKET, SO_REUSEADDR, BAD, 4)), R("get bad", getsockopt(t, SOL_SOCKET, SO_REUSEADDR, BAD, &n)), R("length bad", getsockopt(t, SOL_SOCKET, SO_REUSEADDR, buffer, BAD)), R("of a pipe", setsockopt(p[0], SOL_SOCKET, SO_REUSEADDR, values, 4));
    for (int type = 0; type < 12; type++) { if (type == SOCK_PACKET) continue; printf("type %d:", type), R("inet", ({ int f = socket(AF_INET, type, 0); f < 0 || type == 3 ? f < 0 ? f : close(f) : close(f); })); if (type != 3) R("sctp", ({ int f = socket(AF_INET, type, 132); f < 0 ? f : close(f); })); R("unix", ({ int f = socket(AF_UNIX, type, 0); f < 0 ? f : close(f); })), R("unix 1", ({ int f = socket(AF_UNIX, type, 1); f < 0 ? f : close(f); })), R("unix 2", ({ int f = socket(AF_UNIX, type, 2); f < 0 ? f : close(f); })); }
    R("family -1", socket(-1, 1, 0)), R("family 99", socket(99, 1, 0)), R("protocol -1", socket(AF_INET, 1, -1)), R("protocol 300", socket(AF_INET, 1, 300)), R("tcp datagrams", socket(AF_INET, SOCK_DGRAM, 6)), R("netlink 99", socket(AF_NETLINK, SOCK_RAW, 99)), R("pair of inet", socketpair(AF_INET, 1, 0, u)), R("pair bad", socketpair(AF_UNIX, 1, 0, BAD));
    R("shutdown 3", shutdown(t, 3)), R("of none", shutdown(t, 0)), R("accept of none", accept(t, 0, 0)), R("accept4 flags", accept4(t, 0, 0, 1)), R("listen -1", listen(d, -1)), R("send", send(t, buffer, 1, MSG_NOSIGNAL)), R("sendto nothing", sendto(d, buffer, 1, 0, 0, 0)), R("to port 0", ({ a.sin_port = 0; sendto(d, buffer, 1, 0, (void *)&a, sizeof a); })), R("short", sendto(d, buffer, 1, 0, (void *)&a, 4)), R("long", sendto(d, buffer, 1, 0, (void *)&a, 200)), R("bad", sendto(d, buffer, 1, 0, BAD, sizeof a)), R("unspecific", ({ struct sockaddr z = {AF_UNSPEC}; connect(d, &z, sizeof z); })), R("tcp unspecific", ({ struct sockaddr z = {AF_UNSPEC}; connect(t, &z, sizeof z); })), R("connect short", connect(t, (void *)&a, 1)), R("connect to port 0", connect(t, (void *)&a, sizeof a)), R("too large", sendto(d, mmap(0, 70000, 3, 34, -1, 0), 66000, 0, (void *)&a, sizeof a));
    struct msghdr m = {0};
    m.msg_iovlen = 1025, R("sendmsg 1025", sendmsg(t, &m, MSG_NOSIGNAL)), m.msg_iovlen = 0, m.msg_namelen = -1, m.msg_name = buffer, R("name length", sendmsg(d, &m, 0)), R("recvmsg", recvmsg(d, &m, MSG_DONTWAIT)), R("sendmsg bad", sendmsg(d, BAD, 0)), R("recvmmsg 0", recvmmsg(d, 0, 0, MSG_DONTWAIT, 0)), R("sendmmsg 0", sendmmsg(d, 0, 0, 0)), R("sendmmsg bad", sendmmsg(d, BAD, 1, 0));
}

// Three pages, of which the middle one is not mapped.
static char *holed;
static char *hole(void) { munmap(holed + PAGE, PAGE); return holed; }

static void memory(void) {
    char *m = mmap(0, 16 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *s = mmap(0, 4 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *r = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    holed = m + 7 * PAGE, memset(m, 1, 4 * PAGE);
#define MOVED(...) ({ void *x_ = mremap(__VA_ARGS__); x_ == MAP_FAILED ? -1 : 0; })
    R("mremap unaligned", MOVED(m + 1, PAGE, PAGE, 0)), R("to nothing", MOVED(m, PAGE, 0, 0)), R("over a hole", MOVED(hole(), 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE)), R("shrink over a hole", MOVED(hole(), 3 * PAGE, PAGE, 0)), R("unmapped", MOVED((void *)0x10000, PAGE, 2 * PAGE, 1)), R("grow in place", MOVED(m, PAGE, 64 * PAGE, 0)), R("fixed alone", MOVED(m, PAGE, PAGE, MREMAP_FIXED, r)), R("onto itself", MOVED(m, 4 * PAGE, 4 * PAGE, 3, m + PAGE)), R("to an odd place", MOVED(m, PAGE, PAGE, 3, r + 5)), R("old 0 of private", MOVED(m, 0, PAGE, 1)), R("old 0 of shared", MOVED(s, 0, PAGE, 1)), R("dontunmap grown", MOVED(m, PAGE, 2 * PAGE, 5)), R("dontunmap", MOVED(m, PAGE, PAGE, 5)), R("is zero", m[0]), R("unknown", MOVED(m, PAGE, PAGE, 8)), R("huge", MOVED(m, PAGE, -PAGE, 1)), R("the same", MOVED(m, PAGE, PAGE, 0));
    for (int a = -1; a < 28; a++) if (a != 9 && a != 5 && a != 6 && a != 7 && a != 24 && a != 25) { if (a == 19 || a == 18) continue; char w[40]; sprintf(w, "madvise %d", a), R(w, madvise(m + 4 * PAGE, PAGE, a)), R(" shared", madvise(s, PAGE, a)), R(" hole", madvise(hole(), 3 * PAGE, a)), R(" read only", madvise(r, PAGE, a)), R(" odd", madvise(m + 1, PAGE, a)), R(" nothing", madvise(m, 0, a)), R(" huge", madvise(m, -1, a)); }
    R("mprotect odd", mprotect(m + 1, PAGE, 3)), R("hole", mprotect(hole(), 3 * PAGE, 3)), R("nothing", mprotect(m, 0, 3)), R("huge", mprotect(m, -1, 3)), R("growsdown", mprotect(m, PAGE, 3 | PROT_GROWSDOWN)), R("both", mprotect(m, PAGE, 3 | PROT_GROWSDOWN | PROT_GROWSUP));
    R("mincore odd", mincore(m + 1, PAGE, buffer)), R("hole", mincore(hole(), 3 * PAGE, buffer)), R("bad", mincore(m, PAGE, BAD)), R("nothing", mincore(m, 0, 0)), R("msync both", msync(m, PAGE, MS_SYNC | MS_ASYNC)), R("hole", msync(hole(), 3 * PAGE, MS_ASYNC)), R("mlock hole", mlock(hole(), 3 * PAGE)), R("munlock hole", munlock(hole(), 3 * PAGE)), R("mlock nothing", mlock(m, 0)), R("mlock huge", mlock(m, -1)), R("mlockall 0", mlockall(0)), R("onfault alone", mlockall(4)), R("munmap odd", munmap(m + 1, PAGE)), R("nothing", munmap(m, 0)), R("hole", munmap((void *)0x10000, PAGE)), R("huge", munmap(m, -1)), R("kernel's", munmap((void *)-PAGE, PAGE));
#define MAPPED(...) ({ void *x_ = mmap(__VA_ARGS__); x_ == MAP_FAILED ? -1 : 0; })
    int f = memfd_create("x", MFD_ALLOW_SEALING), o = open("/dev/null", O_WRONLY), z = open("/dev/zero", O_RDONLY), p[2];
    pipe(p);
    R("map nothing", MAPPED(0, 0, 3, 34, -1, 0)), R("no kind", MAPPED(0, PAGE, 3, MAP_ANONYMOUS, -1, 0)), R("kind 3", MAPPED(0, PAGE, 3, MAP_ANONYMOUS | 3, -1, 0)), R("fixed odd", MAPPED((void *)0x7000001, PAGE, 3, 34 | MAP_FIXED, -1, 0)), R("fixed high", MAPPED((void *)-PAGE, PAGE, 3, 34 | MAP_FIXED, -1, 0)), R("not onto", MAPPED(m, PAGE, 3, 34 | 0x100000, -1, 0)), R("huge", MAPPED(0, -1, 3, 34, -1, 0)), R("odd place", MAPPED(0, PAGE, 1, MAP_PRIVATE, f, 100)), R("far", MAPPED(0, 2 * PAGE, 1, MAP_PRIVATE, f, -PAGE)), R("none", MAPPED(0, PAGE, 1, MAP_PRIVATE, 999, 0)), R("write only", MAPPED(0, PAGE, 1, MAP_PRIVATE, o, 0)), R("a pipe", MAPPED(0, PAGE, 1, MAP_PRIVATE, p[0], 0)), R("zeroes shared", MAPPED(0, PAGE, 3, MAP_SHARED, z, 0)), R("zeroes private", MAPPED(0, PAGE, 3, MAP_PRIVATE, z, 0)), R("validated", MAPPED(0, PAGE, 1, 3 | 0x80000, f, 0)), R("validated unknown", MAPPED(0, PAGE, 1, 3 | 0x8000000, f, 0)), R("shared unknown", MAPPED(0, PAGE, 1, 1 | 0x8000000, f, 0)), R("grows down", MAPPED(0, PAGE, 3, 34 | MAP_GROWSDOWN, -1, 0)), R("grows down shared", MAPPED(0, PAGE, 3, 33 | MAP_GROWSDOWN, -1, 0));
    for (int bit = 0; bit < 2; bit++) R("memfd flag", ({ int x = memfd_create("y", 1 << bit); x < 0 ? x : close(x); }));
    memset(buffer, 'n', 300), buffer[300] = 0, R("name 300", memfd_create(buffer, 0)), buffer[250] = 0, R("name 250", memfd_create(buffer, 0)), buffer[249] = 0, R("name 249", memfd_create(buffer, 0) < 0 ? -1 : 0), R("bad", memfd_create(BAD, 0));
    ftruncate(f, PAGE);
    char *w = mmap(0, PAGE, 3, MAP_SHARED, f, 0);
    R("seals", fcntl(f, F_GET_SEALS)), R("write while mapped", fcntl(f, F_ADD_SEALS, F_SEAL_WRITE)), R("future", fcntl(f, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)), R("map again", MAPPED(0, PAGE, 3, MAP_SHARED, f, 0)), R("to read", MAPPED(0, PAGE, 1, MAP_SHARED, f, 0)), R("private", MAPPED(0, PAGE, 3, MAP_PRIVATE, f, 0)), R("write", write(f, "x", 1)), w[0] = 1, munmap(w, PAGE), R("grow", fcntl(f, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK)), R("cut", ftruncate(f, 0)), R("lengthen", ftruncate(f, 2 * PAGE)), R("allocate", fallocate(f, 0, 0, 2 * PAGE)), R("punch", fallocate(f, 3, 0, PAGE)), R("unknown", fcntl(f, F_ADD_SEALS, 0x100)), R("seal", fcntl(f, F_ADD_SEALS, F_SEAL_SEAL)), R("more", fcntl(f, F_ADD_SEALS, F_SEAL_WRITE)), R("none", fcntl(f, F_ADD_SEALS, 0)), R("told", fcntl(f, F_GET_SEALS)), R("of a pipe", fcntl(p[0], F_GET_SEALS)), R("of a file", fcntl(o, F_GET_SEALS));
    CHILD(
        R("mdwe", prctl(66, 0, 0, 0, 0)), R("with more", prctl(66, 1, 0, 0, 0)), R("keep alone", prctl(65, 2, 0, 0, 0)), R("unknown", prctl(65, 4, 0, 0, 0)), R("more", prctl(65, 1, 1, 0, 0)), R("off", prctl(65, 0, 0, 0, 0)), R("refuse", prctl(65, 1, 0, 0, 0)), R("told", prctl(66, 0, 0, 0, 0)), R("off again", prctl(65, 0, 0, 0, 0)), R("and keep", prctl(65, 3, 0, 0, 0));
        R("map both", MAPPED(0, PAGE, 7, 34, -1, 0)), R("code", MAPPED(0, PAGE, 5, 34, -1, 0)), R("made code", mprotect(m, PAGE, 5)), R("made both", mprotect(m, PAGE, 7)), s = mmap(0, PAGE, 5, 34, -1, 0), R("code stays", mprotect(s, PAGE, 5)), R("code to data", mprotect(s, PAGE, 3)), R("and back", mprotect(s, PAGE, 5)), CHILD(R("inherited", prctl(66, 0, 0, 0, 0)), R("map both", MAPPED(0, PAGE, 7, 34, -1, 0))));
    CHILD(R("not inherited", prctl(65, 3, 0, 0, 0)), R("told", prctl(66, 0, 0, 0, 0)), CHILD(R("child", prctl(66, 0, 0, 0, 0))));
}

static void objects(void) {
    int e = eventfd(0, EFD_NONBLOCK), p[2], q[2];
    uint64_t v = -1;
    R("event of all bits", write(e, &v, 8)), v = -2, R("most", write(e, &v, 8)), v = 1, R("one more", write(e, &v, 8)), v = 0, R("none", write(e, &v, 8)), R("of 7", write(e, &v, 7)), R("of 9", write(e, buffer, 9)), R("read 7", read(e, &v, 7)), R("read 9", read(e, buffer, 9)), R("again", read(e, &v, 8)), R("pread", pread(e, &v, 8, 0)), R("lseek", lseek(e, 0, 0)), R("ftruncate", ftruncate(e, 0));
    pipe2(p, O_NONBLOCK);
    long sizes[] = {0, 1, 4096, 4097, 100000, 1 << 20, (1 << 20) + 1, 1l << 31, -1};
    R("size", fcntl(p[0], F_GETPIPE_SZ));
    for (int i = 0; i < 9; i++) if (i != 6 && i != 7) R("set size", fcntl(p[0], F_SETPIPE_SZ, sizes[i]));
    memset(buffer, 0, sizeof buffer), write(p[1], buffer, 5000), R("too small", fcntl(p[0], F_SETPIPE_SZ, 4096)), R("of an eventfd", fcntl(e, F_GETPIPE_SZ));
    R("dupfd -1", fcntl(e, F_DUPFD, -1)), R("dupfd far", fcntl(e, F_DUPFD, 1 << 30)), R("dup of none", dup(999)), R("dup2 the same", dup2(e, e) == e), R("dup2 same none", dup2(999, 999)), R("dup3 same", dup3(e, e, 0)), R("dup2 -1", dup2(e, -1)), R("dup2 far", dup2(e, 1 << 30)), R("fcntl 99", fcntl(e, 99)), R("setfd all", fcntl(e, F_SETFD, -1)), R("getfd", fcntl(e, F_GETFD)), R("setfl all", fcntl(e, F_SETFL, O_APPEND | O_NONBLOCK | O_CREAT)), R("getfl", fcntl(e, F_GETFL) & 0x7fff), R("direct", fcntl(e, F_SETFL, O_DIRECT)), R("noatime", fcntl(e, F_SETFL, O_NOATIME)), R("async", fcntl(e, F_SETFL, O_ASYNC)), R("getfl", fcntl(e, F_GETFL) & 0x7fff);
    int f = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    struct flock l = {F_WRLCK, SEEK_SET, -1, 5};
    R("lock before", fcntl(f, F_SETLK, &l)), l.l_start = 5, l.l_len = -5, R("lock backwards", fcntl(f, F_SETLK, &l)), l.l_len = -6, R("too far back", fcntl(f, F_SETLK, &l)), l.l_len = INT64_MAX, R("too far", fcntl(f, F_SETLK, &l)), l.l_type = 9, R("no kind", fcntl(f, F_SETLK, &l)), l.l_type = F_RDLCK, l.l_whence = 7, R("no origin", fcntl(f, F_SETLK, &l)), l = (struct flock){F_RDLCK}, l.l_pid = 5, R("ofd with a pid", fcntl(f, F_OFD_SETLK, &l)), l.l_pid = 0, R("ofd", fcntl(f, F_OFD_GETLK, &l)), l.l_type = F_UNLCK, R("get of none", fcntl(f, F_GETLK, &l)), R("bad", fcntl(f, F_GETLK, BAD)), R("of a pipe", fcntl(p[0], F_SETLK, &((struct flock){F_RDLCK}))), R("read lock of a writer", fcntl(p[1], F_SETLK, &((struct flock){F_RDLCK})));
    R("owner", fcntl(e, F_SETOWN, 4000000)), R("owner min", fcntl(e, F_SETOWN, INT_MIN)), R("sig 65", fcntl(e, F_SETSIG, 65)), R("sig 64", fcntl(e, F_SETSIG, 64)), R("told", fcntl(e, F_GETSIG)), R("owner kind", ({ struct { int t, p; } o = {7, 0}; fcntl(e, 15, &o); })), R("hint", ({ uint64_t h = 9; fcntl(f, 1036, &h); })), R("hint told", ({ uint64_t h = 9; fcntl(f, 1035, &h) ? -1 : h; })), R("hint 5", ({ uint64_t h = 5; fcntl(f, 1036, &h) ? -1 : ({ fcntl(f, 1035, &h); h; }); })), R("hint of a pipe", ({ uint64_t h = 0; fcntl(p[0], 1036, &h); })), R("lease", fcntl(p[0], F_GETLEASE)), R("lease of a directory", fcntl(open("/tmp", O_RDONLY), F_SETLEASE, F_RDLCK));
    R("close_range back", S(SYS_close_range, 10, 5, 0)), R("flags", S(SYS_close_range, 500, 600, 1)), R("to -1", S(SYS_close_range, 500, -1, 0)), R("unshare", S(SYS_close_range, 500, 600, 2)), R("cloexec", S(SYS_close_range, e, e, 4)), R("is", fcntl(e, F_GETFD)), R("pipe bad", S(SYS_pipe2, BAD, 0)), R("pipe flags", pipe2(q, 1)), R("pipe direct", pipe2(q, O_DIRECT));
    R("packets", ({ write(q[1], "ab", 2), write(q[1], "cd", 2); read(q[0], buffer, 10); })), R("rest lost", ({ read(q[0], buffer, 1), write(q[1], "ef", 2); read(q[0], buffer, 10); }));
    int i = inotify_init1(IN_NONBLOCK);
    R("watch 0", inotify_add_watch(i, "/tmp", 0)), R("unknown", inotify_add_watch(i, "/tmp", 0x1000000)), R("flags alone", inotify_add_watch(i, "/tmp", IN_ONLYDIR)), R("both", inotify_add_watch(i, "/tmp", IN_CREATE | IN_MASK_ADD | IN_MASK_CREATE)), R("watch", inotify_add_watch(i, "/tmp", IN_CREATE)), R("create again", inotify_add_watch(i, "/tmp", IN_CREATE | IN_MASK_CREATE)), R("a file only", inotify_add_watch(i, "/proc/self/status", IN_CREATE | IN_ONLYDIR)), R("none", inotify_add_watch(i, "/none", IN_CREATE)), R("of an eventfd", inotify_add_watch(e, "/tmp", IN_CREATE)), R("rm", inotify_rm_watch(i, 99)), R("read small", read(i, buffer, 4)), R("unused", ({ int n = -1; ioctl(i, FIONREAD, &n); n; }));
}

static void netlinks(void) {
    struct { struct nlmsghdr h; struct fib_rule_hdr r; } rules = {{sizeof rules, RTM_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, 1}, {AF_INET}};
    int n = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), length;
    send(n, &rules, sizeof rules, 0), length = recv(n, buffer, sizeof buffer, 0);
    for (int done = 0; !done && length > 0; length = recv(n, buffer, sizeof buffer, MSG_DONTWAIT))
        for (struct nlmsghdr *h = (void *)buffer; NLMSG_OK(h, length); h = NLMSG_NEXT(h, length)) {
            struct fib_rule_hdr *r = NLMSG_DATA(h);
            if (h->nlmsg_type == NLMSG_DONE) { puts("done"), done = 1; break; }
            if (h->nlmsg_type == NLMSG_ERROR) { printf("error %d\n", *(int *)r), done = 1; break; }
            printf("rule %d: family %d, table %d, action %d, lengths %d %d", h->nlmsg_type, r->family, r->table, r->action, r->dst_len, r->src_len);
            int left = h->nlmsg_len - NLMSG_LENGTH(sizeof *r);
            for (struct rtattr *a = (void *)(r + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) if (a->rta_type == FRA_PRIORITY || a->rta_type == FRA_TABLE) printf(", %d = %d", a->rta_type, *(int *)RTA_DATA(a));
            puts("");
        }
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN);
    sockets(), memory(), objects(), netlinks();
}
