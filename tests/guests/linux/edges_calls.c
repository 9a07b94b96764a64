// Calls with each combination of arguments that may be right or wrong: a line for those that have all but the first in common. What one
// version of Linux has and another has not (MFD_HUGETLB without huge pages, PIDFD_THREAD, SCHED_EXT), or what depends on the host's
// limits and memory (MCL_CURRENT without a right to it, lengths beyond all memory), is not asked.
#include "tables.h"
#define END 0x7ead7ead7eadl
#define BUF 0x7ead7ead0001l
#define BAD 8l
#define MAP 0x7ead7ead1000l // the first of 16 pages; what is added to it stays
static char buffer[8192], *map;

struct call { const char *name; int number; long lists[6][24]; };
#define L(...) {__VA_ARGS__, END}

static const struct call CALLS[] = {
    {"madvise", SYS_madvise, {L(MAP, MAP + 1, MAP + 4096 * 20, 0, -4096), L(0, 1, 4096, 4097, 65536, 4096 * 30, -1), L(-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 22, 28)}},
    {"mprotect", SYS_mprotect, {L(MAP, MAP + 1, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1), L(0, 1, 2, 3, 4, 7, 8, 16, 0x1000000, 0x2000000, 0x3000000, -1)}},
    {"mlock", SYS_mlock, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1)}},
    {"mlock2", SYS_mlock2, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1), L(0, 1, 2, 3, -1)}},
    {"munlock", SYS_munlock, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1)}},
    {"mlockall", SYS_mlockall, {L(-1, 0, 2, 4, 6, 8, 9)}},
    {"msync", SYS_msync, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1), L(-1, 0, 1, 2, 3, 4, 5, 6, 8)}},
    {"mincore", SYS_mincore, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1), L(BUF, BAD, 0)}},
    {"munmap", SYS_munmap, {L(MAP, MAP + 1, 0, MAP + 4096 * 20, -4096), L(0, 1, 4096, 4096 * 30, -1)}},
    {"mremap", SYS_mremap, {L(MAP, MAP + 1, MAP + 4096 * 20), L(0, 1, 4096, 65536, 4096 * 30, -1), L(0, 1, 4096, 8192, 65536, -1), L(-1, 0, 1, 2, 3, 4, 5, 7, 8), L(MAP + 8 * 4096)}},
    {"mmap", SYS_mmap, {L(0, MAP, MAP + 1), L(0, 1, 4096, 1l << 47, -1), L(0, 3, -1), L(0, MAP_PRIVATE, MAP_SHARED, 3, MAP_ANONYMOUS, MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_ANONYMOUS | 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, MAP_PRIVATE | MAP_ANONYMOUS | 0x8000000, MAP_SHARED | MAP_ANONYMOUS | MAP_SYNC), L(-1, 900), L(0, 1, 4096, -4096)}},
    {"membarrier", SYS_membarrier, {L(-1, 1, 2, 3, 4, 8, 16, 32, 1024, 2048), L(0, 1, 2, -1), L(0, -1)}},
    {"getrandom", SYS_getrandom, {L(BUF, BAD, 0), L(0, 1, 256), L(-1, 0, 1, 2, 3, 4, 5, 6, 7, 8)}},
    {"memfd_create", SYS_memfd_create, {L(BUF, BAD, 0), L(-1, 0, 1, 2, 3, 8, 10, 16, 24, 0x20, 0x40)}},
    {"sched_setscheduler", SYS_sched_setscheduler, {L(0, -1, 0x7fffffff), L(-1, 0, 1, 2, 3, 4, 5, 6, 8, 0x40000000, 0x40000001, 0x40000003), L(BUF, BAD, 0)}},
    {"sched_getscheduler", SYS_sched_getscheduler, {L(0, -1, 0x7fffffff)}},
    {"sched_setparam", SYS_sched_setparam, {L(0, -1, 0x7fffffff), L(BUF, BAD, 0)}},
    {"sched_getparam", SYS_sched_getparam, {L(0, -1, 0x7fffffff), L(BUF, BAD, 0)}},
    {"sched_setattr", SYS_sched_setattr, {L(0, -1, 0x7fffffff), L(BUF, BAD, 0), L(0, 1, -1)}},
    {"sched_getattr", SYS_sched_getattr, {L(0, -1, 0x7fffffff), L(BUF, BAD, 0), L(0, 1, 47, 48, 49, 56, 4096, 4097, -1), L(0, 1, -1)}},
    {"sched_rr_get_interval", SYS_sched_rr_get_interval, {L(-1, 0x7fffffff), L(BUF, BAD, 0)}},
    {"sched_get_priority_max", SYS_sched_get_priority_max, {L(-1, 0, 1, 2, 3, 4, 5, 6)}},
    {"sched_getaffinity", SYS_sched_getaffinity, {L(-1, 0x7fffffff), L(0, 1, 7, 8, 9, 16, 128, -1), L(BUF, BAD, 0)}},
    {"sched_setaffinity", SYS_sched_setaffinity, {L(0, -1, 0x7fffffff), L(0), L(BUF, BAD, 0)}},
    {"ioprio_get", SYS_ioprio_get, {L(-1, 0, 1, 4), L(-1, 0x7fffffff)}},
    {"ioprio_set", SYS_ioprio_set, {L(-1, 0, 1, 4), L(0, 0x7fffffff), L(-1, 0, 1, 7, 8, 1 << 13, (1 << 13) + 3, 2 << 13, (2 << 13) + 4, (2 << 13) + 7, (2 << 13) + 8, 3 << 13, (3 << 13) + 7, 4 << 13, 7 << 13, 8 << 13, 1 << 20)}},
    {"getpriority", SYS_getpriority, {L(-1, 0, 1, 2, 3), L(-1, 0x7fffffff)}},
    {"getcpu", SYS_getcpu, {L(BUF, BAD, 0), L(0, BAD), L(0, BAD)}},
    {"personality", SYS_personality, {L(0xffffffff, 0, 8, 0x40000, 0x20000, 0x200000, 0x400000, 0x800000, 0x2000000)}},
    {"set_robust_list", SYS_set_robust_list, {L(0, BUF, BAD), L(0, 23, 24, 25, -1)}},
    {"get_robust_list", SYS_get_robust_list, {L(0, -1, 0x7fffffff), L(BUF, BAD), L(BUF, BAD)}},
    {"pipe2", SYS_pipe2, {L(BUF, BAD, 0), L(-1, 0, 1, 02000000, 04000, 040000, 0200, 0100000)}},
    {"dup3", SYS_dup3, {L(0, -1, 900), L(0, 20, -1, 5000000), L(0, 1, 02000000, -1)}},
    {"eventfd2", SYS_eventfd2, {L(0, 1, -1), L(-1, 0, 1, 2, 04000, 02000000)}},
    {"close_range", SYS_close_range, {L(50, 60, -1), L(50, 40, -1), L(0, 1, 2, 4, 6, 8, -1)}},
    {"pidfd_open", SYS_pidfd_open, {L(-1, 0, 0x7fffffff), L(0, 04000, 1, -1)}},
    {"umask", SYS_umask, {L(0, 0777, 07777, -1)}},
    {"arch_prctl", SYS_arch_prctl, {L(-1, 0, 0x1003, 0x1004, 0x1005, 0x2001, 0x2002, 0x2003, 0x3001, 0x4001, 0x4002, 0x5001, 0x6001), L(BAD, -1, 1l << 47)}},
    {"arch_prctl", SYS_arch_prctl, {L(0x1001, 0x1012), L(0, 1, BUF, -1, (1l << 47) - 4096, 1l << 47)}},
    {"alarm", SYS_alarm, {L(0, 1000, -1)}},
    {"getitimer", SYS_getitimer, {L(-1, 0, 1, 2, 3), L(BUF, BAD, 0)}},
    {"sync_file_range", SYS_sync_file_range, {L(-1, 900), L(0, -1), L(0, -1), L(0, 8, -1)}},
    {"readahead", SYS_readahead, {L(-1, 900), L(0, -1), L(0, -1)}},
    {"kcmp", SYS_kcmp, {L(0x7fffffff), L(0x7fffffff), L(-1, 0, 7, 8), L(0), L(0)}},
    {"waitid", SYS_waitid, {L(-1, 0, 1, 2, 3, 4), L(0x7ffffff0, -1), L(BUF, BAD, 0), L(0, 1, 4, 5, 0x1000005, 0x20000005, 0x40000005, -1)}},
    {"unshare", SYS_unshare, {L(0, 0x200, 0x400, 0x8000, 0x40000, 1, 0x80, -1)}},
    {"setns", SYS_setns, {L(-1, 900, 0), L(0, -1, 0x10000000)}},
    {"sigaltstack", SYS_sigaltstack, {L(BUF, BAD), L(0, BAD)}},
    {"rt_sigprocmask", SYS_rt_sigprocmask, {L(-1, 0, 1, 2, 3), L(0, BUF, BAD), L(0, BUF, BAD), L(8, 4, 16)}},
    {"rt_sigaction", SYS_rt_sigaction, {L(-1, 0, 9, 10, 19, 64, 65), L(0, BUF, BAD), L(0, BUF, BAD), L(8, 4, 16)}},
    {"capget", SYS_capget, {L(BUF, BAD, 0), L(BUF, BAD, 0)}},
    {"getgroups", SYS_getgroups, {L(-1, 0), L(BUF, BAD)}},
    {"process_vm_readv", SYS_process_vm_readv, {L(0x7fffffff, -1), L(BUF, BAD, 0), L(0, 1, 1025), L(BUF, BAD, 0), L(0, 1, 1025), L(0, 1)}},
    {"futex_waitv", SYS_futex_waitv, {L(BUF, BAD, 0), L(0, 1, 128, 129, -1), L(0, 1, -1), L(0, BUF, BAD), L(0, 1, -1)}},
    {"syslog", SYS_syslog, {L(-1, 0, 2, 11), L(0, BUF, BAD), L(0, -1)}},
    {"getrusage", SYS_getrusage, {L(-2, 1, 2), L(BUF, BAD, 0)}},
    {"timer_create", SYS_timer_create, {L(-1, 0, 1, 2, 3, 4, 5, 7, 10, 11, 12), L(0, BUF, BAD), L(BUF, BAD, 0)}},
    {"epoll_create1", SYS_epoll_create1, {L(-1, 0, 1, 02000000, 04000)}},
    {"inotify_init1", SYS_inotify_init1, {L(-1, 0, 1, 02000000, 04000)}},
    {"timerfd_create", SYS_timerfd_create, {L(-1, 0, 1, 2, 3, 7, 10, 12), L(-1, 0, 1, 02000000, 04000)}},
    {"socket", SYS_socket, {L(-1, 0, 1, 2, 10, 16, 46), L(-1, 0, 1, 2, 5, 7, 2 | 04000, 1 | 02000000, 1 | 01000), L(-1, 0, 1, 17, 256, 300)}},
    {"socketpair", SYS_socketpair, {L(-1, 0, 1, 2, 46), L(-1, 0, 1, 2, 3, 5, 7, 1 | 01000), L(-1, 0, 1, 6), L(BUF, BAD, 0)}},
};

