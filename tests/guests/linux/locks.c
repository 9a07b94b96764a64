// Locks of files as calls and /proc/locks tell of them.
#include "checks.h"

// The file that is locked, opened in several ways.
static int file, other, reads, writes;
static int pipes[2];

// Carries out a command of fcntl(2), and prints what it gave.
static void lock(int fd, int command, int type, int whence, long start, long length) {
    struct flock l = {.l_type = type, .l_whence = whence, .l_start = start, .l_len = length};
    if (fcntl(fd, command, &l) < 0) {
        printf(" -%s\n", strerrorname_np(errno));
    } else if (command == F_GETLK || command == F_OFD_GETLK) {
        int who = l.l_pid > 0 ? l.l_pid == getpid() ? 2 : 1 : l.l_pid;
        printf(" type %d whence %d start %ld len %ld pid %d\n", l.l_type, l.l_whence, l.l_start, l.l_len, who);
    } else {
        puts(" 0");
    }
}

// A check of that: what is tried, and the command's arguments.
#define L(what, ...) (printf("%s:", what), lock(__VA_ARGS__), fflush(stdout))

// A line of /proc/locks without its number, process and inode.
static void describe(const char *line, char *to) {
    char kind[20], mode[20], access[20], range[99];
    int pid;
    const char *arrow = strstr(line, "->");
    const char *rest = arrow ? arrow + 2 : strchr(line, ':') + 1;
    sscanf(rest, " %s %s %s %d %*s %[^\n]", kind, mode, access, &pid, range);
    const char *who = pid == getpid() ? "me" : pid == -1 ? "-1" : "other";
    sprintf(to, "  lock%s %s %s %s %s %s\n", arrow ? " ->" : "", kind, mode, access, who, range);
}

// Prints what /proc/locks says of the file.
static void locks(void) {
    struct stat status;
    char inode[40], line[300], all[20][100];
    int count = 0;
    fflush(stdout);
    stat("f", &status);
    sprintf(inode, ":%ld ", (long)status.st_ino);
    FILE *list = fopen("/proc/locks", "r");
    while (fgets(line, sizeof line, list))
        if (strstr(line, inode)) describe(line, all[count++]);
    fclose(list);
    qsort(all, count, sizeof all[0], (void *)strcmp);
    for (int i = 0; i < count; i++) printf("%s", all[i]);
}

// Prints how many locks a descriptor's own file of /proc has.
static void own(int fd) {
    char path[40], text[999];
    sprintf(path, "/proc/self/fdinfo/%d", fd);
    int info = open(path, O_RDONLY), length = read(info, text, sizeof text - 1), count = 0;
    text[length] = 0;
    close(info);
    for (char *at = text; (at = strstr(at, "lock:\t")); at++) count++;
    printf("  %d locks of its own\n", count);
    fflush(stdout);
}

static void ranges(void) {
    ftruncate(file, 100);
    lseek(file, 10, SEEK_SET);
    L("cur", file, F_SETLK, F_WRLCK, SEEK_CUR, 5, 10);
    L("end", file, F_SETLK, F_RDLCK, SEEK_END, -10, 0);
    L("neg len", file, F_SETLK, F_WRLCK, SEEK_SET, 60, -10);
    locks();
    L("neg start", file, F_SETLK, F_WRLCK, SEEK_SET, -1, 2);
    L("neg len over", file, F_SETLK, F_WRLCK, SEEK_SET, 5, -10);
    L("overflow", file, F_SETLK, F_WRLCK, SEEK_SET, LONG_MAX, 2);
    L("type 9", file, F_SETLK, 9, SEEK_SET, 0, 1);
    L("whence 9", file, F_SETLK, F_RDLCK, 9, 0, 1);
    L("get type un", file, F_GETLK, F_UNLCK, SEEK_SET, 0, 1);
    L("get", file, F_GETLK, F_WRLCK, SEEK_SET, 0, 0);
    CHILD(
        L("child get", file, F_GETLK, F_WRLCK, SEEK_SET, 0, 0);
        L("child get rd end", file, F_GETLK, F_RDLCK, SEEK_SET, 91, 0);
        L("child rd end", file, F_SETLK, F_RDLCK, SEEK_SET, 95, 1);
        L("child conflict", file, F_SETLK, F_WRLCK, SEEK_SET, 95, 1);
        L("ofd get", file, F_OFD_GETLK, F_WRLCK, SEEK_SET, 0, 0)
    );
    L("split", file, F_SETLK, F_UNLCK, SEEK_SET, 17, 3);
    locks();
    L("upgrade", file, F_SETLK, F_WRLCK, SEEK_SET, 93, 3);
    locks();
    L("merge", file, F_SETLK, F_WRLCK, SEEK_SET, 0, 0);
    locks();
    L("un", file, F_SETLK, F_UNLCK, SEEK_SET, 0, 0);
    locks();
}

static void descriptors_that_cannot(void) {
    reads = open("f", O_RDONLY);
    writes = open("f", O_WRONLY);
    L("ro wr", reads, F_SETLK, F_WRLCK, SEEK_SET, 0, 1);
    L("wo rd", writes, F_SETLK, F_RDLCK, SEEK_SET, 0, 1);
    L("path", open("f", O_PATH), F_SETLK, F_RDLCK, SEEK_SET, 0, 1);
}

