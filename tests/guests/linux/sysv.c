// System V IPC within a UC: every line that it prints is what Linux prints. Part of the programs that tests run on both.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAY(what, call) printf("%s: %ld\n", what, answer((long)(call)))

static long answer(long value) { return value == -1 ? -(long)errno : value; }

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };
struct message { long type; char text[64]; };

static void nap(int ms) { usleep(ms * 1000); }
static void on_signal(int n) { (void)n; }

static void segments(void) {
    key_t key = 0x5eb0 + getpid();
    SAY("no segment of that key", shmget(key, 100, 0600));
    int id = shmget(key, 100, IPC_CREAT | 0600);
    SAY("made", id >= 0);
    SAY("made once only", shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600));
    SAY("found", shmget(key, 0, 0) == id);
    SAY("larger than it is", shmget(key, 5000, 0));
    SAY("of no size", shmget(IPC_PRIVATE, 0, 0600));
    char *a = shmat(id, 0, 0), *b = shmat(id, 0, SHM_RDONLY);
    strcpy(a, "written");
    printf("read through the other mapping: %s\n", b);
    struct shmid_ds ds;
    SAY("asked of", shmctl(id, IPC_STAT, &ds));
    printf("size %zu, mappings %ld, mode %o, creator is me %d\n", ds.shm_segsz, (long)ds.shm_nattch, ds.shm_perm.mode, ds.shm_cpid == getpid());
    pid_t child = fork();
    if (!child) {
        shmctl(id, IPC_STAT, &ds);
        strcpy(a, "by the child");
        _exit((int)ds.shm_nattch);
    }
    int status;
    waitpid(child, &status, 0);
    printf("mappings seen by the child: %d, text %s\n", WEXITSTATUS(status), b);
    shmctl(id, IPC_STAT, &ds);
    printf("mappings after its end: %ld\n", (long)ds.shm_nattch);
    SAY("not the start of a mapping", shmdt(a + 4096));
    SAY("unmapped", shmdt(a));
    SAY("unmapped twice", shmdt(a));
    SAY("removed", shmctl(id, IPC_RMID, 0));
    SAY("its key names nothing", shmget(key, 0, 0));
    SAY("still asked of", shmctl(id, IPC_STAT, &ds));
    printf("to be destroyed %d, key %d\n", !!(ds.shm_perm.mode & 01000), ds.shm_perm.__key);
    char *c = shmat(id, 0, 0);
    printf("mapped once more: %s\n", c == (void *)-1 ? strerror(errno) : c);
    if (c != (void *)-1) shmdt(c);
    SAY("last one unmapped", shmdt(b));
    SAY("gone", shmctl(id, IPC_STAT, &ds));
    SAY("gone for mapping", (long)shmat(id, 0, 0));

    int two = shmget(IPC_PRIVATE, 3 * 4096, 0600);
    char *p = shmat(two, 0, 0);
    SAY("at an odd place", (long)shmat(two, p + 100, 0));
    char *place = mmap(0, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    munmap(place, 64 << 20);
    place += 32 << 20;
    SAY("rounded down", shmat(two, place + 100, SHM_RND) == place);
    SAY("where something is", (long)shmat(two, place, 0));
    SAY("in its place", shmat(two, place, SHM_REMAP) == place);
    strcpy(p + 8192, "third page");
    printf("%s\n", place + 8192);
    shmdt(p);
    shmctl(two, IPC_RMID, 0);
    child = fork();
    if (!child) { execl("/proc/self/exe", "sysv", "count", (char *)0); _exit(1); }
    waitpid(child, &status, 0);
    shmctl(two, IPC_STAT, &ds);
    printf("exec unmaps: %d %ld\n", WEXITSTATUS(status), (long)ds.shm_nattch);
    shmdt(place);
    SAY("all gone", shmctl(two, IPC_STAT, &ds));
}