static long value(long of) {
    if (of == BUF) return (long)buffer;
    if (of >= MAP && of < MAP + 0x100000) return (long)map + (of - MAP);
    return of;
}
static char *name(char *to, long of) {
    if (of == BUF) return to + sprintf(to, "buf");
    if (of >= MAP && of < MAP + 0x100000) return to + sprintf(to, "map+%lx", of - MAP);
    return to + sprintf(to, "%lx", of);
}
static void clean(const struct call *c) {
    for (int fd = 3; fd < 30; fd++) close(fd);
    memset(buffer, 0, sizeof buffer);
    if (c->number == SYS_munmap || c->number == SYS_mremap || c->number == SYS_mmap || c->number == SYS_mprotect || c->number == SYS_madvise)
        mmap(map, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), mmap(map + 65536, 4096 * 48, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), munmap(map + 65536, 4096 * 48);
}
static int used(const struct call *c, int i) { return c->lists[i][0] || c->lists[i][1]; }
static void walk(const struct call *c) {
    int at[6] = {0};
    for (;;) {
        int i = 1;
        char head[99], *to = head + sprintf(head, "%s(*", c->name);
        for (int k = 1; k < 6; k++) if (used(c, k)) *to++ = ' ', to = name(to, c->lists[k][at[k]]);
        strcpy(to, ")"), rows();
        for (at[0] = 0; c->lists[0][at[0]] != END; at[0]++) {
            long a[6] = {0};
            for (int k = 0; k < 6; k++) if (used(c, k)) a[k] = value(c->lists[k][at[k]]);
            // Root comes back from SCHED_IDLE there by a right that it has not here.
            if (c->number == SYS_sched_setscheduler && a[1] == 5 && a[2] == (long)buffer) continue;
            clean(c);
            errno = 0;
            long r = syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
            tell_result(r);
            if (r > 1l << 30) munmap((void *)r, 1 << 20);
        }
        row(), same_rows(head);
        for (; i < 6; i++) {
            if (!used(c, i)) continue;
            if (c->lists[i][++at[i]] != END) break;
            at[i] = 0;
        }
        if (i == 6) break;
    }
    rows_end();
}
// prctl with each request, whose results and what they leave are told by a child. Not asked is what is of other machines, of newer kernels,
// or ends the caller; and what a process has kept to itself (PR_SET_MM, PR_SET_SECCOMP, PR_SET_SYSCALL_USER_DISPATCH).
static void requests(void) {
    static const char LEFT_OUT[] = {22, 23, 24, 26, 35, 41, 42, 45, 46, 52, 53, 59};
    for (int o = -1; o <= 62; o++) {
        long args[] = {0, 1, 2, 3, 8, 64, 99, -1, (long)buffer, 1 << 20};
        if (o >= 0 && memchr(LEFT_OUT, o, sizeof LEFT_OUT)) continue;
        for (int rest = 0; rest < 4; rest++) {
            printf("prctl %d/%d:", o, rest), fflush(stdout);
            for (int a = 0; a < COUNT(args); a++) {
                int got[2], in[3] = {0, 0, 0}, status;
                pipe(got);
                pid_t child = fork();
                if (!child) {
                    memset(buffer, 0, 64), errno = 0;
                    long r = prctl(o, args[a], rest == 1 ? 1l : 0l, rest == 2 ? 1l : 0l, rest == 3 ? 1l : 0l), e = errno;
                    int out[3] = {r, e, *(int *)buffer};
                    write(got[1], out, sizeof out), _exit(0);
                }
                close(got[1]);
                int n = read(got[0], in, sizeof in);
                waitpid(child, &status, 0), close(got[0]), errno = in[1];
                if (n == 12) tell_result(in[0]); else tell("ended %x", status);
                if (in[0] >= 0 && args[a] == (long)buffer && o != 16 && o != 40) tell("=%x", in[2]);
            }
            row();
        }
    }
}
int main(void) {
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    without_rights();
    signal(SIGALRM, SIG_IGN);
    map = mmap(0, 65536 + 4096 * 64, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), munmap(map + 65536, 4096 * 64);
    for (int i = 0; i < COUNT(CALLS); i++) CHILD(walk(CALLS + i));
    CHILD(requests());
}
