/* Memory calls: what a mapping may do, what it shows, what is kept in memory, what forks have. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
static sigjmp_buf out;
static void caught(int number) { siglongjmp(out, number); }
/* What the byte at `p` is: a number, or the signal that reading it is. */
static const char *at(volatile char *p) {
    static char text[8][32];
    static int next;
    char *t = text[next++ % 8];
    int number = sigsetjmp(out, 1);
    if (number) return number == SIGBUS ? "SIGBUS" : "SIGSEGV";
    sprintf(t, "%d", *p);
    return t;
}
static const char *put(volatile char *p, int byte) {
    int number = sigsetjmp(out, 1);
    if (number) return number == SIGBUS ? "SIGBUS" : "SIGSEGV";
    *p = byte;
    return "done";
}
static const char *said(long result) {
    static char text[8][64];
    static int next;
    if (result != -1) return "fine";
    return strcpy(text[next++ % 8], strerrorname_np(errno) ?: "?");
}
static const char *mapped(void *p) { return said(p == MAP_FAILED ? -1 : 0); }
static void *map(size_t len, int prot, int flags, int fd) { return mmap(0, len, prot, flags, fd, 0); }
static void *anonymous(int pages) { return map(pages * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static int file(const char *name, int pages) {
    int f = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char bytes[PAGE];
    for (int i = 0; i < pages; i++) memset(bytes, i + 1, PAGE), pwrite(f, bytes, PAGE, i * PAGE);
    return f;
}
static void resident(const char *what, void *p, int pages) {
    unsigned char v[64] = {0};
    int result = mincore(p, pages * PAGE, v);
    printf("%s: %s", what, said(result));
    for (int i = 0; i < pages; i++) printf(" %d", v[i] & 1);
    printf("\n");
}
static long status(const char *key) {
    char line[300];
    long value = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) value = atol(line + strlen(key) + 1);
    fclose(f);
    return value;
}

static void private_files(void) {
    int f = file("/tmp/memory-a", 3);
    char *p = map(6 * PAGE, 3, MAP_PRIVATE, f), *s = map(6 * PAGE, 3, MAP_SHARED, f), *r = map(6 * PAGE, 1, MAP_PRIVATE, f);
    printf("private %s %s %s %s\n", at(p), at(p + PAGE), at(r + 2 * PAGE), at(p + 3 * PAGE));
    put(p + PAGE, 50);
    pwrite(f, "\x3c\x3c", 1, PAGE), pwrite(f, "\x3d", 1, 0);
    printf("written to the file %s %s %s\n", at(p), at(p + PAGE), at(r + PAGE));
    put(s, 70);
    printf("written through a shared mapping %s %s\n", at(p), at(r));
    if (!fork()) {
        put(p, 80);
        pwrite(f, "\x5a", 1, 2 * PAGE);
        printf("child %s %s %s\n", at(p), at(p + PAGE), at(p + 2 * PAGE));
        fflush(stdout);
        _exit(0);
    }
    wait(0);
    printf("parent %s %s %s\n", at(p), at(p + PAGE), at(p + 2 * PAGE));
    ftruncate(f, 5 * PAGE);
    pwrite(f, "\x21", 1, 4 * PAGE);
    printf("grown %s %s %s\n", at(p + 3 * PAGE), at(r + 4 * PAGE), at(r + 5 * PAGE));
    ftruncate(f, PAGE / 2);
    printf("cut %s %s %s %s\n", at(p), at(p + PAGE), at(r + PAGE), put(p + PAGE, 1));
    ftruncate(f, 3 * PAGE);
    printf("grown again %s %s\n", at(p + PAGE), at(r + 2 * PAGE));
    put(p + 2 * PAGE, 9);
    printf("advised away %s", said(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED)));
    printf(": %s\n", at(p + 2 * PAGE));
    unlink("/tmp/memory-a");
    close(f);
    printf("without a name %s %s\n", at(p), at(s));

    int m = memfd_create("m", 0);
    ftruncate(m, 2 * PAGE);
    char *q = map(2 * PAGE, 3, MAP_PRIVATE, m);
    write(m, "x", 1);
    printf("memfd %s %s\n", at(q), put(q + PAGE, 3));
    fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE);
    printf("with a hole %s %s\n", at(q), at(q + PAGE));
    char *mm = map(2 * PAGE, 3, MAP_SHARED, m);
    put(mm, 5);
    printf("not removed %s", at(q));
    printf(", removed %s", said(madvise(mm, PAGE, MADV_REMOVE)));
    printf(": %s\n", at(q));
    printf("removed privately %s\n", said(madvise(q, PAGE, MADV_REMOVE)));
}

