// Message queues as files, and copies between two descriptors of each kind.
#include "checks.h"
#include <mqueue.h>
#define BAD ((void *)8)
static char buffer[70000];

static void queues(void) {
    struct mq_attr is = {.mq_maxmsg = 3, .mq_msgsize = 20};
    mq_unlink("/sx");
    int q = S(SYS_mq_open, "sx", O_RDWR | O_CREAT, 0600, &is), p[2];
    int r = S(SYS_mq_open, "sx", O_RDONLY | O_NONBLOCK, 0, 0), w = S(SYS_mq_open, "sx", O_WRONLY | O_NONBLOCK, 0, 0);
    char text[200] = "";
    long n;
    #define TEXT(call) R(#call, n = call), printf("%.*s\n", n > 0 ? (int)n : 0, text), memset(text, 0, sizeof text)
    TEXT(read(r, text, 199)), TEXT(read(r, text, 199)), lseek(r, 0, 0), TEXT(read(r, text, 10)), TEXT(read(r, text, 100)), TEXT(pread(r, text, 100, 60)), TEXT(pread(r, text, 100, 1000)), TEXT(read(w, text, 10)), TEXT(read(q, text, 199));
    mq_send(q, "hello", 5, 3), TEXT(pread(q, text, 199, 0));
    R("write", write(q, "x", 1)), R("write w", write(w, "x", 1)), R("write r", write(r, "x", 1)), R("pwrite", pwrite(q, "x", 1, 0)), R("seek end", lseek(q, 0, SEEK_END)), R("seek", lseek(q, 7, SEEK_SET)), R("seek cur", lseek(q, 1, SEEK_CUR)), R("seek -", lseek(q, -1, SEEK_SET)), R("seek data", lseek(q, 0, SEEK_DATA)), R("fsync", fsync(q)), R("mmap", mmap(0, 4096, 1, MAP_SHARED, q, 0) == MAP_FAILED ? -1 : 0), R("tcgets", ioctl(q, TCGETS, text)), R("allocate", fallocate(q, 0, 0, 1)), R("flock", flock(q, LOCK_EX)), R("lock", fcntl(q, F_SETLK, &(struct flock){F_WRLCK})), R("dents", S(SYS_getdents64, q, buffer, 100)), R("recv", recv(q, text, 1, 0)), R("getfl", fcntl(q, F_GETFL)), R("getfl r", fcntl(r, F_GETFL)), R("pipe size", fcntl(q, F_GETPIPE_SZ)), R("seals", fcntl(q, F_GET_SEALS)), R("advise", posix_fadvise(q, 0, 0, 0));
    struct stat st;
    R("stat", fstat(q, &st)), printf("%o %ld %ld %ld\n", st.st_mode, (long)st.st_size, (long)st.st_blksize, (long)st.st_blocks), R("chmod", fchmod(q, 0640)), fstat(q, &st), printf("%o\n", st.st_mode);
    pipe(p), R("sendfile", sendfile(p[1], q, 0, 5)), R("splice", splice(q, 0, p[1], 0, 5, SPLICE_F_NONBLOCK)), R("into it", splice(p[0], 0, q, 0, 5, SPLICE_F_NONBLOCK)), R("range", S(SYS_copy_file_range, q, 0, p[1], 0, 5, 0));
    struct pollfd all[] = {{q, POLLIN | POLLOUT | POLLRDHUP}, {r, POLLIN | POLLOUT}, {w, POLLIN | POLLOUT}};
    poll(all, 3, 0), printf("poll %x %x %x\n", all[0].revents, all[1].revents, all[2].revents);
    mq_send(q, "2", 1, 0), mq_send(q, "3", 1, 0), R("full", mq_send(w, "4", 1, 0)), poll(all, 3, 0), printf("poll %x %x %x\n", all[0].revents, all[1].revents, all[2].revents);
    R("short", mq_receive(q, text, 19, 0)), R("null", mq_receive(q, 0, 20, 0)), R("by the writer", mq_receive(w, text, 20, 0)), R("by the reader", mq_send(r, "x", 1, 0)), R("long", mq_send(q, buffer, 21, 0)), R("priority", mq_send(q, "x", 1, 40000)), R("not one", mq_send(p[1], "x", 1, 0)), R("receive of a pipe", mq_receive(p[0], text, 20, 0)), R("of -1", mq_receive(-1, text, 20, 0)), R("attributes of a pipe", S(SYS_mq_getsetattr, p[0], 0, &is)), R("notify", S(SYS_mq_notify, p[0], 0)), R("notify none", S(SYS_mq_notify, q, 0)), R("time", S(SYS_mq_timedsend, q, "x", 1, 0, &(struct timespec){0, -1})), R("late", S(SYS_mq_timedsend, q, "x", 1, 0, &(struct timespec){1, 0})), R("time bad", S(SYS_mq_timedsend, q, "x", 1, 0, BAD));
    mq_unlink("/sx");
}

