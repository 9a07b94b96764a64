#!/bin/sh
# Linux, Unix and TCP listeners: after a shutdown for reading a Unix listener still hands out who has connected before, a TCP listener resets them.
#
# Guess: shutdown(SHUT_RD) ends a listener of either kind in the same way: nobody is accepted any more (EINVAL), and whoever waited to be accepted
#   hears of a reset.
# Seen:  so it is with TCP, and such a listener can listen again. A Unix listener refuses new connections but keeps its queue: those in it are
#   accepted and served. When it is empty, a listener that would not block says EAGAIN, for ever, so an event loop that waits for an error to learn
#   of the end waits in vain; only one that blocks hears EINVAL.
#
# Linux 6.18.44, CPython 3.11.7, trio 0.30.0 (whose sockets never block). Printed:
#   tcp: a connection from before: EINVAL, its client: ECONNRESET, a new one: ECONNREFUSED
#   unix: a connection from before: accepted, its client: b'served', a new one: ECONNREFUSED
#   unix, empty: would wait; blocking: EINVAL
#   as found: a Unix listener keeps its queue
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" trio==0.30.0
uname -sr
PYTHONPATH=$folder FOLDER=$folder python3 - <<'PYTHON'
import errno, os, socket
import trio


def name(error):
    return errno.errorcode[error.errno]


async def told(kind, family, address):
    """What becomes of a connection from before, of its client and of a new one; the listener."""
    listener = trio.socket.socket(family)
    await listener.bind(address)
    listener.listen(2)
    client = trio.socket.socket(family)
    await client.connect(listener.getsockname())
    listener.shutdown(socket.SHUT_RD)
    try:
        server, _ = await listener.accept()
        await server.send(b"served")
        before = "accepted"
    except OSError as error:
        before = name(error)
    try:
        heard = await client.recv(100)
    except OSError as error:
        heard = name(error)
    try:
        await trio.socket.socket(family).connect(listener.getsockname())
        new = "connected"
    except OSError as error:
        new = name(error)
    print(f"{kind}: a connection from before: {before}, its client: {heard}, a new one: {new}")
    return (before, heard, new), listener


async def main():
    tcp, _ = await told("tcp", socket.AF_INET, ("127.0.0.1", 0))
    unix, listener = await told("unix", socket.AF_UNIX, os.environ["FOLDER"] + "/listener")
    with trio.move_on_after(0.2) as limit:
        await listener.accept()
    plain = socket.socket(fileno=os.dup(listener.fileno()))
    plain.setblocking(True)
    try:
        plain.accept()
        blocking = "accepted"
    except OSError as error:
        blocking = name(error)
    print(f"unix, empty: {'would wait' if limit.cancelled_caught else 'ended'}; blocking: {blocking}")
    assert tcp == ("EINVAL", "ECONNRESET", "ECONNREFUSED"), "this has changed"
    assert unix == ("accepted", b"served", "ECONNREFUSED"), "this has changed"
    assert limit.cancelled_caught and blocking == "EINVAL", "this has changed"
    print("as found: a Unix listener keeps its queue")


trio.run(main)
PYTHON
