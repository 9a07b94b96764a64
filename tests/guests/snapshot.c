// For tests/snapshots.rs: a program with memory, a thread, a pipe, an epoll set and a timer, which obeys lines on its input.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PAGES 600
static unsigned char memory[PAGES][4096] __attribute__((aligned(4096)));
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, back = PTHREAD_COND_INITIALIZER;
static int asked, answered;

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

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, helper, NULL);
    for (int i = 0; i < PAGES; i++) memory[i][i] = i;
    int ends[2], set = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    pipe(ends);
    write(ends[1], "kept", 4);
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
        } else if (!strcmp(line, "fifo")) {
            mkfifo("/tmp/fifo", 0600);
            open("/tmp/fifo", O_RDONLY);
        }
        fflush(stdout);
    }
    return 0;
}
