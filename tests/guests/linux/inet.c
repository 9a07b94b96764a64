/* Sockets within one machine: every line says what Linux says. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in lo(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}
static int events(int s) {
  struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP, 0};
  poll(&p, 1, 200);
  return p.revents;
}
static const char *why(long r) { return r < 0 ? strerrorname_np(errno) : ""; }
static int on = 1;

static void tcp_pair(int s[2]) {
  int l = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = lo(0);
  socklen_t n = sizeof a;
  bind(l, (void *)&a, n), listen(l, 5), getsockname(l, (void *)&a, &n);
  s[0] = socket(AF_INET, SOCK_STREAM, 0), connect(s[0], (void *)&a, n), s[1] = accept(l, 0, 0), close(l);
}

static void linger(void) {
  for (int data = 0; data < 2; data++) {
    int s[2];
    char b[8];
    struct linger now = {1, 0};
    tcp_pair(s);
    if (data) write(s[0], "last", 4);
    setsockopt(s[0], SOL_SOCKET, SO_LINGER, &now, sizeof now), close(s[0]);
    printf("linger %d: %#x", data, events(s[1]));
    for (int i = 0; i < 3; i++) {
      long r = read(s[1], b, 8);
      printf(" read %ld %s", r, why(r));
    }
    puts(""), close(s[1]);
  }
}

static void backlog(void) {
  int l = socket(AF_INET, SOCK_STREAM, 0), c[6], in_progress = 0, up = 0, s;
  struct sockaddr_in a = lo(0);
  socklen_t n = sizeof a;
  bind(l, (void *)&a, n), listen(l, 1), getsockname(l, (void *)&a, &n);
  for (int i = 0; i < 6; i++) {
    c[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    in_progress += connect(c[i], (void *)&a, n) < 0 && errno == EINPROGRESS;
  }
  /* The queue has room for two; the others wait. */
  for (int i = 0; i < 6; i++) up += !!(events(c[i]) & POLLOUT);
  printf("backlog: %d under way, %d up", in_progress, up);
  s = accept(l, 0, 0), close(s), s = accept(l, 0, 0), close(s);
  for (up = 0, n = 0; n < 20 && up < 4; n++)
    for (int i = up = 0; i < 6; i++) up += !!(events(c[i]) & POLLOUT);
  printf(", at least four later: %d\n", up >= 4);
  for (int i = 0; i < 6; i++) close(c[i]);
  close(l);
}

static void sharing(void) {
  struct { int any, name; const char *what; } all[] = {{0, 0, "alone"}, {0, SO_REUSEADDR, "address"}, {1, SO_REUSEADDR, "address, any"}, {1, SO_REUSEPORT, "port, any"}};
  for (int k = 0; k < 4; k++) {
    int s[2];
    struct sockaddr_in a = lo(45353 + k);
    if (all[k].any) a.sin_addr.s_addr = 0;
    printf("udp, shared %s:", all[k].what);
    for (int i = 0; i < 2; i++) {
      s[i] = socket(AF_INET, SOCK_DGRAM, 0);
      if (all[k].name) setsockopt(s[i], SOL_SOCKET, all[k].name, &on, sizeof on);
      long r = bind(s[i], (void *)&a, sizeof a);
      printf(" %ld%s", r, why(r));
    }
    puts(""), close(s[0]), close(s[1]);
  }
}

