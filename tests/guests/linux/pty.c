/* Pseudo-terminals: the line discipline, opening and closing, and sessions, one rule a line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int m, s;

static void show(const char *what, const char *bytes, ssize_t n) {
    int error = errno;
    printf("%s %zd", what, n);
    if (n < 0) printf(" %s", strerrorname_np(error));
    else {
        printf(" \"");
        for (ssize_t i = 0; i < n; i++) {
            unsigned char c = bytes[i];
            if (c < 32 || c > 126 || c == '"') printf("\\%03o", c);
            else putchar(c);
        }
        printf("\"");
    }
    putchar('\n');
}

static void told(const char *what, long result) {
    if (result < 0) printf("%s %s\n", what, strerrorname_np(errno));
    else printf("%s %ld\n", what, result);
}

static int ready(int fd, int events, int ms) {
    struct pollfd p = { fd, events };
    poll(&p, 1, ms);
    return p.revents;
}

/* All that the master can read, until nothing comes for a while. */
static void shown(const char *what) {
    char all[20000];
    ssize_t n = 0;
    while (ready(m, POLLIN, 30) & POLLIN) {
        ssize_t got = read(m, all + n, sizeof all - n);
        if (got <= 0) break;
        n += got;
    }
    show(what, all, n);
}

static void reads(const char *what, size_t most) {
    char b[5000];
    if (!(ready(s, POLLIN, 60) & (POLLIN | POLLHUP))) { printf("%s nothing\n", what); return; }
    ssize_t n = read(s, b, most);
    show(what, b, n);
}

static void type(const char *bytes) { write(m, bytes, strlen(bytes)); }

static void set(tcflag_t in, tcflag_t out, tcflag_t local) {
    struct termios t;
    tcgetattr(s, &t);
    t.c_iflag = in; t.c_oflag = out; t.c_lflag = local;
    tcsetattr(s, TCSANOW, &t);
}

static void key(int index, int value) {
    struct termios t;
    tcgetattr(s, &t);
    t.c_cc[index] = value;
    tcsetattr(s, TCSANOW, &t);
}

#define COOKED (ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN)

static void fresh(void) {
    if (m) { close(s); close(m); }
    m = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(m);
    unlockpt(m);
    s = open(ptsname(m), O_RDWR | O_NOCTTY);
}

static void opening(void) {
    struct stat st, other;
    char name[64], link[64], path[64];
    int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK), n = -1, locked = -1;
    told("TIOCGPTN", ioctl(fd, TIOCGPTN, &n));
    snprintf(path, sizeof path, "/dev/pts/%d", n);
    told("locked slave", open(path, O_RDWR | O_NOCTTY));
    ioctl(fd, TIOCGPTLCK, &locked);
    printf("locked %d\n", locked);
    told("ptsname_r", ptsname_r(fd, name, sizeof name));
    printf("as numbered %d\n", !strcmp(name, path));
    told("read before a slave", read(fd, link, 1));
    unlockpt(fd);
    int slave = open(path, O_RDWR | O_NOCTTY);
    fstat(slave, &st);
    printf("slave mode %o major %d minor as numbered %d\n", st.st_mode & 0170777, major(st.st_rdev), (int)minor(st.st_rdev) == n);
    stat(path, &other);
    printf("same file %d\n", other.st_ino == st.st_ino && other.st_dev == st.st_dev);
    fstat(fd, &st);
    printf("master mode %o rdev %d:%d\n", st.st_mode & 0170000, major(st.st_rdev), minor(st.st_rdev));
    printf("isatty %d %d\n", isatty(fd), isatty(slave));
    ttyname_r(slave, name, sizeof name);
    printf("ttyname %d\n", !strcmp(name, path));
    snprintf(link, sizeof link, "/proc/self/fd/%d", slave);
    ssize_t len = readlink(link, name, sizeof name - 1);
    name[len > 0 ? len : 0] = 0;
    printf("link %d\n", !strcmp(name, path));
    int flags = fcntl(fd, F_GETFL);
    printf("flags %o\n", flags & ~0100000);
    int peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    printf("peer is a terminal %d\n", isatty(peer));
    told("lseek", lseek(slave, 0, SEEK_CUR));
    told("TIOCGPTN of a slave", ioctl(slave, TIOCGPTN, &n));
    told("pread", pread(slave, name, 1, 0));
    close(peer);
    close(slave);
    told("read when the slave is closed", read(fd, name, 1));
    printf("poll %x\n", ready(fd, POLLIN | POLLOUT, 0));
    slave = open(path, O_RDWR | O_NOCTTY);
    told("read when it is opened again", read(fd, name, 1));
    told("TIOCEXCL", ioctl(slave, TIOCEXCL));
    close(fd);
    printf("hung up: poll %x\n", ready(slave, POLLIN | POLLOUT, 0));
    told("read", read(slave, name, 1));
    told("write", write(slave, "x", 1));
    struct termios t;
    told("tcgetattr", tcgetattr(slave, &t));
    told("name is gone", stat(path, &st));
    close(slave);
}

