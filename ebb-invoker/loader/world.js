// What an action can change around itself, and how to undo it: environment, working directory, globals, loaded
// modules, directories of unpacked archives. An instance that was warmed with a throw-away action is put
// back with `restore`, so that its snapshot shows nothing of it.
//
// An instance may also be continued as many copies of one snapshot. Copies must not draw the same random numbers, so
// Math.random is ours and `thaw` gives every copy its own sequence (xoshiro128**, Blackman and Vigna 2018);
// crypto's stocks of random bytes are not used by copies. OpenSSL itself starts afresh when the process id differs.
// Nor may they share what was drawn before: `takeDrew` tells the platform of Math.random; of the machine's randomness, which
// everything else begins with, it knows by itself.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const v8 = require('node:v8');
const environment = require('./environment.js');

const directories = [];
let start;

/** A fresh directory. Its name is a number, not drawn: nobody else makes such names, and a draw would be the action's. */
function directory() {
  for (let number = 1; ; number++) {
    const made = path.join(environment.unseen(os.tmpdir), `action-${number}`);
    try {
      fs.mkdirSync(made, 0o700);
    } catch (error) {
      if (error.code === 'EEXIST') continue;
      throw error;
    }
    directories.push(made);
    return made;
  }
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
  environment.reveal();
  process.chdir(start.cwd);
  for (const made of directories.splice(0)) fs.rmSync(made, { recursive: true, force: true });
  for (const name of Object.keys(process.env)) if (!(name in start.env)) delete process.env[name];
  for (const name of Object.keys(start.env)) if (process.env[name] !== start.env[name]) process.env[name] = start.env[name];
  environment.conceal();
  // What cannot be deleted stays, as the dispatcher that `fetch` makes.
  for (const name of Reflect.ownKeys(globalThis)) if (!start.globals.has(name)) Reflect.deleteProperty(globalThis, name);
  for (const file of Object.keys(require.cache)) {
    // Our own modules that were loaded on demand stay: they are what warming is for.
    if (!start.modules.has(file) && path.dirname(file) !== __dirname) delete require.cache[file];
  }
  globalThis.gc?.();
  // V8 sweeps what it has collected when it needs the memory: every copy would, and write to all of it. Statistics make it
  // sweep now.
  v8.getHeapCodeStatistics();
}

const seed = new Uint32Array(4);
let drew = false;

function next() {
  drew = true;
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

// Node keeps random bytes in stock, for 128 UUIDs and 1,024 integers. What a snapshot holds of it must not be drawn by
// several copies: a copy uses it up before it draws for the first time.
const stocks = { randomUUID: { size: 128 }, randomInt: { size: 1024, range: 2 } };

/** Notes what is drawn from a stock by a function of `owner`, and uses the stock up first if it is a snapshot's. */
function watch(owner, stock) {
  const { name } = stock;
  const draw = owner[name];
  stock.draw ??= () => Reflect.apply(draw, owner, stock.range ? [stock.range] : []);
  const { [name]: watched } = {
    [name](...values) {
      if (stock.stale) {
        stock.stale = false;
        for (let drawn = 0; drawn < stock.size; drawn++) stock.draw();
      }
      stock.used = true;
      return Reflect.apply(draw, this, values);
    },
  };
  Object.defineProperty(watched, 'length', { value: draw.length, configurable: true });
  Object.defineProperty(owner, name, { ...Object.getOwnPropertyDescriptor(owner, name), value: watched });
}

/** Watches all stocks from now on. */
function watchStocks() {
  if (stocks.randomUUID.draw) return;
  const module = require('node:crypto');
  for (const name of Object.keys(stocks)) watch(module, Object.assign(stocks[name], { name, used: true }));
  watch(module.webcrypto.constructor.prototype, stocks.randomUUID);
  // For `import { randomUUID } from 'crypto'`.
  require('node:module').syncBuiltinESMExports();
}

let pid = process.pid;

/** Begins as a copy of a snapshot with 16 bytes of entropy and, where it is given, a process id of its own. */
function thaw(bytes) {
  for (let word = 0; word < 4; word++) seed[word] = bytes.readUInt32LE(4 * word);
  // All zeros is the one state that the generator never leaves.
  if (!seed.some((word) => word)) seed[0] = 1;
  watchStocks();
  for (const stock of Object.values(stocks)) {
    stock.stale ||= stock.used;
    stock.used = false;
  }
  if (bytes.length >= 20) pid = bytes.readUInt32LE(16);
  drew = false;
}

/** Whether anything was drawn from Math.random since this was asked the last time. */
function takeDrew() {
  const taken = drew;
  drew = false;
  return taken;
}

/** Replaces Math.random by a sequence that `thaw` can start anew, and process.pid, which Node asks for once. */
function ownRandomness() {
  for (let word = 0; word < 4; word++) seed[word] = Math.floor(Math.random() * 2 ** 32);
  const { random } = { random() { return ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) * 2 ** -53; } };
  Object.defineProperty(Math, 'random', { value: random, writable: true, enumerable: false, configurable: true });
  Object.defineProperty(process, 'pid', { get: () => pid, enumerable: true, configurable: true });
}

module.exports = { directory, remember, restore, thaw, takeDrew, ownRandomness, watchStocks };
