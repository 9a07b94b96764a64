// Objects of each kind that calls make, asked with each combination of arguments that may be right or wrong: epoll's events, timers, semaphores,
// queues, shared memory, futexes, signals, waits, limits and paths.
#include "tables.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/xattr.h>
#define BAD ((void *)8)
static char buffer[8192];
#define TELL(...) ({ errno = 0; tell_result(__VA_ARGS__); })
#define ROW(form, ...) (row(), printf(form ":", __VA_ARGS__))

static void watches(void) {
    int p[2], e, f;
    struct epoll_event got[2];
    for (int a = 0; a < 32; a++) {
        printf("epoll events %d:", a);
        for (int b = a; b < 32; b++) for (int op = 1; op <= 3; op += 2) {
            e = epoll_create1(0), pipe(p);
            struct epoll_event v = {1u << a | 1u << b, {.u64 = 7}}, plain = {EPOLLIN, {.u64 = 7}};
            if (op == EPOLL_CTL_MOD) epoll_ctl(e, EPOLL_CTL_ADD, p[0], &plain);
            TELL(epoll_ctl(e, op, p[0], &v));
            write(p[1], "x", 1);
            int n = epoll_wait(e, got, 2, 0);
            tell("%d/%x", n, n > 0 ? got[0].events : 0);
            close(e), close(p[0]), close(p[1]);
        }
        row();
    }
    // poll: each event asked of each kind of end.
    for (int k = 0; k < 7; k++) {
        printf("poll %d:", k);
        for (int b = 0; b < 16; b++) {
            int s[2];
            pipe(p), socketpair(AF_UNIX, SOCK_STREAM, 0, s), e = eventfd(k == 4 ? 1 : 0, 0), f = open("/dev/null", O_RDWR);
            if (k == 1) write(p[1], "x", 1);
            if (k == 2) close(p[1]);
            if (k == 6) shutdown(s[1], SHUT_WR);
            struct pollfd v = {k < 3 ? p[0] : k == 3 ? f : k == 4 ? e : s[0], 1u << b};
            TELL(poll(&v, 1, 0)), tell("%x", v.revents);
            close(p[0]), close(p[1]), close(s[0]), close(s[1]), close(e), close(f);
        }
        row();
    }
}
static void ipc(void) {
    static const int COMMANDS[] = {-1, 0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 99};
    for (int c = 0; c < COUNT(COMMANDS); c++) {
        int command = COMMANDS[c];
        // Of all that there are of the host's.
        if (command == 3 || command == 14 || command == 11 || command == 12 || command == 13 || command == 15 || command >= 18 && command <= 20) continue;
        printf("semctl %d:", command);
        for (int number = -1; number < 4; number++) for (int a = 0; a < 4; a++) {
            int id = semget(IPC_PRIVATE, 3, 0600);
            memset(buffer, 0, 256);
            TELL(S(SYS_semctl, id, number, command, (long[]){0, 5, (long)buffer, 8}[a]));
            semctl(id, 0, IPC_RMID);
        }
        ROW("semctl of none %d", command);
        for (int a = 0; a < 4; a++) TELL(S(SYS_semctl, a ? 0x7ffffff0 : -1, 0, command, (long[]){0, 5, (long)buffer, 8}[a]));
        if (command != 17) {
            ROW("msgctl %d", command);
            for (int a = 0; a < 3; a++) { int id = msgget(IPC_PRIVATE, 0600); memset(buffer, 0, 256), TELL(S(SYS_msgctl, id, command, (long[]){0, (long)buffer, 8}[a])), msgctl(id, IPC_RMID, 0); TELL(S(SYS_msgctl, -1, command, (long[]){0, (long)buffer, 8}[a])); }
            ROW("shmctl %d", command);
            for (int a = 0; a < 3; a++) { int id = shmget(IPC_PRIVATE, 4096, 0600); memset(buffer, 0, 256), TELL(S(SYS_shmctl, id, command, (long[]){0, (long)buffer, 8}[a])), shmctl(id, IPC_RMID, 0); TELL(S(SYS_shmctl, -1, command, (long[]){0, (long)buffer, 8}[a])); }
        }
        row();
    }
    printf("semget:");
    for (int n = -1; n < 3; n++) for (int f = 0; f < 4; f++) { int id = semget(IPC_PRIVATE, n, (int[]){0, 0600, IPC_CREAT | 0600, IPC_EXCL | 0600}[f]); TELL(id < 0 ? -1 : 0); if (id >= 0) semctl(id, 0, IPC_RMID); TELL(semget(0x7ab1e, n, (int[]){0, 0600, IPC_EXCL, IPC_EXCL | 0600}[f])); }
    ROW("shmget%s", "");
    for (int n = -1; n < 4; n++) for (int f = 0; f < 4; f++) { int id = S(SYS_shmget, IPC_PRIVATE, (long[]){-1, 0, 1, 4097, 8192}[n + 1], (int[]){0, 0600, SHM_NORESERVE | 0600, IPC_EXCL | 0600}[f]); TELL(id < 0 ? -1 : 0); if (id >= 0) shmctl(id, IPC_RMID, 0); }
    ROW("semop%s", "");
    int id = semget(IPC_PRIVATE, 2, 0600);
    for (int number = 0; number < 3; number++) for (int op = -1; op < 3; op++) for (int f = 0; f < 4; f++) { struct sembuf b = {number, op == 2 ? 32767 : op, (short[]){IPC_NOWAIT, IPC_NOWAIT | SEM_UNDO, IPC_NOWAIT | 1, IPC_NOWAIT | 0x4000}[f]}; TELL(semop(id, &b, 1)); }
    TELL(semop(id, BAD, 1)), TELL(semop(id, 0, 0)), TELL(semop(id, (void *)buffer, 501)), TELL(S(SYS_semtimedop, id, buffer, 1, BAD)), TELL(S(SYS_semtimedop, id, buffer, 1, &(struct timespec){0, -1})), TELL(semop(-1, (void *)buffer, 1)), semctl(id, 0, IPC_RMID);
    ROW("msgsnd%s", "");
    id = msgget(IPC_PRIVATE, 0600);
    for (int type = -1; type < 3; type++) for (int size = -1; size < 4; size++) { *(long *)buffer = type; TELL(S(SYS_msgsnd, id, buffer, (long[]){-1, 0, 1, 8192, 8193}[size + 1], IPC_NOWAIT)); }
    ROW("msgrcv%s", "");
    for (int type = -3; type < 4; type++) for (int f = 0; f < 6; f++) { *(long *)buffer = 2, msgsnd(id, buffer, 5, IPC_NOWAIT), TELL(S(SYS_msgrcv, id, buffer, (long)(f & 1 ? 3 : 100), (long)type, IPC_NOWAIT | (int[]){0, MSG_NOERROR, MSG_EXCEPT, MSG_COPY, MSG_COPY | MSG_EXCEPT, 0x8000}[f])); }
    TELL(S(SYS_msgrcv, id, buffer, -1l, 0l, IPC_NOWAIT)), TELL(S(SYS_msgrcv, id, BAD, 10l, 0l, IPC_NOWAIT)), TELL(S(SYS_msgrcv, -1, buffer, 10l, 0l, IPC_NOWAIT)), msgctl(id, IPC_RMID, 0);
    ROW("shmat%s", "");
    id = shmget(IPC_PRIVATE, 8192, 0600);
    for (int at = 0; at < 4; at++) for (int f = 0; f < 6; f++) { long r; TELL(r = S(SYS_shmat, id, (long[]){0, 8, (1l << 40) + 1, -4096l}[at], (int[]){0, SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC, 0x1000000}[f])); if (r != -1) shmdt((void *)r); }
    TELL(shmdt(BAD)), TELL(shmdt((void *)4096)), TELL(S(SYS_shmat, -1, 0l, 0)), shmctl(id, IPC_RMID, 0), row();
}
static void waits(void) {
    struct timespec none = {0, 0}, bad = {0, 1000000000}, minus = {-1, 0};
    unsigned word = 0;
    for (int op = 0; op < 16; op++) {
        // Those with owners and that move waiters have a table of their own.
        if (op == 6 || op == 7 || op == 8 || op == 11 || op == 12 || op == 13) continue;
        for (int flag = 0; flag < 4; flag++) {
            printf("futex %d/%d:", op, flag);
            for (int v = 0; v < 4; v++) for (int t = 0; t < 5; t++) word = 0, TELL(S(SYS_futex, &word, op | (int[]){0, 128, 256, 384}[flag], (int[]){0, 1, -1, 5}[v], op == 3 || op == 4 || op == 5 ? (void *)(long)(t - 1) : (void *[]){&none, &bad, &minus, BAD, &none}[t], &word, (int[]){0, 1, -1, 5}[v]));
            row();
        }
    }
    printf("wait4:");
    for (int pid = -2; pid < 3; pid++) for (int b = -1; b < 32; b++) TELL(S(SYS_wait4, pid == -2 ? INT_MIN : pid == 2 ? 0x7ffffff0 : pid == 1 ? getpid() : pid, 0, WNOHANG | (b < 0 ? 0 : 1u << b), 0));
    ROW("signals%s", "");
    for (int s = -2; s < 70; s++) if (s <= 0 || s > 64) TELL(kill(getpid(), s)), TELL(S(SYS_tgkill, getpid(), gettid(), s)), TELL(S(SYS_tkill, gettid(), s)), TELL(S(SYS_rt_sigqueueinfo, getpid(), s, buffer));
    ROW("nobody%s", "");
    TELL(kill(0x7ffffff0, 0)), TELL(kill(-0x7ffffff0, 0)), TELL(kill(INT_MIN, 0)), TELL(S(SYS_tgkill, -1, 1, 0)), TELL(S(SYS_tgkill, getpid(), -1, 0)), TELL(S(SYS_tgkill, getpid(), 0x7ffffff0, 0)), TELL(S(SYS_tkill, 0, 0)), TELL(S(SYS_tkill, -1, 0));
    ROW("sigtimedwait%s", "");
    for (int t = 0; t < 4; t++) for (int size = 0; size < 3; size++) for (int at = 0; at < 3; at++) memset(buffer, 0, 64), TELL(S(SYS_rt_sigtimedwait, (void *[]){buffer, BAD, 0}[at], 0, (void *[]){&none, &bad, &minus, BAD}[t], (long[]){8, 4, 16}[size]));
    ROW("sleep%s", "");
    for (int c = -1; c < 12; c++) for (int t = 0; t < 4; t++) if (c != 8 && c != 9) TELL(S(SYS_clock_nanosleep, c, t & 1, (void *[]){&none, &bad, &minus, BAD}[t], 0));
    ROW("timers%s", "");
    for (int f = -1; f < 5; f++) for (int t = 0; t < 5; t++) {
        int d = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), id;
        struct itimerspec of[] = {{{0, 0}, {0, 0}}, {{0, -1}, {1, 0}}, {{0, 0}, {0, 1000000000}}, {{-1, 0}, {1, 0}}};
        TELL(S(SYS_timerfd_settime, d, f, t < 4 ? (void *)(of + t) : BAD, 0)), close(d);
        TELL(S(SYS_timer_create, CLOCK_MONOTONIC, 0, &id)), TELL(S(SYS_timer_settime, id, f, t < 4 ? (void *)(of + t) : BAD, 0)), TELL(S(SYS_timer_delete, id)), TELL(S(SYS_timer_delete, id));
    }
    ROW("limits%s", "");
    for (int r = -1; r < 18; r++) for (int v = 0; v < 3; v++) { struct rlimit l; if (r >= 0 && r < 16 && getrlimit(r, &l)) puts("?"); if (v == 0) TELL(S(SYS_prlimit64, 0, r, 0, &l)); else if (v == 1) TELL(S(SYS_prlimit64, 0, r, &(struct rlimit){2, 1}, 0)); else TELL(S(SYS_prlimit64, 0, r, BAD, BAD)); }
    row();
}
static void paths(void) {
    static const char *const PATHS[] = {"file", "dir", "link", "none", "fifo", "file/", "dir/", "link/", "dangling", "", "file/x"};
    int d = open(".", O_RDONLY);
    struct stat st; struct statx sx;
    for (int p = 0; p < COUNT(PATHS); p++) {
        const char *path = PATHS[p];
        printf("stats %s:", path);
        for (int b = -1; b < 32; b++) { int f = b < 0 ? 0 : 1u << b; TELL(S(SYS_newfstatat, d, path, &st, f)); if (f & 0x6000) continue; TELL(S(SYS_statx, d, path, f, 0x7ff, &sx)), TELL(S(SYS_faccessat2, d, path, 4, f)), TELL(S(SYS_faccessat2, d, path, f, 0)), TELL(S(SYS_readlinkat, d, path, buffer, f)); }
        ROW("changes %s", path);
        for (int b = -1; b < 32; b++) { int f = b < 0 ? 0 : 1u << b; if (f == AT_REMOVEDIR || f == 0x10000) continue; TELL(S(SYS_fchownat, d, path, -1, -1, f)), TELL(S(SYS_utimensat, d, path, 0, f)), TELL(S(SYS_name_to_handle_at, d, path, memset(buffer, 0, 64), buffer + 32, f == 0x200 || f == 1 || f == 2 ? 0 : f)); TELL(S(SYS_execveat, d, path, (char *[]){0}, (char *[]){0}, f)); }
        ROW("links %s", path);
        for (int q = 0; q < COUNT(PATHS); q++) { if (!strcmp(PATHS[q], "none")) continue; TELL(linkat(d, path, d, PATHS[q], 0)), TELL(S(SYS_renameat2, d, path, d, PATHS[q], RENAME_NOREPLACE)), TELL(S(SYS_renameat2, d, path, d, PATHS[q], RENAME_NOREPLACE | RENAME_EXCHANGE)), TELL(S(SYS_renameat2, d, path, d, PATHS[q], 8)), TELL(symlinkat(path, d, PATHS[q])); }
        ROW("makes %s", path);
        for (int m = 0; m < 16; m++) if (strcmp(path, "none") && strcmp(path, "dangling")) TELL(S(SYS_mknodat, d, path, m << 12 | 0600, 0));
        TELL(mkdirat(d, p == 3 ? "dir" : path, 0700)), TELL(unlinkat(d, path, 0x100)), TELL(unlinkat(d, path, AT_REMOVEDIR | 1)), TELL(truncate(path, -1)), TELL(getxattr(path, "user.none", buffer, 9)), TELL(getxattr(path, "", buffer, 9)), TELL(getxattr(path, "none", buffer, 9)), TELL(listxattr(path, 0, 0)), TELL(removexattr(path, "user.none")), TELL(setxattr(path, "user.x", "y", 1, 8)), TELL(chdir(p == 1 || p == 6 ? "." : path)), TELL(S(SYS_statfs, path, BAD)), TELL(S(SYS_open, path, O_DIRECTORY | O_CREAT | O_EXCL, 0600) < 0 ? -1 : 0);
        row();
    }
}
int main(void) {
    char folder[] = "/dev/shm/more-XXXXXX";
    mkdir("/dev/shm", 01777), mkdtemp(folder), chdir(folder), umask(022);
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN), without_rights();
    close(open("file", O_CREAT, 0600)), mkdir("dir", 0700), symlink("file", "link"), symlink("gone", "dangling"), mkfifo("fifo", 0600);
    CHILD(watches()), CHILD(ipc()), CHILD(waits()), CHILD(paths());
    unlink("file"), rmdir("dir"), unlink("link"), unlink("dangling"), unlink("gone"), unlink("fifo"), chdir("/"), rmdir(folder);
}