static void lines(void) {
    fresh();
    char b[6000];
    type("hello");
    reads("no line yet", 100);
    type(" world\nmore\n");
    reads("one line a read", 100);
    reads("a part", 2);
    reads("the rest", 100);
    shown("echo");
    type("abc\177d\n");
    reads("erase", 100);
    shown("echo");
    type("one two\027x\n");
    reads("word erase", 100);
    shown("echo");
    type("gone\025kept\n");
    reads("kill", 100);
    shown("echo");
    type("a\026\003b\026\177\n");
    reads("literal", 100);
    shown("echo");
    type("ab\022c\n");
    reads("reprint", 100);
    shown("echo");
    type("part\004");
    reads("end of input behind bytes", 100);
    type("\004");
    reads("end of input", 100);
    type("xy\004z\n");
    reads("exactly as many as there are", 2);
    reads("behind it", 100);
    shown("echo");
    type("\ta\tb\177\177\177\n");
    reads("tabs", 100);
    shown("echo");
    type("\001\177\002\n");
    reads("control characters", 100);
    shown("echo");
    key(VEOL, '#'); key(VEOL2, '%');
    type("a#b%c\n");
    reads("VEOL", 100); reads("VEOL2", 100); reads("newline", 100);
    shown("echo");
    key(VEOL, 0); key(VEOL2, 0);
    memset(b, 'x', 5000);
    write(m, b, 5000);
    write(m, "\n", 1);
    usleep(20000);
    ssize_t n = read(s, b, 6000);
    printf("longest line %zd ends %d\n", n, n > 0 && b[n - 1] == '\n');
    fresh();
    int count = -1;
    type("abc");
    ioctl(s, FIONREAD, &count);
    printf("FIONREAD %d", count);
    type("\nde");
    usleep(20000);
    ioctl(s, FIONREAD, &count);
    printf(" %d\n", count);
    reads("line", 100);
    set(0, 0, 0);
    reads("raw takes what was begun", 100);
    type("qw\n12");
    usleep(20000);
    set(ICRNL, 0, ICANON);
    reads("lines begin with what is there", 100);
    type("3\n");
    reads("then", 100);
}

static void echoes(void) {
    static const struct { const char *name; tcflag_t local; const char *keys; } all[] = {
        { "none", ISIG | ICANON, "ab\177\n" },
        { "ECHONL", ICANON | ECHONL, "ab\n" },
        { "without ECHOE", ICANON | ECHO, "ab\177c\n" },
        { "without ECHOKE", ICANON | ECHO | ECHOE | ECHOK, "ab\025c\n" },
        { "without ECHOK", ICANON | ECHO | ECHOE, "ab\025c\n" },
        { "without ECHOCTL", ICANON | ECHO | ECHOE, "\001\177\n" },
        { "ECHOPRT", ICANON | ECHO | ECHOE | ECHOPRT, "abc\177\177d\n" },
        { "without IEXTEN", ICANON | ECHO | ECHOE | ECHOCTL, "a b\027\026\n" },
        { "raw echo", ECHO | ECHOCTL, "a\001\n\t" },
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        fresh();
        set(ICRNL, OPOST | ONLCR, all[i].local);
        type(all[i].keys);
        shown(all[i].name);
        reads("  read", 100);
    }
    fresh();
    set(ICRNL | IUTF8, OPOST | ONLCR, COOKED);
    type("a\303\244\177b\n");
    shown("IUTF8");
    reads("  read", 100);
}