static void rights(void) {
    int w = file("/tmp/memory-b", 2), r = open("/tmp/memory-b", O_RDONLY), o = open("/tmp/memory-b", O_WRONLY);
    unlink("/tmp/memory-b");
    char *p = map(PAGE, 1, MAP_SHARED, r);
    printf("read-only shared: map w %s, protect w %s, protect x %s\n", mapped(map(PAGE, 3, MAP_SHARED, r)), said(mprotect(p, PAGE, 3)), said(mprotect(p, PAGE, 5)));
    printf("read-only private: map w %s\n", mapped(map(PAGE, 3, MAP_PRIVATE, r)));
    printf("write-only: %s %s\n", mapped(map(PAGE, 2, MAP_SHARED, o)), mapped(map(PAGE, 1, MAP_PRIVATE, o)));
    printf("no such descriptor: %s %s\n", mapped(map(PAGE, 1, MAP_SHARED, 999)), mapped(map(0, 1, MAP_SHARED, 999)));
    printf("no length %s, no type %s %s, offset %s\n", mapped(map(0, 1, MAP_PRIVATE, r)), mapped(map(PAGE, 1, 0, r)), mapped(map(PAGE, 1, MAP_ANONYMOUS, -1)), mapped(mmap(0, PAGE, 1, MAP_PRIVATE, r, 77)));
    int v = memfd_create("v", 0);
    ftruncate(v, PAGE);
    printf("validate: %s %s %s\n", mapped(map(PAGE, 1, MAP_SHARED_VALIDATE, v)), mapped(map(PAGE, 1, MAP_SHARED_VALIDATE | 1 << 25, v)), mapped(map(PAGE, 1, MAP_SHARED_VALIDATE | MAP_SYNC, v)));
    printf("validate without a file %s, sync shared %s\n", mapped(map(PAGE, 1, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1)), mapped(map(PAGE, 1, MAP_SHARED | MAP_SYNC, v)));
    printf("grows: file %s, shared %s\n", mapped(map(PAGE, 1, MAP_PRIVATE | MAP_GROWSDOWN, w)), mapped(map(PAGE, 1, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1)));
    printf("huge: file %s, memory %s\n", mapped(map(PAGE, 1, MAP_PRIVATE | MAP_HUGETLB, w)), mapped(map(2 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1)));
    char *a = anonymous(4);
    printf("no replacement: %s\n", mapped(mmap(a + PAGE, PAGE, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
    printf("unaligned: %s %s %s\n", mapped(mmap(a + 1, PAGE, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)), said(mprotect(a + 1, PAGE, 1)), said(munmap(a + 1, PAGE)));
    printf("too long: %s %s\n", mapped(map(1ul << 60, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1)), mapped(map(-1ul, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1)));
    printf("offset too far: %s\n", mapped(mmap(0, 2 * PAGE, 1, MAP_PRIVATE, w, 0x7ffffffffffff000)));
    munmap(a + 2 * PAGE, PAGE);
    printf("protect over a hole %s", said(mprotect(a, 4 * PAGE, 1)));
    printf(": %s %s\n", put(a + PAGE, 1), put(a + 3 * PAGE, 1));
    printf("protect: nothing %s, flags %s %s %s\n", said(mprotect(a, 0, 1)), said(mprotect(a, PAGE, 0x10)), said(mprotect(a, PAGE, PROT_GROWSDOWN | PROT_GROWSUP)), said(mprotect(a, PAGE, PROT_GROWSDOWN | 1)));
    char *m = anonymous(4), *g = mmap(m + 2 * PAGE, PAGE, 3, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
    printf("grows into a neighbour %s\n", put(g - PAGE, 1));
    m = mmap(0, 32 << 20, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), munmap(m, 32 << 20);
    g = mmap(m + (24 << 20), PAGE, 3, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
    printf("grows %s %s %s %s\n", put(g - PAGE, 1), put(g - 30 * PAGE, 1), put(g - (9 << 20), 1), at(g - 20 * PAGE));
}

static void seals(void) {
    int m = memfd_create("s", MFD_ALLOW_SEALING);
    ftruncate(m, PAGE);
    char *p = map(PAGE, 3, MAP_SHARED, m);
    printf("write seal of what is mapped %s\n", said(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE)));
    printf("future-write seal %s\n", said(fcntl(m, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)));
    printf("old mapping %s, new ones %s %s\n", put(p, 4), mapped(map(PAGE, 3, MAP_SHARED, m)), mapped(map(PAGE, 1, MAP_SHARED, m)));
    char *r = map(PAGE, 1, MAP_SHARED, m);
    printf("made writable %s, private %s\n", said(mprotect(r, PAGE, 3)), mapped(map(PAGE, 3, MAP_PRIVATE, m)));
    printf("write %s, hole %s\n", said(pwrite(m, "x", 1, 0)), said(fallocate(m, 3, 0, PAGE)));
    munmap(p, PAGE);
    printf("write seal now %s", said(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL)));
    printf(": %s\n", said(fcntl(m, F_ADD_SEALS, F_SEAL_GROW)));
    printf("seals %x, unsealable %x %s\n", fcntl(m, F_GET_SEALS), fcntl(memfd_create("n", 0), F_GET_SEALS), said(fcntl(memfd_create("n", 0), F_ADD_SEALS, F_SEAL_GROW)));
    printf("flags %s %s\n", said(memfd_create("x", 0x20)), said(memfd_create("x", 0x18)));
}

static void locks(void) {
    char *p = anonymous(8);
    resident("fresh", p, 4);
    printf("mlock %s", said(mlock(p + 1, PAGE)));
    printf(", locked %ld\n", status("VmLck"));
    resident("locked", p, 4);
    printf("on fault %s %s", said(syscall(SYS_mlock2, p + 4 * PAGE, PAGE, 1)), said(syscall(SYS_mlock2, p, PAGE, 2)));
    printf(", locked %ld\n", status("VmLck"));
    resident("on fault", p + 4 * PAGE, 1);
    if (!fork()) { printf("child has locked %ld\n", status("VmLck")); fflush(stdout); _exit(0); }
    wait(0);
    printf("advice for locked: %s %s %s %s\n", said(madvise(p, PAGE, MADV_DONTNEED)), said(madvise(p, PAGE, MADV_FREE)), said(madvise(p, PAGE, MADV_COLD)), said(madvise(p, PAGE, 24)));
    printf("msync: %s %s %s\n", said(msync(p, PAGE, MS_INVALIDATE)), said(msync(p, PAGE, MS_SYNC)), said(msync(p, PAGE, MS_SYNC | MS_ASYNC)));
    printf("munlock %s", said(munlock(p, PAGE)));
    printf(", locked %ld\n", status("VmLck"));
    munmap(p + PAGE, PAGE);
    printf("unmapped, locked %ld; over the hole %s %s\n", status("VmLck"), said(mlock(p, 4 * PAGE)), said(munlock(p, 4 * PAGE)));
    munlockall();
    printf("all unlocked %ld; mlockall %s %s %s\n", status("VmLck"), said(mlockall(0)), said(mlockall(4)), said(mlockall(8)));
    printf("no access %s\n", said(mlock(map(PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1), PAGE)));
    munlockall();
    resident("populated", map(2 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1), 2);
    char *l = map(2 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1);
    resident("mapped and locked", l, 2);
    printf("locked %ld\n", status("VmLck"));
    l = mremap(l, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
    resident("grown", l, 5);
    printf("locked %ld\n", status("VmLck"));
    munlockall();
    printf("future %s\n", said(mlockall(MCL_FUTURE)));
    resident("future", anonymous(2), 2);
    printf("future on fault %s\n", said(mlockall(MCL_FUTURE | MCL_ONFAULT)));
    resident("future on fault", anonymous(2), 2);
    munlockall();
    struct rlimit limit = {3 * PAGE, 3 * PAGE};
    setrlimit(RLIMIT_MEMLOCK, &limit);
    setresuid(1000, 1000, 1000);
    p = anonymous(8);
    printf("limit: %s %s", said(mlock(p, 4 * PAGE)), said(mlock(p, 3 * PAGE)));
    printf(" %s", said(mlock(p, 3 * PAGE)));
    printf(" %s %s", said(mlock(p + 5 * PAGE, PAGE)), mapped(map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1)));
    printf(" %s", said(mlockall(MCL_CURRENT)));
    mlockall(MCL_FUTURE);
    printf(" %s\n", mapped(anonymous(4)));
    munlockall();
    limit.rlim_cur = limit.rlim_max = 0;
    setrlimit(RLIMIT_MEMLOCK, &limit);
    printf("none: %s %s %s\n", said(mlock(p, PAGE)), said(mlockall(MCL_CURRENT)), mapped(map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1)));
}

static void moves(void) {
    char *p = anonymous(6);
    for (int i = 0; i < 6; i++) p[i * PAGE] = i + 1;
    printf("flags %s %s %s %s\n", mapped(mremap(p, PAGE, PAGE, 8)), mapped(mremap(p, PAGE, PAGE, MREMAP_FIXED, p)), mapped(mremap(p + 1, PAGE, PAGE, 0)), mapped(mremap(p, PAGE, 0, 0)));
    printf("dontunmap %s %s\n", mapped(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, 0)), mapped(mremap(p, PAGE, PAGE, 4, 0)));
    char *q = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, 0);
    printf("stayed %s %s, moved %s %s\n", at(p), at(p + PAGE), at(q), at(q + PAGE));
    printf("overlap %s\n", mapped(mremap(p + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 3 * PAGE)));
    char *r = mremap(p + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q);
    printf("fixed %d %s %s\n", r == q, at(q), at(p + 2 * PAGE));
    printf("of nothing %s %s\n", mapped(mremap(p + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE)), mapped(mremap(p + PAGE, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE)));
    printf("in place %s\n", mapped(mremap(p, PAGE, 2 * PAGE, 0)));
    char *s = map(2 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS, -1), *t = mremap(s, 0, 2 * PAGE, MREMAP_MAYMOVE);
    put(s + PAGE, 12);
    printf("twice %s %s, private %s, staying %s\n", mapped(t), at(t + PAGE), mapped(mremap(p, 0, PAGE, MREMAP_MAYMOVE)), mapped(mremap(s, 0, PAGE, 0)));
    int m = memfd_create("r", 0);
    ftruncate(m, 4 * PAGE);
    char *f = map(4 * PAGE, 3, MAP_SHARED, m);
    for (int i = 0; i < 4; i++) f[i * PAGE] = i + 1;
    printf("reordered %s", said(remap_file_pages(f, PAGE, 0, 3, 0)));
    printf(": %s %s; %s %s\n", at(f), at(f + PAGE), said(remap_file_pages(f, PAGE, 1, 3, 0)), said(remap_file_pages(p, PAGE, 0, 0, 0)));
    char *end = sbrk(0);
    struct rlimit limit = {64 << 10, 1 << 30};
    sbrk(PAGE);
    setrlimit(RLIMIT_DATA, &limit);
    printf("data limit: %s %s %s\n", said((long)sbrk(1 << 20)), mapped(anonymous(500)), mapped(map(500 * PAGE, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1)));
    limit.rlim_cur = 1 << 30;
    setrlimit(RLIMIT_DATA, &limit);
}

