// What calls answer, and what they leave behind, in places where a good guess is wrong.
#include "checks.h"
#include <grp.h>

// What the headers of some systems have not yet.
#define F_GETOWNER_UIDS_ 17
#define F_SEAL_EXEC_ 0x20
#define STATX_ATTR_MOUNT_ROOT_ 0x2000
#define NOBODY 10

static int opened(const char *path) { return open(path, O_RDONLY); }

static void read_text(const char *path, char *to, int size) {
    int file = opened(path), length = read(file, to, size - 1);
    to[length < 0 ? 0 : length] = 0;
    close(file);
}

// Prints the line of a file that has this key.
static void has(const char *path, const char *key) {
    char text[4096];
    read_text(path, text, sizeof text);
    char *at = strstr(text, key);
    if (at)
        printf("%s: %.*s\n", key, (int)strcspn(at, "\n"), at);
    else
        printf("%s: none\n", key);
}

// Prints whether a file has this text.
static void shows(const char *path, const char *wanted) {
    char text[4096];
    read_text(path, text, sizeof text);
    printf("%d\n", !!strstr(text, wanted));
}

static void mode(const char *path) {
    struct stat status;
    lstat(path, &status);
    printf("%s %o %d:%d\n", path, status.st_mode, status.st_uid, status.st_gid);
    fflush(stdout);
}

static const char *info_of(int fd) {
    static char path[99];
    sprintf(path, "/proc/self/fdinfo/%d", fd);
    return path;
}

static int timer_descriptor(void) {
    struct itimerspec time = {{3, 0}, {100, 0}};
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(timer, 0, &time, 0);
    return timer;
}

static int signal_descriptor(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return signalfd(-1, &set, 0);
}

static long can_be_waited_for(int epoll, const char *path) {
    struct epoll_event event = {EPOLLIN};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, opened(path), &event);
}

static void descriptors(int pipes[2]) {
    int counter = eventfd(7, EFD_SEMAPHORE), timer = timer_descriptor(), epoll = epoll_create1(0);
    int watch = inotify_init(), signals = signal_descriptor();
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 0x1234}}, events[4];
    epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event);
    inotify_add_watch(watch, ".", IN_CREATE | IN_DELETE);
    has(info_of(counter), "eventfd-count");
    has(info_of(counter), "eventfd-semaphore");
    has(info_of(counter), "flags");
    has(info_of(timer), "clockid");
    has(info_of(timer), "ticks");
    has(info_of(timer), "settime flags");
    has(info_of(timer), "it_interval");
    has(info_of(signals), "sigmask");
    shows(info_of(epoll), "events: 80000019 data:             1234  pos:0");
    int all[] = {counter, timer, epoll, watch, pipes[0], socket(AF_UNIX, SOCK_STREAM, 0)};
    for (int i = 0; i < 6; i++) {
        struct statfs system;
        fstatfs(all[i], &system);
        printf("%lx ", (long)system.f_type);
    }
    puts("");
    R("mounts can be waited for", can_be_waited_for(epoll, "/proc/self/mounts"));
    R("as many events", epoll_wait(epoll, events, 1 << 30, 0));
    R("no room", epoll_wait(epoll, (void *)-4096l, 1, 0));
}

static void commands_of_fcntl(int file, int pipes[2]) {
    uint64_t hint = 3;
    uint32_t users[2] = {7, 7};
    R("set hint", fcntl(file, F_SET_RW_HINT, &hint));
    hint = 0;
    R("hint", fcntl(opened("hints"), F_GET_RW_HINT, &hint));
    printf("%ld\n", hint);
    hint = 9;
    R("no such hint", fcntl(file, F_SET_RW_HINT, &hint));
    R("lease", fcntl(file, F_GETLEASE));
    R("no lease", fcntl(file, F_SETLEASE, F_UNLCK));
    fcntl(pipes[0], F_SETOWN, getpid());
    R("users", fcntl(pipes[0], F_GETOWNER_UIDS_, users));
    printf("%d %d\n", users[0], users[1]);
}

static void flags_and_attributes(int file) {
    int flags = -1;
    struct statx status;
    struct statvfs system;
    R("flags", ioctl(file, FS_IOC_GETFLAGS, &flags));
    printf("%d\n", flags);
    flags = FS_NODUMP_FL;
    R("set", ioctl(file, FS_IOC_SETFLAGS, &flags));
    flags = 0;
    ioctl(file, FS_IOC_GETFLAGS, &flags);
    printf("%x\n", flags);
    statx(file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status);
    printf("%x %llx\n", status.stx_mask & 0xfff, status.stx_attributes);
    statx(file, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status);
    printf("%x\n", status.stx_mask & 0xfff);
    statx(AT_FDCWD, "/proc", 0, STATX_BASIC_STATS, &status);
    printf("root of a mount %d\n", !!(status.stx_attributes & STATX_ATTR_MOUNT_ROOT_));
    fstatvfs(file, &system);
    printf("flags %lx\n", system.f_flag & ~ST_RELATIME);
}

