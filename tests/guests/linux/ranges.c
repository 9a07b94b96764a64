// Buffers that reach beyond what programs have are refused before anything is moved, also when nothing would be; and calls of
// older days.
#include "checks.h"
#include <sys/sendfile.h>

#define END ((char *)0x7ffffffff000)
#define BEYOND ((char *)0x800000000000)
#define KERNEL ((char *)0xffff800000000000)

static char own[8192] __attribute__((aligned(4096)));

static const struct { const char *what; char *at; size_t len; } ranges[] = {
    {"own", own, 1},
    {"nothing of it", own, 0},
    {"nothing at 0", 0, 0},
    {"at 0", 0, 1},
    {"up to the end", END - 1, 1},
    {"nothing at the end", END, 0},
    {"the end", END, 1},
    {"beyond", BEYOND, 1},
    {"nothing beyond", BEYOND, 0},
    {"the kernel's", KERNEL, 1},
    {"nothing of the kernel's", KERNEL, 0},
    {"the last byte", (char *)-1, 1},
    {"too long", own, LONG_MAX},
    {"below 0", own, -1},
    {"all programs have", (char *)4096, 0x7ffffffff000 - 4096},
};

static void moved(const char *kind, int fd) {
    for (int i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        char *at = ranges[i].at;
        size_t len = ranges[i].len;
        struct iovec one = {at, len}, two[2] = {{own, 4}, one};
        printf("%s, %s\n", kind, ranges[i].what);
        R("read", syscall(SYS_read, fd, at, len));
        R("pread", syscall(SYS_pread64, fd, at, len, 0L));
        R("readv", readv(fd, &one, 1));
        R("preadv", preadv(fd, &one, 1, 0));
        R("behind others", readv(fd, two, 2));
        R("recv", recv(fd, at, len, MSG_DONTWAIT));
        R("getdents64", syscall(SYS_getdents64, fd, at, len));
        // What is long and mapped is for another test.
        if (len > 1 && at < END && len != -1UL) continue;
        R("write", syscall(SYS_write, fd, at, len));
        R("pwrite", syscall(SYS_pwrite64, fd, at, len, 0L));
        R("writev", writev(fd, &one, 1));
        if (len != -1UL) R("send", send(fd, at, len, MSG_DONTWAIT));
    }
}

static void entries(void) {
    char b[512];
    mkdir("d", 0700), close(open("d/name", O_CREAT, 0600));
    int d = open("d", O_RDONLY), seen = 0;
    R("entries", syscall(SYS_getdents, d, b, sizeof b));
    for (int at = 0; at < 72;) {
        struct { unsigned long number, next; unsigned short len; char name[]; } *e = (void *)(b + at);
        struct stat st;
        fstatat(d, e->name, &st, AT_SYMLINK_NOFOLLOW);
        seen += e->len == (18 + strlen(e->name) + 2 + 7) / 8 * 8 && b[at + e->len - 1] == st.st_mode >> 12 && e->number == st.st_ino;
        at += e->len;
    }
    printf("as they should be: %d\n", seen);
    R("no more", syscall(SYS_getdents, d, b, sizeof b));
    lseek(d, 0, SEEK_SET);
    R("no room", syscall(SYS_getdents, d, b, 10));
    R("not there", syscall(SYS_getdents, d, KERNEL, 512));
    R("no directory", syscall(SYS_getdents, open("/dev/null", O_RDONLY), b, sizeof b));
    R("no descriptor", syscall(SYS_getdents, -1, b, sizeof b));
    unlink("d/name"), rmdir("d");
    R("removed", syscall(SYS_getdents, d, b, sizeof b));
}

static void file_systems(void) {
    char b[64];
    struct stat st;
    stat(".", &st);
    memset(b, 0x55, sizeof b);
    R("room of what files are in", syscall(SYS_ustat, st.st_dev, b));
    printf("%d %d\n", *(int *)b > 0, *(long *)(b + 8) > 0);
    R("of no device", syscall(SYS_ustat, 0x12345, b));
    R("not to be told", syscall(SYS_ustat, st.st_dev, KERNEL));
    int proc = syscall(SYS_sysfs, 1, "proc"), many = syscall(SYS_sysfs, 3);
    printf("several, and this one of them: %d %d\n", many > 3, proc >= 0 && proc < many);
    R("its name", syscall(SYS_sysfs, 2, proc, b));
    puts(b);
    R("no such name", syscall(SYS_sysfs, 1, "none"));
    R("no such number", syscall(SYS_sysfs, 2, 999, b));
    R("no such question", syscall(SYS_sysfs, 4));
    R("nowhere", syscall(SYS_sysfs, 1, KERNEL));
    R("told nowhere", syscall(SYS_sysfs, 2, proc, KERNEL));
}

