// For snapshot.c: threads that each wait in another call, some of them with a part of it done, until they are woken.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <termios.h>

enum { READ, POLL, EPOLL, FUTEX, WAITALL, WRITE, ACCEPT, QUEUE, SEMAPHORE, LOCK, TERMINAL, WAITERS };
#define MUCH 100000

static int ends[WAITERS][2], word, queue, semaphore;
static struct sockaddr_in address = {.sin_family = AF_INET};
static pthread_t waiters[WAITERS];
static char results[WAITERS][64];

static void *waiter(void *kind) {
    int which = (intptr_t)kind, *fd = ends[which], n;
    char b[16] = "";
    struct { long type; char text[8]; } message = {0};
    struct pollfd ready = {fd[0], POLLIN, 0};
    struct epoll_event event = {.events = EPOLLIN};
    struct sembuf down = {0, -1, 0};
    static unsigned char much[MUCH];
    switch (which) {
    case READ: n = read(fd[0], b, 8); break;
    case POLL: n = poll(&ready, 1, -1), b[0] = '0' + ready.revents; break;
    case EPOLL:
        n = epoll_create1(0), epoll_ctl(n, EPOLL_CTL_ADD, fd[0], &event), n = epoll_wait(n, &event, 1, -1);
        break;
    case FUTEX: n = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL), b[0] = '0' + word; break;
    case WAITALL: n = recv(fd[0], b, 6, MSG_WAITALL); break;
    case WRITE:
        for (n = 0; n < MUCH; n++) much[n] = n % 251;
        n = write(fd[1], much, MUCH);
        break;
    case ACCEPT: n = accept(fd[0], NULL, NULL) >= 0; break;
    case QUEUE: n = msgrcv(queue, &message, 8, 7, 0), memcpy(b, message.text, 8); break;
    case SEMAPHORE: n = semop(semaphore, &down, 1); break;
    case LOCK: n = flock(fd[1], LOCK_EX); break;
    default: n = read(fd[1], b, 15); b[n > 0 ? n - 1 : 0] = 0;
    }
    sprintf(results[which], "%d%s%s", n, *b ? " " : "", b);
    return NULL;
}

static void begin_waiting(void) {
    socklen_t size = sizeof address;
    for (int i = 0; i < WAITERS; i++) pipe(ends[i]);
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends[WAITALL]);
    write(ends[WAITALL][1], "two", 3);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK), address.sin_port = 0;
    ends[ACCEPT][0] = socket(AF_INET, SOCK_STREAM, 0);
    bind(ends[ACCEPT][0], (void *)&address, size), listen(ends[ACCEPT][0], 1), getsockname(ends[ACCEPT][0], (void *)&address, &size);
    queue = msgget(IPC_PRIVATE, 0600), semaphore = semget(IPC_PRIVATE, 1, 0600);
    for (int i = 0; i < 2; i++) ends[LOCK][i] = open("/tmp/lock", O_RDWR | O_CREAT, 0600);
    flock(ends[LOCK][0], LOCK_EX);
    openpty(&ends[TERMINAL][0], &ends[TERMINAL][1], NULL, NULL, &(struct winsize){50, 132});
    // A line that is not whole yet.
    write(ends[TERMINAL][0], "hal", 3);
    for (int i = 0; i < WAITERS; i++) pthread_create(&waiters[i], NULL, waiter, (void *)(intptr_t)i);
}

// Wakes them all; what each got, and what of the pipe that was written to came in order.
static void end_waiting(void) {
    struct { long type; char text[8]; } message = {7, "sent"};
    struct sembuf up = {0, 1, 0};
    struct winsize window;
    unsigned char piece[4096];
    char echo[32] = "";
    int got = 0, right = 1;
    write(ends[READ][1], "read", 4), write(ends[POLL][1], "x", 1), write(ends[EPOLL][1], "x", 1);
    word = 1, syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
    write(ends[WAITALL][1], "and", 3);
    for (int n; got < MUCH && (n = read(ends[WRITE][0], piece, sizeof piece)) > 0; got += n)
        for (int i = 0; i < n; i++) right &= piece[i] == (got + i) % 251;
    connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, sizeof address);
    msgsnd(queue, &message, 8, 0), semop(semaphore, &up, 1), flock(ends[LOCK][0], LOCK_UN);
    // The last letter is taken back first.
    write(ends[TERMINAL][0], "\x7flfway\n", 7);
    for (int i = 0; i < WAITERS; i++) pthread_join(waiters[i], NULL), printf("%s, ", results[i]);
    ioctl(ends[TERMINAL][1], TIOCGWINSZ, &window), usleep(10000), fcntl(ends[TERMINAL][0], F_SETFL, O_NONBLOCK);
    got = read(ends[TERMINAL][0], echo, 31), echo[got < 0 ? 0 : got] = 0;
    printf("window %d %d, echo %d, in order %d\n", window.ws_row, window.ws_col, !strcmp(echo, "hal\b \blfway\r\n"), right);
}
