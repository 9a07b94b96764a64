// Calls on much memory and long files, each of which would hold its core for long if it were one event. Built static.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); failures++; } } while (0)
#define MIB (1ul << 20)
static int failures;

static char *fresh(size_t len, int value) {
    char *p = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    memset(p, value, len);
    return p;
}

static int is_all(const char *p, size_t len, char value) {
    for (size_t i = 0; i < len; i += 509)
        if (p[i] != value) return 0;
    return p[len - 1] == value;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int s) { alarms += s != 0; }

// Runs a call and checks that another process had so many turns meanwhile: it was not one event.
static volatile long *turns;
#define PARTS(least, call) do { long before = *turns; CHECK(call); if (strict && *turns - before < least) { printf("line %d: %ld turns\n", __LINE__, *turns - before); failures++; } } while (0)
static int strict;

static int ends(pid_t pid) { int status = -1; CHECK(waitpid(pid, &status, 0) == pid); return status; }

int main(int c, char **v) {
    if (c > 1 && !strcmp(v[1], "child")) return 12;
    // Signals must not cut a call short that is made in parts.
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 2000}, {0, 2000}};
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);

    // Elsewhere turns depend on the machine.
    strict = c > 1;
    turns = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t counter = fork(), pid;
    if (!counter) for (;;) { ++*turns; sched_yield(); }

    size_t much = 96 * MIB;
    char *p = fresh(much, 1);
    PARTS(2, !mprotect(p, much, PROT_READ));
    CHECK(is_all(p, much, 1));
    CHECK(!mprotect(p, much, PROT_READ | PROT_WRITE));
    PARTS(2, !madvise(p, much, MADV_DONTNEED));
    CHECK(is_all(p, much, 0));
    memset(p, 2, much);
    PARTS(2, mmap(p, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    CHECK(is_all(p, much, 0));
    memset(p, 3, much);
    // A hole stays one, and what lies beside stays as it is.
    PARTS(2, !munmap(p + 4096, much - 8192));
    CHECK(p[0] == 3 && p[much - 1] == 3);
    CHECK(mprotect(p, much, PROT_READ) == -1 && errno == ENOMEM);
    CHECK(madvise(p, much, MADV_DONTNEED) == -1 && errno == ENOMEM);
    CHECK(!munmap(p, much));

    // A child's whole memory: given up by its end, and by a program that it starts.
    int up[2];
    char c1;
    CHECK(!pipe(up));
    if (!(pid = fork())) { fresh(much, 4); if (write(up[1], "x", 1) < 0) {} _exit(5); }
    CHECK(read(up[0], &c1, 1) == 1);
    CHECK(WEXITSTATUS(ends(pid)) == 5);
    if (!(pid = fork())) { fresh(much, 4); execl("/bin/long", "long", "child", (char *)0); _exit(6); }
    CHECK(WEXITSTATUS(ends(pid)) == 12);

    // A file written and read by one call each, then mapped both ways.
    size_t len = 48 * MIB + 12345;
    p = fresh(len, 7);
    int fd = open("/tmp/long", O_RDWR | O_CREAT | O_TRUNC, 0600);
    PARTS(50, write(fd, p, len) == (ssize_t)len);
    CHECK(lseek(fd, 0, SEEK_CUR) == (off_t)len);
    memset(p, 0, len);
    PARTS(50, pread(fd, p, len + 1, 0) == (ssize_t)len);
    CHECK(is_all(p, len, 7));
    CHECK(pwrite(fd, "x", 1, len - 1) == 1);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && read(fd, p, len) == (ssize_t)len && p[len - 1] == 'x' && p[0] == 7);
    int zero = open("/dev/zero", O_RDONLY);
    for (size_t done = 0; done < len;) {
        ssize_t n = read(zero, p + done, len - done);
        CHECK(n > 0);
        done += n > 0 ? n : len;
    }
    CHECK(is_all(p, len, 0));
    munmap(p, len);
    char *own, *shared;
    // The first mapping of a file makes it one of pages; the next one, of either sort, has nothing left to do.
    PARTS(50, (own = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)) != MAP_FAILED);
    CHECK(own != MAP_FAILED && is_all(own, len - 1, 7) && own[len - 1] == 'x');
    CHECK((shared = mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) != MAP_FAILED);
    CHECK(shared != MAP_FAILED && is_all(shared, len - 1, 7) && shared[len - 1] == 'x');
    memset(own, 8, len);
    memset(shared, 9, len);
    CHECK(pread(fd, own, len, 0) == (ssize_t)len && is_all(own, len, 9));
    CHECK(!munmap(own, len) && !munmap(shared, len) && !ftruncate(fd, 0));
    CHECK(close(fd) == 0 && unlink("/tmp/long") == 0);
    // A signal ends a process in the midst of such a call.
    if (!(pid = fork())) { p = fresh(much / 4, 1); much /= 4; for (;;) { mprotect(p, much, PROT_READ); mprotect(p, much, PROT_READ | PROT_WRITE); } }
    usleep(200000);
    kill(pid, SIGKILL);
    CHECK(WTERMSIG(ends(pid)) == SIGKILL && alarms > 0);
    kill(counter, SIGKILL);
    ends(counter);
    printf(failures ? "%d failures\n" : "nothing took long\n", failures);
    return failures != 0;
}
