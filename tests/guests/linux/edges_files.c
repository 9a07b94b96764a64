// Files at the edges of what calls take: sizes, positions and flags that nobody means, and descriptors of the wrong kind.
#include "checks.h"
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#define NOT_A_KIND 16
static int kinds[NOT_A_KIND];
static const char *names[] = {"file", "read only", "write only", "directory", "path", "pipe in", "pipe out", "socket", "eventfd", "epoll", "null", "full", "memfd", "none", "append", "zero"};

static void open_kinds(void) {
    int p[2], s[2];
    pipe2(p, O_NONBLOCK), socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
    int all[] = {open("f", O_RDWR | O_CREAT | O_TRUNC, 0600), open("f", O_RDONLY), open("f", O_WRONLY), open(".", O_RDONLY), open("f", O_PATH), p[0], p[1], s[0], eventfd(0, EFD_NONBLOCK), epoll_create1(0), open("/dev/null", O_RDWR), open("/dev/full", O_RDWR), memfd_create("m", 0), 999, open("f", O_RDWR | O_APPEND), open("/dev/zero", O_RDWR)};
    memcpy(kinds, all, sizeof kinds);
    write(kinds[0], "0123456789", 10), lseek(kinds[0], 0, SEEK_SET);
}

// The call for each kind of descriptor, on a line.
#define KINDS(what, ...) BUT(0, what, __VA_ARGS__)
// The same without some kinds, of which Linux says what depends on its version or on the file system.
#define BUT(left_out, what, ...) do { printf("%s:", what); for (int k = 0; k < NOT_A_KIND; k++) { if ((left_out) >> k & 1) continue; int fd = kinds[k]; errno = 0; long r_ = (long)(__VA_ARGS__); \
    if (r_ == -1) printf(" %s -%s,", names[k], strerrorname_np(errno)); else printf(" %s %ld,", names[k], r_); } puts(""); } while (0)

#define SOCKET (1 << 7)
#define ANONYMOUS (1 << 8 | 1 << 9)

static char buffer[8192];

