// Each option of each level, known or not, of sockets in each state: what is read into rooms of each length, and what is made of values of
// each length. Not asked is
//  - what one kernel has and another has not, or has since its last versions (SO_NO_CHECK, SO_MAX_PACING_RATE, SO_ZEROCOPY, TCP_REPAIR, ...):
//    here it is refused with ENOPROTOOPT, by which programs do without;
//  - filters, keys and what protects packets (SO_ATTACH_FILTER, TCP_MD5SIG, IP_XFRM_POLICY, ...), the same;
//  - what the host's administrator has chosen: bounds of buffers, the way that congestion is avoided, numbers of interfaces.
#include "tables.h"
#include <netinet/tcp.h>

enum { FRESH, CONNECTED, LISTENING, PAIR };
static const struct { const char *name; int domain, type, state; } KINDS[] = {
    {"tcp", AF_INET, SOCK_STREAM, FRESH}, {"tcp6", AF_INET6, SOCK_STREAM, FRESH}, {"udp", AF_INET, SOCK_DGRAM, FRESH},
    {"udp6", AF_INET6, SOCK_DGRAM, FRESH}, {"unix", AF_UNIX, SOCK_STREAM, FRESH}, {"unix datagram", AF_UNIX, SOCK_DGRAM, FRESH},
    {"unix pair", AF_UNIX, SOCK_SEQPACKET, PAIR}, {"netlink", AF_NETLINK, SOCK_RAW, FRESH}, {"connected", AF_INET, SOCK_STREAM, CONNECTED},
    {"listening", AF_INET, SOCK_STREAM, LISTENING}, {"udp connected", AF_INET, SOCK_DGRAM, CONNECTED}};
static int listener, other = -1;
static struct sockaddr_in at;

static int made(int kind) {
    int pair[2], s;
    if (other >= 0) close(other), other = -1;
    while ((s = accept(listener, 0, 0)) >= 0) close(s);
    if (KINDS[kind].state == PAIR) return socketpair(KINDS[kind].domain, KINDS[kind].type, 0, pair), other = pair[1], pair[0];
    s = socket(KINDS[kind].domain, KINDS[kind].type, 0);
    if (KINDS[kind].state == CONNECTED) connect(s, (void *)&at, sizeof at);
    if (KINDS[kind].state == LISTENING) listen(s, 1);
    return s;
}
static const short NOT_ASKED[][2] = {
    {1, 11}, {1, 26}, {1, 34}, {1, 36}, {1, 41}, {1, 43}, {1, 44}, {1, 45}, {1, 46}, {1, 47}, {1, 48}, {1, 50}, {1, 51}, {1, 52}, {1, 55}, {1, 57}, {1, 60}, {1, 61}, {1, 68}, {1, 71}, {1, 75}, {1, 76}, {1, 77}, {1, 80}, {1, 82}, {1, 83}, {1, 84},
    {0, 6}, {0, 7}, {0, 9}, {0, 16}, {0, 17}, {0, 18}, {0, 21}, {0, 23}, {0, 25}, {0, 26}, {0, 41}, {0, 48}, {0, 50}, {0, 51}, {0, 52}, {0, 64}, {0, 65},
    {41, 1}, {41, 2}, {41, 3}, {41, 4}, {41, 5}, {41, 6}, {41, 7}, {41, 8}, {41, 11}, {41, 22}, {41, 24}, {41, 27}, {41, 28}, {41, 30}, {41, 31}, {41, 32}, {41, 33}, {41, 34}, {41, 35}, {41, 48}, {41, 50}, {41, 53}, {41, 54}, {41, 55}, {41, 56}, {41, 57}, {41, 58}, {41, 59}, {41, 60}, {41, 61}, {41, 64}, {41, 65}, {41, 68}, {41, 69}, {41, 73}, {41, 76}, {41, 77}, {41, 80},
    {6, 13}, {6, 14}, {6, 16}, {6, 17}, {6, 19}, {6, 20}, {6, 21}, {6, 22}, {6, 24}, {6, 26}, {6, 27}, {6, 28}, {6, 29}, {6, 30}, {6, 32}, {6, 33}, {6, 34}, {6, 35}, {6, 36}, {6, 37}, {6, 42}, {6, 43}, {6, 44}, {6, 45}, {6, 46},
    {17, 10}, {17, 11}, {17, 100}, {17, 101}, {17, 102}, {270, 1}, {270, 2}, {270, 3}, {270, 4}, {270, 5}, {270, 6}, {270, 7}, {270, 8}, {270, 9}};