static void copies(void) {
    int f = open("/tmp/sx_f", O_RDWR | O_CREAT | O_TRUNC, 0600), g = open("/tmp/sx_g", O_RDWR | O_CREAT | O_TRUNC, 0600), a = open("/tmp/sx_g", O_WRONLY | O_APPEND), r = open("/tmp/sx_f", O_RDONLY), m = memfd_create("m", MFD_ALLOW_SEALING), d = open("/tmp", O_RDONLY), z = open("/dev/zero", O_RDWR), n = open("/dev/null", O_RDWR), e = eventfd(5, EFD_NONBLOCK), t = open("/proc/self/status", O_RDONLY), o = open("/tmp/sx_f", O_PATH), p[2], q[2], s[2];
    pipe2(p, O_NONBLOCK), pipe2(q, O_NONBLOCK), socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
    write(f, "0123456789", 10), write(m, "abcdef", 6);
    struct { const char *name; int fd; } all[] = {{"file", f}, {"other", g}, {"append", a}, {"read-only", r}, {"memfd", m}, {"dir", d}, {"zero", z}, {"null", n}, {"event", e}, {"proc", t}, {"path", o}, {"pipe", p[0]}, {"pipe in", p[1]}, {"socket", s[0]}, {"-1", -1}, {"closed", 900}};
    char what[80];
    int count = sizeof all / sizeof *all;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            long long from = 0, to = 0;
            lseek(f, 0, 0), lseek(g, 0, 0), lseek(m, 0, 0), lseek(r, 0, 0);
            while (read(p[0], buffer, 4096) > 0);
            write(q[1], "pipe", 4), write(s[1], "sock", 4);
            // A memfd and a file may be of one file system here.
            if ((i == 4) != (j == 4) && (i < 5 && j < 5)) continue;
            sprintf(what, "range %s to %s", all[i].name, all[j].name);
            R(what, S(SYS_copy_file_range, all[i].fd, &from, all[j].fd, &to, 4, 0));
            sprintf(what, "sendfile %s to %s", all[i].name, all[j].name);
            if (i != 9 && !(i == 13 && j == 12)) R(what, sendfile(all[j].fd, all[i].fd, 0, 4));
            sprintf(what, "splice %s to %s", all[i].name, all[j].name);
            if (i != 9) R(what, splice(all[i].fd, 0, all[j].fd, 0, 4, SPLICE_F_NONBLOCK));
            sprintf(what, "tee %s to %s", all[i].name, all[j].name);
            R(what, tee(all[i].fd, all[j].fd, 4, SPLICE_F_NONBLOCK));
            while (read(s[0], buffer, 4096) > 0);
            while (read(s[1], buffer, 4096) > 0);
            ftruncate(g, 0);
            if (pwrite(f, "0123456789", 10, 0) < 0) printf("?\n");
            ftruncate(f, 10), ftruncate(m, 6);
        }
    long long at = 0, to = 2;
    R("range flags", S(SYS_copy_file_range, f, 0, g, 0, 4, 1)), R("overlap", S(SYS_copy_file_range, f, &at, f, &to, 4, 0)), to = 4, R("beside", S(SYS_copy_file_range, f, &at, f, &to, 4, 0)), at = 100, to = 0, R("behind the end", S(SYS_copy_file_range, f, &at, g, &to, 4, 0)), at = -1, R("negative", S(SYS_copy_file_range, f, &at, g, &to, 4, 0)), at = 0, to = -1, R("negative to", S(SYS_copy_file_range, f, &at, g, &to, 4, 0)), R("bad", S(SYS_copy_file_range, f, BAD, g, 0, 4, 0)), R("nothing", S(SYS_copy_file_range, f, 0, g, 0, 0, 0)), R("-1 bytes", S(SYS_copy_file_range, f, 0, g, 0, -1, 0)), R("two memfds", ({ int k = memfd_create("k", 0); lseek(m, 0, 0); S(SYS_copy_file_range, m, 0, k, 0, 4, 0); }));
    fcntl(m, F_ADD_SEALS, F_SEAL_WRITE), to = 0, at = 0, R("sealed", S(SYS_copy_file_range, m, &at, m, &to, 0, 0)), to = 3, R("sealed", S(SYS_copy_file_range, m, &at, m, &to, 3, 0));
    R("splice flags", splice(p[0], 0, p[1], 0, 4, 0x100)), R("splice itself", splice(p[0], 0, p[1], 0, 4, 0)), R("tee itself", tee(p[0], p[1], 4, 0)), R("offset of a pipe", splice(p[0], (void *)&at, f, 0, 4, 0)), R("sendfile bad", sendfile(p[1], f, BAD, 4)), at = -1, R("sendfile negative", sendfile(p[1], f, (void *)&at, 4)), R("vmsplice", vmsplice(f, 0, 0, 0)), R("vmsplice flags", vmsplice(p[1], 0, 0, 0x100)), R("vmsplice many", vmsplice(p[1], (void *)buffer, 2000, 0));
    unlink("/tmp/sx_f"), unlink("/tmp/sx_g");
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12), signal(SIGPIPE, SIG_IGN);
    queues(), copies();
}
