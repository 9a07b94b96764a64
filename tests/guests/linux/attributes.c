/* Extended attributes of files, one rule a line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char big[70000], names[1 << 18];

static void told(const char *what, long result) {
    if (result < 0) printf("%s %s\n", what, strerrorname_np(errno));
    else printf("%s %ld\n", what, result);
}

static long set(const char *path, const char *name, const char *value) {
    return setxattr(path, name, value, strlen(value), 0);
}

static void value(const char *what, const char *path, const char *name) {
    char b[64];
    ssize_t n = getxattr(path, name, b, sizeof b);
    if (n < 0) printf("%s %s\n", what, strerrorname_np(errno));
    else printf("%s \"%.*s\"\n", what, (int)n, b);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* The order is the file system's own. */
static void list(const char *what, const char *path) {
    ssize_t n = listxattr(path, names, sizeof names);
    if (n < 0) { printf("%s %s\n", what, strerrorname_np(errno)); return; }
    char *all[64];
    int count = 0;
    for (char *at = names; at < names + n; at += strlen(at) + 1) all[count++] = at;
    qsort(all, count, sizeof *all, by_text);
    printf("%s", what);
    for (int i = 0; i < count; i++) printf(" %s", all[i]);
    printf("\n");
}

/* Root as container engines leave it. */
static void as_in_a_container(void) {
    unsigned long has = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 13 | 1 << 18 | 1 << 27 | 1 << 29;
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { has, has, 0 } };
    told("capset", syscall(SYS_capset, &header, data));
}