static int asked(int kind, int level, int name) {
    for (int i = 0; i < COUNT(NOT_ASKED); i++) if (NOT_ASKED[i][0] == level && NOT_ASKED[i][1] == name) return 0;
    // Since Linux 6.9 and 6.15 these are for some kinds of sockets alone.
    int inet = KINDS[kind].domain == AF_INET || KINDS[kind].domain == AF_INET6;
    if (level == SOL_SOCKET && (name == SO_PASSCRED && inet || name == 42 && inet || name == SO_REUSEPORT && !inet || name == 74 && !inet)) return 0;
    return 1;
}
// Ports, windows, and which processor packets have come to.
static int varies(int kind, int level, int name) {
    int connected = KINDS[kind].state == CONNECTED;
    return connected && (level == SOL_SOCKET && (name == SO_PEERNAME || name == SO_INCOMING_CPU) || level == 6 && (name == TCP_WINDOW_CLAMP || name == TCP_MAXSEG)) || level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF || name == SO_PEERCRED) || level == 6 && name == TCP_INFO;
}
static unsigned char bytes[600];

static int get(int s, int level, int name, int room, int *length) {
    socklen_t n = room;
    memset(bytes, 0x55, sizeof bytes);
    int r = getsockopt(s, level, name, bytes, &n) ? -errno : 0;
    *length = n;
    return r;
}
static void show(const char *set, int r, int length, int hidden) {
    char text[40] = "";
    if (r) { tell("%s%d", set, r); return; }
    // Longer and of each version another length.
    for (int i = length < 8 ? length : 8; i-- > 0 && !hidden;) if (i < 4 || bytes[i]) sprintf(text + strlen(text), "%02x", bytes[i]);
    if (length > 200) length = 200;
    tell("%s%d:%s", set, length, text);
}
static void set(int kind, int level, int name, int length, int hidden) {
    int s = made(kind), r = setsockopt(s, level, name, bytes, length) ? -errno : 0;
    if (r) tell("%d", r);
    else r = get(s, level, name, 8, &length), show("=", r, length, hidden);
    close(s);
}
static void walk(int kind, int level, int name) {
    static const int ROOMS[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 64, 500, -1}, LENGTHS[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 64, -1}, VALUES[] = {0, 1, 2, 3, 64, 255, 256, 5000, 65535, 65536, INT_MAX, -1, -2, INT_MIN};
    int length, s, r, hidden = varies(kind, level, name);
    rows(), printf(" get");
    s = made(kind);
    for (int i = 0; i < COUNT(ROOMS); i++) r = get(s, level, name, ROOMS[i], &length), show("", r, length, hidden);
    close(s), told(), printf(", set");
    for (int i = 0; i < COUNT(LENGTHS); i++) memset(bytes, 0, sizeof bytes), bytes[0] = 1, set(kind, level, name, LENGTHS[i], hidden);
    told(), printf(", values");
    for (int i = 0; i < COUNT(VALUES); i++) {
        // Above a host's bounds, of its interfaces, and times that are asked for of what is sent, which are refused here.
        if (level == SOL_SOCKET && name == SO_RCVLOWAT && (unsigned)VALUES[i] > 100000 || level == 41 && name == 17 && VALUES[i] > 1 || level == SOL_SOCKET && (name == 37 || name == 65) && VALUES[i] && VALUES[i] != 64) continue;
        memset(bytes, 0, sizeof bytes), memcpy(bytes, VALUES + i, 4), set(kind, level, name, 4, hidden);
    }
    char head[60];
    sprintf(head, "%s %d/%d", KINDS[kind].name, level, name), row(), same_rows(head);
}

