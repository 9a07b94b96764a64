// Locks of files as calls and /proc/locks tell of them.
#include "checks.h"

    static int lk(int f,int cmd,int type,int wh,long st,long len){struct flock l={.l_type=type,.l_whence=wh,.l_start=st,.l_len=len}; int r=fcntl(f,cmd,&l); if(r<0)printf(" -%s\n",strerrorname_np(errno)); else if(cmd==F_GETLK||cmd==F_OFD_GETLK)printf(" type %d whence %d start %ld len %ld pid %d\n",l.l_type,l.l_whence,l.l_start,l.l_len,l.l_pid>0?l.l_pid==getpid()?2:1:l.l_pid);else puts(" 0"); return r;}
#define L(w,...) do{printf("%s:",w);lk(__VA_ARGS__);fflush(stdout);}while(0)
    static void locks(){ fflush(stdout); struct stat s; stat("f",&s); char t[40]; sprintf(t,":%ld ",(long)s.st_ino); FILE*f=fopen("/proc/locks","r"); char b[300],all[20][100]; int n_=0; while(fgets(b,300,f)) if(strstr(b,t)){ char k[20],m[20],r[20],rest[99]; int n,pid; char *arrow=strstr(b,"->"); sscanf(arrow?arrow+2:strchr(b,':')+1," %s %s %s %d %*s %[^\n]",k,m,r,&pid,rest); sprintf(all[n_++],"  lock%s %s %s %s %s %s\n",arrow?" ->":"",k,m,r,pid==getpid()?"me":pid==-1?"-1":"other",rest);} fclose(f); qsort(all,n_,100,(void*)strcmp); for(int i=0;i<n_;i++)printf("%s",all[i]);}
    static void own(int fd){ char p[40],b[999]; sprintf(p,"/proc/self/fdinfo/%d",fd); int f=open(p,0),n=read(f,b,998),k=0; b[n]=0; close(f); for(char*q=b;(q=strstr(q,"lock:\t"));q++)k++; printf("  %d locks of its own\n",k); fflush(stdout);}