/* Who shares an address hears all if it came last; who shares a port hears some, and always the same senders. */
static void who_hears(void) {
  struct { int type, name; const char *what; } all[] = {{SOCK_DGRAM, SO_REUSEADDR, "address"}, {SOCK_DGRAM, SO_REUSEPORT, "port"}, {SOCK_STREAM, SO_REUSEPORT, "port"}};
  for (int k = 0; k < 6; k++) {
    int s[3], heard[3] = {0}, type = all[k % 3].type, mixed = 0, end = 0;
    struct sockaddr_in a = lo(45363 + k);
    if (k > 2) a.sin_addr.s_addr = 0;
    for (int i = 0; i < 3; i++) {
      s[i] = socket(AF_INET, type | SOCK_NONBLOCK, 0);
      setsockopt(s[i], SOL_SOCKET, all[k % 3].name, &on, sizeof on);
      if (bind(s[i], (void *)&a, sizeof a)) perror("bind");
      if (type == SOCK_STREAM && listen(s[i], 200)) perror("listen");
    }
    a = lo(45363 + k);
    for (int n = 0; n < 120; n++) {
      int c = socket(AF_INET, type, 0), r, before = heard[0] + heard[1] + heard[2], by = -1;
      connect(c, (void *)&a, sizeof a);
      char b[8];
      if (type == SOCK_DGRAM) send(c, "a", 1, 0), send(c, "b", 1, 0);
      for (int i = 0; i < 3; i++)
        while ((r = type == SOCK_DGRAM ? recv(s[i], b, 8, 0) : accept(s[i], 0, 0)) > 0) {
          if (type == SOCK_STREAM) close(r);
          mixed += by >= 0 && by != i, by = i, heard[i]++;
        }
      end += heard[0] + heard[1] + heard[2] == before, close(c);
    }
    int sum = heard[0] + heard[1] + heard[2], some = 0;
    for (int i = 0; i < 3; i++) some += heard[i] > sum / 10;
    printf("%s, shared %s%s: %d heard by %d, the last %s, a sender by several %d, by none %d\n", type == SOCK_DGRAM ? "udp" : "tcp", all[k % 3].what, k > 2 ? ", any" : "", sum, some,
           heard[2] == sum ? "all" : "some", mixed, end);
    if (type == SOCK_STREAM) {
      close(s[1]);
      for (int i = 0; i < 20; i++) {
        int c = socket(AF_INET, type, 0), r = connect(c, (void *)&a, sizeof a);
        if (r) puts("refused");
        close(c);
      }
      shutdown(s[2], SHUT_RDWR);
      int c = socket(AF_INET, type, 0), r;
      printf("one is left: %d", connect(c, (void *)&a, sizeof a)), close(c);
      for (sum = 0; (r = accept(s[0], 0, 0)) > 0; sum++) close(r);
      printf(", it hears some %d", sum > 1 && sum < 22);
      printf(", the other %s", accept(s[2], 0, 0) < 0 ? why(-1) : "hears"), printf(", again %d", listen(s[2], 200));
      for (int i = 0; i < 40; i++) c = socket(AF_INET, type, 0), connect(c, (void *)&a, sizeof a), close(c);
      for (sum = 0; (r = accept(s[2], 0, 0)) > 0; sum++) close(r);
      printf(", then some %d\n", sum > 3 && sum < 37);
    }
    for (int i = 0; i < 3; i++) close(s[i]);
  }
}

static void answers(void) {
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in a = lo(9), from;
  char b[32], c[256];
  struct iovec v = {b, 32};
  struct msghdr m = {&from, sizeof from, &v, 1, c, sizeof c};
  long r = recvmsg(s, &m, MSG_ERRQUEUE);
  printf("nothing in the queue: %ld %s\n", r, why(r));
  r = sendto(s, "a", 1, 0, (void *)&a, sizeof a);
  printf("not asked for: %ld %#x\n", r, events(s) & ~POLLOUT);
  setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
  sendto(s, "hello", 5, 0, (void *)&a, sizeof a);
  printf("asked for: %#x", events(s) & ~POLLOUT);
  m = (struct msghdr){&from, sizeof from, &v, 1, c, sizeof c};
  r = recvmsg(s, &m, MSG_ERRQUEUE);
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  struct sock_extended_err *e = h ? (void *)CMSG_DATA(h) : 0;
  printf(" %ld %.5s to %d, flags %#x", r, b, ntohs(from.sin_port), m.msg_flags);
  if (e) printf(", %s origin %d type %d code %d, by %s", strerrorname_np(e->ee_errno), e->ee_origin, e->ee_type, e->ee_code, inet_ntoa(((struct sockaddr_in *)SO_EE_OFFENDER(e))->sin_addr));
  printf(", then %#x\n", events(s) & ~POLLOUT), close(s);
  s = socket(AF_INET, SOCK_DGRAM, 0), connect(s, (void *)&a, sizeof a), send(s, "x", 1, 0);
  r = recv(s, b, 8, MSG_DONTWAIT);
  printf("connected: %ld %s", r, why(r)), r = recv(s, b, 8, MSG_DONTWAIT);
  printf(", then %ld %s\n", r, why(r)), close(s);
  int p[2];
  tcp_pair(p), write(p[1], "data", 4), r = recv(p[0], b, 8, MSG_ERRQUEUE);
  printf("of a stream: %ld %s\n", r, why(r)), close(p[0]), close(p[1]);
}

