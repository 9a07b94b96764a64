#!/bin/sh
# V8 in Node: a process that has made one instance of WebAssembly wakes four times in the two minutes that follow, though nothing is to be done.
#
# Guess: a Node process whose only handle is an idle pipe sleeps until something comes, once its modules are loaded and a collection is over;
#   one that has instantiated a module of eight bytes, or used `fetch` (which reads HTTP by WebAssembly), sleeps as well.
# Seen:  with lazy compilation of WebAssembly, the default, V8 posts four tasks to the platform's workers for each instance, 5, 20, 60 and 120
#   seconds later, which record how long lazy compilation has taken. Node's thread for delayed tasks wakes, and has a worker wake. Whoever copies a warm
#   process, as snapshots of functions do, copies what is due: each copy wakes, and takes pages for it. `--no-wasm-lazy-compilation` leaves them out; the
#   instance by which `fetch` reads comes only some turns after its first use, when V8's workers have compiled it.
#
# Node 20.20.2 (V8 11.3) of the npm package `node`, Linux 6.18.44. Printed:
#   nothing: wakes at 5 s 0, at 12 s 0, at 20 s 0
#   an instance, compiled at once: wakes at 5 s 0, at 12 s 0, at 20 s 0
#   an instance: wakes at 5 s 3, at 12 s 0, at 20 s 2
#   fetch: wakes at 5 s 3, at 12 s 0, at 20 s 3
#   as found: an instance wakes its process 5 and 20 seconds later
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" node@20.20.2
uname -sr
"$folder/node_modules/node/bin/node" - <<'JAVASCRIPT'
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const { setTimeout: delay } = require('node:timers/promises');

const INSTANCE = 'new WebAssembly.Instance(new WebAssembly.Module(Buffer.from([0, 97, 115, 109, 1, 0, 0, 0])));';
const FETCH = "fetch('data:,x').then((answer) => answer.text());";

// How often the threads of a process have gone to sleep.
function sleeps(pid) {
  const of = (thread) => /^voluntary_ctxt_switches:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))[1];
  return fs.readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + Number(of(thread)), 0);
}

async function wakes(what, code, options = []) {
  const child = spawn(process.execPath, ['--no-memory-reducer', ...options, '-e', `${code} process.stdin.resume(); console.log('ready');`]);
  await new Promise((ready) => child.stdout.once('data', ready));
  const begun = Date.now();
  const found = [];
  for (const second of [5, 12, 20]) {
    await delay(begun + (second - 1.5) * 1000 - Date.now());
    const before = sleeps(child.pid);
    await delay(3000);
    found.push(sleeps(child.pid) - before);
  }
  child.kill();
  console.log(`${what}: wakes at 5 s ${found[0]}, at 12 s ${found[1]}, at 20 s ${found[2]}`);
  return found.map((count) => count > 0).join();
}

(async () => {
  const found = await Promise.all([
    wakes('nothing', ''), wakes('an instance', INSTANCE), wakes('fetch', FETCH),
    wakes('an instance, compiled at once', INSTANCE, ['--no-wasm-lazy-compilation']),
  ]);
  const wakesTwice = 'true,false,true';
  const never = 'false,false,false';
  if (found.join(' ') !== [never, wakesTwice, wakesTwice, never].join(' ')) throw new Error('this has changed');
  console.log('as found: an instance wakes its process 5 and 20 seconds later');
})();
JAVASCRIPT
