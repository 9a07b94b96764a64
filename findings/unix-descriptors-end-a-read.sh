#!/bin/sh
# Linux, Unix stream sockets: a message with descriptors ends a read behind itself, not before itself.
#
# Guess: bytes that came with descriptors are kept apart on both sides, so of "aa", "r" with a descriptor and "bb" a plain reader gets "aa",
#   then "r", then "bb".
# Seen:  "aar", then "bb": what came before the descriptors is read together with their message, and nothing that came after it. A reader who
#   counts on the first byte of a read being that of the descriptors, as some protocols do, is wrong unless the sender has waited.
#
# Linux 6.18.44, CPython 3.11, anyio 4.9.0 (whose Unix sockets send and receive descriptors). Printed:
#   reads: [b'aar', b'bb']
#   with the descriptor: b'aar', 1 descriptor
#   as found: they end a read behind their message
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" anyio==4.9.0
uname -sr
PYTHONPATH=$folder FOLDER=$folder python3 - <<'PYTHON'
import os
import anyio


async def sent(path):
    """A connection to which the three have been sent, and its server's side."""
    listener = await anyio.create_unix_listener(path)
    client = await anyio.connect_unix(path)
    server = await listener.accept()
    await client.send(b"aa")
    with open("/dev/null") as file:
        await client.send_fds(b"r", [file])
    await client.send(b"bb")
    await listener.aclose()
    return client, server


async def main():
    client, server = await sent(os.environ["FOLDER"] + "/plain")
    reads = [await server.receive(100), await server.receive(100)]
    print("reads:", reads)
    await client.aclose()
    await server.aclose()
    client, server = await sent(os.environ["FOLDER"] + "/descriptors")
    first, descriptors = await server.receive_fds(100, 4)
    print(f"with the descriptor: {first}, {len(descriptors)} descriptor")
    await client.aclose()
    await server.aclose()
    assert reads == [b"aar", b"bb"] and first == b"aar" and len(descriptors) == 1, "this has changed"
    print("as found: they end a read behind their message")


anyio.run(main)
PYTHON