static void basics(const char *dir) {
    chdir(dir);
    close(open("f", O_CREAT | O_RDWR, 0644)), mkdir("d", 0755), symlink("f", "l"), symlink("nowhere", "lost");
    list("none", "f");
    told("set", set("f", "user.a", "one"));
    value("get", "f", "user.a");
    told("create what is there", setxattr("f", "user.a", "x", 1, XATTR_CREATE));
    told("replace what is not", setxattr("f", "user.b", "x", 1, XATTR_REPLACE));
    told("create", setxattr("f", "user.b", "two", 3, XATTR_CREATE));
    told("replace", setxattr("f", "user.b", "three", 5, XATTR_REPLACE));
    told("both, there", setxattr("f", "user.b", "x", 1, XATTR_CREATE | XATTR_REPLACE));
    told("both, not there", setxattr("f", "user.c", "x", 1, XATTR_CREATE | XATTR_REPLACE));
    told("another flag", setxattr("f", "user.c", "x", 1, 4));
    value("replaced", "f", "user.b"), list("two", "f");
    told("size", getxattr("f", "user.b", 0, 0)), told("size, with a buffer", getxattr("f", "user.b", names, 0));
    told("too small", getxattr("f", "user.b", names, 4)), told("just enough", getxattr("f", "user.b", names, 5));
    told("none of the name", getxattr("f", "user.z", names, 9)), told("size of none", getxattr("f", "user.z", 0, 0));
    told("list size", listxattr("f", 0, 0)), told("list too small", listxattr("f", names, 13)), told("list enough", listxattr("f", names, 14));
    told("get to nowhere", getxattr("f", "user.b", (void *)8, 9)), told("list to nowhere", listxattr("f", (void *)8, 99));
    told("set from nowhere", setxattr("f", "user.n", (void *)8, 9, 0)), told("a name from nowhere", set("f", (void *)8, "x"));
    told("empty value", setxattr("f", "user.e", "", 0, 0)), told("of nothing", setxattr("f", "user.n", 0, 0, 0));
    value("empty", "f", "user.e"), value("nothing", "f", "user.n");
    told("remove", removexattr("f", "user.e")), told("again", removexattr("f", "user.e")), told("the other", removexattr("f", "user.n"));
    told("directory", set("d", "user.d", "dir")), value("its", "d", "user.d");
    const char *odd[] = { "", "a", "user", "user.", "User.a", "other.a", "trusted.", "trusted.a", "security.", "security.a", "system.", "system.a", ".", "user..", "user.é ü" };
    for (int i = 0; i < sizeof odd / sizeof *odd; i++) {
        char what[99];
        sprintf(what, "name \"%s\", get", odd[i]), told(what, getxattr("f", odd[i], names, 99));
        sprintf(what, "name \"%s\", remove", odd[i]), told(what, removexattr("f", odd[i]));
        sprintf(what, "name \"%s\", set", odd[i]), told(what, set("f", odd[i], "x"));
    }
    told("capability of a file", getxattr("f", "security.capability", names, 99));
    memset(big, 'n', sizeof big), memcpy(big, "user.", 5);
    big[255] = 0, told("a name of 255", set("f", big, "x")), told("removed", removexattr("f", big));
    big[255] = 'n', big[256] = 0, told("a name of 256", set("f", big, "x")), told("got", getxattr("f", big, names, 9)), told("removed", removexattr("f", big));
    big[256] = 'n';
    told("a value of 65537", setxattr("f", "user.v", big, 65537, 0)), told("and a wrong flag", setxattr("f", "user.v", big, 65537, 8));
    told("through a link", set("l", "user.l", "x")), value("of its target", "f", "user.l"), told("removed", removexattr("l", "user.l"));
    told("of a link", lsetxattr("l", "user.l", "x", 1, 0)), told("got", lgetxattr("l", "user.a", names, 9));
    told("listed", llistxattr("l", names, 99)), told("removed", lremovexattr("l", "user.a")), told("l of a file", lgetxattr("f", "user.a", names, 9));
    told("no target", set("lost", "user.a", "x")), told("l of no target", llistxattr("lost", names, 99));
    told("no file", getxattr("none", "user.a", names, 9)), told("below a file", set("f/x", "user.a", "x")), told("no path", listxattr("", names, 9));
    memset(big, 'p', 5000), big[5000] = 0, told("a long path", set(big, "user.a", "x"));
    told("a path from nowhere", set((void *)8, "user.a", "x"));
    mkfifo("p", 0666), mknod("c", S_IFCHR | 0666, makedev(1, 3));
    int s = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];
    struct sockaddr_un at = { AF_UNIX, "s" };
    bind(s, (void *)&at, sizeof at), pipe(pair);
    for (const char *n = "pcs"; *n; n++) {
        char path[2] = { *n }, what[40];
        sprintf(what, "%s set", path), told(what, set(path, "user.a", "x")), sprintf(what, "%s get", path), told(what, getxattr(path, "user.a", names, 9));
        sprintf(what, "%s list", path), told(what, listxattr(path, names, 99)), sprintf(what, "%s trusted", path), told(what, set(path, "trusted.a", "x"));
        sprintf(what, "%s remove", path), told(what, removexattr(path, "user.a"));
    }
    told("pipe set", fsetxattr(pair[0], "user.a", "x", 1, 0)), told("pipe get", fgetxattr(pair[0], "user.a", names, 9)), told("pipe list", flistxattr(pair[0], names, 9));
    told("pipe security", fgetxattr(pair[0], "security.a", names, 9)), told("socket set", fsetxattr(s, "user.a", "x", 1, 0)), told("socket get", fgetxattr(s, "user.a", names, 9));
    int f = open("f", O_RDONLY), path = open("f", O_PATH), d = open("d", O_RDONLY);
    told("by descriptor", fsetxattr(f, "user.f", "x", 1, 0)), told("got", fgetxattr(f, "user.f", names, 9)), told("listed", flistxattr(f, names, 99)), told("removed", fremovexattr(f, "user.f"));
    told("directory by descriptor", fgetxattr(d, "user.d", names, 9));
    told("O_PATH set", fsetxattr(path, "user.f", "x", 1, 0)), told("O_PATH get", fgetxattr(path, "user.a", names, 9)), told("O_PATH list", flistxattr(path, names, 9));
    char by[40];
    sprintf(by, "/proc/self/fd/%d", path), told("by /proc", getxattr(by, "user.a", names, 9));
    told("no descriptor", fgetxattr(99, "user.a", names, 9)), told("nor then", fsetxattr(99, "", "x", 1, 0)), told("closed", flistxattr(-1, names, 9));
    told("/proc set", set("/proc/self/comm", "user.a", "x")), told("/proc get", getxattr("/proc/self/comm", "user.a", names, 9)), told("/proc list", listxattr("/proc/self/comm", names, 9));
    told("/proc security", getxattr("/proc/self/comm", "security.a", names, 9)), told("/proc directory", getxattr("/proc/self", "user.a", names, 9));
    link("f", "h"), value("of another name", "h", "user.a"), told("set there", set("h", "user.h", "x")), list("here", "f");
    rename("f", "g"), value("moved", "g", "user.a"), close(open("f", O_CREAT | O_RDWR, 0644)), list("a new one", "f");
    set("f", "user.new", "x"), syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", 2), list("exchanged", "f"), list("with", "g");
    rename("f", "g"), list("in its place", "g"), told("truncated", truncate("g", 0)), list("keeps", "g");
    unlink("g"), unlink("h"), told("without a name", fgetxattr(f, "user.a", names, 9)), told("set without a name", fsetxattr(f, "user.z", "x", 1, 0)), told("listed", flistxattr(f, names, 99));
    close(f), close(path), close(d), close(s), close(pair[0]), close(pair[1]);
}

