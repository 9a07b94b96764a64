// Control messages of each level, kind and length with a message from sockets of each kind, and each flag and two flags of sending and receiving.
#include "tables.h"
static const struct { const char *name; int domain, type; } KINDS[] = {{"unix", AF_UNIX, SOCK_STREAM}, {"unix datagram", AF_UNIX, SOCK_DGRAM}, {"unix packet", AF_UNIX, SOCK_SEQPACKET}, {"udp", AF_INET, SOCK_DGRAM}, {"udp6", AF_INET6, SOCK_DGRAM}, {"udp mapped", -1, SOCK_DGRAM}, {"tcp", AF_INET, SOCK_STREAM}, {"tcp6", AF_INET6, SOCK_STREAM}, {"netlink", AF_NETLINK, SOCK_RAW}};
static int ends[2];
static struct sockaddr_storage at;
static socklen_t size;

static void made(int kind) {
    int domain = KINDS[kind].domain, l;
    struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 a6 = {AF_INET6, .sin6_addr = in6addr_loopback};
    size = 0;
    if (domain == AF_UNIX) { socketpair(AF_UNIX, KINDS[kind].type, 0, ends); return; }
    if (domain == AF_NETLINK) { ends[0] = socket(AF_NETLINK, SOCK_RAW, 0), ends[1] = socket(AF_NETLINK, SOCK_RAW, 0); return; }
    int six = domain != AF_INET;
    if (domain == -1) inet_pton(AF_INET6, "::ffff:127.0.0.1", &a6.sin6_addr), domain = AF_INET6;
    size = six ? sizeof a6 : sizeof a;
    memcpy(&at, six ? (void *)&a6 : (void *)&a, size);
    ends[0] = socket(domain, KINDS[kind].type, 0), l = socket(domain, KINDS[kind].type, 0);
    bind(l, (void *)&at, size), listen(l, 1), getsockname(l, (void *)&at, &size), connect(ends[0], (void *)&at, size);
    if (KINDS[kind].type == SOCK_STREAM) ends[1] = accept(l, 0, 0), close(l); else ends[1] = l;
}
static void done(void) { for (int f = 3; f < 20; f++) close(f); }

static void one(int level, int type, int length, int value, int room) {
    union { char bytes[400]; struct cmsghdr head; } control;
    char byte = 'x', text[9];
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room};
    memset(&control, 0, sizeof control);
    control.head = (struct cmsghdr){CMSG_LEN(length), level, type}, memcpy(CMSG_DATA(&control.head), &value, 4);
    tell_result(sendmsg(ends[0], &m, MSG_DONTWAIT | MSG_NOSIGNAL));
    while (recv(ends[1], text, 9, MSG_DONTWAIT) > 0);
}
static void messages(int kind) {
    // Not with what frees or delays messages by other clocks: SO_MARK and SCM_TXTIME, and what came with Linux 6.2 and later.
    static const int LEVELS[] = {1, 0, 41, 17, 6, 270, 99, -1}, LENGTHS[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 20, 24}, VALUES[] = {0, 1, -1, 2, 255, 256, 70000, INT_MIN};
    for (int l = 0; l < COUNT(LEVELS); l++) for (int type = -1; type < 90; type++) {
        // Of routing headers and options only that they are there.
        if (LEVELS[l] == 1 && (type == 36 || type == 37 || type == 61 || type == 65 || type == 77 || type > 77 || type == 12) || LEVELS[l] == 41 && (type == 0 || type == 5 || type == 11 || type == 54 || type == 55 || type == 57 || type == 59 || type >= 2 && type <= 9 || type == 62) || LEVELS[l] == 0 && (type == 4 || type == 7 || type == 52)) continue;
        rows(), made(kind);
        for (int i = 0; i < COUNT(LENGTHS); i++) one(LEVELS[l], type, LENGTHS[i], LEVELS[l] == 1 && type == 1 ? 0 : LEVELS[l] == 1 && type == 2 ? 70000 : 1, CMSG_SPACE(LENGTHS[i]));
        told(), printf(", values");
        // Descriptors that there are not; numbers of interfaces are the host's.
        for (int i = 0; i < COUNT(VALUES); i++) if (!(VALUES[i] == 2 && (type == 8 || type == 50) || VALUES[i] == 1 && type == 2 && LEVELS[l] == 1)) one(LEVELS[l], type, type == 2 && LEVELS[l] == 1 || type == 8 && LEVELS[l] == 0 ? 12 : 4, LEVELS[l] == 1 && type == 1 && VALUES[i] >= 0 && VALUES[i] < 3 ? 1 : VALUES[i], CMSG_SPACE(12));
        done(), row();
        char head[60];
        sprintf(head, "%s %d/%d", KINDS[kind].name, LEVELS[l], type), same_rows(head);
    }
    rows_end();
}
static void flags(int kind) {
    // What comes by another time: MSG_WAITALL of a stream, MSG_ZEROCOPY, MSG_FASTOPEN; and marked bytes, which other tables ask about.
    static const unsigned SKIPPED = MSG_WAITALL | 0x4000000 | MSG_FASTOPEN | MSG_OOB | 0x8000000;
    for (int a = 0; a < 32; a++) {
        if (SKIPPED >> a & 1) continue;
        printf("%s flags %x:", KINDS[kind].name, 1u << a);
        for (int b = 0; b < 32; b++) {
            if (SKIPPED >> b & 1) continue;
            char text[9];
            int flags = 1u << a | 1u << b;
            made(kind);
            long r = send(ends[0], "abcde", 5, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
            tell_result(r);
            send(ends[0], "fgh", 3, MSG_DONTWAIT | MSG_NOSIGNAL);
            tell_result(recv(ends[1], text, 4, flags | MSG_DONTWAIT));
            tell_result(recv(ends[1], text, 9, MSG_DONTWAIT));
            done();
        }
        row();
    }
}
int main(void) {
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN), without_rights();
    for (int k = 0; k < COUNT(KINDS); k++) messages(k);
    for (int k = 0; k < COUNT(KINDS); k++) if (KINDS[k].domain != AF_NETLINK) flags(k);
}
