// Memory policies as a machine with one node has them: what is checked, in which order, kept and told.
#include "checks.h"
#include <linux/mempolicy.h>
#define BAD ((void *)8)
#define PAGES 8
#define NODES (8 * (long)sizeof nodes)
static unsigned long nodes[128], told[128];
static char *memory;

// The thread's policy with its nodes.
static void policy(const char *what) {
    int mode = -2;
    memset(told, 0xff, sizeof told);
    long r = S(SYS_get_mempolicy, &mode, told, NODES, 0, 0);
    printf("%s: %ld %x %lx %lx\n", what, r, mode, told[0], told[1]);
}
// That of an address.
static void of(const char *what, void *at) {
    int mode = -2;
    errno = 0;
    memset(told, 0xff, sizeof told);
    long r = S(SYS_get_mempolicy, &mode, told, NODES, at, MPOL_F_ADDR);
    printf("%s: %ld %s %x %lx\n", what, r, strerrorname_np(errno), mode, told[0]);
}
static long set(int mode, unsigned long mask, long count) {
    nodes[0] = mask;
    return S(SYS_set_mempolicy, mode, nodes, count);
}
static long clear(void) { return S(SYS_set_mempolicy, MPOL_DEFAULT, 0, 0); }
static long bind_to(void *at, long len, int mode, unsigned long mask, int flags) {
    nodes[0] = mask;
    return S(SYS_mbind, at, len, mode, nodes, 64, flags);
}
static const struct { const char *name; int flag; } kinds[] = {
    {"plain", 0}, {"static", MPOL_F_STATIC_NODES}, {"relative", MPOL_F_RELATIVE_NODES},
    {"both", MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES}, {"balancing", 1 << 13}, {"unknown", 1 << 12},
};

static void threads_policy(void) {
    policy("at first");
    char what[60];
    for (int k = 0; k < 6; k++)
        for (int mode = -1; mode < 8; mode++)
            for (unsigned long mask = 0; mask < 4; mask++) {
                // Weighted interleaving is as new as Linux 6.9.
                if (mode == 6) continue;
                clear();
                sprintf(what, "%s %d of %lx", kinds[k].name, mode, mask);
                R(what, set(mode | kinds[k].flag, mask, 64));
                policy("is");
            }
    clear();
    R("no nodes", S(SYS_set_mempolicy, MPOL_PREFERRED, 0, 64)), policy("is");
    R("none of none", S(SYS_set_mempolicy, MPOL_PREFERRED, 0, 0)), R("length of 0", set(MPOL_BIND, 1, 0)), R("of 1", set(MPOL_BIND, 1, 1)), R("of 2", set(MPOL_BIND, 1, 2)), R("beyond the length", set(MPOL_BIND, 2, 2)), R("with one in it", set(MPOL_BIND, 3, 2));
    R("as many as there can be", set(MPOL_BIND, 1, 1025)), R("a page of them", S(SYS_set_mempolicy, MPOL_BIND, memset(memory, 1, 4096), 32769)), R("more", S(SYS_set_mempolicy, MPOL_BIND, memory, 32770));
    memset(memory, 0, 4096), memory[0] = 1;
    R("zeroes beyond", S(SYS_set_mempolicy, MPOL_BIND, memory, 32769)), R("bad", S(SYS_set_mempolicy, MPOL_BIND, BAD, 64)), R("bad and unknown", S(SYS_set_mempolicy, 99, BAD, 64)), R("bad for default", S(SYS_set_mempolicy, 0, BAD, 64)), R("nodes for default", set(0, 1, 64)), policy("is");
    R("interleaved", set(MPOL_INTERLEAVE, 1, 64));
    int mode = -2;
    R("next", S(SYS_get_mempolicy, &mode, 0, 0, 0, MPOL_F_NODE)), printf("%d\n", mode);
    R("bound", set(MPOL_BIND, 1, 64)), R("no next", S(SYS_get_mempolicy, &mode, 0, 0, 0, MPOL_F_NODE));
    // Children and programs have it too.
    CHILD(policy("of a child"), clear(), policy("its own"));
    policy("still");
    R("nobody asks", S(SYS_get_mempolicy, 0, 0, 0, 0, 0)), R("address without its flag", S(SYS_get_mempolicy, &mode, 0, 0, memory, 0)), R("unknown flag", S(SYS_get_mempolicy, &mode, 0, 0, 0, 8)), R("allowed", S(SYS_get_mempolicy, &mode, told, NODES, 0, MPOL_F_MEMS_ALLOWED)), printf("%d %lx\n", mode, told[0]);
    R("allowed of a node", S(SYS_get_mempolicy, &mode, told, NODES, 0, MPOL_F_MEMS_ALLOWED | MPOL_F_NODE)), R("of an address", S(SYS_get_mempolicy, &mode, told, NODES, memory, MPOL_F_MEMS_ALLOWED | MPOL_F_ADDR)), R("allowed with an address", S(SYS_get_mempolicy, &mode, told, NODES, memory, MPOL_F_MEMS_ALLOWED));
    R("no room", S(SYS_get_mempolicy, &mode, told, 0, 0, 0)), memset(told, 0xff, 16), R("room for 1", S(SYS_get_mempolicy, &mode, told, 1, 0, 0)), printf("%lx\n", told[0]), R("room for 2", S(SYS_get_mempolicy, &mode, told, 2, 0, 0)), printf("%lx %lx\n", told[0], told[1]), R("too much", S(SYS_get_mempolicy, &mode, told, 40000, 0, 0)), R("bad mode", S(SYS_get_mempolicy, BAD, 0, 0, 0, 0)), R("bad nodes", S(SYS_get_mempolicy, &mode, BAD, 64, 0, 0)), R("bad, none", S(SYS_get_mempolicy, &mode, BAD, 1, 0, 0));
    clear();
}

