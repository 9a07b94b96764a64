// How code becomes an entry point: source text and archives, over both transports.
import assert from 'node:assert/strict';
import test from 'node:test';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { tar, targz, zip } from './archives.mjs';
import { TRANSPORTS, start } from './instance.mjs';

const FAILED = 'Initialization has failed due to: ';
const ZIP_ERROR = 'There was an error uncompressing the action Zip archive.';
const TAR_ERROR = 'There was an error uncompressing the action Tar GZ archive.';
const TYPE_ERROR = 'There was an error uncompressing the action archive. The file type is unsupported';

const SOURCES = [
  // [what, code, main, expected]
  ['a declaration', 'function main() { return { ok: 1 } }', 'main'],
  ['another name', 'function handler() { return { ok: 1 } }', 'handler'],
  ['a const arrow', 'const main = () => ({ ok: 1 })', 'main'],
  ['a let', 'let main = () => ({ ok: 1 })', 'main'],
  ['an async function', 'async function main() { return { ok: 1 } }', 'main'],
  ['a static method', 'class Box { static open() { return { ok: 1 } } }', 'Box.open'],
  ['a nested object', 'const api = { v1: { greet: () => ({ ok: 1 }) } }', 'api.v1.greet'],
  ['an export', 'exports.main = () => ({ ok: 1 })', 'main'],
  ['module.exports', 'module.exports = { main: () => ({ ok: 1 }) }', 'main'],
  ['a nested export', 'module.exports = { api: { v1: () => ({ ok: 1 }) } }', 'api.v1'],
  ['exports beside module.exports', 'exports.main = () => ({ ok: 1 }); module.exports = {}', 'main'],
  ['a global', 'global.main = () => ({ ok: 1 })', 'main'],
  ['an undeclared assignment', 'main = () => ({ ok: 1 })', 'main'],
  ['strict mode', '"use strict"; const main = function () { return { ok: this === undefined ? 1 : 0 } }', 'main'],
  ['a trailing comment', 'const main = () => ({ ok: 1 }) // the end', 'main'],
  ['an expression', 'const handlers = [() => ({ ok: 1 })]', 'handlers[0]'],
  ['require', 'const path = require("path"); const main = () => ({ ok: path.join("a", "b") === "a/b" ? 1 : 0 })', 'main'],
  ['a dynamic import', 'const main = async () => ({ ok: (await import("node:path")).sep === "/" ? 1 : 0 })', 'main'],
  ['Intl, WebAssembly, fetch, zlib and crypto',
    'const main = () => ({ ok: [Intl.DateTimeFormat("de").format, WebAssembly.Module, fetch, require("zlib").gzipSync, require("crypto").createHash].every((f) => typeof f === "function") && typeof gc === "function" ? 1 : 0 })', 'main'],
  ['a writable working directory and a temporary one',
    'const fs = require("fs"); const main = () => { fs.writeFileSync("x", "1"); fs.writeFileSync(require("os").tmpdir() + "/y", "2"); return { ok: +fs.readFileSync("x", "utf8") } }', 'main'],
  ['a worker thread',
    'const { Worker } = require("worker_threads"); const main = () => new Promise((done) => new Worker("require(\'worker_threads\').parentPort.postMessage(1)", { eval: true }).on("message", (ok) => done({ ok })))', 'main'],
  ['a server and fetch on loopback',
    'const main = async () => { const s = require("http").createServer((q, r) => r.end("1")).listen(0); await require("events").once(s, "listening"); const r = await fetch("http://127.0.0.1:" + s.address().port); const ok = +(await r.text()); s.close(); s.closeAllConnections(); return { ok } }', 'main'],
];

const BAD_SOURCES = [
  ['a syntax error', 'function main( {', 'main', /^SyntaxError: /],
  ['a name that is not there', 'const other = 1', 'main', /^Action entrypoint 'main' is not a function\.$/],
  ['a name that is no function', 'const main = { a: 1 }', 'main', /^Action entrypoint 'main' is not a function\.$/],
  ['a dotted name that is not there', 'exports.api = {}', 'api.v1.greet', /^Action entrypoint 'api.v1.greet' is not a function\.$/],
  ['a missing module', 'require("./nowhere")', 'main', /^Error: Cannot find module '.\/nowhere'/],
  ['thrown words', 'throw "words"', 'main', /^words$/],
  ['thrown undefined', 'throw undefined', 'main', /^undefined$/],
  ['a body that closes its function', '}); console.log("out"); (function () {', 'main', /^SyntaxError: /],
];