static void small(void) {
    int f = open("f", O_CREAT | O_RDWR, 0600), p[2];
    off_t at = 0;
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096), pipe(p);
    R("made huge", madvise(page, 4096, 25));
    R("nothing", madvise(page, 0, 25));
    R("what is not there", madvise(page + 4096, 4096, 25));
    R("locked up to where it wraps", syscall(SYS_mlock, page, -1L));
    R("times of nothing, left as they are", utimensat(AT_FDCWD, "none", (struct timespec[]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}, 0));
    R("from a pipe at an offset", sendfile(f, p[0], &at, 4));
    R("from zeroes", sendfile(f, open("/dev/zero", O_RDONLY), 0, 8));
    R("from nothing", sendfile(f, open("/dev/null", O_RDONLY), 0, 8));
    R("a layout that only a mighty process sets", prctl(PR_SET_MM, 99, 0, 0, 0));
    CHILD(
        struct rlimit few = {2, 2};
        timer_t t;
        setuid(7), setrlimit(RLIMIT_SIGPENDING, &few);
        for (int i = 0; i < 3; i++) R("a timer, which needs a signal", timer_create(CLOCK_MONOTONIC, 0, &t));
    );
}

// More than there can be, behind each position.
static void between_descriptors(void) {
    static const long COUNTS[] = {-1, LONG_MIN, LONG_MAX, 1L << 62, 5, 0};
    int f = open("f", O_CREAT | O_RDWR, 0600), g = open("g", O_CREAT | O_RDWR, 0600), p[2];
    int zero = open("/dev/zero", O_RDONLY), ns = open("/proc/self/ns/mnt", O_RDONLY);
    off_t at;
    pipe2(p, O_NONBLOCK), ftruncate(f, 0), write(f, "hello", 5);
    for (int i = 0; i < 6; i++) {
        long n = COUNTS[i];
        printf("%lx bytes\n", n), lseek(f, 0, SEEK_SET);
        R("sent", sendfile(g, f, 0, n));
        at = 1;
        R("from the second", sendfile(g, f, &at, n));
        R("to nobody", sendfile(-1, f, 0, n));
        R("from a pipe", sendfile(g, p[0], 0, n));
        lseek(f, 0, SEEK_SET);
        R("copied", copy_file_range(f, 0, g, 0, n, 0));
        at = 1;
        R("from the second", copy_file_range(f, &at, g, 0, n, 0));
        at = LONG_MAX;
        R("from the last", copy_file_range(f, &at, g, 0, n, 0));
        lseek(f, 0, SEEK_SET);
        R("into a pipe", splice(f, 0, p[1], 0, n, SPLICE_F_NONBLOCK));
        write(p[1], "more", 4);
        at = 1;
        R("out of it, behind the first", splice(p[0], 0, g, &at, n, SPLICE_F_NONBLOCK));
        char b[99];
        read(p[0], b, 99);
    }
    at = 5;
    R("zeroes have no places", sendfile(g, zero, &at, 10));
    printf("still at %ld\n", at);
    R("nor have name spaces", lseek(ns, 0, SEEK_END));
    R("and none is written to", open("/proc/self/ns/mnt", O_RDWR));
}

int main(void) {
    int p[2], s[2], d[2];
    char dir[] = "/dev/shm/ranges-XXXXXX";
    setvbuf(stdout, 0, _IONBF, 0), signal(SIGPIPE, SIG_IGN);
    mkdir("/dev/shm", 01777), mkdtemp(dir), chdir(dir);
    pipe2(p, O_NONBLOCK);
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, d);
    moved("file", open("file", O_CREAT | O_RDWR, 0600));
    moved("written only", open("file", O_WRONLY));
    moved("directory", open(".", O_RDONLY));
    moved("pipe's end to read", p[0]);
    moved("pipe's end to write", p[1]);
    moved("stream", s[0]);
    moved("datagrams", d[0]);
    moved("null", open("/dev/null", O_RDWR));
    moved("counter", eventfd(0, EFD_NONBLOCK));
    moved("nothing", -1);
    entries();
    file_systems();
    small();
    between_descriptors();
}
