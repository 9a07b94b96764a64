// Waiting for children: all kinds of news, pidfds, reapers, and groups that nobody looks after.
#include "checks.h"

    static void si(const char*w,int r,siginfo_t*i){ if(r<0)printf("%s: -%s\n",w,strerrorname_np(errno)); else printf("%s: %d signo %d code %d status %d pid %s uid %d\n",w,r,i->si_signo,i->si_code,i->si_status,i->si_pid?"set":"0",i->si_uid); fflush(stdout);}
    static int kid(int how){ fflush(stdout); pid_t p=fork(); if(!p){ if(how==-1) pause(); if(how==-2) {raise(SIGSTOP); nap(20); _exit(7);} if(how>=1000){raise(how-1000);} _exit(how);} return p;}
static volatile int out; static void hup(int s){write(out,"h",1);}
int main(){ siginfo_t i; int st; struct rusage ru; struct rlimit z={0,0}; setrlimit(RLIMIT_CORE,&z);
    pid_t p=kid(3); memset(&i,0x55,sizeof i); si("wnowait",waitid(P_PID,p,&i,WEXITED|WNOWAIT),&i);
    memset(&i,0,sizeof i); si("again",waitid(P_PID,p,&i,WEXITED|WNOWAIT|WNOHANG),&i); R("wait4",wait4(p,&st,0,&ru)==p);
    printf("%x\n",st); R("gone",wait4(p,&st,0,0)); si("gone",waitid(P_PID,p,&i,WEXITED),&i);
 memset(&i,0x55,sizeof i); p=kid(-1); si("nohang",waitid(P_PID,p,&i,WEXITED|WNOHANG),&i); R("w4 nohang",wait4(p,&st,WNOHANG,0));
    kill(p,SIGSTOP); memset(&i,0,sizeof i); si("stopped",waitid(P_PID,p,&i,WSTOPPED),&i); si("stopped nohang",waitid(P_PID,p,&i,WSTOPPED|WNOHANG),&i);
    kill(p,SIGCONT); si("cont nowait",waitid(P_PID,p,&i,WCONTINUED|WNOWAIT),&i); R("w4 cont",waitpid(p,&st,WCONTINUED)==p);
    printf("%x %d\n",st,WIFCONTINUED(st)); kill(p,SIGSTOP); R("w4 untraced",waitpid(p,&st,WUNTRACED)==p);
    printf("%x\n",st); kill(p,SIGKILL); si("killed",waitid(P_ALL,0,&i,WEXITED),&i);
 p=kid(1000+SIGSEGV); si("segv",waitid(P_PGID,0,&i,WEXITED),&i); p=kid(1000+SIGRTMIN+1); waitpid(-1,&st,0); printf("%x\n",st);
    R("no opts",waitid(P_ALL,0,&i,0)); R("bad opts",waitid(P_ALL,0,&i,WEXITED|0x100)); R("w4 bad",wait4(-1,&st,0x100,0));
    R("w4 wexited",wait4(-1,&st,WEXITED,0)); R("bad type",waitid(9,0,&i,WEXITED)); R("pid 0",waitid(P_PID,0,&i,WEXITED));
    R("pid neg",waitid(P_PID,-5,&i,WEXITED)); R("pgid neg",waitid(P_PGID,-5,&i,WEXITED)); R("wait4 intmin",wait4(INT_MIN,&st,0,0));
    R("none",wait(&st)); R("w4 -9999",wait4(-9999,&st,0,0));
 // pidfd
    p=kid(-1); int fd=S(SYS_pidfd_open,p,0); R("pidfd",fd>=0); struct pollfd pf={fd,POLLIN}; R("poll",poll(&pf,1,0));
    R("send bad",S(SYS_pidfd_send_signal,fd,99,0,0)); R("send 0",S(SYS_pidfd_send_signal,fd,0,0,0));
    R("flags",S(SYS_pidfd_send_signal,fd,0,0,16)); memset(&i,0,sizeof i); i.si_signo=SIGTERM; i.si_code=SI_QUEUE;
    R("info",S(SYS_pidfd_send_signal,fd,SIGUSR1,&i,0)); R("send term",S(SYS_pidfd_send_signal,fd,SIGTERM,&i,0));
    R("poll",poll(&pf,1,1000)); printf("%x\n",pf.revents); si("P_PIDFD",waitid(P_PIDFD,fd,&i,WEXITED|WNOWAIT),&i);
    R("read",read(fd,&st,4)); R("signal zombie",S(SYS_pidfd_send_signal,fd,0,0,0)); si("P_PIDFD",waitid(P_PIDFD,fd,&i,WEXITED),&i);
    R("send gone",S(SYS_pidfd_send_signal,fd,0,0,0)); si("again",waitid(P_PIDFD,fd,&i,WEXITED),&i);
    
    R("open bad pid",S(SYS_pidfd_open,0,0)); R("neg",S(SYS_pidfd_open,-1,0)); R("flags",S(SYS_pidfd_open,getpid(),1));
    R("gone",S(SYS_pidfd_open,p,0)); fd=S(SYS_pidfd_open,getpid(),O_NONBLOCK); R("nonblock fl",fcntl(fd,F_GETFL));
    R("cloexec",fcntl(fd,F_GETFD)); si("not child",waitid(P_PIDFD,fd,&i,WEXITED),&i);
 p=kid(-1); int nb=S(SYS_pidfd_open,p,O_NONBLOCK); si("nonblock wait",waitid(P_PIDFD,nb,&i,WEXITED),&i); kill(p,9); waitpid(p,0,0);
    char b[300]; sprintf(b,"/proc/self/fdinfo/%d",fd); int f=open(b,0); int n=read(f,b,299); b[n]=0;
    char*l=strstr(b,"Pid"); printf("%d\n",l&&atoi(l+4)==getpid()); l=strstr(b,"NSpid"); printf("NSpid %d\n",!!l);
 struct stat s; fstat(fd,&s); printf("mode %o\n",s.st_mode&0170000);
 // subreaper
    int v=-1; R("get",prctl(PR_GET_CHILD_SUBREAPER,&v)); printf("%d\n",v); R("set",prctl(PR_SET_CHILD_SUBREAPER,5));
    prctl(PR_GET_CHILD_SUBREAPER,&v); printf("%d\n",v);
    int pp[2]; pipe(pp); p=fork(); if(!p){ prctl(PR_GET_CHILD_SUBREAPER,&v); printf("inherited %d\n",v); fflush(stdout); if(!fork()){ while(getppid()!=1 && getppid()!=atoi(getenv("X")?:"0")){ static int k; if(k++>100)break; nap(5);} v=getppid(); write(pp[1],&v,4); _exit(9);} _exit(0);} waitpid(p,&st,0);
    read(pp[0],&v,4); R("orphan to us",v==getpid()); R("wait",wait(&st)>0); printf("%x\n",st);
 // SIGCHLD ignored
 signal(SIGCHLD,SIG_IGN); p=kid(1); R("ign wait",waitpid(p,&st,0)); p=kid(1); nap(20); R("ign wait -1",wait(&st)); signal(SIGCHLD,SIG_DFL);
    struct sigaction sa={.sa_handler=SIG_DFL,.sa_flags=SA_NOCLDWAIT}; sigaction(SIGCHLD,&sa,0);
    p=kid(1); R("nocldwait",waitpid(p,&st,0)); sa.sa_flags=0; sigaction(SIGCHLD,&sa,0);
 // SIGCHLD info
    sigset_t ss; sigemptyset(&ss); sigaddset(&ss,SIGCHLD); sigprocmask(SIG_BLOCK,&ss,0); p=kid(4);
    si("chld exit",sigwaitinfo(&ss,&i)>0?0:-1,&i); printf("times %d\n",i.si_utime<5&&i.si_stime<5);
    waitpid(p,0,0); p=kid(-2); si("chld stop",sigwaitinfo(&ss,&i)>0?0:-1,&i); kill(p,SIGCONT);
    si("chld cont",sigwaitinfo(&ss,&i)>0?0:-1,&i); si("chld exit",sigwaitinfo(&ss,&i)>0?0:-1,&i);
    waitpid(p,0,0);
    sa.sa_flags=SA_NOCLDSTOP; sigaction(SIGCHLD,&sa,0); p=kid(-2); waitpid(p,&st,WUNTRACED); struct timespec t={0,1000000};
    R("nocldstop",sigtimedwait(&ss,&i,&t)); kill(p,SIGCONT); si("exit",sigwaitinfo(&ss,&i)>0?0:-1,&i);
    waitpid(p,0,0);
 // __WALL clone without SIGCHLD
    p=S(SYS_clone,0,0,0,0,0); if(!p)_exit(5); nap(10); R("clone wait",waitpid(p,&st,0)); R("WCLONE",waitpid(p,&st,__WCLONE)==p);
    p=S(SYS_clone,SIGUSR2,0,0,0,0); if(!p)_exit(5); R("WALL",0); signal(SIGUSR2,SIG_IGN); R("wall",waitpid(p,&st,__WALL)==p);
 // efault
    p=kid(2); R("efault",wait4(p,(int*)8,0,0)); R("after efault",waitpid(p,&st,0)); p=kid(2); R("rusage efault",wait4(p,&st,0,(void*)8));
    R("after",waitpid(p,&st,0)); p=kid(2); R("waitid efault",waitid(P_PID,p,(void*)8,WEXITED));
    R("after",waitpid(p,&st,0));
 // pgid
    p=kid(-1); setpgid(p,p); R("pgid",waitid(P_PGID,p,&i,WEXITED|WNOHANG)); kill(-p,SIGTERM); si("pgid",waitid(P_PGID,p,&i,WEXITED),&i);
    R("kill empty grp",kill(-p,0)); R("kill -1 pgid",kill(-99999,0));
    R("setpgid self neg",setpgid(0,-1)); R("setpgid 99999",setpgid(0,99999));
    R("getpgid",getpgid(99999)); R("getsid",getsid(99999)); R("getsid -1",getsid(-1));
    p=kid(-1); kill(p,9); waitpid(p,0,0); CHILD(R("setsid",setsid()==getpid()); R("again",setsid()); R("setpgid leader",setpgid(0,0)));
 // pdeathsig
    R("pd get",prctl(PR_GET_PDEATHSIG,&v)); printf("%d\n",v); R("pd set",prctl(PR_SET_PDEATHSIG,99));
    R("pd set",prctl(PR_SET_PDEATHSIG,-1)); R("pd set",prctl(PR_SET_PDEATHSIG,64)); prctl(PR_GET_PDEATHSIG,&v);
    printf("%d\n",v); CHILD(prctl(PR_GET_PDEATHSIG,&v); printf("in child %d\n",v)); R("efault",prctl(PR_GET_PDEATHSIG,8));
 // A group that nobody looks after is not stopped by keys, and hears of it when its last guardian ends.
    pipe(pp); fflush(stdout); p=fork(); if(!p){ setsid(); pid_t q=fork(); if(!q){ setpgid(0,0); raise(SIGTSTP); char c=0; write(pp[1],"t",1); signal(SIGHUP,(void*)hup); out=pp[1]; raise(SIGSTOP); write(pp[1],"c",1); _exit(0);} nap(20); siginfo_t z; kill(q,SIGCONT); nap(30); _exit(0);} waitpid(p,0,0);
    close(pp[1]); char bb[9]={0}; int got=0,k; while((k=read(pp[0],bb+got,8-got))>0)got+=k; printf("stopped, continued, hung up: %s\n",bb);
    pipe(pp); fflush(stdout); p=fork(); if(!p){ setsid(); raise(SIGTSTP); write(pp[1],"x",1); _exit(0);} close(pp[1]);
    R("orphans are not stopped",read(pp[0],bb,1)); waitpid(p,0,0);
 return 0;}
