// Code and behaviour that no function should have, in every language: what comes of it is the contract's answer, and the next call is served.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test input.test.mjs
import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { zip as zipped } from '../../../ebb-invoker/tests/loader/archives.mjs';
import { nothingPutOff, ow, raw } from './api.mjs';

const zip = (files) => Buffer.from(zipped(files), 'base64');

const { json: platform } = await raw('GET', '/', { key: false });
const LANGUAGES = {
  node: { kind: 'nodejs:default', fine: 'const main = () => ({ fine: true })', main: 'index.js' },
  python: { kind: 'python:default', fine: 'def main(args):\n    return {"fine": True}', main: '__main__.py' },
  program: { kind: 'native:default', fine: '#!/bin/sh\nwhile read -r l; do echo \'{"fine":true}\' >&3; done\n', main: 'exec' },
};
for (const name of Object.keys(LANGUAGES)) {
  if (!platform.runtimes[LANGUAGES[name].kind.split(':')[0]]) delete LANGUAGES[name];
}

async function put(name, kind, code, limits = { timeout: 3000 }) {
  const body = { exec: { kind, code: code instanceof Uint8Array ? Buffer.from(code).toString('base64') : code }, limits };
  const { status, text } = await raw('PUT', `/api/v1/namespaces/_/actions/${name}?overwrite=true`, { body });
  assert.equal(status, 200, text);
}

/** The record of a call, whatever came of it. */
async function record(name, parameters = {}) {
  const { json, text } = await raw('POST', `/api/v1/namespaces/_/actions/${name}?blocking=true`, { body: parameters });
  assert.ok(json?.response, text);
  return json;
}

async function logs({ activationId }) {
  return (await ow.activations.logs(activationId)).logs;
}

/** An ELF header of a program for 64-bit ARM, and nothing behind it. */
function armProgram() {
  const elf = Buffer.alloc(4096);
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeUInt16LE(2, 16); // a program
  elf.writeUInt16LE(183, 18); // for AArch64
  elf.writeUInt32LE(1, 20);
  elf.writeUInt16LE(64, 52);
  return elf;
}

const half = (bytes) => bytes.subarray(0, bytes.length / 2);
const BROKEN = {
  'half a ZIP': (main, fine) => half(zip({ [main]: fine.padEnd(5000, '\n') })),
  'a ZIP with a damaged entry': (main, fine) => {
    const bytes = zip({ [main]: fine.padEnd(5000, '\n') });
    bytes.fill(0xff, 40, 60);
    return bytes;
  },
  'a ZIP without anything': () => Buffer.from('504b0506000000000000000000000000000000000000', 'hex'),
  'half a tar.gz': (main, fine) => half(gzipSync(Buffer.alloc(4096, fine))),
  'bytes that are no archive': () => deflateRawSync(Buffer.alloc(300, 'noise')),
};

for (const [language, { kind, fine, main }] of Object.entries(LANGUAGES)) {
  for (const [what, make] of Object.entries(BROKEN)) {
    test(`${language}: ${what} fails at its start, and the next upload is served`, async () => {
      const name = `broken-${language}`;
      await put(name, kind, make(main, fine));
      for (let call = 0; call < 2; call++) {
        const { response } = await record(name);
        assert.equal(response.status, 'action developer error', JSON.stringify(response));
        assert.equal(typeof response.result.error, 'string');
      }
      await put(name, kind, fine);
      assert.deepEqual((await record(name)).response.result, { fine: true });
    });
  }
}

test('a program of another architecture is refused in the words of a kernel', async (t) => {
  if (!LANGUAGES.program) return t.skip('there are no programs');
  for (const code of [armProgram(), zip({ exec: { content: armProgram() } })]) {
    await put('arm', 'native:default', code);
    const { response } = await record('arm');
    assert.match(response.result.error, /^cannot start action: (.*[Ee]xec format error|command exited)/);
  }
});

for (const [language, { kind, fine }] of Object.entries(LANGUAGES).filter(([language]) => language !== 'program')) {
  test(`${language}: a program is no code, and the next upload is served`, async () => {
    const name = `program-${language}`;
    await put(name, kind, armProgram());
    const { response } = await record(name);
    assert.equal(response.status, 'action developer error');
    await put(name, kind, fine);
    assert.deepEqual((await record(name)).response.result, { fine: true });
  });
}