int main(){ char d[]="/dev/shm/lXXXXXX"; mkdir("/dev/shm",01777); mkdtemp(d); chdir(d); int f=open("f",O_CREAT|O_RDWR,0600);
    ftruncate(f,100); lseek(f,10,0);
    L("cur",f,F_SETLK,F_WRLCK,SEEK_CUR,5,10); L("end",f,F_SETLK,F_RDLCK,SEEK_END,-10,0); L("neg len",f,F_SETLK,F_WRLCK,SEEK_SET,60,-10);
    locks(); L("neg start",f,F_SETLK,F_WRLCK,SEEK_SET,-1,2); L("neg len over",f,F_SETLK,F_WRLCK,SEEK_SET,5,-10);
    L("overflow",f,F_SETLK,F_WRLCK,SEEK_SET,LONG_MAX,2); L("type 9",f,F_SETLK,9,0,0,1); L("whence 9",f,F_SETLK,F_RDLCK,9,0,1);
    L("get type un",f,F_GETLK,F_UNLCK,0,0,1); L("get",f,F_GETLK,F_WRLCK,0,0,0);
    CHILD(L("child get",f,F_GETLK,F_WRLCK,0,0,0); L("child get rd end",f,F_GETLK,F_RDLCK,0,91,0); L("child rd end",f,F_SETLK,F_RDLCK,0,95,1); L("child conflict",f,F_SETLK,F_WRLCK,0,95,1); L("ofd get",f,F_OFD_GETLK,F_WRLCK,0,0,0));
    L("split",f,F_SETLK,F_UNLCK,0,17,3); locks(); L("upgrade",f,F_SETLK,F_WRLCK,0,93,3); locks();
    L("merge",f,F_SETLK,F_WRLCK,0,0,0); locks(); L("un",f,F_SETLK,F_UNLCK,0,0,0); locks();
    int r=open("f",O_RDONLY),w=open("f",O_WRONLY); L("ro wr",r,F_SETLK,F_WRLCK,0,0,1); L("wo rd",w,F_SETLK,F_RDLCK,0,0,1);
    L("path",open("f",O_PATH),F_SETLK,F_RDLCK,0,0,1);
 // OFD
    int g=open("f",O_RDWR); L("ofd set",f,F_OFD_SETLK,F_WRLCK,0,0,10); L("ofd conflict same proc",g,F_OFD_SETLK,F_RDLCK,0,5,1);
    L("posix vs ofd",g,F_SETLK,F_RDLCK,0,5,1); L("posix vs ofd same fd",f,F_SETLK,F_RDLCK,0,5,1);
    L("getlk sees",g,F_GETLK,F_RDLCK,0,0,0); L("ofd get",g,F_OFD_GETLK,F_RDLCK,0,0,0); locks();
    struct flock pl={.l_type=F_RDLCK,.l_pid=5}; R("ofd pid",fcntl(f,F_OFD_SETLK,&pl)); CHILD(L("child same ofd",f,F_OFD_SETLK,F_RDLCK,0,0,10));
    locks(); int h=dup(f); close(h); locks(); close(f); locks(); f=open("f",O_RDWR);
 // posix lost on any close
 L("posix",f,F_SETLK,F_WRLCK,0,0,10); own(f); close(dup(g)); locks();
 // flock
    R("flock sh",flock(f,LOCK_SH)); R("flock other sh",flock(g,LOCK_SH|LOCK_NB)); own(g); R("upgrade nb",flock(f,LOCK_EX|LOCK_NB));
    locks(); R("un g",flock(g,LOCK_UN)); R("ex",flock(f,LOCK_EX|LOCK_NB)); R("g",flock(g,LOCK_SH|LOCK_NB));
    R("bad",flock(f,0)); R("bad 3",flock(f,3)); R("bad 12",flock(f,LOCK_SH|LOCK_EX)); R("mand",flock(f,32|LOCK_SH));
    R("mand2",flock(f,32)); locks(); CHILD(R("child un",flock(f,LOCK_UN))); locks(); R("dir flock",flock(open(".",O_RDONLY),LOCK_EX));
    int p[2]; pipe(p); R("pipe flock",flock(p[0],LOCK_EX|LOCK_NB)); R("sock flock",flock(socket(1,1,0),LOCK_EX|LOCK_NB));
    L("pipe posix",p[0],F_SETLK,F_RDLCK,0,0,0); L("dir posix",open(".",O_RDONLY),F_SETLK,F_RDLCK,0,0,0);
    R("ro flock ex",flock(r,LOCK_EX|LOCK_NB));
 // wait & deadlock
    int a[2],b[2]; pipe(a); pipe(b); flock(f,LOCK_UN); lk(f,F_SETLK,F_WRLCK,0,0,1); fflush(stdout);
    pid_t c=fork(); if(!c){ int ff=open("f",O_RDWR); lk(ff,F_SETLK,F_WRLCK,0,1,1); fflush(stdout); write(a[1],"x",1); struct flock l={.l_type=F_WRLCK,.l_start=0,.l_len=1}; int rr=fcntl(ff,F_SETLKW,&l); printf("child got %d\n",rr); fflush(stdout); _exit(0);} char x;
    read(a[0],&x,1); nap(30); locks(); L("deadlock",f,F_SETLKW,F_WRLCK,0,1,1);
    struct flock off={.l_type=F_UNLCK,.l_len=1}; int un=fcntl(f,F_SETLK,&off); waitpid(c,0,0); R("un",un);
 // leases
    R("getlease",fcntl(f,F_GETLEASE)); R("setlease bad",fcntl(f,F_SETLEASE,9)); R("unlck",fcntl(f,F_SETLEASE,F_UNLCK));
    R("lease pipe",fcntl(p[0],F_SETLEASE,F_RDLCK)); R("lease dir",fcntl(open(".",O_RDONLY),F_SETLEASE,F_RDLCK));
    close(f);close(g);close(r);close(w);
 return 0;}
