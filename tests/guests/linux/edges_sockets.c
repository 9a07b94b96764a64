// What sockets in each state say of each address, and of calls that are not for them.
#include "checks.h"

#include <linux/sockios.h>
#define BAD ((void *)8)
static char buffer[70000];
static struct sockaddr_in none4, live4, live_udp;
static struct sockaddr_in6 live6;
static struct sockaddr_un path_stream, path_dgram, path_none, path_file;

static int tcp(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int name_of(int s, void *a, socklen_t n) { return getsockname(s, a, &n); }
static int listener4(struct sockaddr_in *a) {
    int s = tcp();
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bind(s, (void *)a, sizeof *a), listen(s, 10), name_of(s, a, sizeof *a);
    return s;
}
static struct sockaddr_un named(const char *path) {
    struct sockaddr_un a = {AF_UNIX};
    strcpy(a.sun_path, path);
    return a;
}
// Sockets in each state that connect() may find.
enum { TCP_NEW, TCP_BOUND, TCP_LSN, TCP_CONNECTED, TCP_SHUT, TCP_REFUSED, TCP_ENDED, TCP6_NEW, UDP_NEW, UDP_CONNECTED, UDP6_NEW, UNIX_NEW, UNIX_LISTEN, UNIX_PAIR, UNIX_CONNECTED, UNIX_DGRAM, UNIX_DGRAM_PAIR, UNIX_SEQ, UNIX_SEQ_LISTEN, NETLINK, STATES };
static const char *states[] = {"tcp", "tcp bound", "tcp listener", "tcp connected", "tcp shut", "tcp refused", "tcp whose peer has gone", "tcp6", "udp", "udp connected", "udp6", "unix", "unix listener", "unix pair", "unix connected", "unix dgram", "unix dgram pair", "unix seq", "unix seq listener", "netlink"};
static int other = -1, live, live_unix;
static int make(int state) {
    int s, p[2];
    struct sockaddr_in a;
    struct sockaddr_un u;
    if (other >= 0) close(other), other = -1;
    while ((s = accept(live, 0, 0)) >= 0) close(s);
    while ((s = accept(live_unix, 0, 0)) >= 0) close(s);
    switch (state) {
    case TCP_NEW: return tcp();
    case TCP_BOUND: s = listener4(&a), close(s), s = tcp(), a.sin_port = 0, bind(s, (void *)&a, sizeof a); return s;
    case TCP_LSN: return listener4(&a);
    case TCP_CONNECTED: case TCP_SHUT: case TCP_ENDED:
        s = tcp(), connect(s, (void *)&live4, sizeof live4), other = accept(live, 0, 0);
        if (state == TCP_SHUT) shutdown(s, SHUT_RDWR);
        if (state == TCP_ENDED) { int l = listener4(&a); close(s), s = tcp(), connect(s, (void *)&a, sizeof a), close(accept(l, 0, 0)), close(l), nap(1); }
        return s;
    case TCP_REFUSED: s = tcp(), connect(s, (void *)&none4, sizeof none4); return s;
    case TCP6_NEW: return socket(AF_INET6, SOCK_STREAM, 0);
    case UDP_NEW: return socket(AF_INET, SOCK_DGRAM, 0);
    case UDP_CONNECTED: s = socket(AF_INET, SOCK_DGRAM, 0), connect(s, (void *)&live_udp, sizeof live_udp); return s;
    case UDP6_NEW: return socket(AF_INET6, SOCK_DGRAM, 0);
    case UNIX_NEW: return socket(AF_UNIX, SOCK_STREAM, 0);
    case UNIX_LISTEN: s = socket(AF_UNIX, SOCK_STREAM, 0), u = named("/tmp/sx_l"), unlink(u.sun_path), bind(s, (void *)&u, sizeof u), listen(s, 2); return s;
    case UNIX_PAIR: socketpair(AF_UNIX, SOCK_STREAM, 0, p), other = p[1]; return p[0];
    case UNIX_CONNECTED: s = socket(AF_UNIX, SOCK_STREAM, 0), connect(s, (void *)&path_stream, sizeof path_stream), other = accept(live_unix, 0, 0); return s;
    case UNIX_DGRAM: return socket(AF_UNIX, SOCK_DGRAM, 0);
    case UNIX_DGRAM_PAIR: socketpair(AF_UNIX, SOCK_DGRAM, 0, p), other = p[1]; return p[0];
    case UNIX_SEQ: return socket(AF_UNIX, SOCK_SEQPACKET, 0);
    case UNIX_SEQ_LISTEN: s = socket(AF_UNIX, SOCK_SEQPACKET, 0), u = named("/tmp/sx_q"), unlink(u.sun_path), bind(s, (void *)&u, sizeof u), listen(s, 2); return s;
    default: return socket(AF_NETLINK, SOCK_RAW, 0);
    }
}
static void connects(void) {
    static struct sockaddr unspec = {AF_UNSPEC}, odd = {77};
    struct sockaddr_nl kernel = {AF_NETLINK};
    struct { const char *name; void *a; socklen_t n; } to[] = {
        {"listener", &live4, sizeof live4}, {"nobody", &none4, sizeof none4}, {"udp", &live_udp, sizeof live_udp}, {"v6", &live6, sizeof live6}, {"unspec", &unspec, sizeof unspec}, {"unspec short", &unspec, 2}, {"short", &live4, 8}, {"1 byte", &live4, 1}, {"0 bytes", &live4, 0}, {"-1 bytes", &live4, -1}, {"129 bytes", buffer, 129}, {"bad", BAD, sizeof live4}, {"null", 0, 0}, {"odd", &odd, sizeof odd}, {"unix", &path_stream, sizeof path_stream}, {"unix dgram", &path_dgram, sizeof path_dgram}, {"unix nobody", &path_none, sizeof path_none}, {"unix file", &path_file, sizeof path_file}, {"unix short", &path_stream, 2}, {"netlink", &kernel, sizeof kernel},
    };
    char what[90];
    for (int state = 0; state < STATES; state++)
        for (int i = 0; i < sizeof to / sizeof *to; i++) {
            int s = make(state);
            fcntl(s, F_SETFL, O_NONBLOCK);
            sprintf(what, "connect %s to %s", states[state], to[i].name);
            R(what, connect(s, to[i].a, to[i].n));
            close(s);
        }
    for (int state = 0; state < STATES; state++) {
        #define ONCE(call, ...) ({ int s = make(state); fcntl(s, F_SETFL, O_NONBLOCK); sprintf(what, "%s %s", states[state], call); R(what, __VA_ARGS__); close(s); 0; })
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct msghdr m = {0};
        int v = 0;
        socklen_t n = sizeof buffer;
        ONCE("bind", bind(s, (void *)&any, sizeof any)), ONCE("bind short", bind(s, (void *)&any, 3)), ONCE("bind bad", bind(s, BAD, sizeof any)), ONCE("listen", listen(s, -1)), ONCE("accept", accept(s, 0, 0)), ONCE("accept bad", accept(s, BAD, BAD)), ONCE("accept4 flags", accept4(s, 0, 0, 1)), ONCE("shutdown 0", shutdown(s, 0)), ONCE("shutdown 2", shutdown(s, 2)), ONCE("shutdown 3", shutdown(s, 3));
        ONCE("recv", recv(s, buffer, 5, 0)), ONCE("recv bad", recv(s, BAD, 5, 0)), ONCE("recv oob", recv(s, buffer, 5, MSG_OOB)), ONCE("recv errqueue", recv(s, buffer, 5, MSG_ERRQUEUE)), ONCE("recv unknown", recv(s, buffer, 5, 0x8000000)), ONCE("read 0", read(s, buffer, 0)), ONCE("recvmsg", recvmsg(s, &m, 0)), ONCE("recvmsg bad", recvmsg(s, BAD, 0)), ONCE("recvfrom len bad", recvfrom(s, buffer, 5, 0, (void *)&any, BAD));
        ONCE("send", send(s, buffer, 5, MSG_NOSIGNAL)), ONCE("send 0", send(s, buffer, 0, MSG_NOSIGNAL)), state == UNIX_DGRAM ? 0 : ONCE("send bad", send(s, BAD, 5, MSG_NOSIGNAL)), ONCE("send oob", send(s, buffer, 5, MSG_OOB | MSG_NOSIGNAL)), ONCE("sendto live", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&live_udp, sizeof live_udp)), ONCE("sendto nobody", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&none4, sizeof none4)), ONCE("sendto short", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&live_udp, 5)), ONCE("sendto -1", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&live_udp, -1)), ONCE("sendto bad", sendto(s, buffer, 5, MSG_NOSIGNAL, BAD, 16)), ONCE("sendto unix", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&path_dgram, sizeof path_dgram)), ONCE("sendto unix none", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&path_none, sizeof path_none)), ONCE("sendto unix stream", sendto(s, buffer, 5, MSG_NOSIGNAL, (void *)&path_stream, sizeof path_stream));
        ONCE("sendmsg", sendmsg(s, &m, MSG_NOSIGNAL)), ONCE("peer", ({ n = sizeof buffer; getpeername(s, (void *)buffer, &n); })), ONCE("peer bad", getpeername(s, BAD, &n)), ONCE("peer len bad", getpeername(s, (void *)buffer, BAD)), ONCE("peer -1", ({ n = -1; getpeername(s, (void *)buffer, &n); })), ONCE("name -1", ({ n = -1; getsockname(s, (void *)buffer, &n); })), ONCE("name 0", ({ n = 0; int r = getsockname(s, (void *)buffer, &n); r ? r : n; }));
        ONCE("fionread", ({ v = -5; int r = ioctl(s, FIONREAD, &v); r ? r : v; })), state == TCP_SHUT || state == TCP_REFUSED ? 0 : ONCE("outq", ({ v = -5; int r = ioctl(s, TIOCOUTQ, &v); r ? r : v; })), ONCE("atmark", ({ v = -5; int r = ioctl(s, SIOCATMARK, &v); r ? r : v; })), ONCE("gstamp", ioctl(s, SIOCGSTAMP, buffer)), ONCE("gstampns", ioctl(s, SIOCGSTAMPNS, buffer)), ONCE("gstamp old", ioctl(s, 0x8906, buffer)), ONCE("gpgrp", ({ v = -5; int r = ioctl(s, SIOCGPGRP, &v); r ? r : v; })), ONCE("fiogetown", ({ v = -5; int r = ioctl(s, FIOGETOWN, &v); r ? r : v; })), ONCE("tcgets", ioctl(s, TCGETS, buffer)), ONCE("unknown", ioctl(s, 0x12345, buffer));
        ONCE("lseek", lseek(s, 0, 0)), ONCE("pread", pread(s, buffer, 1, 0)), ONCE("ftruncate", ftruncate(s, 0)), ONCE("fsync", fsync(s)), ONCE("fchmod", fchmod(s, 0600)), ONCE("fstat", ({ struct stat t; int r = fstat(s, &t); r ? r : t.st_mode; })), ONCE("poll", ({ struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP | POLLPRI}; poll(&p, 1, 0); p.revents; })), ONCE("acceptconn", ({ n = 4; int r = getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &v, &n); r ? r : v; })), ONCE("error", ({ n = 4; int r = getsockopt(s, SOL_SOCKET, SO_ERROR, &v, &n); r ? r : v; })), ONCE("peercred", ({ n = 12; int r = getsockopt(s, SOL_SOCKET, SO_PEERCRED, buffer, &n); r ? r : (*(int *)buffer == getpid()) + 10 * (*(int *)(buffer + 4)); })), ONCE("peergroups", ({ n = 400; int r = getsockopt(s, SOL_SOCKET, 59, buffer, &n); r ? r : 0; }));
    }
}
// A connection that was not waited for is told of once, and a time of a datagram is known when there was one.
static void later(void) {
    struct pollfd p = {tcp(), POLLOUT};
    fcntl(p.fd, F_SETFL, O_NONBLOCK), R("begin", connect(p.fd, (void *)&live4, sizeof live4)), poll(&p, 1, 1000);
    R("is", connect(p.fd, (void *)&live4, sizeof live4)), R("was", connect(p.fd, (void *)&live4, sizeof live4)), close(p.fd);
    p.fd = tcp(), fcntl(p.fd, F_SETFL, O_NONBLOCK), R("begin", connect(p.fd, (void *)&none4, sizeof none4)), poll(&p, 1, 1000), R("refused", connect(p.fd, (void *)&none4, sizeof none4)), R("anew", connect(p.fd, (void *)&live4, sizeof live4)), poll(&p, 1, 1000), R("is", connect(p.fd, (void *)&live4, sizeof live4)), close(p.fd);
    int from = socket(AF_INET, SOCK_DGRAM, 0), to = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = {AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval at = {-1, -1};
    struct timespec ns = {-1, -1}, now;
    bind(to, (void *)&a, sizeof a), name_of(to, &a, sizeof a), sendto(from, "x", 1, 0, (void *)&a, sizeof a);
    R("not yet", ioctl(to, SIOCGSTAMP, &at)), R("recv", recv(to, buffer, 5, 0)), R("then", ioctl(to, SIOCGSTAMP, &at)), R("in ns", ioctl(to, SIOCGSTAMPNS, &ns)), clock_gettime(CLOCK_REALTIME, &now);
    printf("now: %d %d\n", now.tv_sec - at.tv_sec < 5 && now.tv_sec >= at.tv_sec, now.tv_sec - ns.tv_sec < 5 && ns.tv_nsec < 1000000000), R("bad", ioctl(to, SIOCGSTAMP, BAD)), close(from), close(to);
}
// An end by a reset after both sides have said their last word.
static void resets(void) {
    struct linger now = {1, 0};
    for (int way = 0; way < 8; way++) {
        struct sockaddr_in a;
        int l = listener4(&a), c = tcp(), v;
        socklen_t n = 4;
        connect(c, (void *)&a, sizeof a);
        int s = accept(l, 0, 0);
        printf("== way %d\n", way);
        if (way & 1) write(s, "abc", 3), nap(1);
        if (way & 2) shutdown(s, SHUT_WR), shutdown(c, SHUT_WR), nap(1);
        if (way & 4) setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(c), nap(2);
        struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP};
        poll(&p, 1, 0), printf("poll %x\n", p.revents);
        R("error", ({ getsockopt(s, SOL_SOCKET, SO_ERROR, &v, &n); v; })), R("read", read(s, buffer, 10)), R("again", read(s, buffer, 10)), R("write", send(s, "x", 1, MSG_NOSIGNAL)), nap(1), R("write again", send(s, "x", 1, MSG_NOSIGNAL)), R("peer", ({ n = 16; getpeername(s, (void *)&a, &n); })), R("shutdown", shutdown(s, SHUT_RDWR));
        close(s), close(l);
    }
}
int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12);
    signal(SIGPIPE, SIG_IGN);
    live = listener4(&live4), fcntl(live, F_SETFL, O_NONBLOCK), close(listener4(&none4));
    int l6 = socket(AF_INET6, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
    live6 = (struct sockaddr_in6){AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}, bind(l6, (void *)&live6, sizeof live6), listen(l6, 100), name_of(l6, &live6, sizeof live6);
    live_udp = (struct sockaddr_in){AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, bind(u, (void *)&live_udp, sizeof live_udp), name_of(u, &live_udp, sizeof live_udp);
    unlink("/tmp/sx_s"), unlink("/tmp/sx_d"), path_stream = named("/tmp/sx_s"), path_dgram = named("/tmp/sx_d"), path_none = named("/tmp/sx_n"), path_file = named("/tmp/sx_p");
    bind(s, (void *)&path_stream, sizeof path_stream), listen(s, 1000), live_unix = s, fcntl(s, F_SETFL, O_NONBLOCK), bind(d, (void *)&path_dgram, sizeof path_dgram), close(open("/tmp/sx_p", O_CREAT, 0600));
    fcntl(u, F_SETFL, O_NONBLOCK), listen(tcp(), 1);
    printf("== connects\n"), connects(), printf("== later\n"), later(), printf("== resets\n"), resets();
    unlink("/tmp/sx_s"), unlink("/tmp/sx_d"), unlink("/tmp/sx_p"), unlink("/tmp/sx_l"), unlink("/tmp/sx_q");
}
