// For tests/snapshots.rs: a program with memory, a thread, a pipe, an epoll set and a timer, which obeys lines on its input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "waiters.h"

#define PAGES 600
static unsigned char memory[PAGES][4096] __attribute__((aligned(4096)));
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, back = PTHREAD_COND_INITIALIZER;
static int asked, answered;
// A pair that is connected over loopback, with bytes on the way; a connection to somewhere else.
static int loop[2], outside = -1;

static void connect_loop(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&at, size);
    listen(listener, 1);
    getsockname(listener, (struct sockaddr *)&at, &size);
    loop[0] = socket(AF_INET, SOCK_STREAM, 0);
    connect(loop[0], (struct sockaddr *)&at, size);
    loop[1] = accept(listener, NULL, NULL);
    close(listener);
    write(loop[0], "way", 3);
}

static const char *connect_outside(unsigned port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr("10.0.2.2")};
    outside = socket(AF_INET, SOCK_STREAM, 0);
    return connect(outside, (struct sockaddr *)&at, sizeof at) ? strerror(errno) : "connected";
}

static void *helper(void *unused) {
    pthread_mutex_lock(&lock);
    for (;;) {
        while (asked == answered) pthread_cond_wait(&cond, &lock);
        answered = asked;
        pthread_cond_signal(&back);
    }
    return unused;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

// A child and what it has in common with its parent: memory, pipes, a lock that it holds.
static volatile int *common;
static int to_child[2], from_child[2], locked;
static struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

static void family(void) {
    common = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    locked = open("/tmp/locked", O_RDWR | O_CREAT, 0600);
    pipe(to_child);
    pipe(from_child);
    if (fork()) return;
    int own = 100, n;
    fcntl(locked, F_SETLK, &whole);
    while (read(to_child[0], &n, sizeof n) == sizeof n) {
        *common += n;
        own++;
        write(from_child[1], &own, sizeof own);
    }
    _exit(0);
}

// A file that is mapped privately, one page of it changed there; a page that no copy may have.
static int file;
static volatile unsigned char *view, *secret;

static void map_file(void) {
    char page[4096];
    file = open("/tmp/mapped", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 3; i++) pwrite(file, memset(page, i + 1, 4096), 4096, i * 4096);
    view = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    view[4096] = 9 * view[0];
    secret = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise((void *)secret, 4096, MADV_WIPEONFORK);
    *secret = 7;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, helper, NULL);
    for (int i = 0; i < PAGES; i++) memory[i][i] = i;
    int ends[2], set = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    pipe(ends);
    write(ends[1], "kept", 4);
    connect_loop();
    struct itimerspec when = {.it_value = {.tv_sec = 20}};
    timerfd_settime(timer, 0, &when, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event);
    uint64_t begun = now();
    puts("ready");
    fflush(stdout);
    char line[64];
    // Byte by byte: nothing of the input is held back in the program.
    for (int n = 0; read(0, line + n, 1) == 1;) {
        if (line[n] != '\n') {
            n += n < 62;
            continue;
        }
        line[n] = 0;
        n = 0;
        unsigned page, value;
        if (sscanf(line, "write %u %u", &page, &value) == 2 && page < PAGES) {
            memory[page][page] = value;
        } else if (!strcmp(line, "hash")) {
            uint32_t hash = 2166136261u;
            for (int i = 0; i < PAGES; i++) hash = (hash ^ memory[i][i]) * 16777619u;
            printf("%u\n", hash);
        } else if (!strcmp(line, "thread")) {
            pthread_mutex_lock(&lock);
            asked++;
            pthread_cond_signal(&cond);
            while (answered != asked) pthread_cond_wait(&back, &lock);
            pthread_mutex_unlock(&lock);
            printf("thread %d\n", answered);
        } else if (!strcmp(line, "pipe")) {
            char got[8] = {0};
            int ready = epoll_wait(set, &event, 1, 0);
            read(ends[0], got, 7);
            printf("pipe %d %s\n", ready, got);
        } else if (!strcmp(line, "clock")) {
            struct itimerspec left;
            timerfd_gettime(timer, &left);
            printf("clock %d %d\n", now() - begun < 2000, left.it_value.tv_sec >= 17);
        } else if (!strcmp(line, "random")) {
            unsigned long long random;
            getrandom(&random, sizeof random, 0);
            printf("%llu %d\n", random, (int)getpid());
        } else if (!strcmp(line, "loop")) {
            char got[8] = {0};
            write(loop[1], "back", 4);
            read(loop[1], got, 7);
            printf("loop %s ", got);
            memset(got, 0, sizeof got);
            read(loop[0], got, 7);
            printf("%s\n", got);
        } else if (!strcmp(line, "unloop")) {
            close(loop[0]);
            close(loop[1]);
            puts("unlooped");
        } else if (sscanf(line, "connect %u", &value) == 1) {
            puts(connect_outside(value));
        } else if (!strcmp(line, "echo")) {
            char got[8] = {0};
            int sent = send(outside, "x", 1, MSG_NOSIGNAL), received = read(outside, got, 1);
            printf("echo %d %d %s\n", sent, received, received < 0 || sent < 0 ? strerror(errno) : got);
        } else if (!strcmp(line, "sleep")) {
            usleep(300000);
            puts("slept");
        } else if (!strcmp(line, "wait")) {
            begin_waiting();
            puts("waiting");
        } else if (!strcmp(line, "wake")) {
            end_waiting();
        } else if (!strcmp(line, "map")) {
            map_file();
            puts("mapped");
        } else if (sscanf(line, "file %u", &value) == 1) {
            unsigned char byte = value;
            pwrite(file, &byte, 1, 0);
            printf("file %d\n", view[0]);
        } else if (sscanf(line, "touch %u", &value) == 1) {
            view[8192] = value;
            puts("touched");
        } else if (!strcmp(line, "seen")) {
            printf("seen %d %d %d secret %d\n", view[0], view[4096], view[8192], *secret);
        } else if (!strcmp(line, "family")) {
            family();
            puts("family");
        } else if (sscanf(line, "add %u", &value) == 1) {
            int own;
            write(to_child[1], &value, sizeof value);
            read(from_child[0], &own, sizeof own);
            struct flock asked = whole;
            fcntl(locked, F_GETLK, &asked);
            printf("sum %d own %d locked %d\n", *common, own, asked.l_type == F_WRLCK);
        } else if (sscanf(line, "relay %u", &value) == 1) {
            // As many bytes, or what there is of them, and then each of them plus one.
            uint8_t *bytes = malloc(value);
            size_t got = 0, sent = 0;
            for (ssize_t n; got < value && (n = read(20, bytes + got, value - got)) > 0;) got += n;
            for (size_t at = 0; at < got; at++) bytes[at]++;
            for (ssize_t n; sent < got && (n = write(20, bytes + sent, got - sent)) > 0;) sent += n;
            free(bytes);
            printf("relayed %zu\n", sent);
        } else if (!strcmp(line, "hang up")) {
            close(20);
        } else if (!strcmp(line, "vfork")) {
            if (!vfork()) {
                pause();
                _exit(0);
            }
        } else if (!strcmp(line, "fifo")) {
            mkfifo("/tmp/fifo", 0600);
            open("/tmp/fifo", O_RDONLY);
        }
        fflush(stdout);
    }
    return 0;
}
