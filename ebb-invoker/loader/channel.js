// The private channel of the invoker: frames over one inherited stream socket.
//
//   frame    length u32 | id u32 | kind u32 | payload of `length` bytes        (little endian)
//   request  kind = INIT, RUN, RESET, THAW, REST, RUN_IN_PARTS, TAKEN or LEAVE; the payload of INIT and both RUN is the JSON body of
//            POST /init, /run
//   answer   id of the request, kind = the HTTP status and flags, payload = the JSON body
//   part     id of the request, kind = HEAD (payload: JSON with statusCode and headers) or PART (payload: bytes of the body)
//
// THAW carries 16 bytes of entropy and a process id (u32), and is not answered: it goes before the first request to a
// copy of a snapshot. REST comes before a capture. The flags are DREW, if Math.random was used since the last answer, and HOOKS,
// if the action has a hook for being copied. RUN_IN_PARTS may be answered by a HEAD and any number of PARTs before the answer, each of which the
// other side answers by TAKEN when there is room for another one; LEAVE says that nobody waits for them any more. Neither is answered.
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
const RUN_IN_PARTS = 6;
const TAKEN = 7;
const LEAVE = 8;
const KINDS = { head: 103, part: 100 };
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
    if (kind === TAKEN) return runtime.taken();
    if (kind === LEAVE) return runtime.leave();
    if (kind === REST) return runtime.rest(reply);
    if (kind === RESET) return runtime.reset(reply);
    let body;
    try {
      if (kind !== INIT && kind !== RUN && kind !== RUN_IN_PARTS) throw new RangeError(`no requests of kind ${kind}`);
      body = parseBody(frame.utf8Slice(HEADER, frame.length));
    } catch {
      return reply(500, BAD_REQUEST);
    }
    if (kind === RUN) runtime.run(body, reply);
    else if (kind === RUN_IN_PARTS) runtime.run(body, reply, (name, bytes) => write(KINDS[name], id, bytes));
    else runtime.init(body, reply);
  }

  function answer(id, status, json) {
    const length = Buffer.byteLength(json);
    const frame = headed(length, id, status | (world.takeDrew() ? DREW : 0) | (runtime.hasHooks ? HOOKS : 0));
    frame.utf8Write(json, HEADER, length);
    put(frame);
  }

  function write(kind, id, bytes) {
    const frame = headed(bytes.length, id, kind);
    bytes.copy(frame, HEADER);
    put(frame);
  }

  function headed(length, id, kind) {
    const frame = Buffer.allocUnsafe(HEADER + length);
    frame.writeUInt32LE(length, 0);
    frame.writeUInt32LE(id, 4);
    frame.writeUInt32LE(kind, 8);
    return frame;
  }

  function put(frame) {
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