static void advice(void) {
    char *p = anonymous(4);
    munmap(p + 2 * PAGE, PAGE);
    put(p, 1), put(p + 3 * PAGE, 1);
    printf("over a hole %s", said(madvise(p, 4 * PAGE, MADV_DONTNEED)));
    printf(": %s %s\n", at(p), at(p + 3 * PAGE));
    int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 99, 999};
    int f = file("/tmp/memory-c", 2);
    unlink("/tmp/memory-c");
    char *s = map(2 * PAGE, 3, MAP_SHARED, f), *r = map(2 * PAGE, 1, MAP_PRIVATE, f), *n = map(PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int i = 0; i < sizeof all / sizeof *all; i++) {
        int a = all[i];
        printf("advice %d: %s %s %s %s %s %s\n", a, said(madvise(p, PAGE, a)), said(madvise(p + PAGE, 2 * PAGE, a)), said(madvise(s, PAGE, a)), said(madvise(r, PAGE, a)), said(madvise(n, PAGE, a)), said(madvise(p, 0, a)));
    }
    printf("unaligned %s, too long %s\n", said(madvise(p + 1, PAGE, 0)), said(madvise(p, -1ul, 0)));
    p = anonymous(3);
    madvise(p, PAGE, MADV_WIPEONFORK), madvise(p + PAGE, PAGE, MADV_DONTFORK);
    put(p, 1), put(p + PAGE, 2), put(p + 2 * PAGE, 3);
    if (!fork()) {
        printf("child %s %s %s\n", at(p), at(p + PAGE), at(p + 2 * PAGE));
        fflush(stdout);
        _exit(0);
    }
    wait(0);
    printf("parent %s %s %s\n", at(p), at(p + PAGE), at(p + 2 * PAGE));
    msync(p, PAGE, MS_ASYNC);
    munmap(p + PAGE, PAGE);
    printf("msync over a hole %s, of nothing %s, flags %s\n", said(msync(p, 3 * PAGE, MS_SYNC)), said(msync(p + PAGE, PAGE, MS_SYNC)), said(msync(p, PAGE, 8)));
    unsigned char v[4];
    printf("mincore: hole %s, unaligned %s, bad vector %s\n", said(mincore(p, 3 * PAGE, v)), said(mincore(p + 1, PAGE, v)), said(mincore(p, PAGE, (void *)1)));
}

