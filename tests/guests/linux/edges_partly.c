// How much is taken of what is partly nowhere: a stream's pages and messages whole or not at all, a file's bytes one by one.
#include "tables.h"
enum { PIPE, UNIX, UNIX_DATAGRAM, UNIX_PACKET, TCP, UDP, FILE_, MEMFD, NULL_, ZERO, EVENT, RANDOM };
static const char *const KINDS[] = {"pipe", "unix", "unix datagram", "unix packet", "tcp", "udp", "file", "memfd", "null", "zero", "event", "random"};
static char *map, buffer[70000], got[8192];
static int to, from;

static void made(int kind) {
    int p[2], type = kind == UNIX || kind == TCP ? SOCK_STREAM : kind == UNIX_PACKET ? SOCK_SEQPACKET : SOCK_DGRAM;
    struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    switch (kind) {
    case PIPE: pipe(p), from = p[0], to = p[1]; break;
    case UNIX: case UNIX_DATAGRAM: case UNIX_PACKET: socketpair(AF_UNIX, type, 0, p), from = p[0], to = p[1]; break;
    case TCP: case UDP: {
        int l = socket(AF_INET, type, 0);
        bind(l, (void *)&a, n), listen(l, 1), getsockname(l, (void *)&a, &n), to = socket(AF_INET, type, 0), connect(to, (void *)&a, n);
        from = kind == TCP ? accept(l, 0, 0) : l;
        break;
    }
    case FILE_: to = open("/tmp/partly", O_RDWR | O_CREAT | O_TRUNC, 0600), from = open("/tmp/partly", O_RDWR); break;
    case MEMFD: to = memfd_create("partly", 0), sprintf(got, "/proc/self/fd/%d", to), from = open(got, O_RDWR); break;
    case EVENT: to = from = eventfd(0, 0); break;
    default: to = from = open(kind == NULL_ ? "/dev/null" : kind == ZERO ? "/dev/zero" : "/dev/urandom", O_RDWR);
    }
    fcntl(from, F_SETFL, O_NONBLOCK), fcntl(to, F_SETFL, O_NONBLOCK);
}
// Across the end of what is mapped; nothing behind, in front, and behind more than a page; and in two parts.
static int vector(struct iovec *v, int way) {
    struct iovec nowhere = {(void *)8, 8}, here = {buffer, 8}, page = {buffer, 5000}, edge = {map + 4096 - 8, 16}, later = {map + 4096 - 4, 20};
    struct iovec ways[][2] = {{edge}, {here, nowhere}, {nowhere, here}, {page, nowhere}, {here, later}};
    memcpy(v, ways[way], sizeof ways[way]);
    return way == 0 ? 1 : 2;
}
int main(void) {
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN);
    map = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), munmap(map + 4096, 4096);
    for (int kind = 0; kind < COUNT(KINDS); kind++) for (int way = 0; way < 5; way++) {
        static const char TEXT[] = "0123456789abcdef0123456789abcdef";
        int ends = kind != ZERO && kind != RANDOM;
        struct iovec v[2];
        made(kind), memset(buffer, 0, 16), memset(map + 4080, 0, 16), buffer[0] = 1;
        int count = vector(v, way);
        printf("%s %d:", KINDS[kind], way);
        tell_result(writev(to, v, count)), nap(0);
        if (ends) tell_result(read(from, got, sizeof got));
        if (kind <= UDP) write(to, TEXT, 32);
        else if (kind <= MEMFD) pwrite(to, TEXT, 32, 0), lseek(from, 0, 0);
        else if (kind == EVENT) write(to, &(long){5}, 8);
        tell_result(readv(from, v, count));
        if (ends) tell_result(read(from, got, sizeof got));
        row();
        for (int f = 3; f < 20; f++) close(f);
    }
    unlink("/tmp/partly");
}
