# haproxy with a master, a worker of two threads and a server behind it; reloading it, connections go over to a new worker.
cat > /tmp/h.cfg << END
global
  master-worker
  nbthread 2
  stats socket /tmp/h.sock level admin expose-fd listeners
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend front
  bind 127.0.0.1:8082
  http-request return status 200 content-type text/plain string pong if { path /ping }
  default_backend back
backend back
  server one 127.0.0.1:8083 check inter 300ms
END
get() { wget -q -O - "http://127.0.0.1:8082/$1"; }
until_is() {
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ "$(get "$1")" = "$2" ] && return
        sleep 0.5
    done
    echo "$1 is $(get "$1")"
    exit 1
}
httpd -p 127.0.0.1:8083 -h /srv
/usr/sbin/haproxy -W -f /tmp/h.cfg 2> /tmp/log &
master=$!
until_is ping pong
until_is page 'from behind'
read old < /proc/$master/task/$master/children
# A signal that comes as the master begins to wait is missed by it, on Linux too.
until grep -q Reloading /tmp/log; do
    kill -USR2 $master
    sleep 2
done
# The new worker has the listeners of the old one, which ends.
for i in $(seq 80); do
    [ "$(get page)" = 'from behind' ] || { echo 'nothing while it reloads'; exit 1; }
    kill -0 $old 2> /dev/null || break
    sleep 0.5
done
kill -0 $old 2> /dev/null && { echo 'the old worker goes on'; cat /tmp/log; exit 1; }
kill -TERM $master
wait $master
status=$?
[ $status = 0 ] || { echo "status $status"; cat /tmp/log; exit 1; }
echo 'all of haproxy is well'