// What never comes to its first call: by computing, and by waiting for what does not come.
const NEVER = {
  'computes for ever when it starts': {
    node: 'for (;;);',
    python: 'while True:\n    pass',
    program: '#!/bin/sh\nwhile :; do :; done\n',
  },
  'waits for ever when it starts': {
    node: zip({ 'package.json': '{"type":"module","main":"a.js"}', 'a.js': 'await new Promise(() => setInterval(() => {}, 1000)); export const main = () => ({})' }),
    python: 'import threading\nthreading.Event().wait()',
    program: '#!/bin/sh\n/bin/sh -c "kill -STOP \\$\\$"\nwhile read -r l; do echo \'{}\' >&3; done\n',
  },
  'ends when it starts': {
    node: 'process.exit(3)',
    python: 'import os\nos._exit(3)',
    program: '#!/bin/sh\nexit 3\n',
  },
};
for (const [what, code] of Object.entries(NEVER)) {
  for (const [language, { kind, fine }] of Object.entries(LANGUAGES)) {
    test(`${language}: what ${what} fails within its time, and the next upload is served`, async () => {
      const name = `never-${language}`;
      await put(name, kind, code[language], { timeout: 1500 });
      const begun = performance.now();
      const { response } = await record(name);
      assert.equal(response.status, 'action developer error', JSON.stringify(response));
      assert.ok(performance.now() - begun < 15_000);
      await put(name, kind, fine);
      assert.deepEqual((await record(name)).response.result, { fine: true });
    });
  }
}