static void each_kind(void) {
    struct iovec v = {buffer, 4}, none = {buffer, 0}, bad = {(void *)8, 4};
    struct statfs fs;
    int other = open("g", O_RDWR | O_CREAT, 0600);
    KINDS("fallocate", fallocate(fd, 0, 0, 100));
    KINDS("fallocate keep", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8192));
    KINDS("fallocate of nothing", fallocate(fd, 0, 0, 0));
    KINDS("fallocate before the start", fallocate(fd, 0, -1, 10));
    KINDS("fallocate too far", fallocate(fd, 0, INT64_MAX - 5, 10));
    KINDS("punch without keep", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    KINDS("ftruncate", ftruncate(fd, 10));
    KINDS("ftruncate negative", ftruncate(fd, -1));
    KINDS("fsync", fsync(fd));
    KINDS("fdatasync", fdatasync(fd));
    KINDS("syncfs", syncfs(fd));
    KINDS("sync_file_range", sync_file_range(fd, 0, 10, 2));
    KINDS("sync_file_range negative", sync_file_range(fd, -1, 10, 2));
    KINDS("sync_file_range too far", sync_file_range(fd, 10, INT64_MAX, 2));
    KINDS("sync_file_range unknown", sync_file_range(fd, 0, 10, 8));
    KINDS("readahead", readahead(fd, 0, 10));
    KINDS("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
    KINDS("fadvise unknown", posix_fadvise(fd, 0, 0, 99));
    KINDS("fadvise negative", posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL));
    KINDS("lseek", lseek(fd, 0, SEEK_CUR));
    KINDS("lseek negative", lseek(fd, -1, SEEK_SET));
    KINDS("lseek unknown", lseek(fd, 0, 9));
    BUT(1 << 3 | 1 << 12, "lseek data", lseek(fd, 0, SEEK_DATA));
    BUT(1 << 3 | 1 << 12, "lseek hole", lseek(fd, 3, SEEK_HOLE));
    BUT(1 << 3, "lseek data beyond", lseek(fd, 1 << 20, SEEK_DATA));
    KINDS("back", lseek(fd, 0, SEEK_SET));
    KINDS("pread", pread(fd, buffer, 0, 0));
    KINDS("pread negative", pread(fd, buffer, 4, -1));
    KINDS("pread bad pointer", pread(fd, (void *)8, 4, 0));
    KINDS("pread huge", pread(fd, buffer, -1, 0));
    KINDS("read of nothing", read(fd, buffer, 0));
    KINDS("read of nothing to nowhere", read(fd, (void *)8, 0));
    KINDS("write of nothing", write(fd, buffer, 0));
    KINDS("pwrite negative", pwrite(fd, buffer, 4, -1));
    KINDS("pwrite far", pwrite(fd, buffer, 4, INT64_MAX));
    KINDS("readv none", readv(fd, &v, 0));
    KINDS("readv empty", readv(fd, &none, 1));
    KINDS("readv negative", readv(fd, &v, -1));
    KINDS("readv 1025", readv(fd, &v, 1025));
    KINDS("readv bad list", readv(fd, (void *)8, 1));
    KINDS("preadv2 current", S(SYS_preadv2, fd, &none, 1, -1, -1, 0));
    KINDS("preadv2 minus two", S(SYS_preadv2, fd, &v, 1, -2, -1, 0));
    for (int bit = 0; bit < 9; bit++) {
        char what[40];
        sprintf(what, "preadv2 flag %#x", 1 << bit);
        KINDS(what, S(SYS_preadv2, fd, &none, 1, 0, 0, 1 << bit));
        sprintf(what, "pwritev2 flag %#x", 1 << bit);
        KINDS(what, S(SYS_pwritev2, fd, &none, 1, 0, 0, 1 << bit));
    }
    BUT(ANONYMOUS, "fchmod", fchmod(fd, 0600));
    KINDS("fchdir", fchdir(fd == kinds[3] ? fd : fd));
    KINDS("fstatfs", fstatfs(fd, &fs));
    KINDS("getdents", S(SYS_getdents64, fd, buffer, 10));
    KINDS("getdents bad", S(SYS_getdents64, fd, 8, 4096));
    KINDS("flock", flock(fd, LOCK_SH | LOCK_NB));
    KINDS("unlock", flock(fd, LOCK_UN));
    KINDS("openat below", openat(fd, "nowhere", O_RDONLY));
    KINDS("openat itself", openat(fd, "", O_RDONLY));
    KINDS("empty path", fstatat(fd, "", (void *)buffer, AT_EMPTY_PATH));
    BUT(ANONYMOUS, "futimens", futimens(fd, 0));
    BUT(ANONYMOUS, "fgetxattr", fgetxattr(fd, "user.none", buffer, 4));
    BUT(SOCKET, "flistxattr", flistxattr(fd, 0, 0));
    KINDS("inotify", inotify_rm_watch(fd, 1));
    KINDS("timerfd", timerfd_gettime(fd, (void *)buffer));
    KINDS("signalfd", S(SYS_signalfd4, fd, buffer, 8, 0));
    KINDS("epoll_ctl", ({ struct epoll_event e = {EPOLLIN}; epoll_ctl(kinds[9], EPOLL_CTL_ADD, fd, &e); }));
    KINDS("epoll_ctl on it", ({ struct epoll_event e = {EPOLLIN}; epoll_ctl(fd, EPOLL_CTL_MOD, kinds[7], &e); }));
    KINDS("epoll_wait", epoll_wait(fd, (void *)buffer, 1, 0));
    KINDS("listen", listen(fd, 1));
    KINDS("send", send(fd, buffer, 0, MSG_DONTWAIT));
    KINDS("splice", splice(fd, 0, kinds[6], 0, 1, SPLICE_F_NONBLOCK));
    KINDS("splice into", splice(kinds[5], 0, fd, 0, 1, SPLICE_F_NONBLOCK));
    KINDS("tee", tee(fd, kinds[6], 1, SPLICE_F_NONBLOCK));
    KINDS("vmsplice", vmsplice(fd, &none, 1, SPLICE_F_NONBLOCK));
    lseek(kinds[0], 0, SEEK_SET), lseek(kinds[1], 0, SEEK_SET);
    KINDS("sendfile to", ({ off_t at = 0; sendfile(fd, kinds[1], &at, 2); }));
    KINDS("sendfile of", ({ off_t at = 0; sendfile(kinds[10], fd, &at, 2); }));
    BUT(1 << 12, "copy to", ({ loff_t at = 0, to = 0; copy_file_range(kinds[1], &at, fd, &to, 2, 0); }));
    BUT(1 << 12, "copy of", ({ loff_t at = 0, to = 0; copy_file_range(fd, &at, other, &to, 2, 0); }));
}

