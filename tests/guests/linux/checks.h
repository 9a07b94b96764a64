// What programs of checks have in common: each prints a line for what a call gave, which is compared with Linux'.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define S syscall
// A check: what a call gave, or the error.
#define R(what, ...) ({ errno = 0; long r_ = (long)(__VA_ARGS__); \
    if (r_ == -1) printf("%s: -%s\n", what, strerrorname_np(errno)); else printf("%s: %ld\n", what, r_); fflush(stdout); })
#define CHILD(...) ({ fflush(stdout); pid_t p_ = fork(); if (!p_) { __VA_ARGS__; fflush(stdout); _exit(0); } \
    int s_; waitpid(p_, &s_, 0); if (s_) printf("child: %x\n", s_); fflush(stdout); })

static long ms(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000L + t.tv_nsec / 1000000; }
// Waits so many hundredths of a second: on a busy machine others need that to get to where they wait.
static void nap(int cs) { struct timespec t = {cs / 100, cs % 100 * 10000000L}; while (nanosleep(&t, &t)); }
