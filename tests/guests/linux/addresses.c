// Addresses of each family and length, given to sockets of each kind to have, to connect to and to send to.
#include "checks.h"

static const int LENGTHS[] = {0, 1, 2, 7, 8, 15, 16, 23, 24, 27, 28, 110, 111, 128, 129};
enum { LENGTH_COUNT = sizeof LENGTHS / sizeof *LENGTHS };

static union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
    char room[256];
} at;

static void make(int family, int is_name) {
    memset(&at, 0, sizeof at);
    at.any.sa_family = family;
    if (family == AF_INET || family == AF_UNSPEC) {
        at.v4.sin_addr.s_addr = htonl(is_name && family == AF_UNSPEC ? INADDR_ANY : INADDR_LOOPBACK);
        at.v4.sin_port = htons(is_name ? 0 : 9);
    } else if (family == AF_INET6) {
        at.v6.sin6_addr = in6addr_loopback;
        at.v6.sin6_port = htons(is_name ? 0 : 9);
    } else if (family == AF_UNIX) {
        strcpy(at.un.sun_path, is_name ? "/tmp/addresses" : "/nowhere/at/all");
    }
}

static int call(int s, char what, int len) {
    switch (what) {
    case 'b': return bind(s, &at.any, len);
    case 'c': return connect(s, &at.any, len);
    default: return sendto(s, "x", 1, MSG_NOSIGNAL, &at.any, len);
    }
}

// A line: what comes of each length, those that give the same beside one another.
static void lengths(const char *domain_name, int domain, const char *type_name, int type, char what, int family, int only) {
    static const char *const NAMES[] = {['b'] = "have", ['c'] = "connect to", ['s'] = "send to"};
    printf("%s %s%s, %s family %d:", domain_name, type_name, only ? " for IPv6 only" : "", NAMES[(int)what], family);
    make(family, what == 'b');
    for (int i = 0; i < LENGTH_COUNT; i++) {
        int s = socket(domain, type, 0);
        if (domain == AF_INET6)
            setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
        errno = 0;
        int r = call(s, what, LENGTHS[i]);
        printf(" %d %s", LENGTHS[i], r < 0 ? strerrorname_np(errno) : "done");
        // What has a name has as much of it as was given.
        at.room[LENGTHS[i]] = 0, unlink(at.un.sun_path);
        close(s), make(family, what == 'b');
    }
    puts("");
}

static void all(const char *domain_name, int domain, const char *type_name, int type) {
    static const int FAMILIES[] = {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, 99};
    for (const char *what = "bcs"; *what; what++)
        for (int f = 0; f < 5; f++)
            for (int only = 0; only <= (domain == AF_INET6); only++)
                lengths(domain_name, domain, type_name, type, *what, FAMILIES[f], only);
}

static void of_connected_ones(void) {
    int s[2];
    struct sockaddr_un nowhere = {AF_UNIX, "/nowhere/at/all"};
    struct sockaddr none = {AF_UNSPEC};
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    R("a pair leads nowhere else", connect(s[0], (void *)&nowhere, sizeof nowhere));
    R("and stays connected", connect(s[0], &none, sizeof none));
    R("nor sends elsewhere", sendto(s[0], "x", 1, 0, (void *)&nowhere, sizeof nowhere));
    R("no address is none", sendto(s[0], "x", 1, 0, (void *)&nowhere, 0));
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s);
    R("packets go to the peer", sendto(s[0], "x", 1, 0, (void *)&nowhere, sizeof nowhere));
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    R("a datagram does not", sendto(s[0], "x", 1, 0, (void *)&nowhere, sizeof nowhere));
    R("no address is none", sendto(s[0], "x", 1, 0, (void *)&nowhere, 0));
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, &(struct sockaddr){AF_UNIX}, sizeof(sa_family_t)), listen(listener, 1);
    R("a listener looks first", connect(listener, (void *)&nowhere, sizeof nowhere));
}

static void v4_by_v6(void) {
    int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in v4 = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof v4;
    char b[9], text[INET6_ADDRSTRLEN];
    bind(to, (void *)&v4, sizeof v4), getsockname(to, (void *)&v4, &len);
    R("sent", sendto(from, "one", 3, 0, (void *)&v4, sizeof v4));
    R("has come", recv(to, b, 9, 0));
    R("connected", connect(from, (void *)&v4, sizeof v4));
    struct sockaddr_in6 peer;
    len = sizeof peer;
    getpeername(from, (void *)&peer, &len);
    puts(inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text));
    R("sent", send(from, "four", 4, 0));
    R("has come", recv(to, b, 9, 0));
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    all("IPv4", AF_INET, "stream", SOCK_STREAM);
    all("IPv4", AF_INET, "datagrams", SOCK_DGRAM);
    all("IPv6", AF_INET6, "stream", SOCK_STREAM);
    all("IPv6", AF_INET6, "datagrams", SOCK_DGRAM);
    all("Unix", AF_UNIX, "stream", SOCK_STREAM);
    all("Unix", AF_UNIX, "datagrams", SOCK_DGRAM);
    all("Unix", AF_UNIX, "packets", SOCK_SEQPACKET);
    of_connected_ones();
    v4_by_v6();
}
