// Processes: fork, exec, wait, signals between them, pipes, groups, timers, limits. Built static; starts itself with arguments.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); failures++; } } while (0)
static int failures;
extern char **environ;
static const char *self;

static volatile sig_atomic_t caught, sender, code, status_of;
static void on_signal(int s, siginfo_t *i, void *u) { caught = s; sender = i->si_pid; code = i->si_code; status_of = i->si_status; (void)u; }
static void handle(int s, int flags) {
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
    sigaction(s, &a, 0);
}

static int end_of(pid_t pid) { int status = -1; CHECK(waitpid(pid, &status, 0) == pid); return status; }

static char page[3 * 4096] __attribute__((aligned(4096)));
static void copies(void) {
    strcpy(page, "parent");
    int offset_file = open("/tmp/offset", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(write(offset_file, "0123456789", 10) == 10 && lseek(offset_file, 0, SEEK_SET) == 0);
    pid_t pid = fork();
    if (!pid) {
        if (strcmp(page, "parent")) _exit(1);
        strcpy(page, "child");
        char c[4];
        if (read(offset_file, c, 4) != 4) _exit(2);
        close(offset_file);
        if (getppid() == getpid() || chdir("/tmp")) _exit(3);
        _exit(42);
    }
    int status = end_of(pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK(!strcmp(page, "parent"));
    // The position is the description's, which both have; the working directory is not.
    CHECK(lseek(offset_file, 0, SEEK_CUR) == 4);
    char cwd[64];
    CHECK(getcwd(cwd, sizeof cwd) && strcmp(cwd, "/tmp"));
    close(offset_file);
    CHECK(wait(0) == -1 && errno == ECHILD);
    CHECK(waitpid(-1, 0, WNOHANG) == -1 && errno == ECHILD);
}

static void signals(void) {
    handle(SIGCHLD, SA_RESTART);
    caught = 0;
    pid_t pid = fork();
    if (!pid) { for (;;) pause(); }
    int status;
    CHECK(waitpid(pid, &status, WNOHANG) == 0);
    CHECK(!kill(pid, 0) && !kill(pid, SIGTERM));
    status = end_of(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    CHECK(caught == SIGCHLD && sender == pid && code == CLD_KILLED && status_of == SIGTERM);
    CHECK(kill(pid, 0) == -1 && errno == ESRCH);
    // A fault ends the child alone.
    if (!(pid = fork())) *(volatile int *)16 = 1;
    CHECK(WTERMSIG(end_of(pid)) == SIGSEGV);
    // Stopping and going on.
    if (!(pid = fork())) for (;;) usleep(1000);
    kill(pid, SIGSTOP);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(pid, SIGCONT);
    CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    kill(pid, SIGKILL);
    siginfo_t info;
    CHECK(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT) && info.si_pid == pid && info.si_code == CLD_KILLED);
    CHECK(!waitid(P_PID, pid, &info, WEXITED) && info.si_status == SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    if (!(pid = fork())) _exit(0);
    CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    signal(SIGCHLD, SIG_DFL);
    // A signal that a descriptor takes.
    sigset_t set;
    sigemptyset(&set); sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, 0);
    int fd = signalfd(-1, &set, 0);
    if (!(pid = fork())) { kill(getppid(), SIGUSR2); _exit(0); }
    struct signalfd_siginfo si;
    CHECK(read(fd, &si, sizeof si) == sizeof si && si.ssi_signo == SIGUSR2 && (pid_t)si.ssi_pid == pid);
    end_of(pid); close(fd);
    sigprocmask(SIG_UNBLOCK, &set, 0);
}

// A call with a mask of its own: the handler of what only that mask lets through runs before the call returns.
static void masks(void) {
    handle(SIGUSR1, 0);
    sigset_t block, before, now;
    sigemptyset(&block); sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, &before);
    for (int how = 0; how < 3; how++) {
        caught = 0;
        pid_t pid = fork();
        if (!pid) { usleep(10000); kill(getppid(), SIGUSR1); _exit(0); }
        struct timespec long_time = {10, 0};
        int n = how == 0 ? sigsuspend(&before) : how == 1 ? ppoll(0, 0, &long_time, &before) : pselect(0, 0, 0, 0, &long_time, &before);
        CHECK(n == -1 && errno == EINTR && caught == SIGUSR1);
        sigprocmask(SIG_BLOCK, 0, &now);
        CHECK(sigismember(&now, SIGUSR1));
        end_of(pid);
    }
    sigprocmask(SIG_SETMASK, &before, 0);
}

static void groups(void) {
    pid_t a = fork();
    if (!a) { setpgid(0, 0); for (;;) pause(); }
    CHECK(!setpgid(a, a) && getpgid(a) == a);
    pid_t b = fork();
    if (!b) { for (;;) pause(); }
    CHECK(!setpgid(b, a) && getpgid(b) == a);
    CHECK(!kill(-a, SIGINT));
    CHECK(waitpid(-a, 0, 0) > 0 && waitpid(-a, 0, 0) > 0 && waitpid(-a, 0, 0) == -1);
    pid_t c = fork();
    if (!c) _exit(setsid() == getpid() && getsid(0) == getpid() && setsid() == -1 ? 7 : 8);
    CHECK(WEXITSTATUS(end_of(c)) == 7);
}

static void pipes(void) {
    int up[2], down[2];
    CHECK(!pipe(up) && !pipe(down));
    pid_t pid = fork();
    if (!pid) {
        close(up[0]); close(down[1]);
        char c;
        while (read(down[0], &c, 1) == 1) { c++; if (write(up[1], &c, 1) != 1) _exit(1); }
        _exit(0);
    }
    close(up[1]); close(down[0]);
    for (int i = 0; i < 200; i++) {
        char c = i, d;
        CHECK(write(down[1], &c, 1) == 1 && read(up[0], &d, 1) == 1 && d == (char)(i + 1));
    }
    close(down[1]);
    char c;
    CHECK(read(up[0], &c, 1) == 0);
    CHECK(end_of(pid) == 0);
    close(up[0]);
    // Writing to a pipe that no process reads.
    CHECK(!pipe(up));
    if (!(pid = fork())) { close(up[0]); usleep(20000); if (write(up[1], "x", 1) < 0) {} _exit(1); }
    close(up[0]);
    CHECK(WTERMSIG(end_of(pid)) == SIGPIPE);
    close(up[1]);
}

static void *busy(void *p) { for (;;) if (p) sched_yield(); return p; }
static void starting(void) {
    // posix_spawn has the parent's memory until it starts the program, and reports there why it could not.
    pid_t pid;
    char *args[] = {(char *)self, "child", "one two", 0}, *env[] = {"KEY=value", 0};
    CHECK(posix_spawn(&pid, "/no/such", 0, 0, args, env) == ENOENT);
    CHECK(!posix_spawn(&pid, self, 0, 0, args, env));
    CHECK(WEXITSTATUS(end_of(pid)) == 11);
    pid = vfork();
    if (!pid) { execve(self, args, env); _exit(9); }
    CHECK(WEXITSTATUS(end_of(pid)) == 11);
    // exec of a thread takes the others away and keeps the number.
    if (!(pid = fork())) {
        pthread_t t;
        for (long i = 0; i < 3; i++) pthread_create(&t, 0, busy, (void *)i);
        char number[16]; sprintf(number, "%d", getpid());
        char *again[] = {(char *)self, "number", number, 0};
        signal(SIGINT, SIG_IGN); handle(SIGUSR1, 0);
        fcntl(open("/dev/null", O_RDONLY), F_SETFD, FD_CLOEXEC);
        execv(self, again); _exit(9);
    }
    CHECK(WEXITSTATUS(end_of(pid)) == 12);
    // A program that was written, and a script.
    int from = open(self, O_RDONLY), to = open("/tmp/copy", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    static char buffer[65536]; ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0) CHECK(write(to, buffer, n) == n);
    close(from); close(to);
    int script = open("/tmp/script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    CHECK(write(script, "#!/tmp/copy script\n", 19) == 19);
    close(script);
    if (!(pid = fork())) { execl("/tmp/script", "ignored", "more", (char *)0); _exit(9); }
    CHECK(WEXITSTATUS(end_of(pid)) == 13);
    chmod("/tmp/copy", 0644);
    CHECK(execl("/tmp/copy", "x", (char *)0) == -1 && errno == EACCES);
    CHECK(execl("/tmp", "x", (char *)0) == -1 && errno == EACCES);
    CHECK(system("exit 3") != 0); // there may be no shell
}

static int child(int c, char **v) {
    if (!strcmp(v[1], "child")) return c == 3 && !strcmp(v[2], "one two") && getenv("KEY") && !strcmp(getenv("KEY"), "value") ? 11 : 1;
    if (!strcmp(v[1], "number")) {
        struct sigaction a, b;
        sigaction(SIGINT, 0, &a); sigaction(SIGUSR1, 0, &b);
        int ok = getpid() == atoi(v[2]) && syscall(SYS_gettid) == getpid() && a.sa_handler == SIG_IGN && b.sa_handler == SIG_DFL;
        return ok && fcntl(3, F_GETFD) == -1 ? 12 : 2;
    }
    if (!strcmp(v[1], "script")) return c == 4 && !strcmp(v[2], "/tmp/script") && !strcmp(v[3], "more") ? 13 : 3;
    return 4;
}

static void timers(void) {
    handle(SIGALRM, 0);
    struct itimerval often = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}}, old;
    int n = 0;
    CHECK(!setitimer(ITIMER_REAL, &often, 0));
    while (n < 5) { caught = 0; pause(); n += caught == SIGALRM; }
    CHECK(!setitimer(ITIMER_REAL, &off, &old) && old.it_interval.tv_usec == 5000);
    CHECK(alarm(100) == 0 && alarm(0) == 100);
    handle(SIGVTALRM, 0);
    struct itimerval soon = {{0, 0}, {0, 20000}};
    caught = 0;
    CHECK(!setitimer(ITIMER_VIRTUAL, &soon, 0));
    for (time_t begun = time(0); caught != SIGVTALRM && time(0) < begun + 10;) {}
    CHECK(caught == SIGVTALRM);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    sigset_t set; siginfo_t info;
    sigemptyset(&set); sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, 0);
    struct itimerspec when = {{0, 3000000}, {0, 3000000}};
    CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer) && !timer_settime(timer, 0, &when, 0));
    for (int i = 0; i < 3; i++) CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == 77 && info.si_code == SI_TIMER);
    CHECK(!timer_delete(timer) && timer_delete(timer) == -1);
}