static void others(void) {
    int to[2], back[2];
    pipe(to), pipe(back);
    char *p = anonymous(3), byte;
    strcpy(p + PAGE - 3, "hello");
    munmap(p + 2 * PAGE, PAGE);
    pid_t child = fork();
    if (!child) {
        read(to[0], &byte, 1);
        printf("child has %s\n", p);
        fflush(stdout);
        write(back[1], "x", 1);
        read(to[0], &byte, 1);
        _exit(0);
    }
    char buffer[8192] = {0};
    struct iovec here[2] = {{buffer, 2}, {buffer + 10, 8000}}, there = {p + PAGE - 3, 6}, far = {p + 2 * PAGE - 10, 20};
    int n = process_vm_readv(child, here, 2, &there, 1, 0);
    printf("read %d: %.2s %s\n", n, buffer, buffer + 10);
    printf("beyond %zd, nothing there %s\n", process_vm_readv(child, here + 1, 1, &far, 1, 0), said(process_vm_readv(child, here, 1, &(struct iovec){0, 5}, 1, 0)));
    strcpy(buffer, "written");
    n = process_vm_writev(child, &(struct iovec){buffer, 8}, 1, &(struct iovec){p, 8}, 1, 0);
    write(to[1], "x", 1), read(back[0], &byte, 1);
    printf("wrote %d; flags %s, process %s\n", n, said(process_vm_readv(child, here, 1, &there, 1, 1)), said(process_vm_readv(999999, here, 1, &there, 1, 0)));
    int pidfd = syscall(SYS_pidfd_open, child, 0);
    struct iovec cold = {p, PAGE};
    printf("advice for another %ld %s %s\n", syscall(SYS_process_madvise, pidfd, &cold, 1, MADV_COLD, 0), said(syscall(SYS_process_madvise, pidfd, &cold, 1, MADV_DONTNEED, 0)), said(syscall(SYS_process_madvise, pidfd, &cold, 1, MADV_COLD, 1)));
    write(to[1], "x", 1);
    wait(0);
}