// UDP_SEGMENT, as an option and beside one message: what is sent is cut into datagrams of that length, the last with the rest.
static void in_segments(int from, int to) {
  int seven = 7, none = 0, n;
  char bytes[24] = "", x[32], room[CMSG_SPACE(2)] = "";
  setsockopt(from, IPPROTO_UDP, UDP_SEGMENT, &seven, sizeof seven);
  printf("in segments: %zd sent", send(from, bytes, 20, 0));
  while ((n = recv(to, x, 32, MSG_DONTWAIT)) >= 0) printf(" %d", n);
  setsockopt(from, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none);
  struct iovec v = {bytes, 24};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = IPPROTO_UDP, h->cmsg_type = UDP_SEGMENT, h->cmsg_len = CMSG_LEN(2), *(uint16_t *)CMSG_DATA(h) = 10;
  printf(", of one message: %zd sent", sendmsg(from, &m, 0));
  while ((n = recv(to, x, 32, MSG_DONTWAIT)) >= 0) printf(" %d", n);
  n = send(from, bytes, 24, 0), printf(", and none: %d sent %zd\n", n, recv(to, x, 32, MSG_DONTWAIT));
}

static void datagrams(void) {
  int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0), n = 0;
  struct sockaddr_in to = lo(0), third = lo(0);
  socklen_t l = sizeof to;
  char x[32];
  bind(b, (void *)&to, l), getsockname(b, (void *)&to, &l), bind(c, (void *)&third, l), getsockname(c, (void *)&third, &l);
  connect(a, (void *)&to, l);
  send(a, "one ", 4, MSG_MORE), send(a, "datagram", 8, 0), ioctl(b, FIONREAD, &n);
  printf("put together: %d", n), n = recv(b, x, 32, MSG_DONTWAIT), printf(" %d", n);
  setsockopt(a, IPPROTO_UDP, UDP_CORK, &on, sizeof on), send(a, "more", 4, 0), send(a, "over", 4, 0);
  n = recv(b, x, 32, MSG_DONTWAIT), printf(", corked: %d", n);
  int off = 0;
  setsockopt(a, IPPROTO_UDP, UDP_CORK, &off, sizeof off), n = recv(b, x, 32, MSG_DONTWAIT), printf(", then %d\n", n);
  in_segments(a, b);
  struct sockaddr_in self;
  l = sizeof self, getsockname(a, (void *)&self, &l), sendto(c, "no", 2, 0, (void *)&self, l);
  printf("a stranger's: %#x\n", events(a) & POLLIN);
  long r = sendto(a, "x", 1, 0, (void *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = ~0}, sizeof self);
  printf("to everybody: %ld %s\n", r, why(r)), close(a), close(b), close(c);
}

static void show(struct msghdr *m) {
  for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
    unsigned char *d = CMSG_DATA(h);
    printf(" (%d, %d: %d bytes", h->cmsg_level, h->cmsg_type, (int)(h->cmsg_len - CMSG_LEN(0)));
    if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) printf(" on %d to %s", ((struct in_pktinfo *)d)->ipi_ifindex, inet_ntoa(((struct in_pktinfo *)d)->ipi_addr));
    else if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) printf(" on %d", ((struct in6_pktinfo *)d)->ipi6_ifindex);
    else if (h->cmsg_level != SOL_SOCKET) printf(" %d", h->cmsg_len - CMSG_LEN(0) == 1 ? *d : *(int *)d);
    printf(")");
  }
  puts("");
}