static void files_without_names(int file) {
    int memory = memfd_create("m", MFD_ALLOW_SEALING);
    R("direct", fcntl(memory, F_SETFL, O_DIRECT));
    R("seal what runs", fcntl(memory, F_ADD_SEALS, F_SEAL_EXEC_));
    R("all", fcntl(memory, F_GET_SEALS));
    R("mandatory", flock(file, LOCK_MAND));
    int nameless = open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600);
    R("never a name", linkat(nameless, "", AT_FDCWD, "named", AT_EMPTY_PATH));
    close(open("w", O_CREAT, 0600));
    R("whiteout", renameat2(AT_FDCWD, "w", AT_FDCWD, "v", RENAME_WHITEOUT));
    mode("w");
}

static void files_of_proc(void) {
    struct stat status;
    int five = 5, six = 6;
    R("end of a text", lseek(opened("/proc/self/stat"), 0, SEEK_END));
    pwrite(open("/proc/self/mem", O_RDWR), &six, 4, (long)&five);
    printf("%d\n", five);
    R("make in proc", mkdir("/proc/x", 0700));
    stat("/proc/self/stat", &status);
    printf("%ld\n", (long)status.st_blksize);
}

static void null_arguments(int file, int pipes[2]) {
    R("times of nothing", S(SYS_utimensat, AT_FDCWD, 0, 0, 0));
    R("with flags", S(SYS_utimensat, file, 0, 0, AT_SYMLINK_NOFOLLOW));
    R("vectors of the wrong end", S(SYS_writev, pipes[0], 0, 1025));
    R("of the right", S(SYS_writev, pipes[1], 0, 1025));
}

// What a write, a cut and a reservation by who is not privileged make of the bits for another identity.
static void bits_that_a_write_takes(void) {
    close(open("own", O_CREAT, 0755));
    chmod("own", 06755);
    int file = open("own", O_WRONLY);
    write(file, "x", 1);
    mode("own");
    chmod("own", 06755);
    ftruncate(file, 0);
    mode("own");
    chmod("own", 06755);
    fallocate(file, 0, 0, 9);
    mode("own");
    chmod("own", 02644);
    write(file, "x", 1);
    mode("own");
}

static void no_more_processes(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NPROC, &none);
}

static void as_nobody(void) {
    struct sockaddr_in port_80 = {AF_INET, htons(80), {htonl(INADDR_LOOPBACK)}};
    setgroups(0, 0);
    setresgid(NOBODY, NOBODY, NOBODY);
    setresuid(NOBODY, NOBODY, NOBODY);
    R("no trace", open("theirs", O_RDONLY | O_NOATIME));
    R("later", fcntl(opened("theirs"), F_SETFL, O_NOATIME));
    bits_that_a_write_takes();
    R("port 80", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&port_80, sizeof port_80));
    no_more_processes();
    R("no child", fork());
}

static long has_a_child(void) {
    pid_t child = fork();
    if (!child) _exit(0);
    return waitpid(child, 0, 0) == child;
}

static void privileges(void) {
    chmod(".", 0777);
    close(open("theirs", O_CREAT, 0666));
    chmod("theirs", 0666);
    CHILD(as_nobody());
    CHILD(no_more_processes(); R("root's child", has_a_child()));
}

