// What an action can change around itself, and how to undo it: environment, working directory, globals, loaded
// modules, directories of unpacked archives. An instance that was warmed with a throw-away action is put
// back with `restore`, so that its snapshot shows nothing of it.
//
// An instance may also be continued as many copies of one snapshot. Copies must not draw the same random numbers, so
// Math.random is ours and `reseed` gives every copy its own sequence (xoshiro128**, Blackman and Vigna 2018);
// crypto's stocks of random bytes are thrown away. OpenSSL itself starts afresh when the process id differs.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const directories = [];
let start;

/** A fresh directory. */
function directory() {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'action-'));
  directories.push(made);
  return made;
}

/** Notes how things are. */
function remember() {
  start = {
    env: { ...process.env },
    cwd: process.cwd(),
    globals: new Set(Reflect.ownKeys(globalThis)),
    modules: new Set(Object.keys(require.cache)),
  };
}

/** Puts things back as they were when `remember` was called. */
function restore() {
  process.chdir(start.cwd);
  for (const made of directories.splice(0)) fs.rmSync(made, { recursive: true, force: true });
  for (const name of Object.keys(process.env)) if (!(name in start.env)) delete process.env[name];
  for (const name of Object.keys(start.env)) if (process.env[name] !== start.env[name]) process.env[name] = start.env[name];
  for (const name of Reflect.ownKeys(globalThis)) if (!start.globals.has(name)) delete globalThis[name];
  for (const file of Object.keys(require.cache)) {
    // Our own modules that were loaded on demand stay: they are what warming is for.
    if (!start.modules.has(file) && path.dirname(file) !== __dirname) delete require.cache[file];
  }
  globalThis.gc?.();
}

const seed = new Uint32Array(4);

function next() {
  const product = Math.imul(seed[1], 5);
  const result = Math.imul((product << 7) | (product >>> 25), 9);
  const shifted = seed[1] << 9;
  seed[2] ^= seed[0];
  seed[3] ^= seed[1];
  seed[1] ^= seed[2];
  seed[0] ^= seed[3];
  seed[2] ^= shifted;
  seed[3] = (seed[3] << 11) | (seed[3] >>> 21);
  return result >>> 0;
}

/** Starts new sequences of random numbers, Math.random's from 16 bytes of entropy. */
function reseed(bytes) {
  for (let word = 0; word < 4; word++) seed[word] = bytes.readUInt32LE(4 * word);
  // All zeros is the one state that the generator never leaves.
  if (!seed.some((word) => word)) seed[0] = 1;
  if (!process.moduleLoadList.includes('NativeModule internal/crypto/random')) return;
  // Node keeps random bytes in stock, for 128 UUIDs and 1,024 integers: use up what the snapshot holds.
  const crypto = require('node:crypto');
  for (let uuid = 0; uuid < 128; uuid++) crypto.randomUUID();
  for (let integer = 0; integer < 1024; integer++) crypto.randomInt(2);
}

/** Begins as a copy of a snapshot: random numbers and, where it is given, a process id of its own. */
function thaw(bytes) {
  reseed(bytes);
  if (bytes.length < 20) return;
  // Node asked for it once, at its start.
  Object.defineProperty(process, 'pid', { value: bytes.readUInt32LE(16), enumerable: true, configurable: true });
}

/** Replaces Math.random by the sequence that `reseed` can start anew. */
function ownRandomness() {
  for (let word = 0; word < 4; word++) seed[word] = Math.floor(Math.random() * 2 ** 32);
  const { random } = { random() { return ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) * 2 ** -53; } };
  Object.defineProperty(Math, 'random', { value: random, writable: true, enumerable: false, configurable: true });
}

module.exports = { directory, remember, restore, thaw, ownRandomness };
