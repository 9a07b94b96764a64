# Programs that make terminals, each as Debian has it. Run by bash.
export PATH=/usr/local/bin:/usr/bin:/bin TERM=dumb HOME=/tmp LC_ALL=C.UTF-8 SHELL=/bin/bash
cd /tmp
fail() { echo "terminals: $1: ${2//$'\r'/<CR>}"; exit 1; }
is() { [ "$2" = "$3" ] || fail "$1" "$2 and not $3"; }
has() { case "$2" in *"$3"*) ;; *) fail "$1" "$2" ;; esac; }

# script: a terminal around a command.
said=$(script -qec 'tty; stty -a; stty size' /tmp/typescript < /dev/null)
has script "$said" "/dev/pts/"
has 'stty -a' "$said" "intr = ^C"
has 'stty -a' "$said" "icanon"
has typescript "$(cat /tmp/typescript)" "/dev/pts/"
has 'stty size' "$(script -qec 'stty rows 11 cols 44; stty size' /dev/null < /dev/null)" "11 44"
has 'stty raw' "$(script -qec 'stty raw; stty -a' /dev/null < /dev/null)" "-icanon"

# Job control of a shell that talks to its terminal.
cat > jobs.py <<'END'
import os, pty, re, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["PS1"] = "ready> "
    os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
seen = ""
def until(what):
    global seen
    end = time.time() + 40
    while what not in seen:
        if time.time() > end: sys.exit("no %r in %r" % (what, seen))
        if select.select([fd], [], [], 1)[0]:
            seen += os.read(fd, 4096).decode()
    seen = seen[seen.index(what) + len(what):]
def type(text): os.write(fd, text.encode())
until("ready> "); type("sleep 100\r"); time.sleep(2); type("\x1a")
until("Stopped"); until("ready> "); type("jobs\r")
until("Stopped"); until("ready> "); type("bg\r"); until("ready> "); type("jobs\r")
until("Running"); until("ready> "); type("fg\r"); until("sleep 100"); time.sleep(1); type("\x03")
until("ready> "); type("echo status $?\r"); until("status 130"); until("ready> ")
type("cat > /dev/null &\r"); until("ready> "); time.sleep(1); type("\r"); until("Stopped"); until("ready> ")
type("kill %1\r"); until("ready> ")
# Line editing: back, insert, history.
type("echo ac\x1b[Db\r"); until("\nabc"); until("ready> ")
type("\x1b[A\r"); until("\nabc"); until("ready> ")
type("exit\r")
print("jobs are well")
END
has jobs "$(/usr/bin/python3 jobs.py 2>&1)" "jobs are well"

# Python's own test of its module.
cat > module.py <<'END'
import os, pty, sys
out = []
def read(fd):
    data = os.read(fd, 1024)
    out.append(data)
    return data
status = pty.spawn(["/bin/sh", "-c", "test -t 0 && test -t 1 && echo on a terminal"], read)
assert status == 0 and b"on a terminal\r\n" in b"".join(out), (status, out)
master, slave = pty.openpty()
assert os.ttyname(slave).startswith("/dev/pts/") and os.isatty(master)
os.close(slave)
os.close(master)
print("pty is well")
END
has pty "$(/usr/bin/python3 module.py < /dev/null 2>&1)" "pty is well"

# tmux: a server, a session, keys, and what is to be seen.
export TERM=screen
tmux -f /dev/null new-session -d -x 80 -y 24 'bash --norc --noprofile' || fail tmux "no session"
sleep 2
tmux send-keys 'echo $((6*7)) is it' Enter
for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    pane=$(tmux capture-pane -p)
    case "$pane" in *"42 is it"*) break ;; esac
done
has capture-pane "$pane" "42 is it"
tmux split-window 'stty size > /tmp/size; sleep 100'
sleep 2
is 'size of a pane' "$(cat /tmp/size)" "11 80"
tmux kill-server
echo "all terminals are well"
