// What a Unix socket tells of its peers and of who sent a message, and what becomes of descriptors in messages.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int made(int r) { return r < 0 ? -errno : r; }

// Sends `n` bytes with descriptors and, if given, numbers of a sender.
static int give(int s, int n, const int *fds, int count, const struct ucred *who) {
    char control[2048] = {0}, bytes[16] = "0123456789";
    struct iovec v = {bytes, n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *h = (void *)control;
    if (count) {
        h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(h), fds, count * sizeof *fds);
        m.msg_controllen += CMSG_SPACE(count * sizeof *fds);
        h = (void *)(control + m.msg_controllen);
    }
    if (who) {
        h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_CREDENTIALS, h->cmsg_len = CMSG_LEN(sizeof *who);
        memcpy(CMSG_DATA(h), who, sizeof *who);
        m.msg_controllen += CMSG_SPACE(sizeof *who);
    }
    return made(sendmsg(s, &m, MSG_DONTWAIT));
}

static void take(const char *what, int s, int n, int room, int flags, pid_t expected) {
    char control[2048], bytes[64];
    struct iovec v = {bytes, n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room ? control : 0, .msg_controllen = room};
    int r = made(recvmsg(s, &m, flags | MSG_DONTWAIT));
    printf("%s: %d flags %#x", what, r, r < 0 ? 0 : m.msg_flags);
    for (struct cmsghdr *h = r < 0 ? 0 : CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_type == SCM_RIGHTS) {
            int count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int), *fds = (int *)CMSG_DATA(h);
            printf(", %d descriptors", count);
            for (int i = 0; i < count; i++) close(fds[i]);
        } else if (h->cmsg_type == SCM_CREDENTIALS) {
            struct ucred u;
            memcpy(&u, CMSG_DATA(h), sizeof u);
            printf(", from %s %d %d", u.pid == expected ? "the right one" : u.pid ? "another" : "nobody", u.uid, u.gid);
        }
    }
    printf("\n");
}

static void peer(const char *what, int s, pid_t expected) {
    struct ucred u = {0};
    socklen_t n = sizeof u;
    int r = made(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &n));
    printf("%s: %d %s %d %d\n", what, r, u.pid == expected ? "right" : u.pid ? "another" : "none", u.uid, u.gid);
}

// Whether the pipe's writing end is closed everywhere.
static int ended(int p) { char c; return read(p, &c, 1) == 0; }

// How many descriptors a user without capabilities has in flight: as many as may be open, whoever else sends some.
static void in_flight(void) {
    int s[2], zeroes[40] = {0}, n = 0, r;
    struct rlimit most = {16, 1024};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s), fflush(stdout);
    if (!fork()) {
        setrlimit(RLIMIT_NOFILE, &most);
        printf("many at once, by root %d\n", give(s[0], 1, zeroes, 30, 0)), setuid(5);
        printf("a user's: 16 %d", give(s[0], 1, zeroes, 16, 0)), printf(", 3 %d", give(s[0], 1, zeroes, 3, 0)), printf(", 1 %d", give(s[0], 1, zeroes, 1, 0));
        printf(", none %d\n", give(s[0], 1, 0, 0, 0));
        for (int i = 0; i < 2; i++) recv(s[1], &r, 1, 0);
        printf("those of two messages are taken: %d", give(s[0], 1, zeroes, 1, 0)), printf(", %d\n", give(s[0], 1, zeroes, 16, 0)), fflush(stdout), _exit(0);
    }
    wait(0), close(s[0]), close(s[1]), socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    if (!fork()) {
        setrlimit(RLIMIT_NOFILE, &most), setuid(5);
        while ((r = give(s[0], 1, zeroes, 1, 0)) == 1) n++;
        printf("one by one after the others are gone: %d, then %d\n", n, r), fflush(stdout), _exit(0);
    }
    wait(0), close(s[0]), close(s[1]);
}

// Names that are no paths: each kind of socket has its own.
static void names_of_kinds(void) {
    struct sockaddr_un name = {AF_UNIX, "\0kinds-of-ebb"};
    int stream = socket(AF_UNIX, SOCK_STREAM, 0), datagrams = socket(AF_UNIX, SOCK_DGRAM, 0);
    printf("a stream's %d\n", made(bind(stream, (void *)&name, 16)));
    printf("another's %d\n", made(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, 16)));
    printf("a datagram socket to it %d\n", made(connect(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&name, 16)));
    printf("a datagram socket's %d\n", made(bind(datagrams, (void *)&name, 16)));
    printf("one to that %d\n", made(connect(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&name, 16)));
    close(datagrams);
    printf("when it is gone %d\n", made(connect(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&name, 16)));
    printf("a stream to what does not listen %d\n", made(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, 16)));
    printf("no messages to no socket %d\n", made(sendmmsg(-1, 0, 0, 0)));
    printf("none from none %d\n", made(recvmmsg(-1, 0, 0, 0, 0)));
    close(stream);
}

