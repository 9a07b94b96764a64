// Random changes of an address space: mapping, unmapping, protecting, moving, advising, locking, forking, and files that change below
// mappings. After each of them every page is read, and what is seen goes into a digest: the same on every kernel that is right.
//
// `mappings [SEED [COUNT [FIRST [SAY]]]]` prints a line for each program; with SAY, one for each step.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 24
#define STEPS 60
#define FILES 3
#define FILE_PAGES 12
static char *const base = (char *)0x200000000000;
static uint64_t state, digest;
static int files[FILES], say;
static sigjmp_buf out;

static uint64_t next(void) {
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}
static int below(int n) { return next() % n; }
static void mix(uint64_t value) { digest = (digest ^ value) * 0x100000001b3; }
static void caught(int number) { siglongjmp(out, number); }

// A page's byte, or the signal that looking at it is.
static int look(volatile unsigned char *p) {
    int number = sigsetjmp(out, 1);
    return number ? 1000 + number : *p;
}
static int put(volatile unsigned char *p, int byte) {
    int number = sigsetjmp(out, 1);
    if (number) return 1000 + number;
    *p = byte;
    return 0;
}

static void look_at_all(void) {
    for (int i = 0; i < PAGES; i++) {
        int seen = look(base + i * PAGE);
        mix(seen);
        if (say) printf(" %d", seen);
    }
    for (int i = 0; i < FILES; i++) {
        struct stat s;
        unsigned char byte;
        fstat(files[i], &s);
        mix(s.st_size);
        for (int page = 0; page * PAGE < s.st_size; page++) {
            pread(files[i], &byte, 1, page * PAGE);
            mix(byte);
        }
    }
    // What each page may be used for, however areas are joined.
    FILE *f = fopen("/proc/self/maps", "r");
    char line[400], rights[5];
    unsigned long from, to;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3 || from < (unsigned long)base || from >= (unsigned long)base + PAGES * PAGE) continue;
        for (; from < to; from += PAGE)
            for (int i = 0; i < 4; i++) mix(rights[i]);
    }
    fclose(f);
    f = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "VmLck:", 6)) mix(atol(line + 6));
    fclose(f);
}

static const int advices[] = {0, 1, 2, 3, 4, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 98};
static const int protections[] = {0, 1, 3, 3, 3, 5, 7};

// One change; what it says.
static long change(int what, int page, int count) {
    char *at = base + page * PAGE;
    size_t len = count * PAGE;
    int file = below(FILES), offset = below(FILE_PAGES), byte = 1 + below(250), protection = protections[below(7)];
    int kind = below(8), advice = advices[below(20)], to = below(PAGES - 3), more = 1 + below(3), flags = below(2) ? MAP_SHARED : MAP_PRIVATE;
    int target = files[file];
    void *p = MAP_FAILED;
    switch (what) {
    case 0: p = mmap(at, len, protection, MAP_FIXED | flags | MAP_ANONYMOUS | (kind == 0 ? MAP_POPULATE : kind == 1 ? MAP_LOCKED : 0), -1, 0); break;
    case 1: p = mmap(at, len, protection, MAP_FIXED | flags | (kind == 0 ? MAP_POPULATE : 0), target, offset * PAGE); break;
    case 2: return munmap(at, len);
    case 3: return mprotect(at, len, protection);
    case 4: return madvise(at, len, advice);
    case 5: p = mremap(at, PAGE, more * PAGE, kind < 4 ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED, base + to * PAGE); break;
    // Linux goes on counting what was locked there.
    case 6: munlock(at, PAGE), p = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | 4, base + to * PAGE); break;
    case 7: return kind < 5 ? mlock(at, len) : munlock(at, len);
    case 8: return msync(at, len, kind < 4 ? MS_SYNC : kind < 6 ? MS_ASYNC : MS_INVALIDATE);
    case 9: return pwrite(target, &byte, 1, offset * PAGE);
    case 10: return ftruncate(target, offset * PAGE + (kind < 2 ? 100 : 0));
    case 11: return fallocate(target, 3, offset * PAGE, more * PAGE);
    case 12: p = mmap(at, len, protection, MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
    default: return put(at, byte);
    }
    return p == MAP_FAILED ? -1 : (char *)p - base;
}

static void step(int number, int may_fork) {
    int what = below(24), page = below(PAGES), count = 1 + below(6), salt = below(1 << 30);
    if (page + count > PAGES) count = PAGES - page;
    if (what == 23 && may_fork) {
        int ends[2];
        uint64_t seen;
        pipe(ends);
        if (!fork()) {
            if (say) printf("  child:");
            look_at_all();
            if (say) printf("\n");
            state ^= salt;
            for (int i = 0; i < 6; i++) step(i, may_fork - 1);
            fflush(stdout);
            write(ends[1], &digest, sizeof digest);
            _exit(0);
        }
        close(ends[1]);
        if (read(ends[0], &seen, sizeof seen) != sizeof seen) seen = 0;
        close(ends[0]);
        wait(0);
        mix(seen);
        look_at_all();
        return;
    }
    errno = 0;
    long result = change(what, page, count);
    int error = result == -1 ? errno : 0;
    if (say) printf("%d: %d at %d for %d: %ld %s;", number, what, page, count, result, error ? strerror(error) : "");
    mix(result), mix(error);
    look_at_all();
    if (say) printf(" = %lx\n", digest), fflush(stdout);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], 0, 0) : 1;
    int count = argc > 2 ? atoi(argv[2]) : 40, first = argc > 3 ? atoi(argv[3]) : 0;
    struct sigaction action = {.sa_handler = caught, .sa_flags = SA_NODEFER};
    say = argc > 4;
    setvbuf(stdout, 0, _IOLBF, 0);
    sigaction(SIGSEGV, &action, 0), sigaction(SIGBUS, &action, 0);
    for (int program = first; program < first + count; program++) {
        state = seed * 1000003 + program;
        digest = 0xcbf29ce484222325;
        munmap(base, PAGES * PAGE);
        for (int i = 0; i < FILES; i++) {
            char page[PAGE];
            files[i] = i ? open("/tmp/mappings", O_CREAT | O_RDWR | O_TRUNC, 0600) : memfd_create("m", 0);
            unlink("/tmp/mappings");
            for (int n = below(FILE_PAGES); n >= 0; n--) pwrite(files[i], memset(page, 100 + n, PAGE), PAGE, n * PAGE);
        }
        for (int i = 0; i < STEPS; i++) step(i, 2);
        for (int i = 0; i < FILES; i++) close(files[i]);
        printf("%d %016lx\n", program, digest);
    }
}
