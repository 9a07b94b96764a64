/* outside WHAT PORT [ADDRESS]: the first thing that a program does with the network beyond it; an echo is at 10.0.2.2, PORT. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *why(long r) { return r < 0 ? strerrorname_np(errno) : ""; }
static int wait_for(int s, int what) {
  struct pollfd p = {s, what, 0};
  poll(&p, 1, 5000);
  return p.revents;
}
static struct sockaddr_in own(void) {
  struct sockaddr_in found = {0};
  struct ifaddrs *l = 0, *i;
  getifaddrs(&l);
  for (i = l; i; i = i->ifa_next)
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK)) found = *(struct sockaddr_in *)i->ifa_addr;
  freeifaddrs(l);
  return found;
}

static const char *text(unsigned a) { return inet_ntoa((struct in_addr){a}); }

/* What is said of each card, and by which one the way goes. */
static void cards(int port) {
  struct ifaddrs *l = 0, *i;
  static char big[1 << 14], name[32];
  printf("getifaddrs:"), getifaddrs(&l);
  for (i = l; i; i = i->ifa_next)
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK)) printf(" %s %s", i->ifa_name, text(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr));
  struct ifreq q[8];
  struct ifconf c = {.ifc_len = sizeof q, .ifc_req = q};
  int s = socket(AF_INET, SOCK_DGRAM, 0), left;
  ioctl(s, SIOCGIFCONF, &c), printf("\nSIOCGIFCONF:");
  for (unsigned n = 0; n < c.ifc_len / sizeof *q; n++) printf(" %s %s", q[n].ifr_name, text(((struct sockaddr_in *)&q[n].ifr_addr)->sin_addr.s_addr));
  printf("\n/proc/net/dev:");
  for (FILE *f = fopen("/proc/net/dev", "r"); f && fgets(big, sizeof big, f);)
    if (sscanf(big, " %31[a-z0-9]:", name) == 1 && strchr(big, ':')) printf(" %s", name);
  printf("\n/proc/net/route:");
  for (int pass = 0, n = 0; pass < 2; pass++)
    for (FILE *f = fopen("/proc/net/route", "r"); f && fgets(big, sizeof big, f);) {
      unsigned to, by, flags, metric;
      if (sscanf(big, "%31s %x %x %x %*d %*d %u", name, &to, &by, &flags, &metric) != 5 || (flags == 3) == pass) continue;
      printf("%s%s %s", n++ ? ", " : " ", name, text(pass ? to : by));
      if (!pass) printf(" %u", metric);
    }
  printf("\nnetlink:");
  int k = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), n = 0;
  struct { struct nlmsghdr h; struct rtmsg m; } ask = {{sizeof ask, RTM_GETROUTE, NLM_F_DUMP | NLM_F_REQUEST, 1, 0}, {AF_INET}};
  send(k, &ask, sizeof ask, 0), left = recv(k, big, sizeof big, 0);
  for (struct nlmsghdr *h = (void *)big; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
    struct rtmsg *m = NLMSG_DATA(h);
    unsigned by = 0, card = 0, metric = 0;
    if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_dst_len) continue;
    int size = RTM_PAYLOAD(h);
    for (struct rtattr *a = RTM_RTA(m); RTA_OK(a, size); a = RTA_NEXT(a, size)) {
      unsigned *to = a->rta_type == RTA_GATEWAY ? &by : a->rta_type == RTA_OIF ? &card : a->rta_type == RTA_PRIORITY ? &metric : 0;
      if (to) memcpy(to, RTA_DATA(a), 4);
    }
    printf("%s%u %s %u", n++ ? ", " : " ", card, text(by), metric);
  }
  printf("\n");
  for (int card = 2; card < 5; card++) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port}, from;
    socklen_t len = sizeof from;
    char there[16];
    snprintf(there, sizeof there, "10.0.%d.2", card < 4 ? card : 2), inet_pton(AF_INET, there, &to.sin_addr);
    int t = socket(AF_INET, SOCK_STREAM, 0);
    if (card == 4) setsockopt(t, SOL_SOCKET, SO_BINDTODEVICE, "eth1", 5), printf("kept to eth1, "), fcntl(t, F_SETFL, O_NONBLOCK);
    connect(t, (void *)&to, len), getsockname(t, (void *)&from, &len);
    printf("to %s from %s", there, text(from.sin_addr.s_addr));
    if (card < 4) write(t, "hello", 5), printf(": %zd", recv(t, big, 5, MSG_WAITALL));
    printf("\n"), close(t);
  }
  struct sockaddr_in mine = {.sin_family = AF_INET, .sin_port = htons(4567)};
  int t = socket(AF_INET, SOCK_STREAM, 0), a = socket(AF_INET, SOCK_STREAM, 0), b = socket(AF_INET, SOCK_STREAM, 0);
  inet_pton(AF_INET, "10.0.3.15", &mine.sin_addr), bind(t, (void *)&mine, sizeof mine), listen(t, 1);
  long r = connect(a, (void *)&mine, sizeof mine);
  inet_pton(AF_INET, "10.0.2.15", &mine.sin_addr);
  printf("bound to 10.0.3.15: own %ld", r), r = connect(b, (void *)&mine, sizeof mine), printf(", other %s\n", why(r));
}

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IONBF, 0), alarm(30);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  inet_pton(AF_INET, argc > 3 ? argv[3] : "10.0.2.2", &to.sin_addr);
  socklen_t len = sizeof to;
  char b[64];
  int n;
  if (!strcmp(argv[1], "tcp")) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    long r = connect(s, (void *)&to, len);
    printf("connect %ld %s\n", r, why(r)), write(s, "12345", 5), wait_for(s, POLLIN), n = -1, ioctl(s, FIONREAD, &n);
    r = recv(s, b, 3, MSG_PEEK), printf("%d wait, %ld seen", n, r), r = recv(s, b, 64, 0), printf(", %ld taken\n", r);
    shutdown(s, SHUT_WR), r = recv(s, b, 64, 0), printf("end %ld\n", r);
  } else if (!strcmp(argv[1], "info")) {
    int s = socket(AF_INET, SOCK_STREAM, 0), r = 0;
    struct tcp_info i;
    static char much[20000];
    len = sizeof i, getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &len), printf("before: state %d\n", i.tcpi_state);
    connect(s, (void *)&to, sizeof to), write(s, much, sizeof much);
    while (r < sizeof much) r += recv(s, much, sizeof much, 0);
    // The last acknowledgement is on its way.
    usleep(200000), len = sizeof i, getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &len);
    printf("state %d, full segments of %d, a round trip %d, varies %d, waits %d, cwnd %d, unacked %d, again %d %d\n", i.tcpi_state, i.tcpi_snd_mss > 500 && i.tcpi_advmss > 500 && i.tcpi_pmtu > i.tcpi_snd_mss,
           i.tcpi_rtt > 0 && i.tcpi_rtt < 1000000, i.tcpi_rttvar > 0, i.tcpi_rto >= 200000, i.tcpi_snd_cwnd >= 10, i.tcpi_unacked, i.tcpi_retransmits, i.tcpi_total_retrans);
    printf("sent and acknowledged %d, received %llu, unsent %d\n", i.tcpi_bytes_acked >= sizeof much && i.tcpi_bytes_sent >= sizeof much, i.tcpi_bytes_received, i.tcpi_notsent_bytes);
    printf("silent for as long as it slept: %d\n", i.tcpi_last_data_recv >= 150 && i.tcpi_last_data_recv < 5000);
    shutdown(s, SHUT_WR), wait_for(s, POLLIN), recv(s, much, 1, 0), usleep(100000), len = sizeof i, getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &len);
    printf("at its end it is no longer established: %d\n", i.tcpi_state != 1);
    len = 1, i.tcpi_state = 99, getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &len), printf("a byte of it: %d, not 99: %d\n", len, i.tcpi_state != 99);
  } else if (!strcmp(argv[1], "nonblocking")) {
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    long r = connect(s, (void *)&to, len);
    printf("connect %ld %s, then %#x\n", r, why(r), wait_for(s, POLLOUT));
  } else if (!strcmp(argv[1], "udp")) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    long r = sendto(s, "query", 5, 0, (void *)&to, len);
    printf("send %ld %s\n", r, why(r)), wait_for(s, POLLIN), n = -1, ioctl(s, FIONREAD, &n);
    r = recv(s, b, 2, MSG_PEEK | MSG_TRUNC), printf("%d wait, %ld seen", n, r), r = recv(s, b, 64, 0), printf(", %ld taken", r);
    n = -1, ioctl(s, FIONREAD, &n), printf(", %d wait\n", n);
  } else if (!strcmp(argv[1], "linger")) {
    // The peer reads nothing for six seconds, in which the way to it is filled; then all of it.
    struct linger how[] = {{0, 0}, {1, 1}, {1, 20}};
    for (int i = 0; i < 3; i++) {
      int s = socket(AF_INET, SOCK_STREAM, 0);
      static char much[1 << 16];
      struct timespec from, to_;
      connect(s, (void *)&to, len), fcntl(s, F_SETFL, O_NONBLOCK);
      // Until nobody on the way takes any more.
      for (int idle = 0; idle < 10; idle++) {
        while (write(s, much, sizeof much) > 0) idle = 0;
        usleep(100000);
      }
      setsockopt(s, SOL_SOCKET, SO_LINGER, how + i, sizeof *how), clock_gettime(CLOCK_MONOTONIC, &from);
      long r = close(s);
      clock_gettime(CLOCK_MONOTONIC, &to_);
      int ms = (to_.tv_sec - from.tv_sec) * 1000 + (to_.tv_nsec - from.tv_nsec) / 1000000;
      printf("linger %d for %d s: close %ld after %s\n", how[i].l_onoff, how[i].l_linger, r, ms < 500 ? "nothing" : ms < 1450 ? "its time" : ms < 15000 ? "the peer has all" : "too long");
    }
  } else if (!strcmp(argv[1], "interfaces")) {
    struct sockaddr_in a = own();
    struct ifreq q = {.ifr_name = "eth0"};
    int s = socket(AF_INET, SOCK_DGRAM, 0), same = ioctl(s, SIOCGIFADDR, &q) == 0 && ((struct sockaddr_in *)&q.ifr_addr)->sin_addr.s_addr == a.sin_addr.s_addr;
    printf("%s, eth0 is %u, ioctl says the same: %d\n", inet_ntoa(a.sin_addr), if_nametoindex("eth0"), same);
    long r = bind(s, (void *)&a, len);
    printf("bind %ld %s\n", r, why(r));
    int l = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), left, routes = 0;
    struct { struct nlmsghdr h; struct rtmsg m; } ask = {{sizeof ask, RTM_GETROUTE, NLM_F_DUMP | NLM_F_REQUEST, 1, 0}, {AF_INET}};
    static char big[1 << 14];
    send(l, &ask, sizeof ask, 0), left = recv(l, big, sizeof big, 0);
    for (struct nlmsghdr *h = (void *)big; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) routes += h->nlmsg_type == RTM_NEWROUTE && ((struct rtmsg *)NLMSG_DATA(h))->rtm_dst_len == 0;
    printf("default routes %d", routes);
    FILE *f = fopen("/proc/net/route", "r");
    for (routes = 0; f && fgets(big, sizeof big, f);) routes += !strncmp(big, "eth0\t00000000\t0202000A\t0003", 27);
    printf(", in /proc %d\n", routes);
  } else if (!strcmp(argv[1], "cards")) {
    cards(to.sin_port);
  } else if (!strcmp(argv[1], "families")) {
    // As nginx, sshd and name servers do: a socket for each family at one port.
    int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
      struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
      struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(8080)};
      int s = socket(AF_INET, types[i], 0), t = socket(AF_INET6, types[i], 0), u = socket(AF_INET6, types[i], 0), on = 1;
      setsockopt(t, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
      long r = bind(s, (void *)&a, sizeof a);
      printf("%ld%s", r, why(r)), r = i ? 0 : listen(s, 5), printf(" %ld%s", r, why(r)), r = bind(t, (void *)&a6, sizeof a6);
      printf(", %ld%s", r, why(r)), r = i ? 0 : listen(t, 5), printf(" %ld%s", r, why(r)), r = bind(u, (void *)&a6, sizeof a6), printf(", both %s\n", why(r));
    }
    struct ifconf c = {.ifc_len = -77};
    long r = ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCGIFCONF, &c);
    printf("room for interfaces: %ld, %d of two\n", r, c.ifc_len == 2 * sizeof(struct ifreq));
  } else if (!strcmp(argv[1], "own")) {
    struct sockaddr_in a = own(), any = {.sin_family = AF_INET, .sin_port = htons(4567)}, from;
    int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0), t = socket(AF_INET, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_port = any.sin_port, bind(s, (void *)&any, len), bind(t, (void *)&any, len), listen(t, 1);
    sendto(c, "x", 1, 0, (void *)&a, len), recvfrom(s, b, 1, 0, (void *)&from, &len), printf("datagram from %s\n", inet_ntoa(from.sin_addr));
    connect(d, (void *)&a, len), accept(t, (void *)&from, &len), printf("connection from %s\n", inet_ntoa(from.sin_addr));
    a.sin_port = htons(9), connect(c, (void *)&a, len), send(c, "x", 1, 0), wait_for(c, POLLIN);
    long r = recv(c, b, 1, MSG_DONTWAIT);
    printf("nobody there: %s\n", why(r));
  } else if (!strcmp(argv[1], "group")) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(5353)}, all = any;
    struct ip_mreq m = {.imr_multiaddr.s_addr = inet_addr("224.0.0.251")};
    int s = socket(AF_INET, SOCK_DGRAM, 0), off = 0;
    all.sin_addr = m.imr_multiaddr, bind(s, (void *)&any, len);
    long r = setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m);
    printf("enter %ld %s", r, why(r)), r = sendto(s, "all", 3, 0, (void *)&all, len), printf(", send %ld %s", r, why(r));
    wait_for(s, POLLIN), r = recv(s, b, 64, MSG_DONTWAIT), printf(", back %ld", r);
    setsockopt(s, IPPROTO_IP, IP_MULTICAST_LOOP, &off, sizeof off), sendto(s, "others", 6, 0, (void *)&all, len), usleep(100000);
    r = recv(s, b, 64, MSG_DONTWAIT), printf(", without loop %s\n", why(r));
  }
}
