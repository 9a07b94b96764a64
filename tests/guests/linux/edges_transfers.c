// Copies between each two of 30 kinds of descriptors: sendfile, copy_file_range, splice and tee, with and without places; and vmsplice to each.
// Between a memfd and a file copy_file_range is EXDEV, as since Linux 5.19: they are on two file systems.
#include "tables.h"
#define BAD ((void *)8)
static char buffer[8192];
static int p[2], q[2], s[2], u[2], t[2], dg[2], dgto;
static void copies(void) {
    struct sockaddr_in a = {AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int f = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), g = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600), ap = open("other", O_WRONLY | O_APPEND), ro = open("file", O_RDONLY), wo = open("other", O_WRONLY), m = memfd_create("m", MFD_ALLOW_SEALING), k = memfd_create("k", MFD_ALLOW_SEALING), w = memfd_create("w", MFD_ALLOW_SEALING), d = open(".", O_RDONLY), pa = open("file", O_PATH), nu = open("/dev/null", O_RDWR), ze = open("/dev/zero", O_RDWR), pr = open("/proc/self/comm", O_RDWR), ev = eventfd(5, EFD_NONBLOCK), tm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), ep = epoll_create1(0), in = inotify_init1(IN_NONBLOCK), fi = open("fifo", O_RDWR | O_NONBLOCK), l = socket(AF_INET, SOCK_STREAM, 0), full = open("/dev/full", O_RDWR), y = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK), ur = open("/dev/urandom", O_RDONLY);
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    int sg = signalfd(-1, &set, SFD_NONBLOCK);
    pipe2(p, O_NONBLOCK), pipe2(q, O_NONBLOCK), socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, u), bind(l, (void *)&a, n), listen(l, 1), getsockname(l, (void *)&a, &n);
    t[0] = socket(AF_INET, SOCK_STREAM, 0), connect(t[0], (void *)&a, n), t[1] = accept(l, 0, 0), fcntl(t[0], F_SETFL, O_NONBLOCK), fcntl(t[1], F_SETFL, O_NONBLOCK);
    dgto = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), a.sin_port = 0, bind(dgto, (void *)&a, n), getsockname(dgto, (void *)&a, &n), dg[0] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), connect(dg[0], (void *)&a, n);
    write(m, "abcdef", 6), write(w, "ghijkl", 6), fcntl(w, F_ADD_SEALS, F_SEAL_WRITE), write(f, "0123456789", 10);
    struct { const char *name; int fd; } all[] = {{"file", f}, {"other", g}, {"append", ap}, {"read-only", ro}, {"write-only", wo}, {"memfd", m}, {"memfd 2", k}, {"sealed", w}, {"dir", d}, {"path", pa}, {"null", nu}, {"zero", ze}, {"full", full}, {"proc", pr}, {"event", ev}, {"timer", tm}, {"signal", sg}, {"epoll", ep}, {"inotify", in}, {"fifo", fi}, {"pipe", p[0]}, {"pipe in", p[1]}, {"pipe 2 in", q[1]}, {"unix", s[0]}, {"unix datagram", u[0]}, {"tcp", t[0]}, {"listener", l}, {"udp", dg[0]}, {"pty", y}, {"-1", -1}};
    int count = COUNT(all);
    for (int i = 0; i < count; i++) for (int j = 0; j < count; j++) {
        printf("%s to %s:", all[i].name, all[j].name);
        for (int c = 0; c < 10; c++) {
            long long from = c & 1 ? 1 : 0, to = c & 1 ? 2 : 0;
            // Of /proc some files can be spliced from, which are others in each version.
            if (all[j].fd == pr || all[i].fd == pr && (c < 2 || c == 4 || c == 5)) continue;
            lseek(f, 0, 0), lseek(g, 0, 0), lseek(m, 0, 0), lseek(k, 0, 0), lseek(w, 0, 0), lseek(ro, 0, 0), lseek(wo, 0, 0), lseek(pr, 0, 0);
            while (read(p[0], buffer, 4096) > 0); while (read(q[0], buffer, 4096) > 0); while (read(s[0], buffer, 4096) > 0); while (read(s[1], buffer, 4096) > 0); while (read(u[0], buffer, 4096) > 0); while (read(u[1], buffer, 4096) > 0); while (read(t[0], buffer, 4096) > 0); while (read(t[1], buffer, 4096) > 0); while (read(dgto, buffer, 4096) > 0); while (read(fi, buffer, 4096) > 0); read(ev, buffer, 8);
            ftruncate(g, 0), ftruncate(k, 0), ftruncate(f, 10), ftruncate(m, 6), pwrite(f, "0123456789", 10, 0), pwrite(m, "abcdef", 6, 0);
            write(p[1], "pipe", 4), write(s[1], "sock", 4), write(u[1], "dgram", 5), write(t[1], "tcp", 3), write(fi, "fifo", 4), usleep(0), errno = 0;
            long r = c == 0 ? sendfile(all[j].fd, all[i].fd, 0, 4) : c == 1 ? sendfile(all[j].fd, all[i].fd, (off_t *)&from, 4) : c == 2 ? S(SYS_copy_file_range, all[i].fd, 0, all[j].fd, 0, 4, 0) : c == 3 ? S(SYS_copy_file_range, all[i].fd, &from, all[j].fd, &to, 4, 0) : c == 4 ? splice(all[i].fd, 0, all[j].fd, 0, 4, SPLICE_F_NONBLOCK) : c == 5 ? splice(all[i].fd, &from, all[j].fd, 0, 4, SPLICE_F_NONBLOCK) : c == 6 ? splice(all[i].fd, 0, all[j].fd, &to, 4, SPLICE_F_NONBLOCK) : c == 7 ? tee(all[i].fd, all[j].fd, 4, SPLICE_F_NONBLOCK) : c == 8 ? S(SYS_copy_file_range, all[i].fd, 0, all[j].fd, 0, 0, 0) : sendfile(all[j].fd, all[i].fd, 0, 0);
            tell_result(r);
            if (r > 0 && c & 1 && c < 6) tell("@%lld", from);
        }
        row();
    }
    for (int i = 0; i < count; i++) {
        struct iovec v[3] = {{buffer, 4}, {buffer + 100, 0}, {buffer + 200, 3}}, none = {0, 0}, bad = {BAD, 4};
        printf("vmsplice %s:", all[i].name), memset(buffer, 1, 300), errno = 0;
        tell_result(vmsplice(all[i].fd, v, 3, SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, &none, 1, SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, &bad, 1, SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, BAD, 1, SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, v, 0, SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, v, 3, SPLICE_F_GIFT | SPLICE_F_MORE | SPLICE_F_MOVE | SPLICE_F_NONBLOCK)), tell_result(vmsplice(all[i].fd, v, 3, 0x10)), row();
    }
}
int main(void) {
    char folder[] = "/dev/shm/copies-XXXXXX";
    mkdir("/dev/shm", 01777), mkdtemp(folder), chdir(folder), umask(022);
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN), prctl(PR_SET_NAME, "walk"), without_rights(), mkfifo("fifo", 0600);
    copies();
    unlink("file"), unlink("other"), unlink("fifo"), chdir("/"), rmdir(folder);
}