static void in_parts(void) {
    off_t at;
    int full = kinds[11], file = kinds[0], m = open("g", O_RDWR | O_CREAT | O_TRUNC, 0600);
    R("sendfile to /dev/full", ({ at = 0; sendfile(full, kinds[1], &at, 4); })), printf("at %ld\n", at);
    R("write to /dev/full", write(full, "x", 1)), R("of nothing", write(full, "x", 0));
    R("splice to /dev/full", ({ int p[2]; pipe(p), write(p[1], "abc", 3); splice(p[0], 0, full, 0, 3, 0); }));
    R("sendfile negative", ({ at = -1; sendfile(kinds[10], file, &at, 4); }));
    R("sendfile bad position", sendfile(kinds[10], file, (void *)8, 4));
    R("sendfile of nothing", ({ at = 0; sendfile(kinds[10], file, &at, 0); }));
    R("sendfile beyond", ({ at = 1 << 20; sendfile(kinds[10], file, &at, 4); })), printf("at %ld\n", at);
    loff_t from, to;
    R("copy onto itself", ({ from = 0, to = 2; copy_file_range(file, &from, file, &to, 4, 0); }));
    R("copy beside itself", ({ from = 0, to = 20; copy_file_range(file, &from, file, &to, 4, 0); })), printf("at %ld %ld\n", (long)from, (long)to);
    R("copy with flags", ({ from = 0, to = 0; copy_file_range(file, &from, m, &to, 4, 1); }));
    R("copy negative", ({ from = -1, to = 0; copy_file_range(file, &from, m, &to, 4, 0); }));
    R("copy to negative", ({ from = 0, to = -1; copy_file_range(file, &from, m, &to, 4, 0); }));
    R("copy beyond", ({ from = 1 << 20, to = 0; copy_file_range(file, &from, m, &to, 4, 0); }));
    R("copy huge", ({ from = 0, to = 0; copy_file_range(file, &from, m, &to, -1, 0); }));
    R("copy bad", copy_file_range(file, (void *)8, m, 0, 1, 0));
    R("by their positions", ({ lseek(file, 0, 0), lseek(m, 0, 0); copy_file_range(file, 0, m, 0, 4, 0); })), printf("at %ld %ld\n", lseek(file, 0, 1), lseek(m, 0, 1));
    struct iovec v = {"abcd", 4};
    R("RWF_APPEND at a place", pwritev2(file, &v, 1, 0, RWF_APPEND)), R("size", lseek(file, 0, SEEK_END));
    R("RWF_APPEND at the position", ({ lseek(file, 2, 0); pwritev2(file, &v, 1, -1, RWF_APPEND); })), R("position", lseek(file, 0, SEEK_CUR));
    R("O_APPEND at a place", pwrite(kinds[14], "zz", 2, 0)), R("size", lseek(file, 0, SEEK_END));
    R("RWF_NOWAIT of a file", ({ struct iovec into = {buffer, 4}; preadv2(file, &into, 1, 0, RWF_NOWAIT); }));
}

