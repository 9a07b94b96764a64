# What a busybox shell is used for: pipelines, substitution, jobs, traps, redirection, applets.
mkdir -p /tmp/bin && /bin/busybox --install -s /tmp/bin && PATH=/tmp/bin:$PATH
fail() { echo "FAILED: $*"; exit 1; }
[ "$(echo one two three | tr ' ' '\n' | sort -r | head -1)" = two ] || fail pipeline
[ "$(for i in 1 2 3; do echo $i; done | wc -l)" = 3 ] || fail loop
cd /tmp && seq 1 1000 > n && [ "$(grep -c 7 n)" = 271 ] || fail grep
[ "$(awk '{s+=$1} END {print s}' n)" = 500500 ] || fail awk
[ "$(sed -n 's/^99\(.\)$/\1/p' n | tr -d '\n')" = 0123456789 ] || fail sed
tar czf x.tgz n && rm n && tar xzf x.tgz && [ "$(md5sum < n)" = "$(seq 1 1000 | md5sum)" ] || fail tar
[ "$(dd if=/dev/zero bs=64k count=16 2>/dev/null | sha256sum | cut -c1-8)" = 30e14955 ] || fail dd
(sleep 0.05; echo late > late) & wait; [ "$(cat late)" = late ] || fail job
sh -c 'exit 7'; [ $? = 7 ] || fail status
trap 'caught=1' USR1; kill -USR1 $$; [ "$caught" = 1 ] || fail trap
(exec 3> fd; echo through >&3); [ "$(cat fd)" = through ] || fail redirection
cat << END | grep -q 'three 3' || fail here
two 2
three $((1 + 2))
END
find / -xdev -name busybox | grep -q busybox || fail find
yes | head -5000 | wc -l | grep -q 5000 || fail yes
echo ZWJi | base64 -d | od -c | grep -q 'e   b   b' || fail od
vi --help 2>/dev/null; mkfifo p; (echo fifo > p) & [ "$(cat p)" = fifo ] || fail fifo
( ulimit -n 5; exec 8> x ) 2>/dev/null && fail ulimit
timeout 1 sleep 10; [ $? -ge 124 ] || fail timeout
ls -la / | grep -q ' tmp' || fail ls
nc -l -p 4000 > heard & sleep 0.1; echo said | nc 127.0.0.1 4000; wait $!; [ "$(cat heard)" = said ] || fail nc
echo all of the shell is well
