#!/bin/sh
# Linux, pseudo-terminals: an interrupt character takes back the echo of what came before it in the same write.
#
# Guess: a terminal with ECHO shows each typed character, so a master that writes "ab" and Ctrl-C reads "ab^C", however it was
#   written.
# Seen:  in one write only "^C" is shown; in two writes, a moment apart, "ab^C"; with NOFLSH in one write "ab^C" as well. The signal flushes
#   the terminal's queues unless NOFLSH is set (termios(3) says that of input and output), and the echo of the same write is still in one
#   of them. A line discipline that echoes byte by byte shows more than Linux does.
#
# Linux 6.18.44, CPython 3.11.7, ptyprocess 0.7.0. Printed:
#   one write: b'^C'
#   two writes: b'ab^C'
#   one write, NOFLSH: b'ab^C'
#   as found: ..
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" ptyprocess==0.7.0
uname -sr
PYTHONPATH=$folder python3 - <<'PYTHON'
import select, sys, termios, time
from ptyprocess import PtyProcess


def shown(pieces, noflsh):
    child = PtyProcess.spawn(["sleep", "10"])
    attributes = termios.tcgetattr(child.fd)
    if noflsh:
        attributes[3] |= termios.NOFLSH
        termios.tcsetattr(child.fd, termios.TCSANOW, attributes)
    time.sleep(0.3)
    for piece in pieces:
        child.write(piece)
        time.sleep(0.2)
    output = b""
    while select.select([child.fd], [], [], 0.3)[0]:
        try:
            output += child.read(100)
        except EOFError:
            break
    child.close(force=True)
    return output


seen = {
    "one write": shown([b"ab\x03"], False),
    "two writes": shown([b"ab", b"\x03"], False),
    "one write, NOFLSH": shown([b"ab\x03"], True),
}
for name, output in seen.items():
    print(f"{name}: {output}")
sys.exit(list(seen.values()) != [b"^C", b"ab^C", b"ab^C"])
PYTHON
echo "as found: an interrupt takes back the echo of what came before it in the same write, unless NOFLSH is set"