// Memory and files that processes share, and that read and write see.
static void sharing(void) {
    int *words = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(words != MAP_FAILED);
    words[0] = 1;
    pid_t pid = fork();
    if (!pid) { words[0] = 2; words[1024] = 3; _exit(0); }
    end_of(pid);
    CHECK(words[0] == 2 && words[1024] == 3);
    // A lock between processes.
    pthread_mutex_t *lock = (void *)(words + 16);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(lock, &attributes);
    words[1] = 0;
    for (int i = 0; i < 4; i++)
        if (!fork()) {
            for (int k = 0; k < 200; k++) { pthread_mutex_lock(lock); int n = words[1]; if (k % 50 == 0) usleep(1000); words[1] = n + 1; pthread_mutex_unlock(lock); }
            _exit(0);
        }
    while (wait(0) > 0) {}
    CHECK(words[1] == 800);
    int fd = open("/tmp/shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(pwrite(fd, "before", 6, 4090) == 6 && !ftruncate(fd, 12000));
    char *a = mmap(0, 12000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    char *own = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(a != MAP_FAILED && b != MAP_FAILED && !memcmp(a + 4090, "before", 6));
    char text[8] = {0};
    strcpy(a + 4096, "mapped");
    CHECK(pread(fd, text, 6, 4096) == 6 && !strcmp(text, "mapped") && !strcmp(b, "mapped"));
    CHECK(pwrite(fd, "MAP", 3, 4096) == 3 && !strcmp(b, "MAPped") && !strcmp(a + 4096, "MAPped"));
    strcpy(own, "own");
    CHECK(a[0] == 0);
    if (!(pid = fork())) { strcpy(a, "child"); _exit(strcmp(own, "own") || memcmp(b, "MAP", 3)); }
    CHECK(end_of(pid) == 0 && !strcmp(a, "child"));
    // What is cut off is gone for all, and zero when the file grows again.
    CHECK(!ftruncate(fd, 4096) && !ftruncate(fd, 12000) && b[0] == 0 && !strcmp(a, "child"));
    CHECK(!ftruncate(fd, 100));
    if (!(pid = fork())) { a[5000] = 1; _exit(0); }
    CHECK(WTERMSIG(end_of(pid)) == SIGBUS);
    // Writing to a pipe from there, and reading into it.
    int p[2];
    CHECK(!pipe(p) && write(p[1], a, 5) == 5 && read(p[0], words, 5) == 5 && !memcmp(words, "child", 5));
    close(p[0]); close(p[1]); close(fd);
    CHECK(!strcmp(a, "child") && !munmap(a, 12000) && !munmap(b, 4096));
    int m = memfd_create("m", 0);
    CHECK(!ftruncate(m, 4096));
    char *c = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
    strcpy(c, "memfd");
    CHECK(pread(m, text, 6, 0) == 6 && !strcmp(text, "memfd"));
    close(m);
}

static int limited(int resource, uint64_t soft, uint64_t hard, int (*what)(void)) {
    pid_t pid = fork();
    if (!pid) {
        struct rlimit l = {soft, hard};
        if (setrlimit(resource, &l)) _exit(99);
        _exit(what());
    }
    return end_of(pid);
}
static int spin(void) { for (;;) {} }
static int many_files(void) { int n = 0; while (dup(1) >= 0) n++; return n; }
static int big_file(void) {
    int fd = open("/tmp/big", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (write(fd, page, 4096) != 1000) return 1;
    handle(SIGXFSZ, 0);
    return write(fd, page, 1) == -1 && errno == EFBIG && caught == SIGXFSZ ? 21 : 2;
}
static int map_much(void) { return mmap(0, 1 << 28, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM ? 22 : 1; }
static int forks(void) {
    int n = 0;
    while (n < 1000) { pid_t pid = fork(); if (!pid) { pause(); _exit(0); } if (pid < 0) break; n++; }
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(0) > 0) {}
    return errno == ECHILD && n > 2 && n < 1000 ? 23 : 1;
}
static int own_group(void) { setpgid(0, 0); return forks(); }
static void limits(void) {
    CHECK(WTERMSIG(limited(RLIMIT_CPU, 1, 1, spin)) == SIGKILL);
    CHECK(WEXITSTATUS(limited(RLIMIT_NOFILE, 20, 20, many_files)) == 17);
    CHECK(WEXITSTATUS(limited(RLIMIT_FSIZE, 1000, 1000, big_file)) == 21);
    CHECK(WEXITSTATUS(limited(RLIMIT_AS, 64 << 20, 64 << 20, map_much)) == 22);
    CHECK(WEXITSTATUS(limited(RLIMIT_NPROC, 20, 20, own_group)) == 23);
    struct rusage usage;
    CHECK(!getrusage(RUSAGE_CHILDREN, &usage) && usage.ru_utime.tv_sec >= 1);
}

static void orphans(void) {
    int p[2];
    CHECK(!pipe(p));
    pid_t pid = fork(), mine = getpid();
    if (!pid) {
        if (!fork()) { pid_t parent; while ((parent = getppid()) == mine) {} if (write(p[1], &parent, sizeof parent) < 0) {} _exit(0); }
        _exit(0);
    }
    end_of(pid);
    pid_t parent;
    CHECK(read(p[0], &parent, sizeof parent) == sizeof parent && parent == 1);
    close(p[0]); close(p[1]);
    CHECK(wait(0) == -1 && errno == ECHILD);
}

// Locks of ranges, which belong to processes, and of descriptions and whole files, which do not.
static int lock(int fd, int command, int type, off_t start, off_t len, pid_t *who) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    int n = fcntl(fd, command, &l);
    if (who) *who = l.l_type == F_UNLCK ? 0 : l.l_pid;
    return n;
}
static void tell(int p) { CHECK(write(p, "x", 1) == 1); }
static void told(int p) { char c; CHECK(read(p, &c, 1) == 1); }
static void locks(void) {
    int up[2], down[2], fd = open("/tmp/locks", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(!pipe(up) && !pipe(down));
    pid_t who, pid = fork();
    if (!pid) {
        failures = 0;
        CHECK(!lock(fd, F_SETLK, F_WRLCK, 10, 10, 0));
        tell(up[1]); told(down[0]);
        // Any descriptor of the file, closed, gives up all of them.
        close(open("/tmp/locks", O_RDONLY));
        tell(up[1]); told(down[0]);
        CHECK(!lock(fd, F_SETLK, F_WRLCK, 10, 10, 0));
        tell(up[1]); told(down[0]);
        usleep(30000);
        _exit(failures);
    }
    told(up[0]);
    CHECK(lock(fd, F_SETLK, F_RDLCK, 19, 1, 0) == -1 && errno == EAGAIN);
    CHECK(!lock(fd, F_GETLK, F_WRLCK, 0, 0, &who) && who == pid);
    CHECK(!lock(fd, F_SETLK, F_WRLCK, 0, 10, 0) && !lock(fd, F_SETLK, F_WRLCK, 20, 0, 0));
    tell(down[1]); told(up[0]);
    CHECK(!lock(fd, F_GETLK, F_WRLCK, 0, 0, &who) && who == 0);
    CHECK(!lock(fd, F_SETLK, F_UNLCK, 0, 0, 0));
    tell(down[1]); told(up[0]);
    // A wait that a signal interrupts, then one that the child's end ends.
    handle(SIGALRM, 0);
    struct itimerval soon = {{0, 0}, {0, 10000}};
    caught = 0;
    CHECK(!setitimer(ITIMER_REAL, &soon, 0));
    CHECK(lock(fd, F_SETLKW, F_RDLCK, 0, 0, 0) == -1 && errno == EINTR && caught == SIGALRM);
    tell(down[1]);
    CHECK(!lock(fd, F_SETLKW, F_RDLCK, 0, 0, 0));
    CHECK(end_of(pid) == 0);
    // Two that would wait for each other.
    CHECK(!lock(fd, F_SETLK, F_UNLCK, 0, 0, 0) && !lock(fd, F_SETLK, F_WRLCK, 0, 1, 0));
    if (!(pid = fork())) {
        failures = 0;
        CHECK(!lock(fd, F_SETLK, F_WRLCK, 1, 1, 0));
        tell(up[1]);
        int n = lock(fd, F_SETLKW, F_WRLCK, 0, 1, 0);
        _exit(n == 0 ? 31 : errno == EDEADLK ? 32 : 33);
    }
    told(up[0]);
    usleep(20000);
    CHECK(lock(fd, F_SETLKW, F_WRLCK, 1, 1, 0) == -1 && errno == EDEADLK);
    CHECK(!lock(fd, F_SETLK, F_UNLCK, 0, 0, 0));
    CHECK(WEXITSTATUS(end_of(pid)) == 31);
    // Those of a description: a child has them too, another description of the same process does not.
    int other = open("/tmp/locks", O_RDWR);
    CHECK(!lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0, 0));
    CHECK(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0, 0) == -1 && errno == EAGAIN);
    CHECK(!lock(other, F_OFD_GETLK, F_WRLCK, 0, 0, &who) && who == -1);
    if (!(pid = fork())) _exit(lock(fd, F_OFD_SETLK, F_WRLCK, 5, 5, 0) != 0);
    CHECK(end_of(pid) == 0);
    if (!(pid = fork())) { close(fd); usleep(20000); _exit(0); }
    close(fd);
    CHECK(!lock(other, F_OFD_SETLKW, F_WRLCK, 0, 0, 0));
    end_of(pid);
    // And of whole files.
    fd = open("/tmp/locks", O_RDONLY);
    CHECK(!flock(fd, LOCK_EX));
    if (!(pid = fork())) {
        int own = open("/tmp/locks", O_RDONLY);
        if (flock(own, LOCK_SH | LOCK_NB) != -1 || errno != EWOULDBLOCK) _exit(1);
        tell(up[1]);
        _exit(flock(own, LOCK_SH) ? 2 : 34);
    }
    told(up[0]);
    usleep(20000);
    close(fd);
    // The child has the description too, and still waits for itself to close it.
    CHECK(waitpid(pid, 0, WNOHANG) == 0);
    kill(pid, SIGKILL);
    CHECK(WTERMSIG(end_of(pid)) == SIGKILL);
    CHECK(!flock(other, LOCK_EX | LOCK_NB));
    close(other);
    for (int i = 0; i < 2; i++) close(up[i]), close(down[i]);
}

// Processes as descriptors, and as other processes see them in /proc.
static int pidfd_of(pid_t pid, int flags) { return syscall(434, pid, flags); }
static void descriptors(void) {
    pid_t pid = fork();
    if (!pid) { for (;;) pause(); }
    int fd = pidfd_of(pid, 0), quick = pidfd_of(pid, O_NONBLOCK);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(pidfd_of(pid, 1) == -1 && errno == EINVAL);
    CHECK(pidfd_of(4000000, 0) == -1 && errno == ESRCH);
    struct pollfd p = {fd, POLLIN, 0};
    siginfo_t info = {0};
    CHECK(poll(&p, 1, 0) == 0);
    CHECK(waitid(3, quick, &info, WEXITED) == -1 && errno == EAGAIN);
    CHECK(waitid(3, fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0);
    CHECK(waitid(3, 0, &info, WEXITED) == -1 && errno == EBADF);
    CHECK(syscall(424, fd, 0, 0, 0) == 0 && syscall(424, fd, SIGTERM, 0, 0) == 0);
    CHECK(poll(&p, 1, 5000) == 1 && p.revents == POLLIN);
    CHECK(syscall(424, fd, SIGTERM, 0, 0) == 0);
    CHECK(waitid(3, fd, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == SIGTERM);
    CHECK(syscall(424, fd, SIGTERM, 0, 0) == -1 && errno == ESRCH);
    CHECK(waitid(3, fd, &info, WEXITED) == -1 && errno == ECHILD);
    close(fd); close(quick);
    // clone gives one with the child, and the child has none.
    int own = -1;
    pid = syscall(SYS_clone, 0x1000 | SIGCHLD, 0, &own, 0, 0);
    if (!pid) _exit(fcntl(own, F_GETFD) == -1 ? 41 : 1);
    CHECK(own >= 0 && fcntl(own, F_GETFD) == FD_CLOEXEC);
    CHECK(waitid(3, own, &info, WEXITED) == 0 && info.si_status == 41);
    close(own);
}

static int field(pid_t pid, const char *file, char *to, size_t size) {
    char path[64];
    sprintf(path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_RDONLY), n = fd < 0 ? -1 : read(fd, to, size - 1);
    close(fd);
    to[n < 0 ? 0 : n] = 0;
    return n;
}
static void others(void) {
    int up[2];
    char text[4096], state;
    CHECK(!pipe(up));
    pid_t pid = fork(), parent;
    if (!pid) { setpgid(0, 0); chdir("/proc"); close(up[0]); tell(up[1]); dup2(up[1], 77); tell(up[1]); for (;;) pause(); }
    told(up[0]); told(up[0]); usleep(5000);
    CHECK(field(pid, "stat", text, sizeof text) > 0);
    CHECK(sscanf(text, "%*d (%*[^)]) %c %d", &state, &parent) == 2 && state == 'S' && parent == getpid());
    CHECK(field(pid, "cmdline", text, sizeof text) > 0 && strstr(text, "process"));
    CHECK(field(pid, "status", text, sizeof text) > 0 && strstr(text, "State:\tS (sleeping)") && strstr(text, "PPid:"));
    CHECK(field(pid, "maps", text, sizeof text) > 0 && strstr(text, "/process"));
    char link[64], target[64] = {0};
    sprintf(link, "/proc/%d/cwd", pid);
    CHECK(readlink(link, target, 63) == 5 && !strcmp(target, "/proc"));
    sprintf(link, "/proc/%d/fd/77", pid);
    memset(target, 0, 64);
    CHECK(readlink(link, target, 63) > 0 && !strncmp(target, "pipe:[", 6));
    sprintf(link, "/proc/%d/exe", pid);
    memset(target, 0, 64);
    CHECK(readlink(link, target, 63) > 0 && !strcmp(target, self));
    sprintf(link, "/proc/self/fd/77");
    CHECK(access(link, F_OK) == -1);
    // One that is over, before and after it was waited for.
    int status_file;
    sprintf(link, "/proc/%d/status", pid);
    CHECK((status_file = open(link, O_RDONLY)) >= 0);
    kill(pid, SIGSTOP);
    usleep(5000);
    CHECK(pread(status_file, text, sizeof text - 1, 0) > 0 && strstr(text, "T (stopped)"));
    kill(pid, SIGKILL);
    siginfo_t info;
    CHECK(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    CHECK(field(pid, "stat", text, sizeof text) > 0 && strstr(text, "(process) Z"));
    end_of(pid);
    CHECK(pread(status_file, text, sizeof text - 1, 0) == -1 && errno == ESRCH);
    CHECK(field(pid, "stat", text, sizeof text) == -1);
    close(status_file); close(up[0]); close(up[1]);
}

int main(int c, char **v) {
    self = "/bin/process";
    if (c > 1) return child(c, v);
    copies();
    signals();
    masks();
    groups();
    pipes();
    starting();
    timers();
    sharing();
    locks();
    descriptors();
    others();
    limits();
    orphans();
    printf(failures ? "%d failures\n" : "all right\n", failures);
    return failures != 0;
}