static void flags(void) {
    static const struct { const char *name; tcflag_t in; const char *keys; } all[] = {
        { "nothing", 0, "a\rb\n" }, { "ICRNL", ICRNL, "a\rb\n" }, { "INLCR", INLCR, "a\nb\r" },
        { "IGNCR", IGNCR, "a\rb\n" }, { "IGNCR ICRNL", IGNCR | ICRNL, "a\rb\n" },
        { "ISTRIP", ISTRIP, "\341\n" }, { "IUCLC", IUCLC, "AbC\n" }, { "PARMRK", PARMRK, "\377\n" },
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        fresh();
        set(all[i].in, 0, IEXTEN);
        type(all[i].keys);
        reads(all[i].name, 100);
    }
    static const struct { const char *name; tcflag_t out; } outs[] = {
        { "raw", 0 }, { "OPOST", OPOST }, { "ONLCR", OPOST | ONLCR }, { "OCRNL", OPOST | OCRNL },
        { "ONOCR", OPOST | ONOCR }, { "ONLRET", OPOST | ONLRET }, { "OLCUC", OPOST | OLCUC },
        { "XTABS", OPOST | XTABS }, { "ONLCR without OPOST", ONLCR },
    };
    for (unsigned i = 0; i < sizeof outs / sizeof *outs; i++) {
        fresh();
        set(0, outs[i].out, 0);
        write(s, "\rab\tc\bd\n\te\rf", 13);
        shown(outs[i].name);
    }
}

static long passed(struct timespec *from) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000;
}

static void raw(void) {
    fresh();
    set(0, 0, 0);
    char b[100];
    struct timespec from;
    key(VMIN, 3); key(VTIME, 0);
    type("ab");
    usleep(20000);
    printf("MIN 3 with 2: poll %x\n", ready(s, POLLIN, 0));
    fcntl(s, F_SETFL, O_NONBLOCK);
    show("nonblocking", b, read(s, b, 100));
    show("nothing", b, read(s, b, 100));
    fcntl(s, F_SETFL, 0);
    if (!fork()) { usleep(50000); type("a"); usleep(50000); type("bcd"); _exit(0); }
    show("MIN 3", b, read(s, b, 100));
    wait(0);
    type("xy");
    usleep(20000);
    show("wants less", b, read(s, b, 2));
    key(VMIN, 0);
    show("MIN 0 TIME 0", b, read(s, b, 100));
    type("q");
    usleep(20000);
    show("with a byte", b, read(s, b, 100));
    key(VTIME, 2);
    clock_gettime(CLOCK_MONOTONIC, &from);
    show("MIN 0 TIME 2", b, read(s, b, 100));
    long ms = passed(&from);
    printf("in time %d\n", ms >= 150 && ms < 2000);
    if (!fork()) { usleep(50000); type("z"); _exit(0); }
    show("a byte in time", b, read(s, b, 100));
    wait(0);
    key(VMIN, 10); key(VTIME, 3);
    if (!fork()) { usleep(400000); type("a"); usleep(50000); type("b"); _exit(0); }
    clock_gettime(CLOCK_MONOTONIC, &from);
    show("MIN 10 TIME 3", b, read(s, b, 100));
    ms = passed(&from);
    printf("in time %d\n", ms >= 650 && ms < 5000);
    wait(0);
}

static volatile sig_atomic_t caught[65];
static void handler(int n) { caught[n]++; }

