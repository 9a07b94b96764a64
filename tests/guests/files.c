// Descriptors and files as Linux has them: copies between descriptors, changes told by inotify, what openat2 forbids, locks,
// tables of descriptors that are shared or not. Runs on Linux as it is, and must say the same there. Built static.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); failures++; } } while (0)
#define FAILS(x, e) do { errno = 0; CHECK((x) < 0 && errno == (e)); } while (0)
static int failures;

static void fill(int fd, size_t n) {
    char block[4096];
    for (size_t at = 0; at < n; at += sizeof block) {
        for (size_t i = 0; i < sizeof block; i++) block[i] = (at + i) * 7 >> 3;
        CHECK(write(fd, block, sizeof block) == sizeof block);
    }
}

static int same(int a, int b, size_t n) {
    char x[4096], y[4096];
    for (size_t at = 0; at < n; at += sizeof x) {
        if (pread(a, x, sizeof x, at) != sizeof x || pread(b, y, sizeof y, at) != sizeof y || memcmp(x, y, sizeof x)) return 0;
    }
    return 1;
}

// One call moves all, however long, and what waits for room goes on until it has moved all.
static void copies(void) {
    size_t n = 3 << 20;
    int from = memfd_create("from", 0), to = memfd_create("to", 0), s[2];
    fill(from, n);
    loff_t in = 0, out = 0;
    CHECK(copy_file_range(from, &in, to, &out, n + 5, 0) == n && in == n && out == n && same(from, to, n));
    CHECK(ftruncate(to, 0) == 0 && lseek(to, 0, SEEK_SET) == 0);
    off_t at = 0;
    CHECK(sendfile(to, from, &at, n) == n && at == n && same(from, to, n));
    CHECK(lseek(from, 0, SEEK_SET) == 0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    pid_t child = fork();
    if (!child) {
        close(s[0]);
        char block[5000];
        size_t got = 0;
        for (long r; (r = read(s[1], block, sizeof block)) > 0;) got += r;
        _exit(got != n);
    }
    close(s[1]);
    CHECK(sendfile(s[0], from, 0, n) == n && lseek(from, 0, SEEK_CUR) == n);
    close(s[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(from), close(to);
}

static void splices(void) {
    int p[2], q[2], s[2], file = memfd_create("f", 0);
    char b[64] = "";
    pipe(p), pipe(q), socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    write(s[0], "hello", 5);
    CHECK(splice(s[1], 0, p[1], 0, 100, 0) == 5);
    CHECK(tee(p[0], q[1], 100, SPLICE_F_NONBLOCK) == 5);
    loff_t at = 3;
    CHECK(splice(p[0], 0, file, &at, 100, SPLICE_F_NONBLOCK) == 5 && at == 8);
    FAILS(splice(p[0], 0, file, 0, 100, SPLICE_F_NONBLOCK), EAGAIN);
    FAILS(splice(s[1], 0, p[1], 0, 100, SPLICE_F_NONBLOCK), EAGAIN);
    FAILS(splice(s[0], 0, s[1], 0, 3, 0), EINVAL);
    FAILS(splice(p[0], 0, p[1], 0, 3, 0), EINVAL);
    FAILS(splice(p[0], &at, q[1], 0, 3, 0), ESPIPE);
    FAILS(splice(p[1], 0, q[1], 0, 3, 0), EBADF);
    FAILS(tee(file, q[1], 3, 0), EINVAL);
    FAILS(vmsplice(file, &(struct iovec){b, 1}, 1, 0), EBADF);
    FAILS(splice(p[0], 0, q[1], 0, 3, 64), EINVAL);
    CHECK(vmsplice(p[1], &(struct iovec){"vm", 2}, 1, 0) == 2);
    CHECK(splice(p[0], 0, q[1], 0, 100, 0) == 2);
    at = 3;
    CHECK(splice(file, &at, q[1], 0, 3, 0) == 3 && at == 6);
    CHECK(read(q[0], b, sizeof b) == 10 && !memcmp(b, "hellovmhel", 10));
    // What waits is woken by what comes, and ends with the pipe.
    pid_t child = fork();
    if (!child) {
        close(p[1]);
        loff_t zero = 0;
        _exit(splice(p[0], 0, file, &zero, 100, 0) != 4 || splice(p[0], 0, file, &zero, 100, 0) != 0);
    }
    usleep(50000);
    write(p[1], "late", 4);
    usleep(50000);
    close(p[1]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(pread(file, b, 8, 0) == 8 && !memcmp(b, "lateello", 8));
    signal(SIGPIPE, SIG_IGN);
    close(q[0]);
    FAILS(splice(file, &(loff_t){0}, q[1], 0, 3, 0), EPIPE);
    close(p[0]), close(q[1]), close(s[0]), close(s[1]), close(file);
}

// The next event, waited for; its name in `name`.
static struct inotify_event next(int fd, char *name) {
    static char buffer[4096];
    static long at, end;
    struct inotify_event e = {0};
    if (at == end) {
        struct pollfd p = {fd, POLLIN};
        if (poll(&p, 1, 2000) != 1) return e;
        at = 0, end = read(fd, buffer, sizeof buffer);
        if (end <= 0) return end = 0, e;
    }
    memcpy(&e, buffer + at, sizeof e);
    memcpy(name, buffer + at + sizeof e, e.len);
    if (!e.len) *name = 0;
    at += sizeof e + e.len;
    return e;
}

#define EVENT(m, n) do { struct inotify_event e_ = next(fd, name); \
    if (e_.mask != (m) || strcmp(name, n)) { printf("line %d: %x \"%s\"\n", __LINE__, e_.mask, name); failures++; } } while (0)

static void watches(const char *dir) {
    char name[256], path[300];
    int fd = inotify_init1(IN_CLOEXEC), left;
    CHECK(chdir(dir) == 0 && mkdir("watched", 0700) == 0);
    int wd = inotify_add_watch(fd, "watched", IN_ALL_EVENTS & ~(IN_ACCESS | IN_CLOSE_NOWRITE | IN_OPEN));
    CHECK(wd == 1);
    pid_t child = fork();
    if (!child) {
        int f = open("watched/file", O_CREAT | O_WRONLY, 0600);
        write(f, "x", 1);
        close(f);
        rename("watched/file", "watched/other");
        link("watched/other", "outside");
        unlink("watched/other");
        mkdir("watched/sub", 0700);
        rmdir("watched/sub");
        _exit(0);
    }
    EVENT(IN_CREATE, "file");
    EVENT(IN_MODIFY, "file");
    EVENT(IN_CLOSE_WRITE, "file");
    struct inotify_event from = next(fd, name);
    CHECK(from.mask == IN_MOVED_FROM && !strcmp(name, "file") && from.cookie);
    struct inotify_event to = next(fd, name);
    CHECK(to.mask == IN_MOVED_TO && !strcmp(name, "other") && to.cookie == from.cookie);
    EVENT(IN_DELETE, "other");
    EVENT(IN_CREATE | IN_ISDIR, "sub");
    EVENT(IN_DELETE | IN_ISDIR, "sub");
    waitpid(child, 0, 0);
    CHECK(ioctl(fd, FIONREAD, &left) == 0 && left == 0);
    // A file by itself, told until it is gone; a watch for one event; an epoll set that waits.
    int once = inotify_add_watch(fd, "watched", IN_CREATE | IN_ONESHOT), file = inotify_add_watch(fd, "outside", IN_MODIFY | IN_DELETE_SELF);
    CHECK(once == wd && file == 2);
    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 && epoll_wait(set, &event, 1, 0) == 0);
    truncate("outside", 0);
    CHECK(epoll_wait(set, &event, 1, 1000) == 1);
    EVENT(IN_MODIFY, "");
    unlink("outside");
    EVENT(IN_DELETE_SELF, "");
    EVENT(IN_IGNORED, "");
    close(open("watched/a", O_CREAT | O_WRONLY, 0600));
    close(open("watched/b", O_CREAT | O_WRONLY, 0600));
    EVENT(IN_CREATE, "a");
    EVENT(IN_IGNORED, "");
    FAILS(inotify_rm_watch(fd, wd), EINVAL);
    FAILS(inotify_add_watch(fd, "watched/a", IN_CREATE | IN_ONLYDIR), ENOTDIR);
    char small[16];
    int more = inotify_add_watch(fd, "watched", IN_DELETE);
    unlink("watched/a");
    FAILS(read(fd, small, sizeof small), EINVAL);
    EVENT(IN_DELETE, "a");
    CHECK(inotify_rm_watch(fd, more) == 0);
    EVENT(IN_IGNORED, "");
    unlink("watched/b");
    CHECK(rmdir("watched") == 0);
    close(set), close(fd);
}

static long open2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {flags, mode, resolve};
    long fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    return fd < 0 ? -errno : close(fd);
}

static void resolving(const char *dir) {
    CHECK(chdir(dir) == 0 && mkdir("in", 0700) == 0);
    close(open("in/file", O_CREAT | O_WRONLY, 0600));
    symlink("file", "in/link"), symlink("../in/file", "in/escape"), symlink("/file", "in/absolute");
    int d = open("in", O_PATH);
    CHECK(open2(d, "file", O_RDONLY, 0, RESOLVE_BENEATH) == 0);
    CHECK(open2(d, "link", O_RDONLY, 0, RESOLVE_BENEATH) == 0);
    CHECK(open2(d, "../in/file", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV);
    CHECK(open2(d, "escape", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV);
    CHECK(open2(d, "/file", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV);
    CHECK(open2(d, "/file", O_RDONLY, 0, RESOLVE_IN_ROOT) == 0);
    CHECK(open2(d, "../../file", O_RDONLY, 0, RESOLVE_IN_ROOT) == 0);
    CHECK(open2(d, "absolute", O_RDONLY, 0, RESOLVE_IN_ROOT) == 0);
    CHECK(open2(d, "link", O_RDONLY, 0, RESOLVE_NO_SYMLINKS) == -ELOOP);
    CHECK(open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS) == -ELOOP);
    CHECK(open2(AT_FDCWD, "/proc/version", O_RDONLY, 0, RESOLVE_NO_XDEV) == -EXDEV);
    CHECK(open2(d, "file", O_RDONLY, 0600, 0) == -EINVAL);
    CHECK(open2(d, "file", 1 << 26, 0, 0) == -EINVAL);
    CHECK(open2(d, "file", O_RDONLY, 0, 1 << 20) == -EINVAL);
    struct { struct open_how how; uint64_t more; } big = {{O_RDONLY}, 1};
    FAILS(syscall(SYS_openat2, d, "file", &big, sizeof big), E2BIG);
    // Only a place: nothing that is done to the file itself.
    int place = open("in/file", O_PATH);
    FAILS(fchmod(place, 0644), EBADF);
    FAILS(fchown(place, 0, 0), EBADF);
    FAILS(fsync(place), EBADF);
    FAILS(ioctl(place, FIONREAD, &(int){0}), EBADF);
    close(place), close(d);
    unlink("in/link"), unlink("in/escape"), unlink("in/absolute"), unlink("in/file"), rmdir("in");
    int p[2];
    pipe(p);
    FAILS(fsync(p[0]), EINVAL);
    FAILS(posix_fadvise(p[0], 0, 0, 0) ? (errno = posix_fadvise(p[0], 0, 0, 0), -1) : 0, ESPIPE);
    close(p[0]), close(p[1]);
}

static void groups(const char *dir) {
    if (geteuid()) return;
    struct stat s;
    CHECK(chdir(dir) == 0 && mkdir("shared", 0755) == 0 && chown("shared", 0, 4242) == 0 && chmod("shared", 02775) == 0);
    close(open("shared/file", O_CREAT | O_WRONLY, 0644));
    CHECK(stat("shared/file", &s) == 0 && s.st_gid == 4242 && s.st_mode == 0100644);
    mkdir("shared/sub", 0755);
    CHECK(stat("shared/sub", &s) == 0 && s.st_gid == 4242 && s.st_mode == 042755);
    unlink("shared/file"), rmdir("shared/sub"), rmdir("shared");
}

static void set_lock(int f, int type, long start, long len) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    CHECK(fcntl(f, F_SETLK, &l) == 0);
}

static void tables(const char *dir) {
    CHECK(chdir(dir) == 0);
    int f = open("locked", O_CREAT | O_RDWR, 0600), status;
    set_lock(f, F_WRLCK, 10, 5), set_lock(f, F_RDLCK, 1, 5);
    pid_t child = fork();
    if (!child) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _exit(fcntl(f, F_GETLK, &l) || l.l_type != F_RDLCK || l.l_start != 1 || l.l_len != 5);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(f), unlink("locked");
    int a = dup(1), b = dup(1);
    child = syscall(SYS_clone, 0x400 | SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        close(a);
        syscall(SYS_close_range, b, b, 2);
        _exit(fcntl(b, F_GETFD) != -1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    FAILS(fcntl(a, F_GETFD), EBADF);
    CHECK(fcntl(b, F_GETFD) == 0);
    close(b);
    struct rlimit before, limit;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before, limit.rlim_cur = 20000;
    CHECK(before.rlim_max >= 20000 && setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1, fd;
    while ((fd = dup(1)) >= 0) last = fd;
    CHECK(errno == EMFILE && last == 19999);
    for (; last > 2; last--) close(last);
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) last = fd;
    CHECK(errno == EMFILE && last == 19999);
    for (; last > 2; last--) close(last);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void exclusive(void) {
    volatile int *woken = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int p[2];
    pid_t pid[5];
    pipe(p);
    for (int i = 0; i < 5; i++) {
        if (!(pid[i] = fork())) {
            int set = epoll_create1(0);
            struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE};
            epoll_ctl(set, EPOLL_CTL_ADD, p[0], &event);
            if (epoll_wait(set, &event, 1, -1) == 1) __sync_fetch_and_add(woken, 1);
            pause();
        }
    }
    usleep(300000);
    write(p[1], "x", 1);
    usleep(300000);
    CHECK(*woken == 1);
    for (int i = 0; i < 5; i++) kill(pid[i], SIGKILL);
    while (wait(0) > 0) {}
    close(p[0]), close(p[1]);
}

static void owners(void) {
    int s[2], on = 1;
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CHECK(fcntl(s[0], F_SETOWN, getpid()) == 0 && fcntl(s[0], F_GETOWN) == getpid());
    struct f_owner_ex owner = {F_OWNER_TID, getpid()}, got = {9, 9};
    CHECK(fcntl(s[0], F_SETOWN_EX, &owner) == 0 && fcntl(s[0], F_GETOWN_EX, &got) == 0);
    CHECK(got.type == F_OWNER_TID && got.pid == getpid());
    FAILS(fcntl(s[0], F_SETOWN, 99999), ESRCH);
    FAILS(fcntl(s[0], F_SETSIG, 65), EINVAL);
    CHECK(fcntl(s[0], F_SETSIG, SIGUSR1) == 0 && fcntl(s[0], F_GETSIG) == SIGUSR1 && fcntl(s[0], F_SETSIG, 0) == 0);
    CHECK(ioctl(s[0], FIOASYNC, &on) == 0 && fcntl(s[0], F_GETFL) & O_ASYNC);
    on = 0;
    CHECK(ioctl(s[0], FIOASYNC, &on) == 0 && !(fcntl(s[0], F_GETFL) & O_ASYNC));
    int file = memfd_create("f", 0);
    on = 1;
    FAILS(ioctl(file, FIOASYNC, &on), ENOTTY);
    CHECK(fcntl(file, F_SETFL, O_ASYNC) == 0 && !(fcntl(file, F_GETFL) & O_ASYNC));
    close(file), close(s[0]), close(s[1]);
}

// A file that is written through a mapping has another time, at the latest with msync or munmap.
static void mapped(const char *dir) {
    CHECK(chdir(dir) == 0);
    int f = open("mapped", O_CREAT | O_RDWR, 0600);
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct stat s;
    CHECK(ftruncate(f, 8192) == 0);
    volatile char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    CHECK(futimens(f, old) == 0 && p[0] == 0 && msync((void *)p, 8192, MS_SYNC) == 0);
    CHECK(fstat(f, &s) == 0 && s.st_mtime == 1000);
    p[4096] = 1;
    CHECK(msync((void *)p, 8192, MS_SYNC) == 0 && fstat(f, &s) == 0 && s.st_mtime > 1000);
    CHECK(futimens(f, old) == 0);
    p[0] = 1;
    CHECK(munmap((void *)p, 8192) == 0 && fstat(f, &s) == 0 && s.st_mtime > 1000);
    close(f), unlink("mapped");
}

static volatile int told, told_fd;
static void on_ready(int s, siginfo_t *i, void *c) { told = s, told_fd = i->si_fd; }

static void wait_told(int s) {
    for (int i = 0; i < 200 && told != s; i++) usleep(10000);
    CHECK(told == s);
}

// What becomes ready is told by a signal, to whom it is to be told.
static void signals(void) {
    int p[2], s[2], on = 1, status;
    struct sigaction a = {.sa_sigaction = on_ready, .sa_flags = SA_SIGINFO};
    sigaction(SIGIO, &a, 0), sigaction(SIGUSR2, &a, 0);
    pipe(p), socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CHECK(fcntl(p[0], F_SETOWN, getpid()) == 0 && fcntl(p[0], F_SETFL, O_ASYNC) == 0);
    told = 0;
    write(p[1], "x", 1);
    wait_told(SIGIO);
    CHECK(fcntl(p[0], F_SETFL, 0) == 0);
    told = 0;
    write(p[1], "x", 1);
    usleep(50000);
    CHECK(!told);
    CHECK(fcntl(s[0], F_SETSIG, SIGUSR2) == 0 && fcntl(s[0], F_SETOWN, getpid()) == 0 && ioctl(s[0], FIOASYNC, &on) == 0);
    if (!fork()) _exit(write(s[1], "x", 1) != 1);
    wait_told(SIGUSR2);
    CHECK(told_fd == s[0]);
    CHECK(wait(&status) > 0 && status == 0);
    close(p[0]), close(p[1]), close(s[0]), close(s[1]);
}

// A program that runs is not opened for writing, and a file that is open for writing is not run.
static void busy(const char *dir) {
    CHECK(chdir(dir) == 0);
    char b[65536];
    long n;
    int from = open("/proc/self/exe", O_RDONLY), to = open("copied", O_CREAT | O_WRONLY, 0755), status;
    while ((n = read(from, b, sizeof b)) > 0) CHECK(write(to, b, n) == n);
    char *arguments[] = {"copied", "busy", 0};
    pid_t child = fork();
    if (!child) {
        execv("copied", arguments);
        _exit(errno == ETXTBSY ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(to), close(from);
    child = fork();
    if (!child) {
        execv("copied", arguments);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    to = open("copied", O_WRONLY);
    CHECK(to >= 0);
    close(to), unlink("copied");
}

int main(int argc, char **argv) {
    if (argc > 1) {
        FAILS(open("/proc/self/exe", O_WRONLY), ETXTBSY);
        FAILS(open(argv[0], O_RDONLY | O_TRUNC), ETXTBSY);
        FAILS(truncate(argv[0], 0), ETXTBSY);
        int f = open(argv[0], O_RDONLY);
        CHECK(f >= 0);
        return failures != 0;
    }
    char dir[] = "/tmp/files-XXXXXX";
    setvbuf(stdout, 0, _IONBF, 0);
    CHECK(mkdtemp(dir));
    copies();
    splices();
    watches(dir);
    resolving(dir);
    groups(dir);
    tables(dir);
    exclusive();
    owners();
    signals();
    mapped(dir);
    busy(dir);
    chdir("/"), rmdir(dir);
    puts(failures ? "something is wrong" : "all as on Linux");
    return failures != 0;
}
