// The private channel of the invoker: frames over one inherited stream socket.
//
//   frame    length u32 | id u32 | kind u32 | payload of `length` bytes        (little endian)
//   request  kind = INIT, RUN, RESET, THAW, REST, RUN_IN_PARTS, TAKEN or LEAVE; the payload of INIT and both RUN is the JSON body of
//            POST /init, /run, but that a run may leave out what init or an earlier one has said of the action
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
  // What comes; and what goes, when nothing of what has come is still to be looked at.
  const buffer = Buffer.allocUnsafeSlow(64 * 1024);
  const words = new DataView(buffer.buffer);
  let looking = false;
  let partial = null; // the frame being received, with its header
  let have = 0; // bytes of it

  const socket = new Socket({
    fd,
    readable: true,
    writable: true,
    onread: {
      buffer,
      callback(count) {
        let at = 0;
        // Most frames come whole.
        while (partial === null && count - at >= HEADER) {
          const end = at + HEADER + words.getUint32(at, true);
          if (end > count) break;
          looking = end < count;
          dispatch(words.getUint32(at + 4, true), words.getUint32(at + 8, true), buffer, at + HEADER, end);
          at = end;
        }
        if (at < count) {
          looking = true;
          receive(buffer.subarray(at, count));
          looking = false;
        }
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
          dispatchFrame(bytes.subarray(0, size));
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
      dispatchFrame(frame);
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

  function dispatchFrame(frame) {
    dispatch(frame.readUInt32LE(4), frame.readUInt32LE(8), frame, HEADER, frame.length);
  }

  /** Does what is asked by a frame whose payload is that part of the bytes. */
  function dispatch(id, kind, bytes, from, end) {
    const reply = (status, json) => answer(id, status, json);
    if (kind === THAW) {
      world.thaw(bytes.subarray(from, end));
      return runtime.restored();
    }
    if (kind === TAKEN) return runtime.taken();
    if (kind === LEAVE) return runtime.leave();
    if (kind === REST) return runtime.rest(reply);
    if (kind === RESET) return runtime.reset(reply);
    let body;
    try {
      if (kind !== INIT && kind !== RUN && kind !== RUN_IN_PARTS) throw new RangeError(`no requests of kind ${kind}`);
      body = parseBody(bytes.utf8Slice(from, end));
    } catch {
      return reply(500, BAD_REQUEST);
    }
    if (kind === RUN) runtime.run(body, reply);
    else if (kind === RUN_IN_PARTS) runtime.run(body, reply, (name, bytes) => write(KINDS[name], id, bytes));
    else runtime.init(body, reply);
  }

  function answer(id, status, json) {
    const kind = status | (world.takeDrew() ? DREW : 0) | (runtime.hasHooks ? HOOKS : 0);
    // A UTF-16 unit takes three bytes at most.
    if (!looking && json.length <= (buffer.length - HEADER) / 3) {
      const length = buffer.utf8Write(json, HEADER);
      words.setUint32(0, length, true);
      words.setUint32(4, id, true);
      words.setUint32(8, kind, true);
      return put(buffer, HEADER + length);
    }
    const length = Buffer.byteLength(json);
    const frame = headed(length, id, kind);
    frame.utf8Write(json, HEADER, length);
    put(frame, frame.length);
  }

  function write(kind, id, bytes) {
    const frame = headed(bytes.length, id, kind);
    bytes.copy(frame, HEADER);
    put(frame, frame.length);
  }

  function headed(length, id, kind) {
    const frame = Buffer.allocUnsafe(HEADER + length);
    frame.writeUInt32LE(length, 0);
    frame.writeUInt32LE(id, 4);
    frame.writeUInt32LE(kind, 8);
    return frame;
  }

  /** Sends the first `length` bytes; the others, and these when it has returned, are the caller's. */
  function put(bytes, length) {
    let written = 0;
    // Straight to the descriptor: one system call, no stream. What does not fit waits in the stream.
    if (socket.writableLength === 0) {
      try {
        written = fs.writeSync(fd, bytes, 0, length);
      } catch (error) {
        if (error.code !== 'EAGAIN') process.exit(1);
      }
    }
    if (written < length) socket.write(Buffer.from(bytes.subarray(written, length)));
  }
}

module.exports = { serve };