static void ancillary(void) {
  for (int v6 = 0; v6 < 2; v6++) {
    int f = v6 ? AF_INET6 : AF_INET, a = socket(f, SOCK_DGRAM, 0), b = socket(f, SOCK_DGRAM, 0), seven = 7, class = 0x28;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = lo(0);
    void *to = v6 ? (void *)&six : (void *)&four;
    socklen_t n = v6 ? sizeof six : sizeof four;
    char x[8], c[512];
    bind(b, to, n), getsockname(b, to, &n);
    int four_wants[] = {IP_PKTINFO, IP_RECVTTL, IP_RECVTOS}, six_wants[] = {IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS};
    for (int i = 0; i < 3; i++) setsockopt(b, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? six_wants[i] : four_wants[i], &on, sizeof on);
    for (int i = 0; i < 3; i++) {
      struct iovec v = {"x", 1};
      struct msghdr m = {to, n, &v, 1};
      char own[CMSG_SPACE(4)] = {0};
      if (i == 1) {
        setsockopt(a, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &seven, 4);
        setsockopt(a, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, &class, 4);
      } else if (i == 2) {
        m.msg_control = own, m.msg_controllen = sizeof own;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, h->cmsg_type = v6 ? IPV6_HOPLIMIT : IP_TTL, h->cmsg_len = CMSG_LEN(4);
        *(int *)CMSG_DATA(h) = 33;
      }
      long r = sendmsg(a, &m, 0);
      v = (struct iovec){x, 8}, m = (struct msghdr){0, 0, &v, 1, c, sizeof c};
      printf("with v%d %d: %ld %s", v6 ? 6 : 4, i, r, why(r)), recvmsg(b, &m, 0), show(&m);
    }
    struct iovec v = {x, 8};
    struct msghdr m = {0, 0, &v, 1, c, CMSG_LEN(2)};
    sendto(a, "y", 1, 0, to, n), recvmsg(b, &m, 0), printf("little room: flags %#x\n", m.msg_flags & MSG_CTRUNC);
    close(a), close(b);
  }
}

static void groups(void) {
  int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), n = sizeof(struct in_addr);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(25399)}, to = any;
  struct ip_mreq m = {.imr_multiaddr.s_addr = inet_addr("239.255.7.8"), .imr_interface.s_addr = htonl(INADDR_LOOPBACK)};
  struct in_addr i = {htonl(INADDR_LOOPBACK)};
  to.sin_addr = m.imr_multiaddr, bind(b, (void *)&any, sizeof any);
  long r = setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m);
  printf("enter: %ld %s", r, why(r)), r = setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), printf(", again: %ld %s\n", r, why(r));
  r = setsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &i, sizeof i), printf("by lo: %ld %s", r, why(r));
  i.s_addr = 0, getsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &i, (void *)&n), printf(" %s\n", inet_ntoa(i));
  r = sendto(a, "all", 3, 0, (void *)&to, sizeof to), printf("sent: %ld %s, heard: %#x\n", r, why(r), events(b) & POLLIN);
  r = setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m), printf("leave: %ld %s", r, why(r));
  r = setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m), printf(", again: %ld %s\n", r, why(r));
  m.imr_multiaddr.s_addr = htonl(0x0a000001), r = setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), printf("no group: %ld %s\n", r, why(r));
  int s = socket(AF_INET6, SOCK_DGRAM, 0), x = 1;
  r = setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &x, sizeof x), x = 99, n = sizeof x, getsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &x, (void *)&n);
  printf("v6 by lo: %ld %s %d", r, why(r), x), x = 4711, r = setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &x, sizeof x), printf(", by none: %ld %s\n", r, why(r));
  close(a), close(b), close(s);
}