static void flow(void) {
    fresh();
    char b[20000];
    type("\023");
    usleep(20000);
    fcntl(s, F_SETFL, O_NONBLOCK);
    told("write when held", write(s, "x", 1));
    printf("poll %x\n", ready(s, POLLOUT, 0));
    type("\021");
    usleep(20000);
    told("write when let go", write(s, "x", 1));
    shown("shown");
    tcflow(s, TCOOFF);
    told("write after TCOOFF", write(s, "y", 1));
    tcflow(s, TCOON);
    told("write after TCOON", write(s, "y", 1));
    tcflow(s, TCIOFF); tcflow(s, TCION);
    shown("shown");
    told("tcflow 9", tcflow(s, 9));
    type("abc\n");
    usleep(20000);
    tcflush(s, TCIFLUSH);
    show("flushed", b, read(s, b, 100));
    told("tcdrain", tcdrain(s));
    told("tcsendbreak", tcsendbreak(s, 0));
    told("tcflush 9", tcflush(s, 9));
    int out = -1, line = -1;
    ioctl(s, TIOCOUTQ, &out);
    ioctl(s, TIOCGETD, &line);
    printf("TIOCOUTQ %d TIOCGETD %d\n", out, line);
    fresh();
    int on = 1;
    told("TIOCPKT", ioctl(m, TIOCPKT, &on));
    write(s, "data", 4);
    shown("packet");
    tcflow(s, TCOOFF);
    printf("poll %x\n", ready(m, POLLIN | POLLPRI, 50));
    show("stop", b, read(m, b, 100));
    tcflow(s, TCOON);
    show("start", b, read(m, b, 100));
    tcflush(s, TCIFLUSH);
    show("flush", b, read(m, b, 100));
    tcflush(s, TCIOFLUSH);
    show("flush both", b, read(m, b, 100));
    set(0, 0, 0);
    show("no IXON", b, read(m, b, 100));
    set(IXON, 0, 0);
    show("IXON", b, read(m, b, 100));
    fresh();
    set(0, 0, 0);
    fcntl(m, F_SETFL, O_NONBLOCK);
    int total = 0, n;
    while ((n = write(m, b, 1000)) > 0) total += n;
    printf("typing ends %s, more than a buffer %d\n", strerrorname_np(errno), total >= 4096);
    printf("poll %x\n", ready(m, POLLOUT, 0) & POLLOUT);
    while (ready(s, POLLIN, 50)) { n = read(s, b, 20000); if (n <= 0) break; total -= n; }
    printf("left %d\n", total);
    fcntl(s, F_SETFL, O_NONBLOCK);
    while ((n = write(s, b, 1000)) > 0) total += n;
    printf("writing ends %s\n", strerrorname_np(errno));
    while (ready(m, POLLIN, 50) & POLLIN) { n = read(m, b, 20000); if (n <= 0) break; total -= n; }
    printf("left %d\n", total);
}