const INDEX = { 'index.js': 'exports.main = () => ({ ok: 1 })' };
const ARCHIVES = [
  ['index.js', INDEX, 'main'],
  ['the main of package.json', { 'package.json': '{"main":"lib/a.js"}', 'lib/a.js': 'exports.main = () => ({ ok: 1 })' }, 'main'],
  ['a named file', { 'file.js': 'exports.fn = () => ({ ok: 1 })' }, 'file.fn'],
  ['a file in a directory and a nested name', { 'dir/file.js': 'exports.fn = { inner: () => ({ ok: 1 }) }' }, 'dir/file.fn.inner'],
  ['node_modules, relative requires and JSON', {
    'package.json': '{"name":"a","dependencies":{"dep":"1"}}',
    'index.js': 'const { n } = require("./data.json"); exports.main = () => ({ ok: require("dep")(n) + require("./lib") })',
    'data.json': '{"n":1}', 'lib/index.js': 'module.exports = 0',
    'node_modules/dep/package.json': '{"name":"dep","main":"x.js"}', 'node_modules/dep/x.js': 'module.exports = (n) => n',
  }, 'main'],
  ['the archive as working directory', { ...INDEX, 'index.js': 'exports.main = () => ({ ok: +require("fs").readFileSync("one.txt", "utf8") })', 'one.txt': '1' }, 'main'],
  ['an ES module that waits while it loads, and imports one that does', {
    'package.json': '{"type":"module","main":"lib/main.js"}',
    'lib/main.js': 'import { ok } from "./one.js"; const later = await new Promise((f) => setTimeout(f, 20, ok)); export const main = () => ({ ok: later });',
    'lib/one.js': 'export const ok = await Promise.resolve(1);',
  }, 'main'],
  ['an ES module that waits, and replaces Promise', {
    'package.json': '{"type":"module","main":"a.js"}',
    'a.js': 'globalThis.Promise = class extends Promise {}; await 1; export const main = () => ({ ok: 1 });',
  }, 'main'],
  ['a named file that is an ES module, and waits', {
    'package.json': '{"type":"module"}', 'file.js': 'await null; export const api = { fn: () => ({ ok: 1 }) };',
  }, 'file.api.fn'],
  ['the environment before loading', { 'index.js': 'const ok = +process.env.ONE; exports.main = () => ({ ok })' }, 'main'],
];

