#!/bin/sh
# QEMU, character devices: a socket that QEMU listens at takes the place of whatever file has its path.
#
# Guess: `-chardev socket,path=P,server=on` removes a socket that an earlier QEMU has left at P, as servers do, and says "Address already in use"
#   when P is an ordinary file or a socket that somebody listens at.
# Seen:  both are unlinked without a word, and the new socket lies there. The file's content is lost; whoever listened goes on listening, but nobody
#   finds it by its path any more. What starts QEMU has to look first.
#
# Debian 12, qemu-storage-daemon 7.2 (the same code without a machine: --chardev). Printed:
#   an ordinary file: QEMU's socket now
#   a socket that is listened at: QEMU's socket now, the first listener is not reached
#   as found: QEMU takes the path
set -eu
folder=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; rm -rf "$folder"' EXIT
daemon=
# The libraries that the program needs and a small system does not have, too.
(cd "$folder" && apt-get download -qq qemu-system-common=1:7.2+dfsg-7+deb12u18+b2 libnuma1 liburing2 libfuse3-3 libaio1 libglib2.0-0 libgnutls30)
for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/x"; done
export LD_LIBRARY_PATH="$folder/x/lib/x86_64-linux-gnu:$folder/x/usr/lib/x86_64-linux-gnu"
"$folder/x/usr/bin/qemu-storage-daemon" --version | head -n 1

# Starts it at a path, and waits until it listens there.
listen() {
    "$folder/x/usr/bin/qemu-storage-daemon" --chardev "socket,id=c,path=$1,server=on,wait=off" &
    daemon=$!
    sleep 1
    kill -0 "$daemon" || { echo "it has ended: this has changed"; exit 1; }
}

echo content >"$folder/file"
listen "$folder/file"
[ -S "$folder/file" ] || { echo "the file is still one: this has changed"; exit 1; }
echo "an ordinary file: QEMU's socket now"
kill "$daemon"
wait "$daemon" || true

FOLDER=$folder python3 - <<'PYTHON' &
import os, socket, time
first = socket.socket(socket.AF_UNIX)
first.bind(os.environ["FOLDER"] + "/socket")
first.listen()
first.settimeout(4)
try:
    first.accept()
    told = "reached"
except TimeoutError:
    told = "not reached"
open(os.environ["FOLDER"] + "/told", "w").write(told)
PYTHON
first=$!
sleep 1
listen "$folder/socket"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$folder/socket"
wait "$first"
[ "$(cat "$folder/told")" = "not reached" ] || { echo "the first listener was reached: this has changed"; exit 1; }
echo "a socket that is listened at: QEMU's socket now, the first listener is not reached"
echo "as found: QEMU takes the path"
