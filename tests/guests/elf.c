// Starts damaged copies of itself: truncated, for another machine, with changed headers. Each child gets an error or ends; the
// first process counts. Built static.
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state;
static uint64_t next(void) { state ^= state >> 12; state ^= state << 25; state ^= state >> 27; return state * 0x2545f4914f6cdd1d; }
static uint64_t word(void) {
    static const uint64_t odd[] = {0, 1, 0xfff, 0x1000, 0x10000, 0x7fffffffe000, 0x7ffffffff000, 0x800000000000, 0xffff800000000000,
        0xffffffff80000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull, ~0ull - 4095, 1ull << 40};
    return next() % 3 ? odd[next() % (sizeof odd / sizeof *odd)] : next();
}

int main(int c, char **v) {
    if (c == 1) return 33;
    state = strtoull(v[1], 0, 0) | 1;
    int rounds = atoi(v[2]), refused = 0, ran = 0, ended = 0;
    static char good[4 << 20], bad[4 << 20];
    int fd = open("/proc/self/exe", O_RDONLY);
    ssize_t size = read(fd, good, sizeof good);
    close(fd);
    for (int round = 0; round < rounds; round++) {
        memcpy(bad, good, size);
        ssize_t len = size;
        Elf64_Ehdr *e = (void *)bad;
        Elf64_Phdr *p = (void *)(bad + e->e_phoff);
        for (int i = next() % 3; i >= 0; i--) switch (next() % 8) {
            case 0: len = next() % 4 ? next() % 1024 : next() % size; break;
            case 1: e->e_machine = next() % 256; break;
            case 2: e->e_entry = word(); break;
            case 3: e->e_phoff = word(); break;
            case 4: e->e_phnum = next(); break;
            case 5: ((uint64_t *)(p + next() % 6))[next() % 7] = word(); break;
            case 6: p[next() % 6].p_type = next() % 8; break;
            default: bad[next() % 1024] = next(); break;
        }
        fd = open("/tmp/bad", O_WRONLY | O_CREAT | O_TRUNC, 0755);
        if (write(fd, bad, len) != len) return 2;
        close(fd);
        pid_t pid = fork();
        if (!pid) {
            struct rlimit second = {1, 1};
            setrlimit(RLIMIT_CPU, &second);
            alarm(2);
            execl("/tmp/bad", "bad", (char *)0);
            _exit(34);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) return 3;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 34) refused++;
        else if (WIFEXITED(status) && WEXITSTATUS(status) == 33) ran++;
        else ended++;
    }
    printf("%d damaged programs: %d refused, %d ran all the same, %d ended otherwise\n", rounds, refused, ran, ended);
    return !(refused && ended);
}
