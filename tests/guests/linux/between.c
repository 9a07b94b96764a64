// What processes have in common, what one takes of another, name spaces, and handles of files.
#include "checks.h"
#include <linux/kcmp.h>
#include <linux/nsfs.h>

#define KCMP(a, b, kind, x, y) syscall(SYS_kcmp, a, b, kind, (unsigned long)(x), (unsigned long)(y))

static void *thread(void *parent) {
    R("a thread's memory", KCMP((long)parent, gettid(), KCMP_VM, 0, 0));
    R("its descriptors", KCMP((long)parent, gettid(), KCMP_FILES, 0, 0));
    R("its handlers", KCMP((long)parent, gettid(), KCMP_SIGHAND, 0, 0));
    return 0;
}

static void compared(void) {
    int f = open("/dev/null", O_RDWR), copy = dup(f), other = open("/dev/null", O_RDWR), p[2];
    pid_t self = getpid();
    R("one file", KCMP(self, self, KCMP_FILE, f, copy));
    R("two files", KCMP(self, self, KCMP_FILE, f, other) > 0);
    R("in one order", KCMP(self, self, KCMP_FILE, f, other) + KCMP(self, self, KCMP_FILE, other, f));
    R("no file", KCMP(self, self, KCMP_FILE, f, 999));
    R("no kind", KCMP(self, self, 99, 0, 0));
    R("nobody", KCMP(self, 99999, KCMP_VM, 0, 0));
    for (int kind = KCMP_VM; kind <= KCMP_SYSVSEM; kind++) R("oneself", KCMP(self, self, kind, 0, 0));
    pthread_t t;
    pthread_create(&t, 0, thread, (void *)(long)self), pthread_join(t, 0);
    pid_t child = fork();
    if (!child) pause();
    R("a child's file", KCMP(self, child, KCMP_FILE, f, copy));
    for (int kind = KCMP_VM; kind <= KCMP_SIGHAND; kind++) R("a child's differs", KCMP(self, child, kind, 0, 0) > 0);
    CHILD(setuid(5); R("a stranger's", KCMP(self, getpid(), KCMP_VM, 0, 0)));
    kill(child, SIGKILL), waitpid(child, 0, 0);

    int set = epoll_create1(0);
    struct epoll_event event = {EPOLLIN};
    pipe(p), epoll_ctl(set, EPOLL_CTL_ADD, p[0], &event);
    struct kcmp_epoll_slot slot = {set, p[0], 0};
    R("watched", KCMP(self, self, KCMP_EPOLL_TFD, p[0], &slot));
    R("another's slot", KCMP(self, self, KCMP_EPOLL_TFD, f, &slot) > 0);
    slot.toff = 1;
    R("once only", KCMP(self, self, KCMP_EPOLL_TFD, p[0], &slot));
    slot.toff = 0, slot.tfd = f;
    R("not watched", KCMP(self, self, KCMP_EPOLL_TFD, f, &slot));
    slot.efd = f;
    R("no set", KCMP(self, self, KCMP_EPOLL_TFD, f, &slot));
}

static void taken(void) {
    int p[2], own;
    char c = 0;
    pipe(p);
    pid_t child = fork();
    if (!child) {
        int mine[2];
        pipe(mine), dup2(mine[0], 100), dup2(mine[1], 101), write(p[1], "r", 1);
        pause();
    }
    read(p[0], &c, 1);
    int fd = syscall(SYS_pidfd_open, child, 0);
    R("a descriptor", (own = syscall(SYS_pidfd_getfd, fd, 101, 0)) >= 0);
    R("closed by execve", fcntl(own, F_GETFD));
    R("the same", KCMP(getpid(), child, KCMP_FILE, own, 101));
    R("it works", write(own, "x", 1));
    R("none", syscall(SYS_pidfd_getfd, fd, 777, 0));
    R("flags", syscall(SYS_pidfd_getfd, fd, 101, 1));
    R("of no process", syscall(SYS_pidfd_getfd, p[0], 101, 0));
    CHILD(setuid(5); R("a stranger's", syscall(SYS_pidfd_getfd, fd, 101, 0)));
    kill(child, SIGKILL), waitpid(child, 0, 0);
    R("nobody's", syscall(SYS_pidfd_getfd, fd, 101, 0));
    siginfo_t info;
    R("wait for no number", waitid(3, -1, &info, WEXITED));
}