static void allocated(void) {
    int m = memfd_create("a", 0);
    struct stat s;
#define AT (fstat(m, &s), printf("  size %ld, blocks %ld\n", (long)s.st_size, (long)s.st_blocks))
    R("allocate", fallocate(m, 0, 0, 10000)), AT;
    R("keep", fallocate(m, FALLOC_FL_KEEP_SIZE, 0, 40000)), AT;
    R("punch", fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096)), AT;
    R("punch beyond", fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096)), AT;
    R("zero", fallocate(m, FALLOC_FL_ZERO_RANGE, 0, 4096));
    R("collapse", fallocate(m, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    R("insert", fallocate(m, FALLOC_FL_INSERT_RANGE, 0, 4096));
    R("unshare", fallocate(m, FALLOC_FL_UNSHARE_RANGE, 0, 4096));
    R("punch and zero", fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    R("at the end", lseek(m, 10000, SEEK_HOLE));
    ftruncate(m, 0), ftruncate(m, 100000), pwrite(m, "x", 1, 50000), AT;
    R("sparse data", lseek(m, 0, SEEK_DATA)), R("its hole", lseek(m, 50000, SEEK_HOLE));
}

static int open2(int at, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve) {
    struct open_how how = {flags, mode, resolve};
    int fd = S(SYS_openat2, at, path, &how, sizeof how);
    if (fd >= 0) close(fd), fd = 0;
    return fd;
}

static void resolved(void) {
    mkdir("d", 0700), close(open("d/x", O_CREAT | O_RDWR, 0600)), symlink("x", "d/relative"), symlink("/etc", "d/absolute"), symlink("..", "d/up"), symlink("loop", "d/loop");
    int d = open("d", O_RDONLY | O_DIRECTORY);
    const char *paths[] = {"x", "./x", "../f", "relative", "absolute", "up/f", "loop", "/etc/passwd", "../d/x", "none", "", ".", ".."};
    for (int bit = 0; bit < 7; bit++) {
        printf("resolve %#x:", 1 << bit);
        for (int i = 0; i < 13; i++) if (bit || i != 4) printf(" %s %s,", paths[i], open2(d, paths[i], O_RDONLY, 0, 1 << bit) ? strerrorname_np(errno) : "0");
        puts("");
    }
    R("in root and beneath", open2(d, "x", O_RDONLY, 0, RESOLVE_IN_ROOT | RESOLVE_BENEATH));
    R("cached to make", open2(d, "new", O_RDWR | O_CREAT, 0600, RESOLVE_CACHED));
    R("cached to cut", open2(d, "x", O_RDWR | O_TRUNC, 0, RESOLVE_CACHED));
    R("mode without making", open2(d, "x", O_RDONLY, 0600, 0));
    R("mode of too many bits", open2(d, "new", O_RDWR | O_CREAT, 010000, 0));
    R("unknown flag", open2(d, "x", 1ul << 40, 0, 0));
    R("path and more", open2(d, "x", O_PATH | O_APPEND, 0, 0));
    R("path of a directory", open2(d, ".", O_PATH | O_DIRECTORY, 0, 0));
    R("make a directory", open2(d, "new", O_CREAT | O_DIRECTORY, 0600, 0));
    R("exclusive link", open2(d, "relative", O_CREAT | O_EXCL | O_RDWR, 0600, 0));
    R("large file", open2(d, "x", O_RDONLY | 0100000, 0, 0));
    struct { struct open_how how; char more[8]; } larger = {{O_RDONLY}};
    R("larger", ({ int f = S(SYS_openat2, d, "x", &larger, sizeof larger); f < 0 ? f : 0; }));
    larger.more[3] = 1;
    R("larger and not zero", S(SYS_openat2, d, "x", &larger, sizeof larger));
    R("smaller", S(SYS_openat2, d, "x", &larger, 16)), R("of none", S(SYS_openat2, d, "x", &larger, 0)), R("huge", S(SYS_openat2, d, "x", &larger, 5000)), R("bad", S(SYS_openat2, d, "x", 8, 24));
}

static void renamed(void) {
    int d = open("d", O_RDONLY | O_DIRECTORY);
    close(open("a", O_CREAT | O_RDWR, 0600)), close(open("b", O_CREAT | O_RDWR, 0600)), mkdir("e", 0700), mkdir("e/in", 0700);
#define MOVE(from, to, flags) S(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags)
    for (int flags = 0; flags < 9; flags++) {
        char what[60];
        if (flags & 4) { sprintf(what, "move %d", flags), R(what, MOVE("a", "nothere/x", flags)); continue; }
        sprintf(what, "move %d", flags), R(what, MOVE("none", "b", flags));
        sprintf(what, "move onto %d", flags), R(what, MOVE("a", "b", flags)), close(open("a", O_CREAT | O_RDWR, 0600));
        sprintf(what, "into itself %d", flags), R(what, MOVE("e", "e/in/x", flags));
        sprintf(what, "onto its parent %d", flags), R(what, MOVE("e/in", "e", flags));
        sprintf(what, "the same %d", flags), R(what, MOVE("a", "a", flags));
        sprintf(what, "a dot %d", flags), R(what, MOVE("e/.", "x", flags));
        sprintf(what, "two dots %d", flags), R(what, MOVE("e/in/..", "x", flags));
        sprintf(what, "a slash %d", flags), R(what, MOVE("a/", "x", flags));
        sprintf(what, "to a slash %d", flags), R(what, MOVE("a", "x/", flags));
        sprintf(what, "a directory onto a file %d", flags), R(what, MOVE("e", "b", flags)), rename("b", "t"), rename("e", "b"), rename("t", "e"), mkdir("e", 0700), mkdir("e/in", 0700), unlink("b"), rmdir("b/in"), rmdir("b"), close(open("b", O_CREAT | O_RDWR, 0600));
        unlink("e"), mkdir("e", 0700), mkdir("e/in", 0700);
        sprintf(what, "a file onto a directory %d", flags), R(what, MOVE("a", "d", flags) == 0 ? MOVE("a", "d", flags) : -1);
    }
    R("the root", MOVE("/", "x", 0)), R("onto the root", MOVE("a", "/", 0)), R("from nothing", MOVE("", "x", 0)), R("to nothing", MOVE("a", "", 0)), R("bad", MOVE((char *)8, "x", 0));
}

static void told(void) {
    struct statx x;
    for (int bit = 0; bit < 13; bit++) {
        memset(&x, 0xff, sizeof x);
        int r = statx(AT_FDCWD, "f", 0, 1u << bit, &x);
        printf("statx %#x: %d, mask %#x\n", 1 << bit, r, x.stx_mask & ~0x30c0);
    }
    R("all bits", statx(AT_FDCWD, "f", 0, 0x7fffffff, &x)), printf("mask %#x\n", x.stx_mask & 0xfff);
    R("reserved", statx(AT_FDCWD, "f", 0, 0x80000000, &x)), R("no buffer", statx(AT_FDCWD, "f", 0, 0x7ff, 0)), R("no path", S(SYS_statx, kinds[0], 0, 0, 0x7ff, &x)), R("nor flag", S(SYS_statx, kinds[0], "", 0, 0x7ff, &x));
    R("readlink of no size", readlink("d/up", buffer, 0)), R("of one", readlink("d/up", buffer, 1)), R("negative", S(SYS_readlink, "d/up", buffer, -1)), R("of a file", readlink("f", buffer, 10)), R("of a directory", readlinkat(kinds[3], "", buffer, 10)), R("bad", readlink("d/up", (void *)8, 10));
    R("getcwd of no size", S(SYS_getcwd, buffer, 0)), R("of one", S(SYS_getcwd, buffer, 1)), R("bad", S(SYS_getcwd, 8, 4096));
    R("truncate negative", truncate("f", -1)), R("of a directory", truncate("d", 0)), R("of nothing", truncate("none", 0)), R("of a device", truncate("/dev/null", 0)), R("of a slash", truncate("f/", 0));
    R("access 8", access("f", 8)), R("access -1", access("f", -1)), R("access of nothing", access("", F_OK));
    R("mkdir again", mkdir("d", 0700)), R("mkdir dot", mkdir("d/.", 0700)), R("mkdir slash", mkdir("new/", 0700)), R("rmdir dot", rmdir("new/.")), R("rmdir dots", rmdir("new/..")), R("rmdir slash", rmdir("new/")), R("rmdir of a file", rmdir("f")), R("rmdir of much", rmdir("d")), R("rmdir of the root", rmdir("/"));
    R("unlink of a directory", unlink("d")), R("unlink of a slash", unlink("f/")), R("unlink of a link's slash", unlink("d/up/")), R("unlink of a dot", unlink("."));
    R("link to a directory", link("d", "new")), R("link onto", link("f", "b")), R("link of a link", link("d/loop", "loop2")), R("symlink to nothing", symlink("", "new")), R("symlink slash", symlink("x", "new/")), R("mknod directory", mknod("new", S_IFDIR | 0600, 0)), R("mknod again", mknod("f", S_IFREG, 0)), R("mknod of no kind", mknod("new", 0170000, 0)), R("mknod slash", mknod("new/", S_IFREG | 0600, 0));
    char lengthy[300];
    memset(lengthy, 'n', 299), lengthy[299] = 0;
    R("a long name", open(lengthy, O_RDONLY)), lengthy[256] = 0, R("of 256", open(lengthy, O_CREAT | O_RDWR, 0600)), lengthy[255] = 0, R("of 255", ({ int f = open(lengthy, O_CREAT | O_RDWR, 0600); f < 0 ? f : close(f); })), unlink(lengthy);
    R("a slash", open("f/", O_RDONLY)), R("to make", open("new/", O_CREAT | O_RDWR, 0600)), R("below a file", open("f/x", O_RDONLY)), R("a loop", open("d/loop", O_RDONLY)), R("not followed", open("d/loop", O_RDONLY | O_NOFOLLOW)), R("both writable and not", ({ int f = open("f", 3); f < 0 ? f : close(f); })), R("a directory to write", open("d", O_WRONLY)), R("a directory to make", open("d", O_CREAT)), R("a directory to cut", open("d", O_TRUNC)), R("a file as a directory", open("f", O_DIRECTORY)), R("without a name", ({ int f = open("d", O_TMPFILE | O_RDWR, 0600); f < 0 ? f : close(f); })), R("to read only", open("d", O_TMPFILE | O_RDONLY, 0600));
    R("fchmodat flags", S(SYS_fchmodat, AT_FDCWD, "f", 0600, 0x100)), R("utimensat bad", S(SYS_utimensat, AT_FDCWD, "f", ((struct timespec[2]){{0, 1000000000}, {0, 0}}), 0)), R("omit both", utimensat(AT_FDCWD, "none", ((struct timespec[2]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}), 0)), R("of a null path", S(SYS_utimensat, kinds[0], 0, 0, 0)), R("with flags", S(SYS_utimensat, kinds[0], 0, 0, AT_SYMLINK_NOFOLLOW));
    R("xattr create", setxattr("f", "user.a", "1", 1, XATTR_CREATE)), R("again", setxattr("f", "user.a", "1", 1, XATTR_CREATE)), R("replace none", setxattr("f", "user.b", "1", 1, XATTR_REPLACE)), R("both", setxattr("f", "user.a", "1", 1, 3)), R("unknown", setxattr("f", "user.a", "1", 1, 4)), R("no name", setxattr("f", "user.", "1", 1, 0)), R("no space", setxattr("f", "a", "1", 1, 0)), R("too small", getxattr("f", "user.a", buffer, 0)), R("huge", setxattr("f", "user.a", "1", 65537, 0)), R("remove none", removexattr("f", "user.b"));
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN), umask(022);
    char dir[] = "/tmp/edges-XXXXXX";
    mkdtemp(dir), chdir(dir), open_kinds(), each_kind(), chdir(dir), open_kinds(), in_parts(), allocated(), resolved(), renamed(), told();
    CHILD(chdir("/"), execl("/bin/rm", "rm", "-rf", dir, (char *)0));
}