static void settings_of_processes(void) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t rest[6];
    } scheduling = {47};
    R("too short", S(SYS_sched_setattr, 0, &scheduling, 0));
    scheduling.size = 48;
    scheduling.flags = 1ull << 40;
    R("no such flag", S(SYS_sched_setattr, 0, &scheduling, 0));
    R("broken memory early", prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    R("told", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    R("as usual", prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    R("told", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    R("speculation of no kind", prctl(PR_GET_SPECULATION_CTRL, 99, 0, 0, 0));
    R("cpuid", S(SYS_arch_prctl, 0x1011));       // ARCH_GET_CPUID
    R("no cpuid", S(SYS_arch_prctl, 0x1012, 0)); // ARCH_SET_CPUID
}

static void timers_and_usage(void) {
    timer_t timer;
    struct sigevent silent = {.sigev_notify = SIGEV_NONE};
    struct itimerspec time = {{5, 0}, {100, 0}};
    struct rusage before, after;
    timer_create(CLOCK_MONOTONIC, &silent, &timer);
    timer_settime(timer, 0, &time, 0);
    time.it_value.tv_sec = 0;
    timer_settime(timer, 0, &time, 0);
    timer_gettime(timer, &time);
    printf("period %ld\n", time.it_interval.tv_sec);
    getrusage(RUSAGE_SELF, &before);
    nap(3);
    nap(3);
    getrusage(RUSAGE_SELF, &after);
    printf("waited %d\n", after.ru_nvcsw - before.ru_nvcsw >= 2);
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = 5;
    R("to a thread of nobody", S(SYS_rt_tgsigqueueinfo, 99999, gettid(), SIGUSR1, &info));
}

static void a_queue_in_proc(void) {
    struct {
        long type;
        char text[5];
    } message = {1};
    char line[300], wanted[30];
    int queue = msgget(IPC_PRIVATE, 0640);
    msgsnd(queue, &message, sizeof message.text, 0);
    sprintf(wanted, " %d ", queue);
    FILE *list = fopen("/proc/sysvipc/msg", "r");
    while (fgets(line, sizeof line, list)) {
        int key, id, mode, bytes, count;
        if (!strstr(line, wanted)) continue;
        sscanf(line, "%d %d %o %d %d", &key, &id, &mode, &bytes, &count);
        printf("queue %d %o %d %d, %zu\n", key, mode, bytes, count, strlen(line));
    }
    msgctl(queue, IPC_RMID, 0);
}

static struct sockaddr_in loopback(void) {
    return (struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
}

// Binds a socket to any port, and gives where it is then.
static struct sockaddr_in bound(int s) {
    struct sockaddr_in at = loopback();
    socklen_t size = sizeof at;
    bind(s, (void *)&at, size);
    getsockname(s, (void *)&at, &size);
    return at;
}

// Two ends of a TCP connection.
static void tcp(int ends[2]) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), bytes;
    struct sockaddr_in at = bound(listener);
    listen(listener, 5);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    connect(ends[0], (void *)&at, sizeof at);
    ends[1] = accept(listener, 0, 0);
    R("bytes of a listener", ioctl(listener, FIONREAD, &bytes));
}

// A message of one byte with one control message.
struct message {
    struct msghdr header;
    struct iovec part;
    union {
        char bytes[CMSG_SPACE(12)];
        struct cmsghdr aligned;
    } control;
};

static struct msghdr *message_with(struct message *m, int level, int type, int value, int length) {
    memset(m, 0, sizeof *m);
    m->part = (struct iovec){"r", 1};
    m->header.msg_iov = &m->part;
    m->header.msg_iovlen = 1;
    m->header.msg_control = m->control.bytes;
    m->header.msg_controllen = CMSG_SPACE(length);
    struct cmsghdr *control = CMSG_FIRSTHDR(&m->header);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(length);
    *(int *)CMSG_DATA(control) = value;
    return &m->header;
}

static void descriptors_between_bytes(int passed) {
    int ends[2];
    char text[20];
    struct message message;
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    write(ends[0], "aa", 2);
    sendmsg(ends[0], message_with(&message, SOL_SOCKET, SCM_RIGHTS, passed, 4), 0);
    write(ends[0], "bb", 2);
    R("up to the descriptor", read(ends[1], text, 20));
    R("behind it", read(ends[1], text, 20));
}

static void datagrams_by_name(void) {
    int named = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un at = {AF_UNIX};
    struct sockaddr nobody = {0};
    socklen_t size = sizeof at;
    R("any name", bind(named, (void *)&at, 2));
    R("once more", bind(named, (void *)&at, 2));
    getsockname(named, (void *)&at, &size);
    connect(sender, (void *)&at, size);
    R("connected", send(sender, "1", 1, 0));
    R("disconnect", connect(sender, &nobody, 2));
    R("to nobody", send(sender, "1", 1, 0));
    R("no protocol", socket(AF_INET, SOCK_STREAM, 300));
    R("ping", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
}

static void ends_of_connections(void) {
    int ends[2];
    char text[9];
    tcp(ends);
    send(ends[0], "abcd", 4, 0);
    nap(5);
    R("away with them", recv(ends[1], 0, 3, MSG_TRUNC));
    R("the rest", recv(ends[1], text, 9, 0));
    shutdown(ends[0], SHUT_RD);
    write(ends[1], "q", 1);
    nap(5);
    R("after no more reading", read(ends[0], text, 3));
    shutdown(ends[0], SHUT_RDWR);
    shutdown(ends[1], SHUT_RDWR);
    nap(5);
    R("closed already", shutdown(ends[1], SHUT_RDWR));
}

static void control_messages_of_datagrams(void) {
    int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in at = bound(to);
    char text[9], control[128];
    R("asked", setsockopt(to, SOL_IP, IP_RECVORIGDSTADDR, &on, 4));
    R("losses", setsockopt(to, SOL_SOCKET, SO_RXQ_OVFL, &on, 4));
    sendto(from, "x", 1, 0, (void *)&at, sizeof at);
    struct iovec part = {text, sizeof text};
    struct msghdr received = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    recvmsg(to, &received, 0);
    struct cmsghdr *first = CMSG_FIRSTHDR(&received);
    struct sockaddr_in *meant = (void *)CMSG_DATA(first);
    int is_port = meant->sin_port == at.sin_port, is_address = meant->sin_addr.s_addr == at.sin_addr.s_addr;
    printf("%d %d %d %d\n", first->cmsg_level, first->cmsg_type, is_port, is_address);

    static const struct {
        int level, type, value;
    } sent[] = {
        {SOL_IP, IP_TTL, 9},    {SOL_IP, IP_TTL, 0}, {SOL_IP, IP_TTL, 256},
        {SOL_IP, IP_TOS, 0x10}, {SOL_IP, 77, 0x10},  {99, 77, 0x10},
    };
    struct message message;
    for (int i = 0; i < 6; i++) {
        struct msghdr *header = message_with(&message, sent[i].level, sent[i].type, sent[i].value, 4);
        char what[30];
        header->msg_name = &at;
        header->msg_namelen = sizeof at;
        sprintf(what, "with %d %d", sent[i].type, sent[i].value);
        R(what, sendmsg(from, header, 0));
    }
    struct msghdr *by_99 = message_with(&message, SOL_IP, IP_PKTINFO, 99, 12);
    by_99->msg_name = &at;
    by_99->msg_namelen = sizeof at;
    R("no interface", sendmsg(from, by_99, 0));
    at.sin_port = 0;
    connect(from, (void *)&at, sizeof at);
    R("to port 0", send(from, "x", 1, 0));
}

static struct {
    struct nlmsghdr header;
    struct ifinfomsg interface;
} request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 5}, {.ifi_index = 1}};

static union {
    char bytes[8192];
    struct nlmsghdr header;
} answer;

// Sends the request, of this type and about this interface.
static void ask(int fd, int type, int index) {
    request.header.nlmsg_type = type;
    request.interface.ifi_index = index;
    send(fd, &request, sizeof request, 0);
}

static int receive(int fd) { return recv(fd, answer.bytes, sizeof answer.bytes, 0); }

static void print_acknowledgement(int number, int length) {
    struct nlmsgerr *error = NLMSG_DATA(&answer.header);
    printf("%d: type %d flags %x error %d, %d\n", number, answer.header.nlmsg_type, answer.header.nlmsg_flags,
           error->error, length);
}

static void netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), on = 1;
    struct sockaddr_nl at = {AF_NETLINK};
    socklen_t size = sizeof at;
    bind(fd, (void *)&at, size);
    getsockname(fd, (void *)&at, &size);
    R("own number", at.nl_pid == getpid());
    ask(fd, RTM_GETLINK, 1);
    receive(fd);
    struct ifinfomsg *interface = NLMSG_DATA(&answer.header);
    printf("%d %x %d\n", answer.header.nlmsg_type, answer.header.nlmsg_flags, interface->ifi_index);
    print_acknowledgement(0, receive(fd));
    ask(fd, RTM_GETLINK, 99);
    print_acknowledgement(1, receive(fd));
    ask(fd, 999, 1);
    print_acknowledgement(2, receive(fd));
    ask(fd, NLMSG_NOOP, 1);
    print_acknowledgement(3, receive(fd));
    R("short answers", setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, 4));
    ask(fd, 999, 1);
    int length = receive(fd);
    printf("flags %x, %d\n", answer.header.nlmsg_flags, length);
    R("nothing", send(fd, "x", 1, 0));
    R("answers", recv(fd, answer.bytes, 9, MSG_DONTWAIT));
}

int main(void) {
    char folder[] = "/dev/shm/answers-XXXXXX";
    int pipes[2];
    umask(022);
    mkdir("/dev/shm", 01777);
    mkdtemp(folder);
    chdir(folder);
    setvbuf(stdout, 0, _IONBF, 0);
    pipe(pipes);
    signal(SIGPIPE, SIG_IGN);
    descriptors(pipes);
    int file = open("hints", O_CREAT | O_RDWR, 0600);
    commands_of_fcntl(file, pipes);
    flags_and_attributes(file);
    files_without_names(file);
    files_of_proc();
    null_arguments(file, pipes);
    privileges();
    settings_of_processes();
    timers_and_usage();
    a_queue_in_proc();
    descriptors_between_bytes(pipes[0]);
    datagrams_by_name();
    ends_of_connections();
    control_messages_of_datagrams();
    netlink();
    return 0;
}