static void interfaces(void) {
  char name[IF_NAMESIZE];
  printf("lo is %u, 1 is %s\n", if_nametoindex("lo"), if_indextoname(1, name));
  int s = socket(AF_INET, SOCK_DGRAM, 0), w[] = {SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFMETRIC};
  for (int i = 0; i < 7; i++) {
    struct ifreq r = {.ifr_name = "lo"}, no = {.ifr_name = "absent0"};
    long e = ioctl(s, w[i], &r);
    printf("%#x: %ld %s", w[i], e, why(e));
    if (w[i] == SIOCGIFADDR || w[i] == SIOCGIFNETMASK) printf(" %s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
    else if (w[i] == SIOCGIFFLAGS || w[i] == SIOCGIFHWADDR) printf(" %hd", *(short *)&r.ifr_flags);
    else printf(" %d", r.ifr_mtu);
    e = ioctl(s, w[i], &no), printf(", absent: %s\n", why(e));
  }
  struct ifreq r = {.ifr_ifindex = 4711};
  long e = ioctl(s, SIOCGIFNAME, &r);
  printf("no such number: %s\n", why(e)), e = ioctl(0 * s + fileno(stdout), SIOCGIFFLAGS, &r), close(s);
  s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  struct { struct nlmsghdr h; struct rtgenmsg g; } q = {{sizeof q, RTM_GETADDR, NLM_F_DUMP | NLM_F_REQUEST, 1, 0}, {AF_UNSPEC}};
  static char b[1 << 16];
  int bad = 0, done = 0;
  send(s, &q, sizeof q, 0);
  while (!done) {
    int n = recv(s, b, sizeof b, 0);
    if (n <= 0) break;
    for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
      if (h->nlmsg_type == NLMSG_DONE) done = 1;
      if (h->nlmsg_type != RTM_NEWADDR) continue;
      int left = h->nlmsg_len - NLMSG_LENGTH(sizeof(struct ifaddrmsg));
      bad += h->nlmsg_len % 4 != 0;
      for (struct rtattr *a = IFA_RTA(NLMSG_DATA(h)); left >= 4; a = (void *)((char *)a + RTA_ALIGN(a->rta_len))) {
        if (RTA_ALIGN(a->rta_len) > (unsigned)left) { bad++; break; }
        left -= RTA_ALIGN(a->rta_len);
      }
    }
  }
  printf("netlink: done %d, attributes without their padding: %d\n", done, bad), close(s);
}

static void counts(void) {
  int s[2], n = -1;
  tcp_pair(s), write(s[0], "12345", 5), usleep(50000);
  ioctl(s[1], FIONREAD, &n), printf("to read: %d", n), n = -1, ioctl(s[0], TIOCOUTQ, &n), printf(", to acknowledge: %d", n);
  n = -1, ioctl(s[1], SIOCATMARK, &n), printf(", at the mark: %d\n", n), close(s[0]), close(s[1]);
}

static void urgent(void) {
  for (int among = 0; among < 2; among++) {
    int s[2], mark = -1;
    char b[16] = "", u = '-';
    tcp_pair(s), setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &among, sizeof among);
    long r = recv(s[1], &u, 1, MSG_OOB);
    printf("urgent, among the others %d: none %s", among, why(r)), write(s[0], "abc", 3), r = send(s[0], "d!", 2, MSG_OOB), write(s[0], "ef", 2), usleep(50000);
    struct pollfd p = {s[1], POLLPRI, 0};
    poll(&p, 1, 500), printf(", sent %ld, poll %#x", r, p.revents), r = recv(s[1], &u, 1, MSG_OOB), printf(", by itself %ld %c %s", r, u, why(r));
    p.revents = 0, poll(&p, 1, 0), printf(", then %#x", p.revents), r = recv(s[1], &u, 1, MSG_OOB), printf(" %s", why(r));
    r = read(s[1], b, 16), b[r < 0 ? 0 : r] = 0, ioctl(s[1], SIOCATMARK, &mark), printf(", up to it %s, at it %d", b, mark);
    r = read(s[1], b, 16), b[r < 0 ? 0 : r] = 0, ioctl(s[1], SIOCATMARK, &mark), printf(", after it %s, at it %d\n", b, mark), close(s[0]), close(s[1]);
  }
}

