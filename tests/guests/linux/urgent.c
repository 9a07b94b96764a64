// Marked bytes of Unix sockets (MSG_OOB), and looks that go on where the last one ended (SO_PEEK_OFF).
#include "checks.h"

static int s[2];

static void pair(int type) {
    socketpair(AF_UNIX, type, 0, s);
}

static void take(const char *what, int room, int flags) {
    char b[64] = "";
    errno = 0;
    int n = recv(s[1], b, room, flags | MSG_DONTWAIT);
    printf("%s: %d %.*s%s\n", what, n, n > 0 ? n : 0, b, n < 0 ? strerrorname_np(errno) : "");
}

static void state(const char *what) {
    int at = -1;
    struct pollfd p = {s[1], POLLIN | POLLPRI};
    ioctl(s[1], SIOCATMARK, &at);
    poll(&p, 1, 0);
    printf("%s: at the mark %d, poll %#x\n", what, at, p.revents);
}

static void offset(const char *what) {
    int value = -5;
    socklen_t len = sizeof value;
    R(what, getsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &value, &len));
    printf("it is %d\n", value);
}

static void look_from(int value) {
    R("from", setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &value, sizeof value));
}

static void marks(void) {
    int waiting, on = 1;
    pair(SOCK_STREAM);
    take("none", 9, MSG_OOB);
    R("the last of five", send(s[0], "hello", 5, MSG_OOB));
    state("before");
    ioctl(s[1], FIONREAD, &waiting), printf("%d wait\n", waiting);
    take("a look", 9, MSG_OOB | MSG_PEEK);
    take("up to it", 9, 0);
    state("there");
    take("by itself", 9, MSG_OOB);
    state("without it");
    take("once only", 9, MSG_OOB);
    take("nothing else", 9, 0);

    send(s[0], "abc", 3, MSG_OOB), send(s[0], "def", 3, 0);
    take("up to it", 9, 0);
    take("past it", 9, 0);
    take("then it is lost", 9, MSG_OOB);

    send(s[0], "ab", 2, MSG_OOB), send(s[0], "cd", 2, MSG_OOB);
    take("the older is one of the others", 9, 0);
    take("the newer is not", 9, 0);
    take("and was passed over", 9, MSG_OOB);

    setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    send(s[0], "ab", 2, MSG_OOB), send(s[0], "cd", 2, 0);
    take("not by itself", 9, MSG_OOB);
    take("up to it", 9, 0);
    state("there");
    take("with it", 9, 0);

    R("nothing cannot be marked", send(s[0], "", 0, MSG_OOB));
    pair(SOCK_DGRAM);
    R("nor a datagram", send(s[0], "x", 1, MSG_OOB));
    take("which has none", 9, MSG_OOB);
    pair(SOCK_SEQPACKET);
    R("nor a packet", send(s[0], "x", 1, MSG_OOB));
    take("which has none", 9, MSG_OOB);
}

static void the_owner_is_told(void) {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGURG), sigprocmask(SIG_BLOCK, &set, 0);
    pair(SOCK_STREAM);
    send(s[0], "x", 1, MSG_OOB), sigpending(&set);
    printf("nobody owns it: %d\n", sigismember(&set, SIGURG));
    fcntl(s[1], F_SETOWN, getpid());
    send(s[0], "x", 1, 0), sigpending(&set);
    printf("nothing is marked: %d\n", sigismember(&set, SIGURG));
    send(s[0], "x", 1, MSG_OOB), sigpending(&set);
    printf("told: %d\n", sigismember(&set, SIGURG));
}

static void looks(const char *kind, int type) {
    puts(kind), pair(type);
    offset("at first");
    look_from(0);
    send(s[0], "abcdef", 6, 0), send(s[0], "ghi", 3, 0);
    take("two", 2, MSG_PEEK);
    take("two more", 2, MSG_PEEK);
    offset("behind four");
    take("take one", 1, 0);
    offset("which are three then, or none");
    take("the rest", 9, MSG_PEEK);
    take("is it all", 9, MSG_PEEK);
    take("it is", 9, MSG_PEEK);
    look_from(1);
    take("without the first", 9, MSG_PEEK);
    look_from(-1);
    take("all", 9, MSG_PEEK);
    take("again", 9, MSG_PEEK);
    offset("at last");
    take("and taken", 9, 0);
}

static void a_look_from_behind_a_mark(void) {
    pair(SOCK_STREAM), look_from(0);
    send(s[0], "pq", 2, MSG_OOB), send(s[0], "rs", 2, 0);
    take("up to it", 9, MSG_PEEK);
    take("with it", 1, MSG_PEEK);
    take("and on", 9, MSG_PEEK);
    take("by itself", 1, MSG_OOB);
    look_from(1);
    take("without it", 9, MSG_PEEK);
    offset("behind all");
}

static void looks_at_nothing(const char *kind, int type) {
    puts(kind), pair(type), look_from(2);
    send(s[0], "abc", 3, 0), send(s[0], "", 0, 0), send(s[0], "def", 3, 0);
    take("the third", 9, MSG_PEEK);
    take("nothing", 9, MSG_PEEK);
    take("what follows", 2, MSG_PEEK);
    look_from(-1);
    take("all again", 9, MSG_PEEK);
    look_from(0);
    take("taken", 9, 0);
    take("nothing was seen", 9, MSG_PEEK);
    take("but is there", 9, 0);
    int mark;
    R("there are no marks", ioctl(s[1], SIOCATMARK, &mark));
}

static void a_look_that_waits(void) {
    char b[9];
    pair(SOCK_STREAM), look_from(0);
    send(s[0], "ab", 2, 0), recv(s[1], b, 9, MSG_PEEK);
    fflush(stdout);
    if (!fork()) {
        nap(10), send(s[0], "cd", 2, 0), _exit(0);
    }
    int n = recv(s[1], b, 9, MSG_PEEK);
    printf("what came later: %d %.*s\n", n, n, b);
    wait(0), shutdown(s[0], SHUT_WR);
    R("the end", recv(s[1], b, 9, MSG_PEEK));
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    marks();
    the_owner_is_told();
    looks("stream", SOCK_STREAM);
    looks("datagrams", SOCK_DGRAM);
    looks("packets", SOCK_SEQPACKET);
    a_look_from_behind_a_mark();
    looks_at_nothing("datagrams", SOCK_DGRAM);
    looks_at_nothing("packets", SOCK_SEQPACKET);
    a_look_that_waits();
}