int main(void) {
    in_flight();
    names_of_kinds();
    int s[2], p[2], on = 1;
    setvbuf(stdout, 0, _IONBF, 0);
    pid_t self = getpid();
    struct sockaddr_un name = {AF_UNIX, "\0peers-of-ebb"};
    int l = socket(AF_UNIX, SOCK_STREAM, 0), go[2], ready[2];
    peer("nobody yet", l, self);
    bind(l, (void *)&name, 16);
    listen(l, 4);
    peer("a listener", l, self);
    pipe(go), pipe(ready);
    pid_t child = fork();
    if (!child) {
        char c;
        int k = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(k, (void *)&name, 16);
        peer("the client's", k, self);
        setgid(7), setuid(6);
        read(ready[0], &c, 1);
        write(k, "x", 1);
        write(go[1], "g", 1);
        sleep(1);
        _exit(0);
    }
    int a = accept(l, 0, 0);
    char c;
    write(ready[1], "r", 1);
    read(go[0], &c, 1);
    peer("the server's", a, child);
    gid_t groups[64];
    socklen_t n = 0;
    printf("groups with no room: %d\n", getsockopt(a, SOL_SOCKET, SO_PEERGROUPS, groups, &n) < 0 ? errno == ERANGE || n == 0 : n == 0);
    setsockopt(a, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    take("sent before it was asked", a, 16, 256, 0, child);
    kill(child, 9), waitpid(child, 0, 0);

    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    peer("a pair", s[0], self);
    setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    n = sizeof on, on = 7;
    getsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, &n);
    printf("passes: %d\n", on);
    write(s[0], "plain", 5);
    take("plain", s[1], 16, 256, 0, self);
    struct ucred other = {self, 3, 4};
    printf("as another: %d\n", give(s[0], 2, 0, 0, &other));
    write(s[0], "own", 3);
    take("one sender at a time", s[1], 16, 256, 0, self);
    take("then the next", s[1], 16, 256, 0, self);
    if (!fork()) {
        setuid(5);
        struct ucred own = {getpid(), 5, 0}, root = {getpid(), 0, 0}, parent = {self, 5, 0};
        printf("a user as itself %d, as root %d, as its parent %d\n", give(s[0], 1, 0, 0, &own), give(s[0], 1, 0, 0, &root), give(s[0], 1, 0, 0, &parent));
        _exit(0);
    }
    wait(0);
    take("the user's", s[1], 16, 256, 0, 0);

    // Descriptors: no room, some room, no bytes, peeked at, closed in flight.
    for (int kind = 0; kind < 2; kind++) {
        socketpair(AF_UNIX, kind ? SOCK_DGRAM : SOCK_STREAM, 0, s);
        const char *of = kind ? "datagram" : "stream";
        printf("%s\n", of);
        int fds[3] = {0, 0, 0};
        give(s[0], 3, fds, 3, 0);
        take("no room at all", s[1], 16, 0, 0, 0);
        give(s[0], 3, fds, 3, 0);
        take("room for one", s[1], 16, CMSG_LEN(sizeof(int)), 0, 0);
        give(s[0], 3, fds, 3, 0);
        take("peeked at", s[1], 16, 256, MSG_PEEK, 0);
        take("and taken", s[1], 16, 256, MSG_CMSG_CLOEXEC, 0);
        fds[1] = 99;
        printf("a bad one among them: %d\n", give(s[0], 3, fds, 3, 0));
        int many[254] = {0};
        printf("the most %d, too many %d\n", give(s[0], 1, many, 253, 0), give(s[0], 1, many, 254, 0));
        take("the most", s[1], 16, 2048, 0, 0);
        pipe2(p, O_NONBLOCK);
        printf("no bytes: %d", give(s[0], 0, p + 1, 1, 0));
        close(p[1]);
        printf(", ended %d\n", ended(p[0]));
        take("what came of it", s[1], 16, 256, 0, 0);
        printf("ended then: %d\n", ended(p[0]));
        close(p[0]);
        pipe2(p, O_NONBLOCK);
        give(s[0], 1, p + 1, 1, 0);
        close(p[1]);
        printf("in flight: ended %d\n", ended(p[0]));
        close(s[1]);
        printf("the receiver gone: ended %d\n", ended(p[0]));
        close(s[0]), close(p[0]);
    }
    // A circle: each socket carries the other, one carries a pipe.
    pipe2(p, O_NONBLOCK);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    give(s[0], 1, s, 1, 0), give(s[1], 1, s + 1, 1, 0), give(s[0], 1, p + 1, 1, 0);
    close(p[1]), close(s[0]);
    printf("a circle that is held: ended %d\n", ended(p[0]));
    close(s[1]);
    for (int i = 0; i < 100 && !ended(p[0]); i++) close(socket(AF_UNIX, SOCK_DGRAM, 0)), usleep(10000);
    printf("a circle that nobody holds: ended %d\n", ended(p[0]));
    int raw = socket(AF_UNIX, SOCK_STREAM, 0);
    char control[64] = {0};
    struct cmsghdr *h = (void *)control;
    h->cmsg_level = SOL_SOCKET, h->cmsg_type = 77, h->cmsg_len = CMSG_LEN(4);
    struct msghdr m = {.msg_control = control, .msg_controllen = CMSG_SPACE(4)};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    printf("ancillary data of no kind: %d\n", made(sendmsg(s[0], &m, 0)));
    return 0;
}