static void name_spaces(void) {
    static const struct { const char *name; int flag; } all[] = {
        {"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC}, {"mnt", CLONE_NEWNS}, {"net", CLONE_NEWNET},
        {"pid", CLONE_NEWPID}, {"pid_for_children", CLONE_NEWPID}, {"time", 0x80}, {"time_for_children", 0x80},
        {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS},
    };
    for (int i = 0; i < sizeof all / sizeof *all; i++) {
        char name[64], link[64] = "", seen[64] = "", b[8];
        struct stat st;
        struct statfs fs;
        unsigned long number;
        sprintf(name, "/proc/self/ns/%s", all[i].name);
        int fd = open(name, O_RDONLY);
        puts(name);
        readlink(name, link, 63), sscanf(strchr(link, '['), "[%lu", &number);
        fstat(fd, &st), fstatfs(fd, &fs);
        printf("%o, number as the link says: %d, magic %lx\n", st.st_mode, st.st_ino == number, (long)fs.f_type);
        sprintf(name, "/proc/self/fd/%d", fd), readlink(name, seen, 63);
        printf("named as the link: %d\n", !strcmp(link, seen));
        R("read", read(fd, b, 8));
        R("kind is right", ioctl(fd, NS_GET_NSTYPE) == all[i].flag);
        R("enter", syscall(SYS_setns, fd, 0));
        R("enter as that", syscall(SYS_setns, fd, all[i].flag));
        R("enter as another", syscall(SYS_setns, fd, all[i].flag == CLONE_NEWUTS ? CLONE_NEWIPC : CLONE_NEWUTS));
        close(fd);
    }
    R("no name space", syscall(SYS_setns, open("/dev/null", O_RDONLY), 0));
    R("no descriptor", syscall(SYS_setns, -1, 0));
    int self = syscall(SYS_pidfd_open, getpid(), 0);
    R("a process' and no kind", syscall(SYS_setns, self, 0));
    R("no such kind", syscall(SYS_setns, self, 1));
    R("its uts", syscall(SYS_setns, self, CLONE_NEWUTS));
    R("its users", syscall(SYS_setns, self, CLONE_NEWUSER));
    R("a new one", unshare(CLONE_NEWNS));
    R("one and something else", unshare(CLONE_NEWUTS | CLONE_FILES));
    R("what does not exist", unshare(1));
    R("a process in a new one", syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
    R("that has the directory in common", syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
}

static void handles(void) {
    struct { unsigned room; int type; unsigned char bytes[128]; } h = {128}, again = {128}, other = {128};
    int mount, of_proc;
    close(open("a", O_CREAT, 0600)), close(open("b", O_CREAT, 0600)), symlink("a", "l");
    R("a handle", syscall(SYS_name_to_handle_at, AT_FDCWD, "a", &h, &mount, 0));
    R("again", syscall(SYS_name_to_handle_at, AT_FDCWD, "l", &again, &mount, AT_SYMLINK_FOLLOW));
    R("of another", syscall(SYS_name_to_handle_at, AT_FDCWD, "b", &other, &mount, 0));
    printf("tells them apart: %d %d\n", !memcmp(&h, &again, 8 + h.room), !!memcmp(h.bytes, other.bytes, h.room));
    h.room = 0;
    R("how much room", syscall(SYS_name_to_handle_at, AT_FDCWD, "a", &h, &mount, 0));
    printf("some: %d\n", h.room > 0);
    h.room = 129;
    R("too much", syscall(SYS_name_to_handle_at, AT_FDCWD, "a", &h, &mount, 0));
    h.room = 128;
    R("by a descriptor", syscall(SYS_name_to_handle_at, open("a", O_RDONLY), "", &h, &mount, AT_EMPTY_PATH));
    R("no name", syscall(SYS_name_to_handle_at, AT_FDCWD, "", &h, &mount, 0));
    R("no file", syscall(SYS_name_to_handle_at, AT_FDCWD, "none", &h, &mount, 0));
    R("no flag", syscall(SYS_name_to_handle_at, AT_FDCWD, "a", &h, &mount, 0x40000));
    R("of /proc", syscall(SYS_name_to_handle_at, AT_FDCWD, "/proc/self/stat", &h, &of_proc, 0));
}

int main(void) {
    char dir[] = "/dev/shm/between-XXXXXX";
    setvbuf(stdout, 0, _IONBF, 0);
    mkdir("/dev/shm", 01777), mkdtemp(dir), chdir(dir);
    compared();
    taken();
    // Who is root on Linux may do more than root here.
    CHILD(setgid(5); setuid(5); prctl(PR_SET_DUMPABLE, 1); name_spaces());
    handles();
}