// A connection has a peer until both directions are closed, or it was reset.
static void peers_gone(void) {
  const char *how[] = {"closed", "closed, and so here", "reset", "reset with data", "closed here first", "both shut down"};
  for (int i = 0; i < 6; i++) {
    struct linger now = {1, 0};
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    char b[8];
    int s[2];
    tcp_pair(s);
    if (i == 3) write(s[0], "last", 4), usleep(20000);
    if (i == 2 || i == 3) setsockopt(s[0], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (i == 4) shutdown(s[1], SHUT_WR), usleep(20000);
    if (i == 5) shutdown(s[0], SHUT_WR); else close(s[0]);
    usleep(20000);
    if (i == 1 || i == 5) shutdown(s[1], SHUT_WR), usleep(20000);
    long r = getpeername(s[1], (void *)&a, &n);
    printf("peer %s: %ld %s", how[i], r, why(r)), r = recv(s[1], b, 8, MSG_DONTWAIT), printf(", read %ld %s\n", r, why(r));
    if (i == 5) close(s[0]);
    close(s[1]);
  }
}

// Two marks, of which the second counts; then nothing is left but the marked byte, which no reader is woken for.
static void marks(void) {
  for (int among = 0; among < 2; among++) {
    int s[2], n = -1, mark = -1;
    char b[33] = "", u = '-';
    tcp_pair(s), setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &among, sizeof among);
    send(s[0], "hello", 5, MSG_OOB), send(s[0], "HELLO", 5, MSG_OOB), usleep(50000);
    struct pollfd p = {s[1], POLLIN | POLLPRI, 0};
    ioctl(s[1], FIONREAD, &n), poll(&p, 1, 500), printf("two marks, among the others %d: %d to read, poll %#x", among, n, p.revents);
    long r = read(s[1], b, 32);
    b[r < 0 ? 0 : r] = 0, n = -1, ioctl(s[1], FIONREAD, &n), ioctl(s[1], SIOCATMARK, &mark), p.revents = 0, poll(&p, 1, 0);
    printf(", %s, at it %d, then %d to read, poll %#x", b, mark, n, p.revents), r = recv(s[1], b, 32, MSG_DONTWAIT | MSG_PEEK), printf(", seen %ld %s", r, why(r));
    r = recv(s[1], b, 32, MSG_DONTWAIT), printf(", read %ld %s", r, why(r)), r = recv(s[1], &u, 1, MSG_OOB), printf(", by itself %ld %c %s", r, u, why(r));
    p.revents = 0, poll(&p, 1, 0), printf(", poll %#x", p.revents), write(s[0], "on", 2), usleep(50000), p.revents = 0, poll(&p, 1, 500);
    n = -1, ioctl(s[1], FIONREAD, &n), r = recv(s[1], b, 32, MSG_DONTWAIT), b[r < 0 ? 0 : r] = 0, printf(", behind it %d, poll %#x, %ld %s\n", n, p.revents, r, b), close(s[0]), close(s[1]);
  }
}