static void semaphores(void) {
    int id = semget(IPC_PRIVATE, 3, 0600);
    union semun u;
    SAY("too many", semget(IPC_PRIVATE, 40000, 0600));
    SAY("none", semget(IPC_PRIVATE, 0, 0600));
    u.val = 2;
    SAY("set", semctl(id, 1, SETVAL, u));
    u.val = 40000;
    SAY("set too high", semctl(id, 1, SETVAL, u));
    SAY("set outside", semctl(id, 3, SETVAL, u));
    SAY("get", semctl(id, 1, GETVAL));
    struct sembuf both[] = {{1, -1, 0}, {0, -1, IPC_NOWAIT}};
    SAY("all or nothing", semop(id, both, 2));
    SAY("nothing was", semctl(id, 1, GETVAL));
    struct sembuf same[] = {{1, -2, 0}, {1, 0, IPC_NOWAIT}, {1, 5, 0}};
    SAY("one after the other", semop(id, same, 3));
    SAY("all were", semctl(id, 1, GETVAL));
    struct sembuf outside = {3, 1, 0};
    SAY("outside the set", semop(id, &outside, 1));
    SAY("no operations", semop(id, &outside, 0));
    SAY("far too many operations", semop(id, &outside, 100000));
    struct sembuf high = {1, 32767, 0};
    SAY("above the highest value", semop(id, &high, 1));
    unsigned short all[3] = {1, 2, 3};
    u.array = all;
    SAY("set all", semctl(id, 0, SETALL, u));
    memset(all, 0, sizeof all);
    SAY("get all", semctl(id, 0, GETALL, u));
    printf("%d %d %d\n", all[0], all[1], all[2]);

    struct sembuf down = {0, -2, 0}, up = {0, 1, 0}, zero = {0, 0, 0};
    pid_t child = fork();
    if (!child) _exit(semop(id, &down, 1) == 0 ? 7 : errno);
    while (semctl(id, 0, GETNCNT) == 0) nap(5);
    SAY("one waits for more", semctl(id, 0, GETNCNT));
    SAY("none waits for zero", semctl(id, 0, GETZCNT));
    SAY("up", semop(id, &up, 1));
    int status;
    waitpid(child, &status, 0);
    printf("the child went on: %d\n", WEXITSTATUS(status));
    SAY("value", semctl(id, 0, GETVAL));
    SAY("by the child", semctl(id, 0, GETPID) == child);
    SAY("up", semop(id, &up, 1));
    child = fork();
    if (!child) _exit(semop(id, &zero, 1) == 0 ? 8 : errno);
    while (semctl(id, 0, GETZCNT) == 0) nap(5);
    struct sembuf one = {0, -1, 0};
    semop(id, &one, 1);
    waitpid(child, &status, 0);
    printf("zero was seen: %d\n", WEXITSTATUS(status));

    struct timespec soon = {0, 30000000};
    SAY("in time", semtimedop(id, &down, 1, &soon));
    signal(SIGALRM, on_signal);
    struct sigaction restart = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &restart, 0);
    ualarm(30000, 0);
    SAY("interrupted, never begun again", semop(id, &down, 1));
    SAY("nobody waits", semctl(id, 0, GETNCNT));

    struct sembuf take = {2, -2, SEM_UNDO}, give = {2, 1, SEM_UNDO};
    child = fork();
    if (!child) { semop(id, &take, 1); _exit(semctl(id, 2, GETVAL)); }
    waitpid(child, &status, 0);
    printf("while it held two: %d, after its end: %d\n", WEXITSTATUS(status), semctl(id, 2, GETVAL));
    child = fork();
    if (!child) { semop(id, &give, 1); u.val = 5; semctl(id, 2, SETVAL, u); _exit(0); }
    waitpid(child, 0, 0);
    SAY("a value that is set forgets what is owed", semctl(id, 2, GETVAL));

    struct semid_ds ds;
    u.buf = &ds;
    SAY("asked of", semctl(id, 0, IPC_STAT, u));
    printf("semaphores %lu, mode %o\n", ds.sem_nsems, ds.sem_perm.mode);
    child = fork();
    if (!child) _exit(semop(id, &down, 1) == 0 ? 0 : errno);
    while (semctl(id, 0, GETNCNT) == 0) nap(5);
    SAY("removed", semctl(id, 0, IPC_RMID));
    waitpid(child, &status, 0);
    printf("who waited was told: %d\n", WEXITSTATUS(status));
    SAY("gone", semop(id, &up, 1));
}

static void messages(void) {
    int id = msgget(IPC_PRIVATE, 0600);
    struct message m = {3, "three"};
    SAY("sent", msgsnd(id, &m, 6, 0));
    m = (struct message){1, "one"};
    SAY("sent", msgsnd(id, &m, 4, 0));
    m = (struct message){2, "two"};
    SAY("sent", msgsnd(id, &m, 4, 0));
    m.type = 0;
    SAY("of no type", msgsnd(id, &m, 4, 0));
    SAY("too long", msgsnd(id, &m, 100000, 0));
    SAY("the lowest up to two", msgrcv(id, &m, 64, -2, 0));
    printf("%ld %s\n", m.type, m.text);
    SAY("no such type", msgrcv(id, &m, 64, 9, IPC_NOWAIT));
    SAY("too long for the room", msgrcv(id, &m, 2, 3, 0));
    SAY("cut", msgrcv(id, &m, 2, 3, MSG_NOERROR));
    printf("%ld %.2s\n", m.type, m.text);
    SAY("any but that type", msgrcv(id, &m, 64, 2, IPC_NOWAIT | MSG_EXCEPT));
    struct msqid_ds ds;
    SAY("asked of", msgctl(id, IPC_STAT, &ds));
    printf("messages %lu, bytes %lu, room %lu, sender is me %d\n", ds.msg_qnum, ds.__msg_cbytes, ds.msg_qbytes, ds.msg_lspid == getpid());
    SAY("copied", msgrcv(id, &m, 64, 0, IPC_NOWAIT | MSG_COPY));
    SAY("any", msgrcv(id, &m, 64, 0, 0));
    printf("%ld %s\n", m.type, m.text);
    SAY("empty", msgrcv(id, &m, 64, 0, IPC_NOWAIT));

    ds.msg_qbytes = 10;
    SAY("made small", msgctl(id, IPC_SET, &ds));
    m = (struct message){5, "12345678"};
    SAY("fits", msgsnd(id, &m, 8, 0));
    SAY("does not fit", msgsnd(id, &m, 8, IPC_NOWAIT));
    pid_t child = fork();
    if (!child) { m.type = 6; _exit(msgsnd(id, &m, 8, 0) == 0 ? 9 : errno); }
    nap(50);
    SAY("makes room", msgrcv(id, &m, 64, 0, 0));
    int status;
    waitpid(child, &status, 0);
    printf("who waited has sent: %d\n", WEXITSTATUS(status));
    SAY("which arrives", msgrcv(id, &m, 64, 0, 0));
    printf("%ld\n", m.type);
    child = fork();
    if (!child) _exit(msgrcv(id, &m, 64, 0, 0) < 0 ? errno : 0);
    nap(50);
    SAY("removed", msgctl(id, IPC_RMID, 0));
    waitpid(child, &status, 0);
    printf("who waited was told: %d\n", WEXITSTATUS(status));
    SAY("gone", msgsnd(id, &m, 8, 0));
}

int main(int count, char **arguments) {
    setvbuf(stdout, 0, _IOLBF, 0);
    if (count > 1) return 3;
    (void)arguments;
    segments();
    semaphores();
    messages();
    return 0;
}