// Addresses that are nobody's.
static void freely(void) {
    static const struct { const char *name; int domain, level, option; } WAYS[] = {{"plain", AF_INET, 0, 0}, {"IP_FREEBIND", AF_INET, 0, IP_FREEBIND}, {"plain", AF_INET6, 0, 0}, {"IPV6_FREEBIND", AF_INET6, 41, 78}, {"IP_FREEBIND", AF_INET6, 0, IP_FREEBIND}};
    for (int w = 0; w < COUNT(WAYS); w++) for (int type = 1; type < 3; type++) {
        int s = socket(WAYS[w].domain, type, 0), on = 1;
        struct sockaddr_in a = {AF_INET, 0, {htonl(0xc6336401)}}, got;
        struct sockaddr_in6 a6 = {AF_INET6}, got6;
        socklen_t n = sizeof got, n6 = sizeof got6;
        inet_pton(AF_INET6, "2001:db8::1", &a6.sin6_addr);
        if (WAYS[w].option) setsockopt(s, WAYS[w].level, WAYS[w].option, &on, sizeof on);
        printf("%s %d/%d:", WAYS[w].name, WAYS[w].domain, type);
        tell_result(WAYS[w].domain == AF_INET ? bind(s, (void *)&a, sizeof a) : bind(s, (void *)&a6, sizeof a6));
        if (WAYS[w].domain == AF_INET) getsockname(s, (void *)&got, &n), tell("%x/%d", ntohl(got.sin_addr.s_addr), got.sin_port != 0);
        else getsockname(s, (void *)&got6, &n6), tell("%x/%d", got6.sin6_addr.s6_addr[0] << 8 | got6.sin6_addr.s6_addr[15], got6.sin6_port != 0);
        if (type == SOCK_STREAM) tell_result(listen(s, 1));
        row(), close(s);
    }
}
// What comes with a datagram whose receiver has asked for it.
static void along(void) {
    static const struct { const char *name; int level, option, value; } ASKS[] = {{"IP_PKTINFO", 0, IP_PKTINFO, 1}, {"IP_RECVTTL", 0, IP_RECVTTL, 1}, {"IP_RECVTOS", 0, IP_RECVTOS, 1}, {"IP_RECVORIGDSTADDR", 0, 20, 1}, {"SO_TIMESTAMP", 1, 29, 1}, {"SO_TIMESTAMPNS", 1, 35, 1}, {"SO_TIMESTAMP_NEW", 1, 63, 1}, {"SO_TIMESTAMPNS_NEW", 1, 64, 1}, {"SO_TIMESTAMPING", 1, 37, 8 | 16}, {"SO_TIMESTAMPING of no software", 1, 37, 8}, {"SO_TIMESTAMPING_NEW", 1, 65, 8 | 16}, {"IPV6_RECVPKTINFO", 41, IPV6_RECVPKTINFO, 1}, {"IPV6_RECVHOPLIMIT", 41, IPV6_RECVHOPLIMIT, 1}, {"IPV6_RECVTCLASS", 41, IPV6_RECVTCLASS, 1}, {"IPV6_RECVORIGDSTADDR", 41, 74, 1}};
    for (int six = 0; six < 3; six++) for (int i = 0; i < COUNT(ASKS); i++) {
        int to = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), from = socket(six == 1 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), ttl = 33, tos = 0x20;
        struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
        struct sockaddr_in6 a6 = {AF_INET6};
        socklen_t n = six ? sizeof a6 : sizeof a;
        if (six == 1) a6.sin6_addr = in6addr_loopback;
        printf("%s %s:", (const char *[]){"v4", "v6", "v4 by v6"}[six], ASKS[i].name);
        bind(to, six ? (void *)&a6 : (void *)&a, n), getsockname(to, six ? (void *)&a6 : (void *)&a, &n);
        if (six == 2) a.sin_port = a6.sin6_port;
        tell_result(setsockopt(to, ASKS[i].level, ASKS[i].option, &ASKS[i].value, 4));
        setsockopt(from, 0, IP_TTL, &ttl, 4), setsockopt(from, 0, IP_TOS, &tos, 4), setsockopt(from, 41, IPV6_UNICAST_HOPS, &ttl, 4), setsockopt(from, 41, IPV6_TCLASS, &tos, 4);
        sendto(from, "x", 1, 0, six == 1 ? (void *)&a6 : (void *)&a, six == 1 ? sizeof a6 : sizeof a);
        char text[9];
        union { char bytes[400]; struct cmsghdr head; } control;
        struct iovec part = {text, 9};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        tell_result(recvmsg(to, &m, 0));
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
            int is_time = c->cmsg_level == SOL_SOCKET;
            // Of times, whether they are of now; of addresses, what is not the port.
            tell("%d/%d %ld", c->cmsg_level, c->cmsg_type, (long)c->cmsg_len - sizeof *c);
            if (is_time) tell("now %d", labs(*(long *)CMSG_DATA(c) - time(0)) < 5);
            for (int b = 0; b < c->cmsg_len - sizeof *c && !is_time; b++) tell("%02x", (c->cmsg_type == 20 || c->cmsg_type == 74) && b >= 2 && b < 4 ? 0 : CMSG_DATA(c)[b]);
        }
        row(), close(to), close(from);
    }
}

int main(int argc, char **argv) {
    static const struct { int level, first, last; } LEVELS[] = {{SOL_SOCKET, -1, 90}, {0, -1, 56}, {41, -1, 84}, {6, -1, 50}, {17, -1, 12}, {17, 103, 110}, {270, -1, 14}, {-1, -1, 2}, {2, -1, 2}, {58, -1, 2}, {132, -1, 2}, {255, -1, 2}, {263, -1, 2}, {268, -1, 2}, {269, -1, 2}, {279, -1, 2}, {280, -1, 2}, {281, -1, 2}, {282, -1, 4}, {284, -1, 2}, {285, -1, 2}, {99, -1, 2}};
    socklen_t n = sizeof at;
    setvbuf(stdout, 0, _IOFBF, 1 << 16), without_rights();
    listener = socket(AF_INET, SOCK_STREAM, 0), at = (struct sockaddr_in){AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bind(listener, (void *)&at, n), listen(listener, 5), fcntl(listener, F_SETFL, O_NONBLOCK), getsockname(listener, (void *)&at, &n);
    for (int kind = 0; kind < COUNT(KINDS); kind++)
        for (int l = 0; l < COUNT(LEVELS); l++)
            for (int name = LEVELS[l].first; name <= LEVELS[l].last; name++)
                if (asked(kind, LEVELS[l].level, name)) walk(kind, LEVELS[l].level, name);
    rows_end(), freely(), along();
    return 0;
}
