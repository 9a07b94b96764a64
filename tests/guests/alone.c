// What a program can see of others in the same machine: nothing. Several copies run at once, each with a mark of its own.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); failures++; } } while (0)
static int failures;

#define MEMORY (8 << 20)
static uint64_t mark;

// Entries of a directory, but for those that the filter leaves out.
static int entries(const char *path, int (*counts)(const char *)) {
    DIR *dir = opendir(path);
    CHECK(dir);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) n += counts(e->d_name);
    if (dir) closedir(dir);
    return n;
}
static int is_mark(const char *name) { return !strncmp(name, "mark", 4); }
static int is_process(const char *name) { return name[0] >= '1' && name[0] <= '9'; }

// Fresh memory holds nothing of anybody; what is written stays.
static void memory(void) {
    uint64_t *words = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(words != MAP_FAILED);
    if (words == MAP_FAILED) return;
    for (size_t i = 0; i < MEMORY / 8; i += 64) {
        if (words[i]) { CHECK(!"fresh memory is zero"); break; }
        words[i] = mark ^ i;
    }
    usleep(2000);
    for (size_t i = 0; i < MEMORY / 8; i += 64)
        if (words[i] != (mark ^ i)) { CHECK(!"memory keeps what was written"); break; }
    munmap(words, MEMORY);
}

int main(void) {
    CHECK(getrandom(&mark, sizeof mark, 0) == sizeof mark);
    // Every copy can have the same names: of files, shared memory, sockets and ports.
    char path[64];
    sprintf(path, "/tmp/mark-%llx", (unsigned long long)mark);
    CHECK(open("/tmp/mark", O_RDWR | O_CREAT | O_EXCL, 0600) >= 0);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && write(file, &mark, sizeof mark) == sizeof mark);
    int shared = open("/dev/shm/mark", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(shared >= 0 || errno == ENOENT);
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0mark"};
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(!bind(local, (void *)&name, sizeof(sa_family_t) + 5) && !listen(local, 1));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7777), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int port = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(!bind(port, (void *)&address, sizeof address) && !listen(port, 1));

    for (int round = 0; round < 20; round++) memory();

    CHECK(entries("/tmp", is_mark) == 2 && entries("/proc", is_process) == 1);
    for (pid_t pid = 1; pid < 70000; pid += pid < 1000 ? 1 : 97)
        if (pid != getpid()) CHECK(kill(pid, 0) == -1 && errno == ESRCH);
    CHECK(kill(-1, SIGTERM) == -1 && errno == ESRCH);
    uint64_t found = 0;
    CHECK(pread(file, &found, sizeof found, 0) == sizeof found && found == mark);
    // Nor the kernel, by whatever call.
    int pipe_[2];
    CHECK(!pipe(pipe_));
    for (uint64_t at = 0x800000000000; at; at = at == 0x800000000000 ? 0xffff800000000000 : at + (1ul << 40)) {
        CHECK(write(pipe_[1], (void *)at, 8) == -1 && errno == EFAULT);
        CHECK(getrandom((void *)at, 8, 0) == -1 && errno == EFAULT);
        CHECK(mmap((void *)at, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
    }
    printf(failures ? "%d failures\n" : "alone\n", failures);
    return failures != 0;
}
