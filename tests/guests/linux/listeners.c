/* What becomes of those who wait when a listener or a connection ends without being closed: every line says what Linux says. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static int events(int s) { struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP, 0}; poll(&p, 1, 200); return p.revents; }
static const char *why(long r) { return r < 0 ? strerrorname_np(errno) : "fine"; }
static void ends(void) {
  int on = 1;
  static const char *const ends[] = {"shut", "shut, reading", "shut, writing", "closed"};
  for (int unixes = 0; unixes < 2; unixes++)
    for (int how = 0; how < 4; how++)
      for (int sent = 0; sent < 2; sent++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(25391 + how * 2 + sent), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_un un = {AF_UNIX, "\0ebb-listener-ends"};
        struct sockaddr *a = unixes ? (void *)&un : (void *)&in;
        socklen_t n = unixes ? sizeof un : sizeof in, k = sizeof(int);
        int l = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), c[4], r[4], e = 0, s;
        char b[8];
        if (!unixes) setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(l, a, n) || listen(l, 1)) perror("listen");
        for (int i = 0; i < 4; i++) c[i] = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), r[i] = connect(c[i], a, n), (void)r;
        if (sent) write(c[0], "mine", 4);
        usleep(20000);
        printf("%s listener with a queue %s%s:", unixes ? "unix" : "tcp", ends[how], sent ? ", bytes unread" : "");
        if (how < 3) printf(" %s,", why(shutdown(l, how == 0 ? SHUT_RDWR : how == 1 ? SHUT_RD : SHUT_WR))); else close(l);
        usleep(20000);
        for (int i = 0; i < (unixes ? 3 : 2); i++) {
          printf(" %x", events(c[i]));
          getsockopt(c[i], SOL_SOCKET, SO_ERROR, &e, &k), printf(" %s", e ? strerrorname_np(e) : "fine");
          printf(" %s", why(read(c[i], b, 8))), printf(" %s;", why(send(c[i], "x", 1, MSG_NOSIGNAL)));
        }
        if (how < 3) {
          s = accept(l, 0, 0), printf(" accept %s", why(s));
          printf(", poll %x", events(l)), printf(", listen %s", why(listen(l, 1)));
          s = accept(l, 0, 0), printf(", accept %s", why(s)); if (s >= 0) close(s);
          s = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), printf(", connect %s", why(connect(s, a, n))), close(s);
          usleep(20000);
          s = accept(l, 0, 0), printf(", accept %s", why(s)); if (s >= 0) close(s);
          close(l);
        }
        for (int i = 0; i < 4; i++) close(c[i]);
        puts("");
      }
}

static void apart(void) {
  static const char *const what[] = {"a connection that is parted", "one with a name", "a listener", "an accepted connection"};
  int on = 1;
  struct sockaddr none = {AF_UNSPEC};
  for (int i = 0; i < 4; i++) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(25411 + i), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, me;
    socklen_t n = sizeof me;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), s, e = 0;
    char b[8];
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(l, (void *)&in, sizeof in) || listen(l, 3)) perror("listen");
    if (i == 1) { struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(25421), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; bind(c, (void *)&own, sizeof own); }
    connect(c, (void *)&in, sizeof in), usleep(10000), s = accept(l, 0, 0);
    write(s, "for you", 7), write(c, "for me", 6), usleep(10000);
    int who = i == 2 ? l : i == 3 ? s : c;
    if (i == 2) { int w = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); connect(w, (void *)&in, sizeof in), usleep(10000); }
    printf("%s: %s", what[i], why(connect(who, &none, sizeof none)));
    usleep(10000);
    getsockname(who, (void *)&me, &n), printf(", its port %s", me.sin_port ? "stays" : "is free");
    printf(", events %x, peer's %x", events(who), events(who == c ? s : c));
    n = 4, getsockopt(who == c ? s : c, SOL_SOCKET, SO_ERROR, &e, &n), printf(" %s", e ? strerrorname_np(e) : "fine");
    printf(", read %s", why(read(who, b, 8))), printf(", peer's %s", why(read(who == c ? s : c, b, 8)));
    n = sizeof me, printf(", getpeername %s", why(getpeername(who, (void *)&me, &n)));
    printf(", accept %s", why(accept(who, 0, 0)));
    if (i < 2) printf(", again %s", why(connect(who, (void *)&in, sizeof in)));
    puts("");
    close(l), close(c), close(s);
  }
}

int main(void) {
  setvbuf(stdout, 0, _IONBF, 0), alarm(60);
  ends(), apart();
}