/* What /proc tells of the mapping that begins at `p`. */
static void told(const char *what, void *p) {
    static const char *known = "rd wr ex sh mr mw me ms gd lo lf sr rr dc wf dd hg nh mg";
    unsigned long from = 0, to, begin;
    char line[400], rights[8], key[40];
    FILE *f = fopen("/proc/self/smaps", "r");
    printf("%s:", what);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx %4s %lx", &begin, &to, rights, &begin) == 4 && sscanf(line, "%lx", &from)) {
            if (from == (unsigned long)p) printf(" %s %lx", rights, begin);
            continue;
        }
        if (from != (unsigned long)p || sscanf(line, "%39[^:]:", key) != 1) continue;
        if (!strcmp(key, "Size") || !strcmp(key, "Rss") || !strcmp(key, "Anonymous") || !strcmp(key, "Locked")) printf(" %s %ld", key, atol(strchr(line, ':') + 1));
        if (strcmp(key, "VmFlags")) continue;
        for (char *flag = strtok(strchr(line, ':') + 1, " \n"); flag; flag = strtok(0, " \n"))
            if (strstr(known, flag)) printf(" %s", flag);
    }
    fclose(f);
    printf("\n");
}

/* MAP_32BIT: below 2 GiB, whatever is mapped, unless the place is said. */
static int low(size_t n, int flags, int f) {
    char *p = map(n, 1, flags | MAP_32BIT, f);
    return p != MAP_FAILED && (unsigned long)p + n <= 1ul << 31;
}

