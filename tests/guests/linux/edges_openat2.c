// openat2 with each two flags and modes, and each path with each way to resolve it.
#include "tables.h"
#include <linux/openat2.h>
static char buffer[64];
static void opens(void) {
    static const struct { const char *name; unsigned long bits; } FLAGS[] = {{"RDONLY", 0}, {"WRONLY", 1}, {"RDWR", 2}, {"3", 3}, {"CREAT", O_CREAT}, {"EXCL", O_EXCL}, {"TRUNC", O_TRUNC}, {"APPEND", O_APPEND}, {"DIRECTORY", O_DIRECTORY}, {"NOFOLLOW", O_NOFOLLOW}, {"PATH", O_PATH}, {"TMPFILE", O_TMPFILE}, {"__TMPFILE", O_TMPFILE & ~O_DIRECTORY}, {"NOATIME", O_NOATIME}, {"CLOEXEC", O_CLOEXEC}, {"SYNC", O_SYNC}, {"1<<3", 8}, {"1<<26", 1ul << 26}, {"1<<31", 1ul << 31}, {"1<<32", 1ul << 32}, {"1<<63", 1ul << 63}};
    static const char *PATHS[] = {"file", "dir", "link", "new", "loop", "dir/../file", "/proc/self/exe", "dir/", "file/", "link/", "..", ".", "dirlink/in", "dirlink", "", "none/x", "file/x"};
    static const int MODES[] = {0, 0600, 01777, 010000, -1}, RESOLVE[] = {0, 1, 2, 4, 8, 16, 24, 64, 0x3f};
    struct open_how h;
    int d = open(".", O_PATH);
    for (int a = 0; a < COUNT(FLAGS); a++) for (int b = a; b < COUNT(FLAGS); b++) {
        printf("openat2 %s %s:", FLAGS[a].name, FLAGS[b].name);
        for (int m = 0; m < COUNT(MODES); m++) for (int p = 0; p < 4; p++) {
            unlink("new");
            h = (struct open_how){FLAGS[a].bits | FLAGS[b].bits, (unsigned)MODES[m], 0}, errno = 0;
            if (MODES[m] == -1) h.mode = -1;
            int f = S(SYS_openat2, d, PATHS[p], &h, sizeof h);
            if (f >= 0) { tell("ok%x", fcntl(f, F_GETFL) & ~O_LARGEFILE); close(f); } else tell_result(f);
        }
        row();
        unlink("new");
    }
    for (int p = 0; p < COUNT(PATHS); p++) for (int r = 0; r < COUNT(RESOLVE); r++) {
        static const unsigned long OF[] = {O_RDONLY, O_PATH, O_PATH | O_NOFOLLOW, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC, O_DIRECTORY, O_CREAT | O_EXCL | O_WRONLY};
        printf("openat2 %s resolve %x:", PATHS[p], RESOLVE[r]);
        for (int o = 0; o < COUNT(OF); o++) {
            unlink("new");
            h = (struct open_how){OF[o], OF[o] & O_CREAT ? 0600 : 0, RESOLVE[r]}, errno = 0;
            int f = S(SYS_openat2, d, PATHS[p], &h, sizeof h);
            if (f >= 0) close(f), f = 0;
            tell_result(f);
        }
        row();
        unlink("new");
    }
    // What has been looked up just now is found without waiting for a disk; there, what is not in a cache is EAGAIN.
    printf("cached:");
    for (int p = 0; p < 4; p++) { h = (struct open_how){p & 1 ? O_RDWR : O_RDONLY, 0, 32}, errno = 0; int f = S(SYS_openat2, d, PATHS[p & 2], &h, sizeof h); if (f >= 0) close(f), f = 0; tell_result(f); }
    for (int o = 0; o < 3; o++) { h = (struct open_how){(int[]){O_CREAT | O_RDWR, O_TMPFILE | O_RDWR, O_TRUNC | O_RDWR}[o], o < 2 ? 0600 : 0, 32}, errno = 0; int f = S(SYS_openat2, d, o == 1 ? "." : "file", &h, sizeof h); if (f >= 0) close(f), f = 0; tell_result(f); }
    row(), printf("sizes:");
    for (int size = 0; size < 40; size++) { memset(buffer, 0, 64), errno = 0; int f = S(SYS_openat2, d, "file", buffer, (long)size); if (f >= 0) close(f), f = 0; tell_result(f); memset(buffer, 0, 64), buffer[size ? size - 1 : 0] = size > 24, errno = 0, f = S(SYS_openat2, d, "file", buffer, (long)size); if (f >= 0) close(f), f = 0; tell_result(f); }
    row();
}
int main(void) {
    char folder[] = "/dev/shm/opens-XXXXXX";
    mkdir("/dev/shm", 01777), mkdtemp(folder), chdir(folder), umask(022);
    setvbuf(stdout, 0, _IOFBF, 1 << 16), signal(SIGPIPE, SIG_IGN), prctl(PR_SET_NAME, "walk"), without_rights();
    close(open("file", O_CREAT, 0600)), mkdir("dir", 0700), close(open("dir/in", O_CREAT, 0600)), symlink("file", "link"), symlink("loop", "loop"), symlink("dir", "dirlink");
    opens();
    unlink("file"), unlink("dir/in"), rmdir("dir"), unlink("link"), unlink("loop"), unlink("dirlink"), unlink("new"), chdir("/"), rmdir(folder);
}
