// Every option of sockets that is obeyed: what may be set, and that it reads back as Linux says; and what it does within a machine.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
static const struct { const char *name; int domain, type, state; } KINDS[] = {
    {"tcp", AF_INET, SOCK_STREAM, 0}, {"tcp6", AF_INET6, SOCK_STREAM, 0}, {"udp", AF_INET, SOCK_DGRAM, 0}, {"udp6", AF_INET6, SOCK_DGRAM, 0},
    {"unix", AF_UNIX, SOCK_STREAM, 0}, {"connected", AF_INET, SOCK_STREAM, 1}, {"listening", AF_INET, SOCK_STREAM, 2}};
static const struct { int level, name; } OPTIONS[] = {
    {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_DONTROUTE}, {SOL_SOCKET, SO_BROADCAST}, {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_OOBINLINE}, {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_TIMESTAMPNS}, {SOL_SOCKET, SO_INCOMING_CPU}, {SOL_SOCKET, SO_TYPE}, {SOL_SOCKET, SO_ERROR}, {SOL_SOCKET, SO_ACCEPTCONN}, {SOL_SOCKET, SO_PROTOCOL},
    {SOL_SOCKET, SO_DOMAIN}, {SOL_SOCKET, SO_PEERNAME}, {SOL_SOCKET, 9999}, {SOL_SOCKET, SO_BINDTOIFINDEX},
    {6, TCP_NODELAY}, {6, TCP_MAXSEG}, {6, TCP_CORK}, {6, TCP_KEEPIDLE}, {6, TCP_KEEPINTVL}, {6, TCP_KEEPCNT}, {6, TCP_SYNCNT}, {6, TCP_LINGER2}, {6, TCP_DEFER_ACCEPT}, {6, TCP_QUICKACK},
    {6, TCP_USER_TIMEOUT}, {6, TCP_FASTOPEN}, {6, 9999}, {0, IP_TOS}, {0, IP_TTL}, {0, IP_PKTINFO}, {0, IP_MTU_DISCOVER}, {0, IP_RECVERR}, {0, IP_RECVTTL}, {0, IP_RECVTOS},
    {0, 24}, {0, IP_MULTICAST_TTL}, {0, IP_MULTICAST_LOOP}, {41, IPV6_UNICAST_HOPS}, {41, IPV6_MULTICAST_HOPS}, {41, IPV6_MULTICAST_LOOP}, {41, IPV6_MTU_DISCOVER},
    {41, IPV6_RECVERR}, {41, IPV6_V6ONLY}, {41, 29}, {41, IPV6_RECVPKTINFO}, {41, IPV6_RECVHOPLIMIT}, {41, IPV6_RECVTCLASS}, {41, IPV6_DONTFRAG}, {41, 70}, {41, 72}, {41, IPV6_TCLASS},
    {17, 1}, {17, 103}, {17, 104}};
static const int VALUES[] = {0, 1, 2, 7, -1, 64, 127, 255, 256, 5000, 65536, 1 << 30};

static int made(int kind) {
    int pair[2], state = KINDS[kind].state;
    if (!state) return socket(KINDS[kind].domain, KINDS[kind].type, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (void *)&a, n), listen(l, 5), getsockname(l, (void *)&a, &n);
    if (state == 2) return l;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    connect(s, (void *)&a, n);
    return s;
}

static void table(void) {
    for (int k = 0; k < COUNT(KINDS); k++)
        for (int o = 0; o < COUNT(OPTIONS); o++) {
            int level = OPTIONS[o].level, name = OPTIONS[o].name, value = 0, s = made(k);
            socklen_t n = sizeof value;
            // Ports are any, and a connection's segments follow the window.
            if (level == SOL_SOCKET && name == SO_INCOMING_CPU && KINDS[k].state == 1) continue;
            int varies = name == SO_PEERNAME && level == SOL_SOCKET && KINDS[k].state == 1 || level == 6 && name == TCP_MAXSEG && KINDS[k].state == 1;
            int r = getsockopt(s, level, name, &value, &n) ? -errno : 0;
            printf("%s %d/%d: get %d %d,", KINDS[k].name, level, name, r, r || varies ? 0 : value);
            close(s);
            for (int i = 0; i < COUNT(VALUES); i++) {
                s = made(k), value = VALUES[i], n = sizeof value;
                r = setsockopt(s, level, name, &value, n) ? -errno : 0;
                printf(" %d", r);
                if (!r && !varies) printf("=%d", getsockopt(s, level, name, &value, &n) ? -errno : value);
                close(s);
            }
            s = made(k);
            char bytes[16] = {1};
            printf(", sizes");
            for (int size = 0; size < 4; size++) printf(" %d", setsockopt(s, level, name, bytes, size) ? -errno : 0);
            puts(""), close(s);
            for (int fd = 3; fd < 12; fd++) close(fd);
        }
}

static int fails(int r) { return r < 0 ? -errno : 0; }

static void devices(void) {
    char name[32] = "";
    socklen_t n = sizeof name;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    printf("no device: %d", getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n)), printf(" length %d\n", n);
    printf("none of that name: %d\n", fails(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "none", 5)));
    printf("lo: %d", fails(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2))), n = sizeof name;
    getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n), printf(" is %s, %d bytes", name, n);
    n = 4, printf(", too little room %d", fails(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n)));
    int index = 0;
    n = sizeof index, getsockopt(s, SOL_SOCKET, SO_BINDTOIFINDEX, &index, &n), printf(", number %d\n", index);
    // What is bound to lo hears what comes over it.
    n = sizeof a, bind(s, (void *)&a, n), listen(s, 1), getsockname(s, (void *)&a, &n);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    printf("over lo: %d", fails(connect(c, (void *)&a, n)));
    int t = accept(s, 0, 0);
    n = sizeof name, getsockopt(t, SOL_SOCKET, SO_BINDTODEVICE, name, &n), printf(", accepted is at %s\n", name);
    printf("no more: %d", fails(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "", 0))), n = sizeof name;
    getsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, name, &n), printf(" length %d\n", n);
}

static void names(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, got;
    socklen_t n = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (void *)&a, n), listen(l, 1), getsockname(l, (void *)&a, &n), connect(c, (void *)&a, n);
    int r = getsockopt(c, SOL_SOCKET, SO_PEERNAME, &got, &n);
    printf("peer's name: %d, the listener's %d\n", r, !memcmp(&got, &a, 8));
    n = 200, printf("too much room: %d\n", fails(getsockopt(c, SOL_SOCKET, SO_PEERNAME, &got, &n)));
    printf("first bytes to a connected one: %d\n", fails(send(c, "x", 1, MSG_FASTOPEN)));
    unsigned long cookies[2] = {0};
    n = 8, getsockopt(l, SOL_SOCKET, SO_COOKIE, cookies, &n), getsockopt(c, SOL_SOCKET, SO_COOKIE, cookies + 1, &n);
    printf("cookies differ: %d\n", cookies[0] && cookies[1] && cookies[0] != cookies[1]);
    n = 4, printf("half a cookie: %d\n", fails(getsockopt(c, SOL_SOCKET, SO_COOKIE, cookies, &n)));
}

int main(void) {
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    table(), devices(), names();
}
