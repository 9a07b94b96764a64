// Descriptors of every kind: each command of fcntl and request of ioctl with arguments of each kind; transfers in parts of each length; places,
// reservations, advice and mappings. Not asked is what differs by file system (seals and leases of files with names, what has its blocks in
// common, RWF_NOWAIT), by version (pidfds are files since Linux 6.9; FALLOC_FL_WRITE_ZEROES); nor how much a terminal takes of what is partly nowhere.
#include "tables.h"
#include <linux/fiemap.h>
static const char *const KINDS[] = {"file", "read-only", "write-only", "append", "directory", "path", "memfd", "sealed", "proc", "pipe", "pipe in", "unix", "unix datagram", "tcp", "udp", "netlink", "event", "semaphore", "timer", "signal", "epoll", "inotify", "pidfd", "null", "zero", "full", "pty", "fifo"};
static char buffer[8192];
static int other, more;

static int made(int kind) {
    int p[2];
    uint64_t three = 3;
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    switch (kind) {
    case 0: return open("kw_file", O_RDWR);
    case 1: return open("kw_file", O_RDONLY);
    case 2: return open("kw_file", O_WRONLY);
    case 3: return open("kw_file", O_RDWR | O_APPEND);
    case 4: return open(".", O_RDONLY);
    case 5: return open("kw_file", O_PATH);
    case 6: case 7: {
        int m = memfd_create("m", MFD_ALLOW_SEALING);
        write(m, "0123456789", 10), lseek(m, 0, 0);
        if (kind == 7) fcntl(m, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
        return m;
    }
    case 8: return open("/proc/self/comm", O_RDWR);
    case 9: pipe2(p, O_NONBLOCK), other = p[1], write(p[1], "0123456789abcdef0123456789", 26); return p[0];
    case 10: pipe2(p, O_NONBLOCK), other = p[0]; return p[1];
    case 11: socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p), other = p[1], write(p[1], "0123456789abcdef0123456789", 26); return p[0];
    case 12: socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p), other = p[1], write(p[1], "0123456789abcdef0123456789", 26), write(p[1], "next", 4); return p[0];
    case 13: return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    case 14: return socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    case 15: return socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0);
    case 16: return eventfd(3, EFD_NONBLOCK);
    case 17: return eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE);
    case 18: {
        int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        struct itimerspec at = {{0, 0}, {0, 1}};
        timerfd_settime(t, 0, &at, 0), usleep(1000);
        return t;
    }
    case 19: sigprocmask(SIG_BLOCK, &set, 0), raise(SIGUSR1); return signalfd(-1, &set, SFD_NONBLOCK);
    case 20: return epoll_create1(0);
    case 21: {
        int i = inotify_init1(IN_NONBLOCK);
        inotify_add_watch(i, "kw_file", IN_OPEN), close(open("kw_file", O_RDONLY)), inotify_add_watch(i, "kw_other", IN_OPEN), close(open("kw_other", O_RDONLY));
        return i;
    }
    case 22: return S(SYS_pidfd_open, getpid(), 0);
    case 23: return open("/dev/null", O_RDWR);
    case 24: return open("/dev/zero", O_RDWR);
    case 25: return open("/dev/full", O_RDWR);
    case 26: return posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    default: return open("kw_fifo", O_RDWR | O_NONBLOCK);
    }
}
static void fresh(void) {
    int f = open("kw_file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    write(f, "0123456789", 10), close(f);
}
static void ended(int fd) { close(fd); if (other > 0) close(other), other = 0; for (int f = 3; f < 40; f++) close(f); }
// Of fcntl.
static void commands(int kind) {
    static const int COMMANDS[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17, 18, 36, 37, 38, 39, 1023, 1024, 1025, 1029, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1037, 1038, 1050};
    for (int c = 0; c < COUNT(COMMANDS); c++) {
        int command = COMMANDS[c];
        long args[] = {0, 1, 2, 3, 30, 64, 4096, 65537, 1 << 21, O_APPEND, O_NONBLOCK, O_RDWR | O_CREAT, O_DIRECT, O_ASYNC, -1, INT_MIN, 8, (long)buffer};
        printf("fcntl %d %s:", command, KINDS[kind]);
        for (int a = 0; a < COUNT(args); a++) {
            // Numbers of processes are others' here and there.
            if (command == F_SETOWN && args[a] && args[a] != INT_MIN) continue;
            // Files with names are on another file system there.
            int named = kind <= 3 || kind == 8 || kind == 22;
            if (named && command >= 1024 && command != 1025 && command < 1039 && command != 1030 && command != 1031 && command != 1032) continue;
            if (command == F_SETLEASE && args[a] < 2 && kind < 9) continue;
            int f = made(kind), value = 0;
            memset(buffer, 0, sizeof buffer);
            errno = 0;
            long r = S(SYS_fcntl, f, command, args[a]);
            tell_result(r);
            // What it has set reads back.
            if (r >= 0 && (command == 2 || command == 4 || command == 8 || command == 10 || command == 15 || command == 1024 || command == 1031 || command == 1033 || command == 1036)) {
                int asks = command == 8 ? 9 : command == 10 ? 11 : command == 15 ? 16 : command == 1031 ? 1032 : command == 1033 ? 1034 : command == 1036 ? 1035 : command == 1024 ? 1025 : command - 1;
                tell("="), tell_result(S(SYS_fcntl, f, asks, buffer));
            }
            ended(f);
        }
        row();
    }
}
// Of ioctl: with a pointer to nothing, to zeroes, to ones, and to nowhere.
static void requests(int kind) {
    static const struct { const char *name; unsigned long number; } REQUESTS[] = {
        {"FIONREAD", FIONREAD}, {"FIONBIO", FIONBIO}, {"FIOASYNC", FIOASYNC}, {"FIOCLEX", FIOCLEX}, {"FIONCLEX", FIONCLEX}, {"FIOQSIZE", FIOQSIZE}, {"TCGETS", TCGETS}, {"TIOCGWINSZ", TIOCGWINSZ}, {"TIOCOUTQ", TIOCOUTQ}, {"TIOCGPGRP", TIOCGPGRP}, {"TIOCSTI", TIOCSTI}, {"FIGETBSZ", FIGETBSZ}, {"FIBMAP", FIBMAP}, {"FS_IOC_GETFLAGS", FS_IOC_GETFLAGS}, {"FS_IOC_GETVERSION", FS_IOC_GETVERSION}, {"FS_IOC_FIEMAP", FS_IOC_FIEMAP}, {"FIDEDUPERANGE", FIDEDUPERANGE}, {"BLKGETSIZE64", BLKGETSIZE64}, {"BLKSSZGET", BLKSSZGET}, {"SIOCATMARK", SIOCATMARK}, {"SIOCGPGRP", SIOCGPGRP}, {"FIOGETOWN", FIOGETOWN}, {"SIOCGSTAMP", 0x8906}, {"SIOCGIFINDEX", SIOCGIFINDEX}, {"SIOCOUTQNSD", 0x894B}, {"EVIOCGVERSION", 0x80044501}, {"RNDGETENTCNT", 0x80045200}, {"zero", 0}, {"-1", -1ul}};
    for (int q = 0; q < COUNT(REQUESTS); q++) {
        printf("ioctl %s %s:", REQUESTS[q].name, KINDS[kind]);
        for (int way = 0; way < 4; way++) {
            int f = made(kind);
            memset(buffer, way == 2 ? 1 : 0, sizeof buffer);
            errno = 0;
            if (way == 2) *(int *)buffer = 1;
            if (kind == 22 && (REQUESTS[q].number == FS_IOC_GETVERSION || REQUESTS[q].number == FIDEDUPERANGE)) { ended(f); continue; }
            long r = ioctl(f, REQUESTS[q].number, way == 0 ? 0 : way == 3 ? (void *)8 : buffer);
            tell_result(r);
            if (r == 0 && way == 1 && q < 6) tell("=%x", *(int *)buffer);
            if (r == 0 && way == 2) tell("/%x %x", fcntl(f, F_GETFD), fcntl(f, F_GETFL));
            ended(f);
        }
        row();
    }
}
// Vectors: of each, two parts and what lies behind.
static void parts(int kind) {
    static const int LENGTHS[][4] = {{0, 0, 0, 0}, {1, 0, 0, 0}, {4, 4, 0, 0}, {7, 1, 0, 0}, {8, 0, 0, 0}, {8, 8, 0, 0}, {0, 8, 0, 0}, {0, 0, 8, 8}, {8, 0, 8, 0}, {4, 4, 8, 8}, {12, 4, 8, 0}, {16, 8, 1, 0}, {64, 64, 64, 64}, {128, 128, 0, 0}, {100, 28, 128, 0}, {256, 256, 256, 256}};
    for (int write = 0; write < 2; write++)
        for (int positioned = 0; positioned < 4; positioned++) {
            if (write && kind == 8 || positioned == 1 && kind == 22) continue;
            printf("%s %s %s:", (const char *[]){"", "at 2", "at -1 with flags", "at -2"}[positioned], write ? "writev" : "readv", KINDS[kind]);
            for (int l = 0; l < COUNT(LENGTHS); l++) {
                fresh();
                int f = made(kind);
                struct iovec v[4];
                char *at = buffer;
                memset(buffer, 0, sizeof buffer);
                for (int i = 0; i < 4; i++) v[i] = (struct iovec){at, LENGTHS[l][i]}, at += LENGTHS[l][i];
                for (int i = 0; i < at - buffer && write; i += 8) buffer[i] = 1;
                errno = 0;
                long r = positioned == 0 ? (write ? writev(f, v, 4) : readv(f, v, 4)) : positioned == 1 ? (write ? pwritev(f, v, 4, 2) : preadv(f, v, 4, 2)) : S(write ? SYS_pwritev2 : SYS_preadv2, f, v, 4, positioned == 2 ? -1l : -2l, 0l, 0);
                tell_result(r);
                if (kind == 16 || kind == 17) { uint64_t left = 0; read(f, &left, 8); tell("/%ld", left); }
                ended(f);
            }
            row();
        }
    // A part that is nowhere, in front and behind.
    printf("parts nowhere %s:", KINDS[kind]);
    for (int write = 0; write < 2; write++)
        for (int way = 0; way < 4; way++) {
            if (write && kind == 8 || way > 0 && way < 3 && kind == 26) continue;
            fresh();
            int f = made(kind);
            struct iovec v[3] = {{buffer, 8}, {buffer + 8, 8}, {buffer + 16, 8}};
            memset(buffer, 0, 64), buffer[0] = 1;
            if (way < 3) v[way].iov_base = (void *)8;
            else v[1].iov_len = -1;
            errno = 0;
            tell_result(write ? writev(f, v, 3) : readv(f, v, 3));
            ended(f);
        }
    row();
}
// Places, lengths, reservations, advice, mappings.
static void places(int kind) {
    printf("lseek %s:", KINDS[kind]);
    for (int whence = -1; whence < 7; whence++) for (int o = 0; o < 5; o++) { int f = made(kind); errno = 0, tell_result(lseek(f, (long[]){0, 4, 10, -1, LONG_MAX}[o], whence)), ended(f); }
    row(), printf("ftruncate %s:", KINDS[kind]);
    for (int o = kind == 22 ? 2 : 0; o < 4; o++) { fresh(); int f = made(kind); errno = 0, tell_result(ftruncate(f, (long[]){0, 10, -1, LONG_MIN}[o])), ended(f); }
    row(), printf("fallocate %s:", KINDS[kind]);
    static const int MODES[] = {0, 1, 2, 3, 4, 256, -1};
    for (int m = 0; m < COUNT(MODES); m++) for (int o = 0; o < 4; o++) { fresh(); if (kind == 22) continue; int f = made(kind); errno = 0, tell_result(fallocate(f, MODES[m], (long[]){0, 0, -1, 4096}[o], (long[]){0, 20, 5, 4096}[o])), ended(f); }
    row(), printf("fadvise %s:", KINDS[kind]);
    for (int a = -1; a < 8; a++) for (int o = 0; o < 3; o++) { int f = made(kind); errno = 0, tell_result(S(SYS_fadvise64, f, 0l, (long[]){0, 5, -1}[o], a)), ended(f); }
    row(), printf("syncs %s:", KINDS[kind]);
    for (int c = 0; c < 6; c++) { if (kind == 22 && c == 2) continue; int f = made(kind); errno = 0, tell_result(c == 0 ? fsync(f) : c == 1 ? fdatasync(f) : c == 2 ? S(SYS_sync_file_range, f, 0l, 0l, 7) : c == 3 ? S(SYS_sync_file_range, f, -1l, 0l, 0) : c == 4 ? S(SYS_readahead, f, 0l, 100l) : flock(f, LOCK_EX | LOCK_NB)), ended(f); }
    row(), printf("mmap %s:", KINDS[kind]);
    for (int p = 0; p < 4 && kind != 13; p++) for (int m = 0; m < 4; m++) { fresh(); int f = made(kind); errno = 0; long r = (long)mmap(0, 4096, (int[]){0, 1, 2, 5}[p], (int[]){MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_SHARED_VALIDATE | MAP_SYNC}[m], f, 0); if (r != -1) munmap((void *)r, 4096), r = 0; tell_result(r), ended(f); }
    row(), printf("others %s:", KINDS[kind]);
    for (int c = 0; c < 14; c++) {
        if (c == 8 || kind == 22 && (c < 2 || c == 7)) continue;
        int f = made(kind);
        errno = 0, memset(buffer, 0, 64);
        tell_result(c == 0 ? pread(f, buffer, 0, 0) : c == 1 ? pwrite(f, buffer, 0, 0) : c == 2 ? pread(f, buffer, 1, -1) : c == 3 ? pwrite(f, buffer, 1, -1) : c == 4 ? read(f, buffer, 0) : c == 5 ? write(f, buffer, 0) : c == 6 ? S(SYS_getdents64, f, buffer, 0) : c == 7 ? S(SYS_preadv2, f, &(struct iovec){buffer, 1}, 1, 0l, 0l, 0x80) : c == 8 ? S(SYS_preadv2, f, &(struct iovec){buffer, 1}, 1, 0l, 0l, 8) : c == 9 ? listen(f, 1) : c == 10 ? epoll_wait(f, (void *)buffer, 1, 0) : c == 11 ? timerfd_gettime(f, (void *)buffer) : c == 12 ? S(SYS_mq_getsetattr, f, 0, buffer) : S(SYS_pidfd_send_signal, f, 0, 0, 0));
        ended(f);
    }
    row();
}
int main(int argc, char **argv) {
    static void (*const WALKS[])(int) = {commands, requests, parts, places};
    char folder[] = "/dev/shm/kinds-XXXXXX";
    mkdir("/dev/shm", 01777), mkdtemp(folder), chdir(folder);
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN), signal(SIGIO, SIG_IGN), signal(SIGURG, SIG_IGN), without_rights(), prctl(PR_SET_NAME, "kinds"), setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024});
    fresh(), close(open("kw_other", O_CREAT, 0600)), mkfifo("kw_fifo", 0600);
    for (int w = 0; w < COUNT(WALKS); w++) for (int k = 0; k < COUNT(KINDS); k++) CHILD(WALKS[w](k));
    unlink("kw_file"), unlink("kw_other"), unlink("kw_fifo"), chdir("/"), rmdir(folder);
    return 0;
}