const BEHAVIOUR = {
  'closes its channel': {
    node: `const main = ({ bad }) => { if (bad) require('fs').closeSync(3); return { fine: true }; }`,
    python: 'import os\ndef main(args):\n    if args.get("bad"):\n        os.close(3)\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) exec 3>&-;; esac; echo \'{"fine":true}\' >&3; done\n',
    check: ({ response }) => assert.equal(response.status, 'action developer error'),
  },
  'writes half of a frame, or of a line, and ends': {
    node: `const main = ({ bad }) => { if (bad) { require('fs').writeSync(3, Buffer.from([9, 0, 0, 0, 1])); process.exit(0); } return { fine: true }; }`,
    python: 'import os\ndef main(args):\n    if args.get("bad"):\n        os.write(3, b"\\x09\\0\\0\\0\\1")\n        os._exit(0)\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) printf \'{"half":\' >&3; exit 0;; esac; echo \'{"fine":true}\' >&3; done\n',
    check: ({ response }) => assert.equal(response.status, 'action developer error'),
  },
  'announces a frame of 4 GB, or gives a line that is none': {
    node: `const main = ({ bad }) => { if (bad) require('fs').writeSync(3, Buffer.alloc(12, 0xff)); return new Promise((f) => setTimeout(f, bad ? 2000 : 0, { fine: true })); }`,
    python: 'import os, time\ndef main(args):\n    if args.get("bad"):\n        os.write(3, b"\\xff" * 12)\n        time.sleep(2)\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) echo nonsense >&3;; *) echo \'{"fine":true}\' >&3;; esac; done\n',
    check: ({ response }) => assert.equal(response.status, 'action developer error'),
  },
  'answers with 100 MB': {
    node: `const main = ({ bad }) => (bad ? { long: 'x'.repeat(100 << 20) } : { fine: true })`,
    python: 'def main(args):\n    return {"long": "x" * (100 << 20)} if args.get("bad") else {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) s=x; i=0; while [ $i -lt 27 ]; do s=$s$s; i=$((i+1)); done; echo "{\\"long\\":\\"$s\\"}" >&3;; *) echo \'{"fine":true}\' >&3;; esac; done\n',
    // More than the platform reads of an answer: whatever it says, it is an error of the function's.
    check: ({ response }) => assert.equal(response.success, false),
    limits: { timeout: 60_000, memory: 512 },
  },
  'leaves children behind': {
    node: `const main = ({ bad }) => { if (bad) for (let i = 0; i < 5; i++) require('child_process').spawn('/bin/sh', ['-c', 'kill -STOP $$'], { detached: true, stdio: 'ignore' }).on('error', () => {}).unref(); return { fine: true }; }`,
    python: 'import os, time\ndef main(args):\n    if args.get("bad"):\n        for _ in range(5):\n            if os.fork() == 0:\n                while True:\n                    time.sleep(1)\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) for i in 1 2 3 4 5; do /bin/sh -c "kill -STOP \\$\\$" & done;; esac; echo \'{"fine":true}\' >&3; done\n',
    check: ({ response }) => assert.deepEqual(response.result, { fine: true }),
  },
  'forks, and returns in both processes': {
    python: 'import os, time\ndef main(args):\n    if args.get("bad"):\n        if os.fork() == 0:\n            return {"child": True}\n        time.sleep(0.1)\n    return {"fine": True}',
    check: ({ response }) => assert.deepEqual(response.result, { fine: true }),
  },
  'closes what it logs to': {
    python: 'import sys\ndef main(args):\n    if args.get("bad"):\n        sys.stdout.close()\n        sys.stderr = None\n    return {"fine": True}',
    check: ({ response }) => assert.deepEqual(response.result, { fine: true }),
  },
  'is interrupted': {
    python: 'def main(args):\n    if args.get("bad"):\n        raise KeyboardInterrupt()\n    return {"fine": True}',
    check: async (record) => {
      assert.equal(record.response.status, 'action developer error');
      const lines = (await logs(record)).join('\n');
      assert.match(lines, /KeyboardInterrupt/);
      // The loader's own frames are nobody's business.
      assert.doesNotMatch(lines, /loader\.py/);
    },
  },
  'logs bytes that are no text, and lines without an end': {
    node: `const main = ({ bad }) => { if (bad) { process.stdout.write(Buffer.from([0xff, 0, 0x80, 10, 0x41])); process.stderr.write('no end'); } return { fine: true }; }`,
    python: 'import sys\ndef main(args):\n    if args.get("bad"):\n        sys.stdout.buffer.write(b"\\xff\\0\\x80\\nA")\n        sys.stderr.write("no end")\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) printf \'\\377\\000\\200\\nA\'; printf "no end" >&2;; esac; echo \'{"fine":true}\' >&3; done\n',
    check: async (record) => {
      assert.deepEqual(record.response.result, { fine: true });
      const lines = await logs(record);
      assert.deepEqual(lines.map((line) => line.slice(31)).sort(), ['stderr: no end', 'stdout: A', 'stdout: \ufffd\0\ufffd']);
    },
  },
  'writes nothing for ever': {
    node: `const main = ({ bad }) => (bad ? new Promise(() => {}) : { fine: true })`,
    python: 'import threading\ndef main(args):\n    if args.get("bad"):\n        threading.Event().wait()\n    return {"fine": True}',
    program: '#!/bin/sh\nwhile read -r l; do case "$l" in *\\"bad\\"*) ;; *) echo \'{"fine":true}\' >&3;; esac; done\n',
    check: ({ response }) => assert.equal(response.result.error, 'The action exceeded its time limits of 1500 milliseconds.'),
    limits: { timeout: 1500 },
  },
  // Frames with the numbers of requests that were, that is and that may come; at most its own answer is another one.
  'answers what nobody has asked': {
    node: `const frame = (id) => { const text = '{"forged":true}', frame = Buffer.alloc(12 + text.length); frame.writeUInt32LE(text.length, 0); frame.writeUInt32LE(id, 4); frame.writeUInt32LE(200, 8); frame.write(text, 12); return frame; };
      const main = ({ bad }) => { if (bad) for (let id = 0; id < 200; id++) require('fs').writeSync(3, frame(id)); return { fine: true }; }`,
    python: 'import os, struct\nTEXT = b\'{"forged":true}\'\ndef main(args):\n    if args.get("bad"):\n        for number in range(200):\n            os.write(3, struct.pack("<III", len(TEXT), number, 200) + TEXT)\n    return {"fine": True}',
    check: ({ response }) => assert.ok(response.result.fine || response.result.forged || response.status === 'action developer error', JSON.stringify(response)),
  },
  'goes on answering what nobody has asked': {
    node: `const frame = (id) => { const text = '{"forged":true}', frame = Buffer.alloc(12 + text.length); frame.writeUInt32LE(text.length, 0); frame.writeUInt32LE(id, 4); frame.writeUInt32LE(200, 8); frame.write(text, 12); return frame; };
      const all = Buffer.concat(Array.from({ length: 200 }, (_, id) => frame(id)));
      const main = ({ bad }) => { if (bad) { let left = 100; const timer = setInterval(() => { require('fs').writeSync(3, all); if (--left === 0) clearInterval(timer); }, 1); } return { fine: true }; }`,
    check: ({ response }) => assert.deepEqual(response.result, { fine: true }),
    // A call that its instance gets before it is found out ends with it.
    next: /did not produce a valid response and exited unexpectedly/,
  },
  'answers twice': {
    program: '#!/bin/sh\nwhile read -r l; do echo \'{"fine":true}\' >&3; case "$l" in *\\"bad\\"*) echo \'{"fine":"again"}\' >&3;; esac; done\n',
    check: ({ response }) => assert.deepEqual(response.result, { fine: true }),
  },
};

for (const [what, { check, limits, next, ...code }] of Object.entries(BEHAVIOUR)) {
  for (const language of Object.keys(LANGUAGES).filter((language) => code[language])) {
    test(`${language}: a function that ${what} harms itself only`, async () => {
      const name = `behaves-${language}`;
      await put(name, LANGUAGES[language].kind, code[language], limits);
      assert.deepEqual((await record(name)).response.result, { fine: true });
      await check(await record(name, { bad: true }));
      // On whatever instance: the one that it was, or a new one.
      for (let call = 0, fine = 0; fine < 3; call++) {
        const { result } = (await record(name)).response;
        const spoilt = next && call < 20 && next.test(result.error);
        if (!spoilt) assert.deepEqual(result, { fine: true });
        fine = spoilt ? 0 : fine + 1;
      }
    });
  }
}

test('a machine whose functions have ended comes to rest', nothingPutOff);
