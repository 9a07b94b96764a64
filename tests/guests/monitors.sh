# Debian's monitors see what a shell does.
fail() { echo "WRONG: $1"; echo "$2"; exit 1; }
says() { case "$2" in *$3*) ;; *) fail "$1 does not say $3" "$2" ;; esac; }

sleep 100 &
sleeper=$!
nc -l -p 7777 &
listener=$!
exec 7</etc/passwd
sleep 1

says ps "$(/usr/bin/ps -o pid=,stat=,comm= -p $sleeper)" "$sleeper S"
kill -STOP $sleeper
says 'ps of what is stopped' "$(/usr/bin/ps -o stat= -p $sleeper)" T
says free "$(/usr/bin/free -b)" "$(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo | sed 's/$//;q' | while read kb; do echo $((kb * 1024)); done)"
says vmstat "$(/usr/bin/vmstat)" swpd
says uptime "$(/usr/bin/uptime)" up
says ss "$(/usr/bin/ss -ltn 2>&1)" :7777
says lsof "$(/usr/bin/lsof -p $$ 2>&1)" /etc/passwd
says 'lsof of a listener' "$(/usr/bin/lsof -nP -p $listener 2>&1)" 7777
kill -9 $sleeper $listener
echo "all monitors are well"
