// As many descriptors as the limit that is told, of every kind, and then EMFILE.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int pipes(void) {
    int ends[2];
    return pipe(ends) ? -1 : ends[1];
}
static int opens(void) { return open("/dev/null", O_RDONLY); }
static int events(void) { return eventfd(0, 0); }
static int sockets(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static int copies(void) { return dup(1); }

static void fill(const char *what, int (*make)(void), int limit) {
    int fd, last = 2;
    while ((fd = make()) >= 0) last = fd;
    int error = errno;
    // A pipe takes two.
    printf("%s: %s, %s\n", what, strerrorname_np(error), last >= limit - 2 ? "all of them" : "too early");
    fflush(stdout);
    for (fd = 3; fd < limit; fd++) close(fd);
}

// Of as many as there is room for none is left for the next wait.
static void ready(int limit) {
    static struct epoll_event events[1 << 16];
    int set = epoll_create1(0), fd, added = 0;
    while ((fd = eventfd(1, 0)) >= 0) added += !epoll_ctl(set, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
    printf("ready: %s", added == limit - 4 ? "all of them" : "too few");
    printf(", told of at once: %d", epoll_wait(set, events, 1 << 16, 0) == added);
    printf(", by pieces: %d\n", epoll_wait(set, events, 5000, 0));
    fflush(stdout);
    for (fd = 3; fd < limit; fd++) close(fd);
}

int main(void) {
    struct rlimit told;
    getrlimit(RLIMIT_NOFILE, &told);
    // As programs do that want many. More than this of every kind take long.
    int limit = 8192;
    told.rlim_cur = limit;
    printf("setrlimit: %d\n", setrlimit(RLIMIT_NOFILE, &told));
    fill("open", opens, limit);
    fill("pipe", pipes, limit);
    fill("eventfd", events, limit);
    fill("socket", sockets, limit);
    fill("dup", copies, limit);
    ready(limit);
    // A server's ten thousand connections and more, in one process.
    told.rlim_cur = 20000;
    printf("setrlimit: %d\n", setrlimit(RLIMIT_NOFILE, &told));
    fill("open", opens, 20000);
    fill("socket", sockets, 20000);
    return 0;
}