static void *other(void *unused) { policy("of another thread"), set(MPOL_BIND, 1, 64); return 0; }

static void of_memory(void) {
    char *m = memory, what[60];
    memset(m, 1, PAGES * 4096);
    of("at first", m), of("nowhere", BAD), of("code", (void *)of_memory);
    R("bind", bind_to(m + 4096, 4096, MPOL_BIND, 1, 0)), of("before", m), of("bound", m + 4096 + 5), of("after", m + 8192);
    R("prefer", bind_to(m + 8192, 5, MPOL_PREFERRED, 1, 0)), of("preferred", m + 8192), R("local", bind_to(m + 3 * 4096, 4096, MPOL_LOCAL, 0, 0)), of("local", m + 3 * 4096), R("prefer none", bind_to(m + 3 * 4096, 4096, MPOL_PREFERRED, 0, 0)), of("local", m + 3 * 4096);
    int node = -2;
    R("node", S(SYS_get_mempolicy, &node, 0, 0, m, MPOL_F_ADDR | MPOL_F_NODE)), printf("%d\n", node), R("of nowhere", S(SYS_get_mempolicy, &node, 0, 0, BAD, MPOL_F_ADDR | MPOL_F_NODE));
    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *far = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    R("node of what nobody may touch", S(SYS_get_mempolicy, &node, 0, 0, none, MPOL_F_ADDR | MPOL_F_NODE)), R("of what nobody has touched", S(SYS_get_mempolicy, &node, 0, 0, far, MPOL_F_ADDR | MPOL_F_NODE));
    CHILD(of("a child's", m + 4096), bind_to(m + 4096, 4096, 0, 0, 0), of("without", m + 4096));
    of("still", m + 4096);
    char *moved = mremap(m + 4096, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, far);
    of("moved", moved), of("its place", m + 4096);
    mmap(m + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), of("mapped anew", m + 4096);
    R("protect", mprotect(m + 8192, 4096, PROT_READ)), of("protected", m + 8192), R("advise", madvise(m + 8192, 4096, MADV_DONTNEED)), of("advised", m + 8192);
    munmap(m + 5 * 4096, 4096);
    R("a hole", bind_to(m + 4 * 4096, 3 * 4096, MPOL_BIND, 1, 0)), of("before it", m + 4 * 4096), R("default over it", bind_to(m + 4 * 4096, 3 * 4096, 0, 0, 0)), R("all of it", bind_to(m + 5 * 4096, 4096, 0, 0, 0)), R("begins in it", bind_to(m + 5 * 4096, 2 * 4096, 0, 0, 0)), R("ends in it", bind_to(m + 4 * 4096, 2 * 4096, MPOL_BIND, 1, 0));
    mmap(m + 5 * 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    for (int flag = 0; flag < 10; flag++) sprintf(what, "flags %d", flag), R(what, bind_to(m, 4096, MPOL_BIND, 1, flag));
    R("strictly local", bind_to(m, 4096, MPOL_LOCAL, 0, MPOL_MF_STRICT)), R("untouched", bind_to(far + 4096, 4096, MPOL_LOCAL, 0, MPOL_MF_STRICT)), R("strictly default", bind_to(m, 4096, 0, 0, MPOL_MF_STRICT)), R("moved", bind_to(m, 4096, MPOL_BIND, 1, MPOL_MF_STRICT | MPOL_MF_MOVE));
    R("unaligned", bind_to(m + 1, 4096, MPOL_BIND, 1, 0)), R("unaligned and unknown", bind_to(m + 1, 4096, 99, 1, 0)), R("and flags", bind_to(m + 1, 4096, MPOL_BIND, 1, 99)), R("nothing", bind_to(m, 0, MPOL_BIND, 1, 0)), R("nothing of no node", bind_to(m, 0, MPOL_BIND, 0, 0)), R("too much", bind_to(m, -4096, MPOL_BIND, 1, 0)), R("-1", bind_to(m, -1, MPOL_BIND, 1, 0)), R("nowhere", bind_to(0, 4096, MPOL_BIND, 1, 0)), R("of no node", bind_to(m, 4096, MPOL_BIND, 0, 0)), R("of another", bind_to(m, 4096, MPOL_BIND, 2, 0)), R("bad", S(SYS_mbind, m, 4096, MPOL_BIND, BAD, 64, 0)), R("bad and flags", S(SYS_mbind, m, 4096, MPOL_BIND, BAD, 64, 99));
    R("static", bind_to(m, 4096, MPOL_BIND | MPOL_F_STATIC_NODES, 3, 0)), of("static", m), R("relative", bind_to(m, 4096, MPOL_BIND | MPOL_F_RELATIVE_NODES, 6, 0)), of("relative", m);
    CHILD(setgid(1000), setuid(1000), R("as a user", bind_to(m, 4096, MPOL_BIND, 1, MPOL_MF_MOVE)), R("all", bind_to(m, 4096, MPOL_BIND, 1, MPOL_MF_MOVE_ALL)), R("with more", bind_to(m, 4096, MPOL_BIND, 1, MPOL_MF_MOVE_ALL | 8)));
    set(MPOL_PREFERRED, 1, 64), of("the thread's own counts where there is none", far + 8192), of("code", (void *)of_memory), clear();
    // The home.
    bind_to(m, 4096, MPOL_BIND, 1, 0), bind_to(m + 4096, 4096, MPOL_PREFERRED, 1, 0), bind_to(m + 8192, 4096, 0, 0, 0);
    R("home", S(SYS_set_mempolicy_home_node, m, 4096, 0, 0)), R("of the preferred", S(SYS_set_mempolicy_home_node, m + 4096, 4096, 0, 0)), R("of none", S(SYS_set_mempolicy_home_node, m + 8192, 4096, 0, 0)), R("of both", S(SYS_set_mempolicy_home_node, m, 8192, 0, 0)), R("nowhere", S(SYS_set_mempolicy_home_node, 0, 4096, 0, 0)), R("unaligned", S(SYS_set_mempolicy_home_node, m + 1, 4096, 0, 0)), R("flags", S(SYS_set_mempolicy_home_node, m, 4096, 0, 1)), R("another node", S(SYS_set_mempolicy_home_node, m, 4096, 1, 0)), R("-1", S(SYS_set_mempolicy_home_node, m, 4096, -1, 0)), R("nothing", S(SYS_set_mempolicy_home_node, m, 0, 0, 0)), R("too much", S(SYS_set_mempolicy_home_node, m, -4096L, 0, 0));
    munmap(none, 4096), munmap(far, 4 * 4096);
}

static void moving(void) {
    char *m = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m[0] = 1;
    void *at[] = {m, m + 4096, m + 8192, BAD, m + 7};
    int to[] = {0, 0, 0, 0, 0}, status[5];
    #define TOLD(what, ...) memset(status, 0x55, sizeof status), R(what, __VA_ARGS__), printf("%d %d %d %d %d\n", status[0], status[1], status[2], status[3], status[4])
    TOLD("where", S(SYS_move_pages, 0, 5, at, 0, status, 0)), TOLD("of itself", S(SYS_move_pages, getpid(), 5, at, 0, status, MPOL_MF_MOVE)), TOLD("move", S(SYS_move_pages, 0, 5, at, to, status, MPOL_MF_MOVE)), TOLD("without flags", S(SYS_move_pages, 0, 5, at, to, status, 0)), TOLD("all", S(SYS_move_pages, 0, 5, at, to, status, MPOL_MF_MOVE_ALL)), TOLD("none", S(SYS_move_pages, 0, 0, at, to, status, 0));
    to[1] = 1, TOLD("to another node", S(SYS_move_pages, 0, 5, at, to, status, MPOL_MF_MOVE)), to[1] = -1, TOLD("to -1", S(SYS_move_pages, 0, 5, at, to, status, MPOL_MF_MOVE)), to[1] = 0;
    R("flags", S(SYS_move_pages, 0, 5, at, to, status, 1)), R("unknown", S(SYS_move_pages, 0, 5, at, to, status, 8)), R("nobody", S(SYS_move_pages, 0x7fffffff, 5, at, to, status, 0)), R("-1", S(SYS_move_pages, -1, 5, at, to, status, 0)), R("bad pages", S(SYS_move_pages, 0, 5, BAD, 0, status, 0)), R("bad nodes", S(SYS_move_pages, 0, 5, at, BAD, status, 0)), R("bad status", S(SYS_move_pages, 0, 5, at, 0, BAD, 0)), R("bad both", S(SYS_move_pages, 0, 5, at, to, BAD, 0)), R("null", S(SYS_move_pages, 0, 5, 0, 0, 0, 0)), R("none of nothing", S(SYS_move_pages, 0, 0, 0, 0, 0, 0));
    CHILD(setgid(1000), setuid(1000), R("another's", S(SYS_move_pages, getppid(), 1, at, 0, status, 0)), R("all as a user", S(SYS_move_pages, 0, 1, at, to, status, MPOL_MF_MOVE_ALL)), R("own", S(SYS_move_pages, 0, 1, at, to, status, MPOL_MF_MOVE)), nodes[0] = 1, R("migrate another's", S(SYS_migrate_pages, getppid(), 64, nodes, nodes)), R("own", S(SYS_migrate_pages, 0, 64, nodes, nodes)), told[0] = 3, R("to another node", S(SYS_migrate_pages, 0, 64, nodes, told)));
    unsigned long from[2] = {1}, where[2] = {1};
    R("migrate", S(SYS_migrate_pages, 0, 64, from, where)), R("itself", S(SYS_migrate_pages, getpid(), 64, from, where)), where[0] = 2, R("to another", S(SYS_migrate_pages, 0, 64, from, where)), where[0] = 3, R("to one and another", S(SYS_migrate_pages, 0, 64, from, where)), where[0] = 0, R("to none", S(SYS_migrate_pages, 0, 64, from, where)), where[0] = 1, from[0] = 2, R("from another", S(SYS_migrate_pages, 0, 64, from, where)), R("from none", S(SYS_migrate_pages, 0, 64, 0, where)), R("nowhere", S(SYS_migrate_pages, 0, 64, from, 0)), R("bad from", S(SYS_migrate_pages, 0, 64, BAD, where)), R("bad to", S(SYS_migrate_pages, 0, 64, from, BAD)), R("length of 0", S(SYS_migrate_pages, 0, 0, from, where)), R("too long", S(SYS_migrate_pages, 0, 40000, from, where)), R("nobody", S(SYS_migrate_pages, 0x7fffffff, 64, from, where)), R("nobody's bad", S(SYS_migrate_pages, 0x7fffffff, 64, BAD, where));
    pid_t over = fork();
    if (!over) _exit(0);
    siginfo_t info;
    waitid(P_PID, over, &info, WEXITED | WNOWAIT);
    R("of what is over", S(SYS_migrate_pages, over, 64, from, where)), R("pages of it", S(SYS_move_pages, over, 1, at, 0, status, 0));
    waitpid(over, 0, 0);
}

// The words of numa_maps for an address.
static void shown(const char *what, void *at) {
    char line[500], start[30];
    FILE *maps = fopen("/proc/self/numa_maps", "r");
    sprintf(start, "%08lx ", (long)at);
    while (fgets(line, sizeof line, maps))
        if (!strncmp(line, start, strlen(start))) {
            printf("%s:", what);
            for (char *word = strtok(line + strlen(start), " \n"); word; word = strtok(0, " \n"))
                if (strncmp(word, "active", 6)) printf(" %s", word);
            printf("\n");
        }
    fclose(maps);
}
static void line_of(const char *path) {
    char line[200] = "";
    int fd = open(path, O_RDONLY);
    R(path, fd < 0 ? -1 : 0);
    int n = read(fd, line, sizeof line - 1);
    for (int i = 0; i < n && line[i] != '\n'; i++) putchar(line[i]);
    putchar('\n'), close(fd);
}

int main(int count, char **arguments) {
    setvbuf(stdout, 0, _IOLBF, 1 << 12);
    if (count > 1) return policy("of a program"), 0;
    // Root here has no more rights than root in a container.
    unsigned header[2] = {0x20080522}, sets[6];
    S(SYS_capget, header, sets), sets[0] &= ~(1 << 23), S(SYS_capset, header, sets);
    memory = mmap(0, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(memory + PAGES * 4096, 4096), munmap(memory + 63 * 4096, 4096);
    threads_policy(), of_memory(), moving();
    set(MPOL_BIND, 1, 64);
    pthread_t thread;
    pthread_create(&thread, 0, other, 0), pthread_join(thread, 0), set(MPOL_PREFERRED, 1, 64);
    pthread_create(&thread, 0, other, 0), pthread_join(thread, 0), policy("of this one");
    CHILD(execl("/proc/self/exe", arguments[0], "again", (char *)0));
    clear();
    char *m = memory + 16 * 4096;
    memset(m, 1, 12 * 4096);
    for (int page = 0; page < 12; page += 2) mprotect(m + page * 4096, 4096, PROT_READ);
    bind_to(m, 4096, MPOL_BIND, 1, 0), bind_to(m + 8192, 4096, MPOL_PREFERRED, 1, 0), bind_to(m + 4 * 4096, 4096, MPOL_INTERLEAVE, 1, 0), bind_to(m + 6 * 4096, 4096, MPOL_LOCAL, 0, 0), bind_to(m + 8 * 4096, 4096, MPOL_BIND | MPOL_F_STATIC_NODES, 3, 0), bind_to(m + 10 * 4096, 4096, MPOL_PREFERRED_MANY | MPOL_F_RELATIVE_NODES, 1, 0);
    for (int page = 0; page < 12; page += 2) shown("shown", m + page * 4096);
    shown("without one", m + 4096);
    line_of("/sys/devices/system/node/possible"), line_of("/sys/devices/system/node/online"), line_of("/sys/devices/system/node/has_memory"), line_of("/sys/devices/system/node/node0/distance"), line_of("/sys/devices/system/cpu/cpu0/node0/distance"), line_of("/sys/devices/system/node/node1/distance");
    char *wanted[] = {"numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"}, word[40];
    FILE *stat = fopen("/sys/devices/system/node/node0/numastat", "r");
    if (!stat) return printf("no numastat\n"), 0;
    for (int i = 0; fscanf(stat, "%39s %*d", word) == 1; i++) printf("%s %d\n", word, i < 6 && !strcmp(word, wanted[i]));
}