static void of_root(const char *dir) {
    chdir(dir), close(open("k", O_CREAT | O_RDWR, 0666)), chmod("k", 0666), symlink("k", "kl");
    told("trusted", set("k", "trusted.k", "x")), told("again", setxattr("k", "trusted.k", "yy", 2, XATTR_CREATE)), told("got", getxattr("k", "trusted.k", names, 9));
    told("of a link", lsetxattr("kl", "trusted.l", "x", 1, 0)), told("got", lgetxattr("kl", "trusted.l", names, 9)), told("no name", set("k", "trusted.", "x"));
    told("security", set("k", "security.k", "x")), told("got", getxattr("k", "security.k", names, 9)), told("no name", set("k", "security.", "x"));
    set("k", "user.k", "x"), list("root's", "k"), told("removed", removexattr("k", "security.k")), list("left", "k");
}

/* What has another limit on each file system. */
static void large(void) {
    close(open("big", O_CREAT | O_RDWR, 0644));
    memset(big, 'v', sizeof big);
    told("a value of 65536", setxattr("big", "user.v", big, 65536, 0)), told("its size", getxattr("big", "user.v", 0, 0));
    told("into less", getxattr("big", "user.v", names, 65535)), told("into more", getxattr("big", "user.v", names, 1 << 18)), printf("is it: %d\n", !memcmp(names, big, 65536));
    removexattr("big", "user.v");
    char name[256] = "user.";
    memset(name + 5, 'n', 245);
    int made = 0;
    for (int i = 0; i < 270; i++) sprintf(name + 245, "%05d", i), made += !setxattr("big", name, "v", 1, 0);
    printf("%d made\n", made);
    told("size of a long list", listxattr("big", 0, 0)), told("too small for it", listxattr("big", names, 60000)), told("as large as can be", listxattr("big", names, 65536)), told("larger", listxattr("big", names, 1 << 18));
    for (int i = 0; i < 270; i++) sprintf(name + 245, "%05d", i), made -= !removexattr("big", name);
    printf("%d left\n", made);
    list("none", "big");
    int m = memfd_create("m", 0), t = open(".", O_TMPFILE | O_RDWR, 0600);
    told("memfd", fsetxattr(m, "user.m", "x", 1, 0)), told("got", fgetxattr(m, "user.m", names, 9)), told("temporary", fsetxattr(t, "user.t", "xy", 2, 0)), told("got", fgetxattr(t, "user.t", names, 9));
    close(m), close(t);
}