static void locks_of_an_opening(void) {
    other = open("f", O_RDWR);
    L("ofd set", file, F_OFD_SETLK, F_WRLCK, SEEK_SET, 0, 10);
    L("ofd conflict same proc", other, F_OFD_SETLK, F_RDLCK, SEEK_SET, 5, 1);
    L("posix vs ofd", other, F_SETLK, F_RDLCK, SEEK_SET, 5, 1);
    L("posix vs ofd same fd", file, F_SETLK, F_RDLCK, SEEK_SET, 5, 1);
    L("getlk sees", other, F_GETLK, F_RDLCK, SEEK_SET, 0, 0);
    L("ofd get", other, F_OFD_GETLK, F_RDLCK, SEEK_SET, 0, 0);
    locks();
    struct flock with_pid = {.l_type = F_RDLCK, .l_pid = 5};
    R("ofd pid", fcntl(file, F_OFD_SETLK, &with_pid));
    CHILD(L("child same ofd", file, F_OFD_SETLK, F_RDLCK, SEEK_SET, 0, 10));
    locks();
    close(dup(file));
    locks();
    close(file);
    locks();
}

static void any_close_ends_those_of_a_process(void) {
    file = open("f", O_RDWR);
    L("posix", file, F_SETLK, F_WRLCK, SEEK_SET, 0, 10);
    own(file);
    close(dup(other));
    locks();
}

static void whole_files(void) {
    R("flock sh", flock(file, LOCK_SH));
    R("flock other sh", flock(other, LOCK_SH | LOCK_NB));
    own(other);
    R("upgrade nb", flock(file, LOCK_EX | LOCK_NB));
    locks();
    R("un g", flock(other, LOCK_UN));
    R("ex", flock(file, LOCK_EX | LOCK_NB));
    R("g", flock(other, LOCK_SH | LOCK_NB));
    R("bad", flock(file, 0));
    R("bad 3", flock(file, 3));
    R("bad 12", flock(file, LOCK_SH | LOCK_EX));
    R("mand", flock(file, LOCK_MAND | LOCK_SH));
    R("mand2", flock(file, LOCK_MAND));
    locks();
    CHILD(R("child un", flock(file, LOCK_UN)));
    locks();
}

static void what_is_no_file(void) {
    R("dir flock", flock(open(".", O_RDONLY), LOCK_EX));
    pipe(pipes);
    R("pipe flock", flock(pipes[0], LOCK_EX | LOCK_NB));
    R("sock flock", flock(socket(AF_UNIX, SOCK_STREAM, 0), LOCK_EX | LOCK_NB));
    L("pipe posix", pipes[0], F_SETLK, F_RDLCK, SEEK_SET, 0, 0);
    L("dir posix", open(".", O_RDONLY), F_SETLK, F_RDLCK, SEEK_SET, 0, 0);
    R("ro flock ex", flock(reads, LOCK_EX | LOCK_NB));
}

// Locks the second byte, says so, and waits for the first.
static void second_then_first(int tell) {
    int fd = open("f", O_RDWR);
    lock(fd, F_SETLK, F_WRLCK, SEEK_SET, 1, 1);
    fflush(stdout);
    write(tell, "x", 1);
    struct flock first = {.l_type = F_WRLCK, .l_start = 0, .l_len = 1};
    int got = fcntl(fd, F_SETLKW, &first);
    printf("child got %d\n", got);
    fflush(stdout);
    _exit(0);
}

static void deadlock(void) {
    int ready[2];
    char byte;
    pipe(ready);
    flock(file, LOCK_UN);
    lock(file, F_SETLK, F_WRLCK, SEEK_SET, 0, 1);
    fflush(stdout);
    pid_t child = fork();
    if (!child) second_then_first(ready[1]);
    read(ready[0], &byte, 1);
    nap(30);
    locks();
    L("deadlock", file, F_SETLKW, F_WRLCK, SEEK_SET, 1, 1);
    // The child prints first.
    struct flock off = {.l_type = F_UNLCK, .l_len = 1};
    int unlocked = fcntl(file, F_SETLK, &off);
    waitpid(child, 0, 0);
    R("un", unlocked);
}

static void leases(void) {
    R("getlease", fcntl(file, F_GETLEASE));
    R("setlease bad", fcntl(file, F_SETLEASE, 9));
    R("unlck", fcntl(file, F_SETLEASE, F_UNLCK));
    R("lease pipe", fcntl(pipes[0], F_SETLEASE, F_RDLCK));
    R("lease dir", fcntl(open(".", O_RDONLY), F_SETLEASE, F_RDLCK));
}

int main(void) {
    char folder[] = "/dev/shm/lXXXXXX";
    mkdir("/dev/shm", 01777);
    mkdtemp(folder);
    chdir(folder);
    file = open("f", O_CREAT | O_RDWR, 0600);
    ranges();
    descriptors_that_cannot();
    locks_of_an_opening();
    any_close_ends_those_of_a_process();
    whole_files();
    what_is_no_file();
    deadlock();
    leases();
    return 0;
}
