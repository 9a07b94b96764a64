// The private channel of the invoker: frames over one inherited stream socket.
//
//   frame    length u32 | id u32 | kind u32 | payload of `length` bytes        (little endian)
//   request  kind = INIT, RUN, RESET, THAW or REST; the payload of INIT and RUN is the JSON body of POST /init, /run
//   answer   id of the request, kind = the HTTP status and flags, payload = the JSON body
//
// THAW carries 16 bytes of entropy and a process id (u32), and is not answered: it goes before the first request to a
// copy of a snapshot. REST comes before a capture. The flags are DREW, if Math.random was used since the last answer, and HOOKS,
// if the action has a hook for being copied.
// At the end of the stream the process ends. Between requests nothing is pending: no timer, no second descriptor,
// just the event loop's epoll wait.
'use strict';

const fs = require('node:fs');
const { Socket } = require('node:net');
const { parseBody, BAD_REQUEST, BODY_LIMIT } = require('./runtime.js');
const world = require('./world.js');

const HEADER = 12;
const INIT = 1;
const RUN = 2;
const RESET = 3;
const THAW = 4;
const REST = 5;
const DREW = 1 << 16;
const HOOKS = 1 << 17;

function serve(runtime, fd) {
  world.ownRandomness();
  let partial = null; // the frame being received, with its header
  let have = 0; // bytes of it

  const socket = new Socket({
    fd,
    readable: true,
    writable: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(64 * 1024),
      callback(count, buffer) {
        receive(buffer.subarray(0, count));
        return true;
      },
    },
  });
  socket.on('end', () => process.exit(0));
  socket.on('error', () => process.exit(1));

  function receive(bytes) {
    while (bytes.length > 0) {
      if (partial === null && bytes.length >= HEADER) {
        const size = frameSize(bytes);
        if (bytes.length >= size) {
          dispatch(bytes.subarray(0, size));
          bytes = bytes.subarray(size);
          continue;
        }
        partial = Buffer.allocUnsafeSlow(size);
        have = 0;
      }
      partial ??= Buffer.allocUnsafeSlow(HEADER);
      const taken = bytes.copy(partial, have);
      have += taken;
      bytes = bytes.subarray(taken);
      if (have < partial.length) return;
      const size = frameSize(partial);
      if (size > have) {
        const whole = Buffer.allocUnsafeSlow(size);
        partial.copy(whole);
        partial = whole;
        continue;
      }
      const frame = partial;
      partial = null;
      have = 0;
      dispatch(frame);
    }
  }

  function frameSize(header) {
    const length = header.readUInt32LE(0);
    if (length > BODY_LIMIT) {
      console.error(`loader: a frame of ${length} bytes; the limit is ${BODY_LIMIT}`);
      process.exit(1);
    }
    return HEADER + length;
  }

  function dispatch(frame) {
    const id = frame.readUInt32LE(4);
    const kind = frame.readUInt32LE(8);
    const reply = (status, json) => answer(id, status, json);
    if (kind === THAW) {
      world.thaw(frame.subarray(HEADER));
      return runtime.restored();
    }
    if (kind === REST) return runtime.rest(reply);
    if (kind === RESET) return runtime.reset(reply);
    let body;
    try {
      if (kind !== INIT && kind !== RUN) throw new RangeError(`no requests of kind ${kind}`);
      body = parseBody(frame.utf8Slice(HEADER, frame.length));
    } catch {
      return reply(500, BAD_REQUEST);
    }
    if (kind === RUN) runtime.run(body, reply);
    else runtime.init(body, reply);
  }

  function answer(id, status, json) {
    const length = Buffer.byteLength(json);
    const frame = Buffer.allocUnsafe(HEADER + length);
    frame.writeUInt32LE(length, 0);
    frame.writeUInt32LE(id, 4);
    frame.writeUInt32LE(status | (world.takeDrew() ? DREW : 0) | (runtime.hasHooks ? HOOKS : 0), 8);
    frame.utf8Write(json, HEADER, length);
    let written = 0;
    // Straight to the descriptor: one system call, no stream. What does not fit waits in the stream.
    if (socket.writableLength === 0) {
      try {
        written = fs.writeSync(fd, frame);
      } catch (error) {
        if (error.code !== 'EAGAIN') process.exit(1);
      }
    }
    if (written < frame.length) socket.write(frame.subarray(written));
  }
}

module.exports = { serve };
