// Futexes with an owner (priority inheritance), their owners' ends, and waiting for any of several.
#include "checks.h"

static pthread_mutex_t mu; static int order[20],no; static volatile int started;
    static void*th(void*a){ __sync_fetch_and_add(&started,1); int r=pthread_mutex_lock(&mu); order[no++]=(long)a; if(r)printf("lock %s\n",strerrorname_np(r)); if(r==EOWNERDEAD)pthread_mutex_consistent(&mu); nap(2); pthread_mutex_unlock(&mu); return 0;}
static int F; static void h(int s){}
    static void*lk(void*a){ struct timespec t; clock_gettime(CLOCK_REALTIME,&t); t.tv_nsec+=30000000; if(t.tv_nsec>=1000000000)t.tv_sec++,t.tv_nsec-=1000000000; errno=0; long r=S(SYS_futex,&F,6,0,a?&t:0); printf("lock_pi %ld %s %d\n",r,r?strerrorname_np(errno):"",(F&0x3fffffff)==gettid()); fflush(stdout); if(!r)S(SYS_futex,&F,7); return 0;}
static void*hold(void*a){ pthread_mutex_lock(&mu); started=100; nap(30); return 0; }
static int W[3]; struct wv{uint64_t val,addr;uint32_t fl,res;};
    static void*wv(void*a){ struct wv v[3]; for(int i=0;i<3;i++)v[i]=(struct wv){0,(long)&W[i],2|128,0}; errno=0; long r=S(449,v,3,0,0,0); printf("waitv %ld %s\n",r,r<0?strerrorname_np(errno):""); fflush(stdout); return 0;}
    int main(){ pthread_mutexattr_t a; pthread_mutexattr_init(&a); pthread_mutexattr_setprotocol(&a,PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&mu,&a); pthread_t t[5]; pthread_mutex_lock(&mu); for(long i=0;i<5;i++){pthread_create(&t[i],0,th,(void*)i);nap(5);} nap(5);
    pthread_mutex_unlock(&mu); for(int i=0;i<5;i++)pthread_join(t[i],0); for(int i=0;i<5;i++)printf("%d ",order[i]);
    puts("");
    R("trylock",pthread_mutex_trylock(&mu)); R("trylock2",pthread_mutex_trylock(&mu)); pthread_mutex_unlock(&mu);
    struct timespec ts; clock_gettime(CLOCK_REALTIME,&ts); R("timedlock",pthread_mutex_timedlock(&mu,&ts));
    pthread_mutex_unlock(&mu);
    F=gettid(); pthread_create(&t[0],0,lk,(void*)1); pthread_join(t[0],0); printf("word %x\n",F&0xc0000000);
    R("unlock",S(SYS_futex,&F,7)); printf("%x\n",F); F=gettid(); pthread_create(&t[0],0,lk,0);
    nap(20); signal(SIGUSR1,h); siginterrupt(SIGUSR1,1); pthread_kill(t[0],SIGUSR1); nap(10); R("unlock",S(SYS_futex,&F,7));
    pthread_join(t[0],0);
 // owner dies (robust pi)
    pthread_mutexattr_setrobust(&a,PTHREAD_MUTEX_ROBUST); pthread_mutex_init(&mu,&a); no=0; started=0;
    pthread_create(&t[0],0,hold,0); while(started!=100)nap(1); started=0; pthread_create(&t[1],0,th,(void*)7);
    pthread_join(t[0],0); pthread_join(t[1],0); R("after",pthread_mutex_lock(&mu)); pthread_mutex_unlock(&mu);
 // process-shared pi
    pthread_mutexattr_setpshared(&a,PTHREAD_PROCESS_SHARED); pthread_mutex_t*ps=mmap(0,4096,3,MAP_SHARED|MAP_ANONYMOUS,-1,0);
    pthread_mutex_init(ps,&a); pthread_mutex_lock(ps); fflush(stdout); pid_t p=fork(); if(!p){ R("child lock",pthread_mutex_lock(ps)); fflush(stdout); _exit(0);} nap(20);
    pthread_mutex_unlock(ps); waitpid(p,0,0); R("owner dead",pthread_mutex_lock(ps)); pthread_mutex_consistent(ps);
    pthread_mutex_unlock(ps);
 // waitv
    for(int i=0;i<3;i++){ pthread_create(&t[0],0,wv,0); nap(10); W[i]=0; R("wake",({long k_=S(SYS_futex,&W[i],1|128,1); pthread_join(t[0],0); k_;}));} R("wake none",S(SYS_futex,&W[0],1|128,9)+S(SYS_futex,&W[1],1|128,9));
    pthread_create(&t[0],0,wv,0); nap(10); signal(SIGUSR1,h); siginterrupt(SIGUSR1,1); pthread_kill(t[0],SIGUSR1);
    pthread_join(t[0],0); pthread_create(&t[0],0,wv,0); nap(10); siginterrupt(SIGUSR1,0); pthread_kill(t[0],SIGUSR1);
    nap(10); S(SYS_futex,&W[2],1|128,1); pthread_join(t[0],0); struct wv v={0,(long)&W[0],2|128,0};
    clock_gettime(CLOCK_MONOTONIC,&ts); ts.tv_nsec+=10000000; if(ts.tv_nsec>=1000000000)ts.tv_sec++,ts.tv_nsec-=1000000000;
    long b=ms(); R("timeout",S(449,&v,1,0,&ts,1)); printf("%d\n",ms()-b>=9); R("clock 2",S(449,&v,1,0,&ts,2));
    v.addr=8; R("efault",S(449,&v,1,0,0,0)); v.addr=(long)&W[0]+1; R("unal",S(449,&v,1,0,0,0));
    v.addr=(long)&W[0]; v.res=1; R("reserved",S(449,&v,1,0,0,0)); v.res=0;  v.fl=2; R("null",S(449,0,1,0,0,0));
    pthread_create(&t[0],0,wv,0); nap(10); int X=0; R("requeue",S(SYS_futex,&W[1],3|128,0,1,&X));
    R("wake X",({long k_=S(SYS_futex,&X,1|128,1); pthread_join(t[0],0); k_;}));
 return 0;}