static void below(void) {
    int f = open("/proc/self/exe", O_RDONLY), m = syscall(SYS_memfd_create, "m", 0);
    ftruncate(m, 65536);
    printf("below 2 GiB: a page %d, 1 MiB %d, 64 MiB %d", low(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), low(1 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1), low(64 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1));
    printf(", shared %d, a file %d, a memfd %d", low(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1), low(PAGE, MAP_PRIVATE, f), low(PAGE, MAP_SHARED, m));
    char *p = map(PAGE, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    printf(", at its place %d\n", mmap(p, PAGE, 1, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0) == p);
    close(f), close(m);
}

static void telling(void) {
    int f = file("/tmp/memory-d", 4);
    struct stat s;
    fstat(f, &s);
    char *hole = map(64 * PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1), line[400], device[20], name[100];
    /* Each between two pages that may not be used, so that no area joins another. */
    char *a = mmap(hole + PAGE, 4 * PAGE, 3, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *b = mmap(hole + 8 * PAGE, 3 * PAGE, 1, MAP_FIXED | MAP_SHARED, f, PAGE), *c = mmap(hole + 16 * PAGE, 2 * PAGE, 3, MAP_FIXED | MAP_PRIVATE, f, 2 * PAGE), *d = mmap(hole + 24 * PAGE, 4 * PAGE, 3, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    told("fresh", a);
    put(a, 1), put(a + PAGE, 1);
    told("two pages", a);
    mlock(a, 4 * PAGE);
    told("locked", a);
    munlock(a, 4 * PAGE);
    syscall(SYS_mlock2, a, 4 * PAGE, 1);
    told("locked on fault", a);
    munlock(a, 4 * PAGE);
    int all[] = {1, 2, 0, 10, 16, 18, 14, 15};
    for (int i = 0; i < 8; i++) madvise(a, 4 * PAGE, all[i]), told("advised", a);
    told("shared file", b);
    put(c, 5);
    told("private file", c);
    put(d, 5);
    told("shared memory", d);
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, inode;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%*s %*s %*s %19s %lu %99s", &from, device, &inode, name) >= 3 && from == (unsigned long)c) printf("inode %d, name %s\n", inode == s.st_ino, name);
    fclose(maps);
    maps = fopen("/proc/self/smaps_rollup", "r");
    fgets(line, sizeof line, maps);
    printf("all: %s", strstr(line, "---p"));
    fclose(maps);
    unlink("/tmp/memory-d");
}

static void touch(int pages) {
    char *p = anonymous(pages);
    madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
    for (int i = 0; i < pages; i++) p[i * PAGE] = 1;
    munmap(p, pages * PAGE);
}

static void ended(const char *what, long megabytes) {
    struct rusage u;
    int status;
    wait4(-1, &status, 0, &u);
    printf("%s: status %d, had its memory at once %d, faults of it %d, major %ld\n", what, status, u.ru_maxrss >= megabytes << 10 && u.ru_maxrss < (megabytes + 8) << 10,
           u.ru_minflt >= megabytes << 8 && u.ru_minflt < (megabytes + 8) << 8, u.ru_majflt);
}

/* What processes have used; the tests behind this one use more. */
static void usage(void) {
    struct rusage a, b;
    char *p = anonymous(1000), line[400], *at;
    madvise(p, 1000 * PAGE, MADV_NOHUGEPAGE), getrusage(RUSAGE_SELF, &a);
    for (int i = 0; i < 1000; i++) p[i * PAGE] = 1;
    getrusage(RUSAGE_SELF, &b), printf("faults of 1000 pages %d", b.ru_minflt - a.ru_minflt >= 1000 && b.ru_minflt - a.ru_minflt < 1010);
    for (int i = 0; i < 1000; i++) p[i * PAGE] = 2;
    getrusage(RUSAGE_SELF, &a), printf(", again %d", a.ru_minflt - b.ru_minflt < 10);
    madvise(p, 1000 * PAGE, MADV_DONTNEED);
    int zero = open("/dev/zero", O_RDONLY);
    read(zero, p, 1000 * PAGE), close(zero), getrusage(RUSAGE_SELF, &b), printf(", by a call %d, at once %d\n", b.ru_minflt - a.ru_minflt >= 1000 && b.ru_minflt - a.ru_minflt < 1010, b.ru_maxrss >= 4000 && b.ru_maxrss < 16000);
    int stat = open("/proc/self/stat", O_RDONLY);
    line[read(stat, line, 399)] = 0, close(stat);
    long faults, of_children;
    sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*d %ld %ld", &faults, &of_children);
    getrusage(RUSAGE_SELF, &a), printf("/proc says the same %d, of children %ld\n", faults >= b.ru_minflt && faults <= a.ru_minflt, of_children);
    munmap(p, 1000 * PAGE);
    if (!fork()) touch(10 << 8), _exit(0);
    ended("a child", 10);
    if (!fork()) {
        if (!fork()) touch(20 << 8), _exit(0);
        wait(0), _exit(0);
    }
    ended("with its own child's", 20);
    if (!fork()) {
        signal(SIGCHLD, SIG_IGN);
        if (!fork()) touch(40 << 8), _exit(0);
        wait(0), _exit(0);
    }
    struct rusage u;
    wait4(-1, 0, 0, &u), printf("a child's that nobody waits for %d\n", u.ru_maxrss >= 40 << 10);
    if (!fork()) touch(15 << 8), execl("/proc/self/exe", "memory", "ends", (void *)0);
    ended("before another program", 15);
    if (!vfork()) _exit(3);
    wait4(-1, 0, 0, &u), printf("a vfork's faults %d\n", u.ru_minflt < 10);
    getrusage(RUSAGE_CHILDREN, &b), printf("children at once %d, faults %d", b.ru_maxrss >= 20 << 10 && b.ru_maxrss < 28 << 10, b.ru_minflt >= 45 << 8 && b.ru_minflt < 55 << 8);
    getrusage(RUSAGE_SELF, &b), printf(", not one's own %d %d\n", b.ru_maxrss < 9 << 10, b.ru_minflt - a.ru_minflt < 400);
}

int main(int count, char **arguments) {
    if (count > 1) return 0;
    struct sigaction action = {.sa_handler = caught, .sa_flags = SA_ONSTACK | SA_NODEFER};
    setvbuf(stdout, 0, _IOLBF, 0);
    sigaction(SIGSEGV, &action, 0), sigaction(SIGBUS, &action, 0);
    usage();
    private_files();
    rights();
    seals();
    moves();
    advice();
    others();
    below();
    telling();
    locks();
}