const BAD_ARCHIVES = [
  ['base64 of something else', Buffer.from('plain text').toString('base64'), 'main', TYPE_ERROR],
  ['an empty archive', '', 'main', null],
  ['a few bytes', 'UEs=', 'main', TYPE_ERROR],
  ['a zip cut off', Buffer.from(zip(INDEX), 'base64').subarray(0, 60).toString('base64'), 'main', ZIP_ERROR],
  ['a tar.gz cut off', Buffer.from(targz(INDEX), 'base64').subarray(0, 60).toString('base64'), 'main', TAR_ERROR],
  ['a zip path upwards', zip({ ...INDEX, '../evil.js': 'x' }), 'main', ZIP_ERROR],
  ['a zip path upwards from within', zip({ ...INDEX, 'a/../../evil.js': 'x' }), 'main', ZIP_ERROR],
  ['a zip path with backslashes', zip({ ...INDEX, '..\\evil.js': 'x' }), 'main', ZIP_ERROR],
  ['an absolute zip path', zip({ ...INDEX, '/tmp/evil.js': 'x' }), 'main', ZIP_ERROR],
  ['a tar path upwards', targz({ ...INDEX, '../evil.js': 'x' }), 'main', TAR_ERROR],
  ['a link out of a zip', zip({ ...INDEX, out: { link: '../../etc' } }), 'main', ZIP_ERROR],
  ['an absolute link', targz({ ...INDEX, out: { type: '2', link: '/etc/passwd' } }), 'main', TAR_ERROR],
  ['a hard link out of a tar', targz({ ...INDEX, out: { type: '1', link: '../../../etc/passwd' } }), 'main', TAR_ERROR],
  ['a device', targz({ ...INDEX, dev: { type: '3' } }), 'main', TAR_ERROR],
  ['links that lead out together', targz({ ...INDEX, 'd/a': { type: '2', link: '..' }, 'd/e/f': 'x', 'd/b': { type: '2', link: 'a/..' } }), 'main', TAR_ERROR],
  ['a file longer than declared', zip({ 'index.js': { content: 'x'.repeat(1000), size: 10 } }), 'main', ZIP_ERROR],
  ['a bomb by its declaration', zip({ 'index.js': { content: 'x', size: 0xffffffff } }), 'main', ZIP_ERROR],
  ['neither package.json nor index.js', zip({ 'a.js': '' }), 'main', 'Zipped actions must contain either package.json or index.js at the root.'],
  ['a missing file', zip(INDEX), 'nowhere.main', /^Error: Cannot find module '.*nowhere'/],
  ['no function', zip({ 'index.js': '' }), 'main', "Action entrypoint 'main' is not a function."],
  ['an error while loading', zip({ 'index.js': 'throw new Error("early")' }), 'main', /^Error: early\n/],
  ['an export that throws when it is read', zip({ 'index.js': 'exports.main = () => ({}); Object.defineProperty(exports, "afterRestore", { get() { throw new Error("no hook") } })' }),
    'main', /^Error: no hook\n/],
  ['an error in an ES module that waits', zip({ 'package.json': '{"type":"module","main":"a.js"}', 'a.js': 'await 1;\nthrow new Error("late")' }),
    'main', /^Error: late\n    at file:.*\/a\.js:2:7/],
  ['an ES module that waits and has no function', zip({ 'package.json': '{"type":"module","main":"a.js"}', 'a.js': 'await 1; export const main = 1' }),
    'main', "Action entrypoint 'main' is not a function."],
  ['an ES module that waits and imports what is not there', zip({ 'package.json': '{"type":"module","main":"a.js"}', 'a.js': 'import "./b.js"; await 1' }),
    'main', /^Error.*: Cannot find module '.*\/b\.js'/],
];

for (const transport of TRANSPORTS) {
  test(transport, { concurrency: 2 }, async (t) => {
    for (const [what, code, main] of SOURCES) {
      await t.test(`${what} is found as ${main}`, async (t) => {
        const instance = await start(t, transport);
        assert.deepEqual(await instance.init(code, { main }), { status: 200, body: { OK: true } });
        assert.deepEqual(await instance.run({}), { status: 200, body: { ok: 1 } });
      });
    }

    for (const [what, code, main, expected] of BAD_SOURCES) {
      await t.test(`${what} fails the init`, async (t) => {
        const instance = await start(t, transport);
        const { status, body } = await instance.init(code, { main });
        assert.equal(status, 502);
        assert.ok(body.error.startsWith(FAILED), body.error);
        assert.match(body.error.slice(FAILED.length), expected);
      });
    }

    for (const [what, files, main] of ARCHIVES) {
      for (const [format, pack] of [['zip', zip], ['tar.gz', targz]]) {
        await t.test(`${format}: ${what}`, async (t) => {
          const instance = await start(t, transport);
          assert.deepEqual(await instance.init(pack(files), { main, binary: true, env: { ONE: '1' } }), { status: 200, body: { OK: true } });
          assert.deepEqual(await instance.run({}), { status: 200, body: { ok: 1 } });
        });
      }
    }

    for (const [what, code, main, expected] of BAD_ARCHIVES) {
      await t.test(`${what} fails the init and writes nothing outside`, async (t) => {
        const instance = await start(t, transport);
        const { status, body } = await instance.init(code, { main, binary: true });
        if (expected === null) return assert.deepEqual([status, body.error], [403, 'Missing main/no code to execute.']);
        assert.equal(status, 502);
        if (typeof expected === 'string') assert.equal(body.error, FAILED + expected);
        else assert.match(body.error.slice(FAILED.length), expected);
        assert.ok(!fs.readdirSync(instance.cwd).includes('evil.js'));
        assert.ok(!fs.existsSync('/tmp/evil.js'));
      });
    }
  });
}