static void settings(void) {
    fresh();
    struct termios t;
    tcgetattr(m, &t);
    printf("%o %o %o %o %d", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, cfgetospeed(&t));
    for (int i = 0; i < 17; i++) printf(" %d", t.c_cc[i]);
    putchar('\n');
    cfsetspeed(&t, B115200);
    t.c_cflag = t.c_cflag & ~CSIZE | CS7 | PARENB;
    tcsetattr(s, TCSANOW, &t);
    tcgetattr(s, &t);
    printf("%o %d\n", t.c_cflag, cfgetospeed(&t) == B115200);
    unsigned char t2[44] = { 0 };
    told("TCGETS2", ioctl(s, 0x802c542a, t2));
    printf("speed %d %d\n", *(int *)(t2 + 36), *(int *)(t2 + 40));
    unsigned short old[9];
    told("TCGETA", ioctl(s, 0x5405, old));
    printf("%o %o\n", old[0], old[3]);
    struct winsize w = { 1, 2, 3, 4 };
    ioctl(s, TIOCGWINSZ, &w);
    printf("size %d %d %d %d\n", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
    w = (struct winsize){ 30, 100, 5, 6 };
    told("TIOCSWINSZ", ioctl(m, TIOCSWINSZ, &w));
    memset(&w, 0, sizeof w);
    ioctl(s, TIOCGWINSZ, &w);
    printf("size %d %d %d %d\n", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
    told("bad pointer", ioctl(s, TCGETS, 8));
    told("unknown", ioctl(s, 0x5499, 0));
    type("typed\n");
    usleep(20000);
    tcsetattr(s, TCSAFLUSH, &t);
    reads("TCSAFLUSH", 10);
}

static int said(int status) {
    if (WIFSTOPPED(status)) return 1000 + WSTOPSIG(status);
    if (WIFSIGNALED(status)) return 2000 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

static void sessions(void) {
    int status, p[2];
    char b[100];
    fresh();
    told("TIOCGPGRP of no session", tcgetpgrp(s));
    told("TIOCGSID", tcgetsid(s));
    told("TIOCNOTTY", ioctl(s, TIOCNOTTY));
    fflush(stdout);
    pid_t leader = fork();
    if (!leader) {
        told("TIOCSCTTY of no leader", ioctl(s, TIOCSCTTY, 0));
        setsid();
        told("/dev/tty without one", open("/dev/tty", O_RDWR));
        told("TIOCSCTTY", ioctl(s, TIOCSCTTY, 0));
        told("again", ioctl(s, TIOCSCTTY, 0));
        printf("foreground %d session %d\n", tcgetpgrp(s) == getpid(), tcgetsid(s) == getpid());
        printf("master says %d\n", tcgetpgrp(m) == getpid());
        int tty = open("/dev/tty", O_RDWR);
        printf("/dev/tty %d\n", isatty(tty));
        told("tcsetpgrp of nobody", tcsetpgrp(s, 4000000));
        told("tcsetpgrp of another session", tcsetpgrp(s, getpgid(getppid())));
        told("tcsetpgrp of -1", tcsetpgrp(s, -1));
        /* A background job. What is written only once has an order. */
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            setpgid(0, 0);
            signal(SIGTTOU, SIG_DFL);
            char c;
            told("background write", write(s, "w", 1));
            fflush(stdout);
            told("background read", read(s, &c, 1));
            fflush(stdout);
            struct termios t;
            tcgetattr(s, &t);
            told("background tcsetattr", tcsetattr(s, TCSANOW, &t));
            signal(SIGTTIN, SIG_IGN);
            setpgid(0, 0);
            told("ignored", read(s, &c, 1));
            signal(SIGTTOU, SIG_IGN);
            told("ignored tcsetattr", tcsetattr(s, TCSANOW, &t));
            fflush(stdout);
            t.c_lflag |= TOSTOP;
            tcsetattr(s, TCSANOW, &t);
            signal(SIGTTOU, SIG_DFL);
            told("TOSTOP write", write(s, "w", 1));
            signal(SIGTTIN, SIG_DFL);
            _exit(7);
        }
        setpgid(child, child);
        fflush(stdout);
        waitpid(child, &status, WUNTRACED);
        printf("stopped %d\n", said(status));
        fflush(stdout);
        tcsetpgrp(s, child);
        type("k\n");
        kill(child, SIGCONT);
        usleep(100000);
        signal(SIGTTOU, SIG_IGN);
        tcsetpgrp(s, getpid());
        waitpid(child, &status, WUNTRACED);
        printf("then %d\n", said(status));
        fflush(stdout);
        if (WIFSTOPPED(status)) {
            kill(child, SIGCONT);
            waitpid(child, &status, WUNTRACED);
            printf("then %d\n", said(status));
            fflush(stdout);
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
        }
        fflush(stdout);
        _exit(0);
    }
    waitpid(leader, &status, 0);
    printf("leader %d\n", said(status));
    told("free again", tcgetpgrp(s));

    /* Keys. */
    static const struct { const char *name; const char *keys; int signal; } keys[] = {
        { "INTR", "ab\003", SIGINT }, { "QUIT", "\034", SIGQUIT }, { "SUSP", "\032", SIGTSTP },
    };
    for (int i = 0; i < 3; i++) {
        fresh();
        pipe(p);
        fflush(stdout);
        leader = fork();
        if (!leader) {
            setsid();
            ioctl(s, TIOCSCTTY, 0);
            sigset_t all;
            sigfillset(&all);
            sigprocmask(SIG_BLOCK, &all, 0);
            write(p[1], "r", 1);
            siginfo_t info;
            int got = sigwaitinfo(&all, &info);
            printf("%s signal %d code %d pid %d\n", keys[i].name, got, info.si_code, info.si_pid);
            int left = -1;
            ioctl(s, FIONREAD, &left);
            printf("left %d\n", left);
            fflush(stdout);
            struct winsize w = { 9, 9 };
            ioctl(m, TIOCSWINSZ, &w);
            printf("size signal %d\n", sigwaitinfo(&all, &info) == SIGWINCH);
            fflush(stdout);
            _exit(0);
        }
        read(p[0], b, 1);
        type(keys[i].keys);
        waitpid(leader, &status, 0);
        shown("shown");
        close(p[0]); close(p[1]);
    }

    /* The master hangs up. */
    fresh();
    pipe(p);
    fflush(stdout);
    leader = fork();
    if (!leader) {
        close(m);
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, 0);
        write(p[1], "r", 1);
        int first = sigwaitinfo(&all, 0), second = sigwaitinfo(&all, 0);
        printf("hang-up signals %d %d\n", first, second);
        told("then tcgetpgrp", tcgetpgrp(s));
        told("/dev/tty", open("/dev/tty", O_RDWR));
        fflush(stdout);
        _exit(0);
    }
    read(p[0], b, 1);
    close(m);
    waitpid(leader, &status, 0);
    m = 0;
    close(s);
    close(p[0]); close(p[1]);

    /* The leader ends: its foreground group hears of that. */
    fresh();
    pipe(p);
    int q[2];
    pipe(q);
    fflush(stdout);
    leader = fork();
    if (!leader) {
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        pid_t child = fork();
        if (!child) {
            sigset_t all;
            sigfillset(&all);
            sigprocmask(SIG_BLOCK, &all, 0);
            write(p[1], "r", 1);
            int first = sigwaitinfo(&all, 0);
            dprintf(q[1], "the leader's end: %d\n", first);
            _exit(0);
        }
        read(p[0], b, 1);
        _exit(0);
    }
    waitpid(leader, &status, 0);
    ssize_t n = read(q[0], b, 100);
    printf("%.*s", (int)n, b);

    /* Opening becomes the terminal of a leader without one, unless it says otherwise. */
    fresh();
    fflush(stdout);
    leader = fork();
    if (!leader) {
        setsid();
        close(open(ptsname(m), O_RDWR | O_NOCTTY));
        told("O_NOCTTY", tcgetpgrp(s));
        close(open(ptsname(m), O_RDWR));
        printf("without %d\n", tcgetpgrp(s) == getpid());
        signal(SIGHUP, handler);
        signal(SIGCONT, handler);
        told("TIOCNOTTY", ioctl(s, TIOCNOTTY));
        printf("signals %d %d\n", caught[SIGHUP], caught[SIGCONT]);
        told("then", tcgetpgrp(s));
        fflush(stdout);
        _exit(0);
    }
    waitpid(leader, &status, 0);
}

static void watching(void) {
    fresh();
    int e = epoll_create1(0);
    struct epoll_event event = { EPOLLIN | EPOLLET, { 0 } };
    epoll_ctl(e, EPOLL_CTL_ADD, s, &event);
    told("epoll before", epoll_wait(e, &event, 1, 0));
    type("line\n");
    told("epoll after", epoll_wait(e, &event, 1, 100));
    told("edge", epoll_wait(e, &event, 1, 0));
    signal(SIGIO, handler);
    int on = 1;
    fcntl(m, F_SETOWN, getpid());
    told("FIOASYNC", ioctl(m, FIOASYNC, &on));
    write(s, "x", 1);
    usleep(50000);
    printf("SIGIO %d\n", caught[SIGIO] > 0);
}

int main(void) {
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    /* No signals but those that are asked for. */
    puts("- opening"); opening();
    puts("- lines"); lines();
    puts("- echo"); echoes();
    puts("- flags"); flags();
    puts("- raw"); raw();
    puts("- flow"); flow();
    puts("- settings"); settings();
    puts("- sessions"); fflush(stdout); sessions();
    puts("- watching"); watching();
    fflush(stdout);
    return 0;
}
