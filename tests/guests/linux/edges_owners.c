// Who owns what has no place among the files, and what that allows: of root, of a user, and of a user what root has made.
#include "tables.h"
#include <grp.h>
static const char *const KINDS[] = {"pipe", "unix", "tcp", "udp", "netlink", "event", "timer", "signal", "epoll", "inotify", "memfd", "pty"};
static int made(int kind) {
    int p[2];
    sigset_t none;
    sigemptyset(&none);
    switch (kind) {
    case 0: pipe(p); return p[0];
    case 1: socketpair(AF_UNIX, SOCK_STREAM, 0, p); return p[0];
    case 2: return socket(AF_INET, SOCK_STREAM, 0);
    case 3: return socket(AF_INET, SOCK_DGRAM, 0);
    case 4: return socket(AF_NETLINK, SOCK_RAW, 0);
    case 5: return eventfd(0, 0);
    case 6: return timerfd_create(CLOCK_MONOTONIC, 0);
    case 7: return signalfd(-1, &none, 0);
    case 8: return epoll_create1(0);
    case 9: return inotify_init();
    case 10: return memfd_create("owned", 0);
    default: return posix_openpt(O_RDWR | O_NOCTTY);
    }
}
static void asked(const char *who, int kind, int fd) {
    struct stat st, by;
    char path[40];
    printf("%s %s:", who, KINDS[kind]);
    fstat(fd, &st), sprintf(path, "/proc/self/fd/%d", fd), stat(path, &by);
    // A terminal's is root's where it lies.
    if (kind != 11) tell("%d/%d", st.st_uid, st.st_gid), tell("%d/%d", by.st_uid, by.st_gid);
    errno = 0, tell_result(fcntl(fd, F_SETFL, O_NOATIME));
    errno = 0, tell_result(fcntl(fd, F_SETFL, O_NOATIME | O_NONBLOCK));
    tell("%x", fcntl(fd, F_GETFL) & (O_NOATIME | O_NONBLOCK));
    row();
}
int main(void) {
    int of_root[COUNT(KINDS)];
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    for (int k = 0; k < COUNT(KINDS); k++) asked("root's", k, made(k)), of_root[k] = made(k);
    CHILD(({
        setgroups(0, 0), setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
        for (int k = 0; k < COUNT(KINDS); k++) asked("a user's", k, made(k)), asked("a user with root's", k, of_root[k]);
    }));
    return 0;
}