static long ns(struct timespec t) { return t.tv_sec * 1000000000 + t.tv_nsec; }

static void times_and_news(void) {
    struct stat before, after;
    close(open("t", O_CREAT | O_RDWR, 0644)), stat("t", &before), usleep(20000);
    int watch = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(watch, "t", IN_ALL_EVENTS), inotify_add_watch(watch, ".", IN_ATTRIB);
    getxattr("t", "user.a", 0, 0), listxattr("t", 0, 0), removexattr("t", "user.a");
    told("news of what changes nothing", read(watch, names, sizeof names));
    set("t", "user.a", "x"), stat("t", &after);
    printf("ctime later %d, mtime the same %d\n", ns(after.st_ctim) > ns(before.st_ctim), ns(after.st_mtim) == ns(before.st_mtim));
    usleep(20000), removexattr("t", "user.a"), stat("t", &before), printf("ctime later %d\n", ns(before.st_ctim) > ns(after.st_ctim));
    ssize_t n = read(watch, names, sizeof names);
    for (char *at = names; at < names + n;) {
        struct inotify_event *e = (void *)at;
        printf("watch %d mask %#x %s\n", e->wd, e->mask, e->len ? e->name : "");
        at += sizeof *e + e->len;
    }
    close(watch);
}

static void others(void) {
    close(open("r", O_CREAT | O_RDWR, 0644)), close(open("n", O_CREAT | O_RDWR, 0600)), close(open("w", O_CREAT | O_RDWR, 0600)), chmod("w", 0622);
    mkdir("sticky", 01777), chmod("sticky", 01777), mkdir("open", 0777), chmod("open", 0777), mkdir("own", 0700), chown("own", 1000, 1000), chmod("own", 01700);
    for (const char *const *path = (const char *const[]){ "r", "n", "w", "sticky", 0 }; *path; path++) set(*path, "user.a", "x");
    fflush(stdout);
    if (!fork()) {
        setgid(1000), setuid(1000);
        for (const char *const *path = (const char *const[]){ "r", "n", "w", "sticky", "open", "own", 0 }; *path; path++) {
            char what[60];
            sprintf(what, "%s as another, get", *path), told(what, getxattr(*path, "user.a", names, 9)), sprintf(what, "%s list", *path), told(what, listxattr(*path, names, 99));
            sprintf(what, "%s set", *path), told(what, set(*path, "user.b", "x")), sprintf(what, "%s remove", *path), told(what, removexattr(*path, "user.a"));
            sprintf(what, "%s security", *path), told(what, set(*path, "security.a", "x")), sprintf(what, "%s unknown", *path), told(what, getxattr(*path, "other.a", names, 9));
            sprintf(what, "%s capability", *path), told(what, removexattr(*path, "security.capability")), sprintf(what, "%s trusted", *path), told(what, getxattr(*path, "trusted.a", names, 9));
        }
        _exit(0);
    }
    wait(0);
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    umask(022);
    char disk[] = "/tmp/attributes-XXXXXX", memory[] = "/dev/shm/attributes-XXXXXX", clean[99];
    mkdtemp(disk), mkdtemp(memory), chmod(disk, 0755), chmod(memory, 0755);
    of_root(disk), of_root(memory), as_in_a_container();
    for (int i = 0; i < 2; i++) chdir(i ? memory : disk), list("to others", "k"), told("got", getxattr("k", "trusted.k", names, 9)), told("removed", removexattr("k", "trusted.k"));
    printf("in /tmp\n"), basics(disk), times_and_news(), others();
    printf("in /dev/shm\n"), basics(memory), large(), times_and_news(), others();
    chdir("/");
    if (!access("/bin/rm", X_OK)) sprintf(clean, "rm -r %s %s", disk, memory), system(clean);
    return 0;
}