// What is said of groups on loopback's interface while sockets are in them.
static void told_groups(void) {
  int s[2] = {socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM, 0)}, v6 = socket(AF_INET6, SOCK_DGRAM, 0);
  struct ip_mreqn m = {.imr_ifindex = 1};
  struct ip_mreq_source from = {.imr_interface.s_addr = htonl(INADDR_LOOPBACK), .imr_sourceaddr.s_addr = inet_addr("10.1.2.3")};
  struct ipv6_mreq g = {.ipv6mr_interface = 1};
  m.imr_multiaddr.s_addr = inet_addr("239.1.2.3"), setsockopt(s[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), setsockopt(s[1], IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m);
  m.imr_multiaddr.s_addr = inet_addr("239.1.2.4"), setsockopt(s[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m);
  from.imr_multiaddr.s_addr = inet_addr("239.1.2.5"), setsockopt(s[0], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &from, sizeof from);
  from.imr_multiaddr.s_addr = inet_addr("239.1.2.3"), setsockopt(s[1], IPPROTO_IP, IP_BLOCK_SOURCE, &from, sizeof from);
  inet_pton(AF_INET6, "ff02::1234", &g.ipv6mr_multiaddr), setsockopt(v6, IPPROTO_IPV6, IPV6_JOIN_GROUP, &g, sizeof g);
  const char *files[] = {"igmp", "igmp6", "mcfilter", "mcfilter6"};
  for (int open = 1; open >= 0; open--) {
    for (int i = 0; i < 4; i++) {
      char path[32], line[256];
      int here = 1;
      snprintf(path, sizeof path, "/proc/net/%s", files[i]);
      FILE *f = fopen(path, "r");
      if (!f) printf("no %s\n", path);
      while (f && fgets(line, sizeof line, f)) {
        // The first word of a line is the interface, if it has one.
        int index;
        if (line[0] != '\t' && sscanf(line, "%d", &index) == 1) here = index == 1;
        if (here) printf("%s", line);
      }
      if (f) fclose(f);
    }
    close(s[0]), close(s[1]), close(v6);
  }
}

// SO_RCVLOWAT of 5: how much a call that may wait brings, and when it need not be as much.
static void enough(int family) {
  int s[2], five = 5, left;
  char b[16];
  family == AF_UNIX ? (void)socketpair(AF_UNIX, SOCK_STREAM, 0, s) : tcp_pair(s);
  setsockopt(s[1], SOL_SOCKET, SO_RCVLOWAT, &five, sizeof five);
  const char *how[] = {"read", "readv", "recv", "recvmsg", "read when some is there"};
  for (int i = 0; i < 5; i++) {
    if (!fork()) {
      usleep(20000), write(s[0], "ab", 2), usleep(60000), write(s[0], "cd", 2), usleep(60000), write(s[0], "efg", 3), _exit(0);
    }
    if (i == 4) usleep(50000);
    struct iovec v[2] = {{b, 3}, {b + 3, 13}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    long r = i == 1 ? readv(s[1], v, 2) : i == 2 ? recv(s[1], b, 16, 0) : i == 3 ? recvmsg(s[1], &m, 0) : read(s[1], b, 16);
    printf("at least five, family %d, %s: %.*s\n", family, how[i], (int)r, b), wait(0);
  }
  struct timeval span = {0, 100000};
  write(s[0], "abc", 3), printf("without waiting %ld", recv(s[1], b, 16, MSG_DONTWAIT));
  write(s[0], "abc", 3), printf(", three are all that is asked for %ld", read(s[1], b, 3));
  setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &span, sizeof span);
  write(s[0], "abc", 3), printf(", the time is over %ld", read(s[1], b, 16));
  fcntl(s[1], F_SETFL, O_NONBLOCK), write(s[0], "abc", 3), printf(", never waits %ld", read(s[1], b, 16)), fcntl(s[1], F_SETFL, 0);
  write(s[0], "abc", 3), close(s[0]), printf(", the end %ld", read(s[1], b, 16)), printf(", then %ld\n", read(s[1], b, 16)), close(s[1]);
}

// The peer has closed, so what is sent to it is answered by a reset: who reads is at the end, who sends or asks is told.
static void reset_after_the_end(void) {
  for (int order = 0; order < 4; order++) {
    int s[2], e = -1;
    char b[8];
    socklen_t l = sizeof e;
    tcp_pair(s);
    if (order == 3) write(s[0], "left", 4);
    close(s[0]), usleep(50000);
    long r = send(s[1], "x", 1, MSG_NOSIGNAL);
    printf("reset after the end, order %d: sent %ld", order, r), usleep(50000);
    if (order == 1) r = send(s[1], "y", 1, MSG_NOSIGNAL), printf(", sent %s", why(r));
    if (order == 2) getsockopt(s[1], SOL_SOCKET, SO_ERROR, &e, &l), printf(", error %d", e);
    for (int i = 0; i < 3; i++) r = recv(s[1], b, 8, 0), printf(", read %ld %s", r, why(r));
    r = send(s[1], "z", 1, MSG_NOSIGNAL), printf(", sent %s", why(r));
    e = -1, getsockopt(s[1], SOL_SOCKET, SO_ERROR, &e, &l), printf(", error %d\n", e), close(s[1]);
  }
}

int main(void) {
  setvbuf(stdout, 0, _IONBF, 0), alarm(60);
  linger(), backlog(), sharing(), who_hears(), answers(), datagrams(), ancillary(), groups(), interfaces(), counts(), urgent(), marks(), peers_gone(), reset_after_the_end(), told_groups(), enough(AF_UNIX), enough(AF_INET);
}