test('a CommonJS module that requires an ES module that waits runs once', async (t) => {
  const instance = await start(t, 'framed');
  const code = zip({ 'index.js': '#!/usr/bin/env node\nconsole.log("begun"); require("./late.mjs")', 'late.mjs': 'await 1; export default 1' });
  const { status, body } = await instance.init(code, { binary: true });
  assert.equal(status, 502);
  assert.match(body.error, /require\(\)/);
  const { stdout } = await instance.logs();
  assert.equal(stdout.split('begun').length - 1, 1, stdout);
});

test('while an ES module waits, the instance is starting', async (t) => {
  const instance = await start(t, 'framed');
  const code = zip({ 'package.json': '{"type":"module","main":"a.js"}', 'a.js': 'await new Promise((f) => setTimeout(f, 300)); export const main = () => ({ ok: 1 })' });
  const first = instance.init(code, { binary: true });
  await new Promise((f) => setTimeout(f, 100));
  const refused = { status: 403, body: { error: 'System not ready, status is starting.' } };
  assert.deepEqual(await instance.init(code, { binary: true }), refused);
  assert.equal((await instance.run({})).status, 403);
  assert.equal((await first).status, 200);
  assert.deepEqual((await instance.run({})).body, { ok: 1 });
});

test('long names, links inside and stored files are unpacked', async (t) => {
  const long = `${'directory-of-a-long-name/'.repeat(6)}file.js`;
  const instance = await start(t, 'framed');
  const code = targz({
    'index.js': `exports.main = () => ({ ok: require('./${long}') + require('./link') + require('./hard.js') })`,
    [long]: 'module.exports = 1',
    'two.js': 'module.exports = 2',
    'link.js': { type: '2', link: 'two.js' },
    'hard.js': { type: '1', link: 'two.js' },
  });
  await instance.init(code, { binary: true });
  assert.deepEqual((await instance.run({})).body, { ok: 5 });
  const other = await start(t, 'framed');
  await other.init(zip({ 'index.js': { stored: true, content: 'exports.main = () => require("./node_modules/.bin/x")' }, 'lib/x.js': 'module.exports = { ok: 6 }',
    'node_modules/.bin/x': { link: '../../lib/x.js' } }), { binary: true });
  assert.deepEqual((await other.run({})).body, { ok: 6 });
});

test('what zip, tar and npm pack on this machine is unpacked', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pack-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  fs.mkdirSync(path.join(directory, 'src/deep'), { recursive: true });
  fs.writeFileSync(path.join(directory, 'src/index.js'), 'exports.main = () => ({ ok: require("./deep/er.json").ok })');
  fs.writeFileSync(path.join(directory, 'src/deep/er.json'), '{"ok":1}');
  const packers = [['tar', ['czf', '../t.tgz', '.'], 't.tgz'], ['zip', ['-qr', '../z.zip', '.'], 'z.zip']];
  for (const [command, args, file] of packers) {
    const done = spawnSync(command, args, { cwd: path.join(directory, 'src') });
    if (done.error) { t.diagnostic(`${command} is not installed`); continue; }
    const instance = await start(t, 'framed');
    const { status, body } = await instance.init(fs.readFileSync(path.join(directory, file), 'base64'), { binary: true });
    // gzip headers with a file name or a time differ from the two forms that the protocol knows.
    assert.equal(status, 200, body.error);
    assert.deepEqual((await instance.run({})).body, { ok: 1 });
  }
});

test('random bytes after the magic of an archive never hang or kill an instance', async (t) => {
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  const good = [Buffer.from(zip({ ...INDEX, 'a/b.js': 'x' }), 'base64'), tar({ ...INDEX, 'a/b.js': 'x' })];
  const { gzipSync } = await import('node:zlib');
  const instance = await start(t, 'framed');
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(good[round % 2]);
    for (let change = 0; change < 3; change++) bytes[4 + (random() % (bytes.length - 4))] = random();
    const code = (round % 2 ? gzipSync(bytes) : bytes).toString('base64');
    const { status } = await instance.init(code, { binary: true });
    assert.ok(status === 200 || status === 502);
    assert.equal((await instance.post('/reset', {})).status, 200);
  }
});
