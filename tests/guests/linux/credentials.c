// Users, groups, modes and priorities: what a program that stops being root may still do. Runs as root, prints what Linux says.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(what, call) (errno = 0, printf("%s: %ld\n", what, answer((long)(call))))
static long answer(long value) { return value == -1 ? -(long)errno : value; }

static void whoami(const char *when) {
    uid_t r, e, s; gid_t a, b, c;
    getresuid(&r, &e, &s);
    getresgid(&a, &b, &c);
    printf("%s: user %d %d %d group %d %d %d\n", when, r, e, s, a, b, c);
}

// Runs a part in a child of its own.
static void in_child(void (*part)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (!child) { part(); fflush(stdout); _exit(0); }
    int status = 0;
    waitpid(child, &status, 0);
    if (status) printf("ended with %#x\n", status);
}

static void drop(void) {
    gid_t groups[] = {30, 10}, got[4] = {0};
    SAY("groups", setgroups(2, groups));
    SAY("group", setgid(100));
    SAY("user", setuid(1000));
    whoami("dropped");
    SAY("two groups", getgroups(4, got));
    printf("%d %d\n", got[0] + got[1], got[2]);
    SAY("no room", getgroups(1, got));
    SAY("how many", getgroups(0, 0));
    SAY("back", setuid(0));
    SAY("effective back", seteuid(0));
    SAY("groups again", setgroups(0, 0));
    SAY("for files", setfsuid(0));
    SAY("for files still", setfsuid(-1));
    SAY("of nobody", setuid(-1));
}

static void swap(void) {
    SAY("real and effective", setreuid(1000, 2000));
    whoami("then");
    SAY("swapped", setreuid(2000, 1000));
    whoami("then");
    SAY("a stranger", setreuid(3000, -1));
    SAY("saved", setresuid(-1, 2000, -1));
    whoami("then");
    SAY("groups need root", setregid(5, 5));
}

static void temporarily(void) {
    SAY("effective", seteuid(1000));
    SAY("a file of root", open("secret", O_RDONLY));
    SAY("back", seteuid(0));
    SAY("a file of root", open("secret", O_RDONLY) >= 0);
    SAY("files only", setfsuid(1000));
    SAY("a file of root", open("secret", O_RDONLY));
    whoami("still root");
}

static void mode_of(const char *path) {
    struct stat st;
    if (stat(path, &st)) printf("%s: %d\n", path, -errno);
    else printf("%s: %o %d %d\n", path, st.st_mode, st.st_uid, st.st_gid);
}

static void files(void) {
    gid_t groups[] = {50};
    setgroups(1, groups);
    setgid(100);
    setuid(1000);
    SAY("read what is root's", open("secret", O_RDONLY));
    SAY("write what all may read", open("readable", O_WRONLY));
    SAY("read what all may read", open("readable", O_RDONLY) >= 0);
    SAY("of a group one is in", open("grouped", O_RDWR) >= 0);
    SAY("access of that", access("grouped", R_OK | W_OK));
    SAY("to execute it", access("grouped", X_OK));
    SAY("access of root's", access("secret", R_OK));
    SAY("that it is there", access("secret", F_OK));
    SAY("in a directory of root's", open("closed/new", O_CREAT | O_WRONLY, 0644));
    SAY("behind a directory that may not be searched", access("dark/file", F_OK));
    SAY("cd there", chdir("dark"));
    SAY("directory in root's", mkdir("closed/d", 0755));
    SAY("unlink there", unlink("closed/file"));
    SAY("rename there", rename("closed/file", "open/file"));
    SAY("made in an open one", open("open/mine", O_CREAT | O_WRONLY, 0640) >= 0);
    mode_of("open/mine");
    SAY("another's in an open one", unlink("open/theirs"));
    SAY("another's where only owners may", unlink("sticky/theirs"));
    SAY("own one there", open("sticky/mine", O_CREAT | O_WRONLY, 0600) >= 0);
    SAY("which goes", unlink("sticky/mine"));
    SAY("mode of another's", chmod("readable", 0777));
    SAY("owner of one's own", chown("open/mine", 0, -1));
    SAY("group of one's own to one's group", chown("open/mine", -1, 50));
    SAY("to another", chown("open/mine", -1, 7));
    SAY("times of another's", utimes("readable", 0));
    struct timeval t[2] = {{1, 0}, {2, 0}};
    SAY("to a time", utimes("readable", t));
    SAY("times of one's own", utimes("open/mine", t));
    SAY("cut another's", truncate("readable", 0));
    SAY("in a directory that passes its group on", open("passing/file", O_CREAT | O_WRONLY, 0644) >= 0);
    mode_of("passing/file");
    SAY("a directory in it", mkdir("passing/dir", 0755));
    mode_of("passing/dir");
    SAY("set-group of a group one is not in", open("passing/program", O_CREAT | O_WRONLY, 02755) >= 0);
    mode_of("passing/program");
    SAY("start what may not be", execl("./plain", "plain", (char *)0));
    SAY("a device", mknod("open/null", S_IFCHR | 0666, 0x103));
    SAY("link to another's", link("open/mine", "open/second"));
}

static void signals(void) {
    pid_t root = getppid();
    int fds[2], lives[2];
    pipe(fds);
    pipe(lives);
    pid_t other = fork();
    char byte;
    // It ends when its parent has ended, which may not send it a signal.
    if (!other) { close(lives[1]); setuid(2000); write(fds[1], "", 1); read(lives[0], &byte, 1); _exit(0); }
    read(fds[0], &byte, 1);
    setuid(1000);
    SAY("to root", kill(root, 0));
    SAY("to another", kill(other, SIGTERM));
    SAY("to nobody", kill(999999, 0));
    pid_t child = fork();
    if (!child) { pause(); _exit(0); }
    SAY("to one's own", kill(child, SIGKILL));
    int status;
    waitpid(child, &status, 0);
    printf("it ended by %d\n", WTERMSIG(status));
    // The one of user 2000 ends with its parent's parent.
    SAY("of a queue", sigqueue(other, SIGTERM, (union sigval){0}));
}

static void priorities(void) {
    // Whoever runs the tests may have been nice.
    setpriority(PRIO_PROCESS, 0, 0);
    SAY("niceness", getpriority(PRIO_PROCESS, 0));
    SAY("lower", setpriority(PRIO_PROCESS, 0, 5));
    SAY("niceness", getpriority(PRIO_PROCESS, 0));
    SAY("as the call says", syscall(SYS_getpriority, PRIO_PROCESS, 0));
    SAY("nice", nice(3));
    SAY("too far", setpriority(PRIO_PROCESS, 0, 100));
    SAY("niceness", getpriority(PRIO_PROCESS, 0));
    SAY("of no kind", getpriority(7, 0));
    SAY("of nobody", getpriority(PRIO_PROCESS, 999999));
    setuid(1000);
    SAY("higher", setpriority(PRIO_PROCESS, 0, 2));
    SAY("another's", setpriority(PRIO_PROCESS, getppid(), 19));
    struct sched_param p = {0};
    SAY("policy", sched_getscheduler(0));
    SAY("batch", sched_setscheduler(0, SCHED_BATCH, &p));
    SAY("policy", sched_getscheduler(0));
    p.sched_priority = 200;
    SAY("beyond", sched_setscheduler(0, SCHED_FIFO, &p));
    p.sched_priority = 10;
    SAY("real time", sched_setscheduler(0, SCHED_FIFO, &p));
    SAY("of no kind", sched_setscheduler(0, 77, &p));
    SAY("highest", sched_get_priority_max(SCHED_RR));
    SAY("lowest", sched_get_priority_min(SCHED_RR));
    SAY("highest of no kind", sched_get_priority_max(77));
    SAY("io", syscall(SYS_ioprio_set, 1, 0, 3 << 13));
    SAY("io", syscall(SYS_ioprio_get, 1, 0));
    SAY("io real time", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
    cpu_set_t none;
    CPU_ZERO(&none);
    SAY("no processor", sched_setaffinity(0, sizeof none, &none));
}

static void *second(void *arg) { (void)arg; return (void *)(long)getuid(); }

static void threads(void) {
    setuid(1000);
    pthread_t t;
    void *uid;
    pthread_create(&t, 0, second, 0);
    pthread_join(t, &uid);
    printf("a thread is user %ld\n", (long)uid);
}

static void privileges(void) {
    SAY("may gain", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SAY("wrongly asked", prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0));
    SAY("no more", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SAY("none", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SAY("keeps", prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    SAY("does", prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
    SAY("no such capability", prctl(PR_CAPBSET_READ, 99, 0, 0, 0));
    SAY("in the bounding set", prctl(PR_CAPBSET_READ, 0, 0, 0, 0));
    SAY("dropped", prctl(PR_CAPBSET_DROP, 0, 0, 0, 0));
    SAY("is gone", prctl(PR_CAPBSET_READ, 0, 0, 0, 0));
    int signal = -1;
    SAY("death signal", prctl(PR_SET_PDEATHSIG, SIGUSR1));
    SAY("read", prctl(PR_GET_PDEATHSIG, &signal));
    printf("%d\n", signal);
    SAY("no signal", prctl(PR_SET_PDEATHSIG, 1000));
    SAY("dumpable", prctl(PR_GET_DUMPABLE));
    setuid(1000);
    SAY("no more", prctl(PR_GET_DUMPABLE));
    prctl(PR_GET_PDEATHSIG, &signal);
    printf("%d\n", signal);
    SAY("drop needs root", prctl(PR_CAPBSET_DROP, 1, 0, 0, 0));
}

static void orphans(void) {
    int fds[2];
    pipe(fds);
    SAY("adopts", prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t child = fork();
    if (!child) {
        pid_t grandchild = fork();
        if (!grandchild) {
            // It outlives its parent.
            usleep(60000);
            _exit(7);
        }
        usleep(20000);
        _exit(3);
    }
    int status, ended = 0;
    for (int i = 0; i < 2; i++) {
        pid_t pid = wait(&status);
        ended += WEXITSTATUS(status) * (pid == child ? 100 : 1);
    }
    printf("both were waited for: %d\n", ended);
    child = fork();
    if (!child) {
        pid_t grandchild = fork();
        if (!grandchild) { prctl(PR_SET_PDEATHSIG, SIGKILL); write(fds[1], "x", 1); pause(); _exit(1); }
        char byte;
        read(fds[0], &byte, 1);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        pid_t pid = wait(&status);
        if (pid != child) printf("the grandchild ended by %d\n", WTERMSIG(status));
    }
}

static void make(const char *path, int mode, int uid, int gid) {
    close(open(path, O_CREAT | O_WRONLY, 0644));
    chown(path, uid, gid);
    chmod(path, mode);
}

static void make_dir(const char *path, int mode, int uid, int gid) {
    mkdir(path, 0755);
    chown(path, uid, gid);
    chmod(path, mode);
}

static int gone(const char *path, const struct stat *at, int kind, struct FTW *where) {
    return remove(path);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    umask(022);
    char dir[] = "/tmp/credentials.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir)) return 1;
    chmod(dir, 0755);
    make("secret", 0600, 0, 0);
    make("readable", 0644, 0, 0);
    make("grouped", 0660, 0, 50);
    make("plain", 0644, 1000, 100);
    make_dir("closed", 0755, 0, 0);
    make("closed/file", 0666, 0, 0);
    make_dir("dark", 0700, 0, 0);
    make_dir("open", 0777, 0, 0);
    make("open/theirs", 0600, 2000, 2000);
    make_dir("sticky", 01777, 0, 0);
    make("sticky/theirs", 0666, 2000, 2000);
    make_dir("passing", 02777, 0, 60);
    whoami("first");
    in_child(drop);
    in_child(swap);
    in_child(temporarily);
    in_child(files);
    in_child(signals);
    in_child(priorities);
    in_child(threads);
    in_child(privileges);
    in_child(orphans);
    whoami("last");
    // On the host it would stay.
    return chdir("/") || nftw(dir, gone, 16, FTW_DEPTH | FTW_PHYS);
}
