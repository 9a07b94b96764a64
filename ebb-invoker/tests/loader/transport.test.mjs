// What is particular to each transport: HTTP's surface; frames, reset and thaw of the channel.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import test from 'node:test';
import { zip } from './archives.mjs';
import { LOADER, MARKER, start } from './instance.mjs';

const IDENTITY = 'function main(args) { return args }';
const OK = { status: 200, body: { OK: true } };

test('HTTP: only POST /init and POST /run exist', async (t) => {
  const instance = await start(t, 'http');
  for (const [method, path] of [['GET', '/'], ['GET', '/init'], ['PUT', '/run'], ['POST', '/'], ['POST', '/runs'], ['DELETE', '/init']]) {
    const { status, text } = await instance.send(path, '', { method });
    assert.deepEqual([status, text], [500, '{"error":"Bad request."}'], `${method} ${path}`);
  }
  assert.deepEqual(await instance.init(IDENTITY), OK);
});

test('HTTP: answers are JSON with a length, also of errors, and queries are ignored', async (t) => {
  const instance = await start(t, 'http');
  const bad = await instance.send('/run?a=b', '{}');
  assert.equal(bad.status, 403);
  await instance.init(IDENTITY);
  const good = await instance.send('/run?a=b', '{"value":{"a":"é"}}');
  for (const { headers, text } of [bad, good]) {
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(headers['content-length'], String(Buffer.byteLength(text)));
  }
});

test('HTTP: a body is read only as application/json, with any charset parameter, chunked or not', async (t) => {
  const instance = await start(t, 'http');
  await instance.init(IDENTITY);
  const body = '{"value":{"a":1}}';
  const run = async (headers) => (await instance.send('/run', body, { headers })).text;
  assert.equal(await run({ 'content-type': 'application/json; charset=utf-8' }), '{"a":1}');
  assert.equal(await run({ 'content-type': 'Application/JSON', 'transfer-encoding': 'chunked' }), '{"a":1}');
  assert.equal(await run({ 'content-type': 'text/plain' }), '{}');
  assert.equal(await run({ 'content-type': 'application/jsonx' }), '{}');
  assert.equal(await run({}), '{}');
});

test('HTTP: a body above 48 MiB is a bad request, and the runtime stays usable', async (t) => {
  const instance = await start(t, 'http');
  const { status, text } = await instance.send('/init', `"${'x'.repeat(48 * 1024 * 1024)}"`);
  assert.deepEqual([status, text], [500, '{"error":"Bad request."}']);
  assert.deepEqual(await instance.init(IDENTITY), OK);
});

test('frames may arrive byte by byte, and many at once', async (t) => {
  const instance = await start(t, 'framed');
  const init = instance.frame(1, JSON.stringify({ value: { main: 'main', code: IDENTITY } }));
  for (const byte of init.bytes) {
    instance.socket.write(Buffer.of(byte));
    if (byte % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await init.answer).status, 200);
  const runs = Array.from({ length: 3 }, (_, n) => instance.frame(2, JSON.stringify({ value: { n } })));
  instance.socket.write(Buffer.concat(runs.map(({ bytes }) => bytes)));
  const statuses = await Promise.all(runs.map(async ({ answer }) => (await answer).status));
  assert.deepEqual(statuses, [200, 403, 403], 'the second and third overlap the first');
});

test('answers that are given at once leave the requests alone that came with theirs', async (t) => {
  const instance = await start(t, 'framed');
  // Each answer is longer than the request that it could be written over.
  const frames = Array.from({ length: 40 }, () => instance.frame(2, '{}'));
  instance.socket.write(Buffer.concat(frames.map(({ bytes }) => bytes)));
  for (const { answer } of frames) {
    assert.deepEqual(JSON.parse((await answer).text), { error: 'System not initialized.' });
  }
  assert.deepEqual(await instance.init(IDENTITY), OK);
});

test('answers of any length come whole, also when nobody takes them for a while', async (t) => {
  const instance = await start(t, 'framed');
  await instance.init('const main = ({ n, c }) => ({ c: c.repeat(n) })');
  for (const c of ['a', 'é', '\u{1f9a2}']) {
    for (const n of [0, 1, 21_000, 21_836, 21_837, 33_000, 65_536, 300_000]) {
      if (n === 300_000) {
        instance.socket.pause();
        setTimeout(() => instance.socket.resume(), 50);
      }
      assert.deepEqual((await instance.run({ n, c })).body, { c: c.repeat(n) }, `${n} of ${c}`);
    }
  }
});

test('requests that come with an init see it starting', async (t) => {
  const instance = await start(t, 'framed');
  const body = JSON.stringify({ value: { main: 'main', code: IDENTITY } });
  const frames = [instance.frame(1, body), instance.frame(1, body), instance.frame(2, '{}'), instance.frame(3, '')];
  instance.socket.write(Buffer.concat(frames.map(({ bytes }) => bytes)));
  const [first, second, run, reset] = await Promise.all(frames.map(async ({ answer }) => {
    const { status, text } = await answer;
    return [status, JSON.parse(text).error];
  }));
  assert.deepEqual(first, [200, undefined]);
  assert.deepEqual(second, [403, 'System not ready, status is starting.']);
  assert.deepEqual(run, [403, 'System not initialized.']);
  assert.deepEqual(reset, [403, 'System not ready, status is starting.']);
});

test('a frame above the limit ends the instance instead of its memory', async (t) => {
  const instance = await start(t, 'framed');
  instance.socket.write(Buffer.from('ffffffff0100000001000000', 'hex'));
  assert.equal(await instance.exit(), 1);
});

test('the end of the channel ends the instance', async (t) => {
  const instance = await start(t, 'framed');
  instance.socket.end();
  assert.equal(await instance.exit(), 0);
});

test('reset undoes what a throw-away action did and brings the instance back to ready', async (t) => {
  const instance = await start(t, 'framed', { env: { MINE: 'm' } });
  const code = zip({ 'index.js': 'process.env.MINE = "theirs"; leak = 1; exports.main = () => ({ dir: process.cwd() })', 'lib.js': '' });
  await instance.init(code, { binary: true, env: { THEIRS: 't' } });
  const { dir } = (await instance.run({}, { namespace: 'warm' })).body;
  assert.deepEqual(await instance.post('/reset', {}), OK);
  assert.ok(!fs.existsSync(dir));
  assert.deepEqual(await instance.init(`function main() {
    return { cwd: process.cwd(), leak: typeof leak, mine: process.env.MINE, left: Object.keys(process.env).filter((k) => /THEIRS|__OW/.test(k)),
      cached: Object.keys(require.cache).filter((f) => f.endsWith('index.js')) }
  }`), OK);
  assert.deepEqual((await instance.run({})).body, { cwd: fs.realpathSync(instance.cwd), leak: 'undefined', mine: 'm', left: [], cached: [] });
});

test('reset brings a stopped instance back, but not a running one', async (t) => {
  const instance = await start(t, 'framed');
  await instance.init('function main({ wait }) { if (wait) return new Promise(() => {}); throw 1 }');
  await instance.run({});
  assert.deepEqual(await instance.post('/reset', {}), OK);
  await instance.init('const main = () => new Promise(() => {})');
  instance.run({}).catch(() => {});
  assert.equal((await instance.post('/reset', {})).status, 403);
});

test('copies of a snapshot draw random numbers of their own after thaw', async (t) => {
  const code = 'const { randomUUID, randomInt } = require("crypto"); const early = [randomUUID(), randomInt(1e6), Math.random()]; const main = () => ({ early, r: [Math.random(), Math.random()] })';
  const draw = async (seed) => {
    const instance = await start(t, 'framed');
    await instance.init(code);
    const thaw = instance.frame(4, Buffer.alloc(16, seed));
    thaw.answer.catch(() => {}); // there is none
    instance.socket.write(thaw.bytes);
    const { r } = (await instance.run({})).body;
    assert.ok(r.every((x) => x >= 0 && x < 1));
    return r.join();
  };
  const [one, again, other] = [await draw(1), await draw(1), await draw(2)];
  assert.equal(one, again, 'the seed decides');
  assert.notEqual(one, other);
});

const body = (value) => JSON.stringify({ value });
const initBody = (code) => body({ name: 'test', main: 'main', code });

test('an answer says whether the action has used Math.random since the last one', async (t) => {
  const instance = await start(t, 'framed');
  const drew = async (to, payload) => (await instance.send(to, payload)).drew;
  assert.equal(await drew('/init', initBody('const main = ({ draw }) => ({ x: draw && Math.random() })')), false);
  assert.equal(await drew('/run', body({})), false);
  assert.equal(await drew('/run', body({ draw: true })), true);
  assert.equal(await drew('/run', body({})), false);
  await instance.send('/reset', '{}');
  assert.equal(await drew('/init', initBody('const id = Math.random(); const main = () => ({ id })')), true);
  assert.equal(await drew('/run', body({})), false);
});

/** Goes on as a copy of a snapshot does. */
function thaw(instance, seed) {
  const { bytes, answer } = instance.frame(4, Buffer.alloc(16, seed));
  answer.catch(() => {}); // there is none
  instance.socket.write(bytes);
}

test('the hooks of an action are called before a capture and, waited for, after it', async (t) => {
  const instance = await start(t, 'framed');
  const told = await instance.send('/init', initBody(`const log = []
    exports.beforeCapture = async () => { log.push('before') }
    exports.afterRestore = async () => { await new Promise((f) => setTimeout(f, 20)); log.push('after') }
    const main = () => ({ log })`));
  assert.equal(told.hooks, true);
  assert.deepEqual((await instance.run({})).body, { log: [] });
  assert.deepEqual(await instance.post('/rest', {}), OK);
  thaw(instance, 1);
  assert.deepEqual((await instance.run({})).body, { log: ['before', 'after'] });
  assert.deepEqual((await instance.run({})).body, { log: ['before', 'after'] });
});

test('an action without hooks rests as it is', async (t) => {
  const instance = await start(t, 'framed');
  const told = await instance.send('/init', initBody('exports.beforeCapture = () => { throw 1 }; const main = () => ({})'));
  assert.equal(told.hooks, false, 'one hook alone promises nothing');
  assert.deepEqual(await instance.post('/rest', {}), OK);
});

test('a hook that fails keeps the action from being captured, or from being run', async (t) => {
  const instance = await start(t, 'framed');
  await instance.init(`exports.beforeCapture = () => { throw new Error('not now') }
    exports.afterRestore = () => { throw new Error('not here') }; const main = () => ({ ran: true })`);
  const rest = await instance.post('/rest', {});
  assert.equal(rest.status, 502);
  assert.match(rest.body.error, /not now/);
  thaw(instance, 1);
  const run = await instance.run({});
  assert.deepEqual(run, { status: 502, body: { error: 'An error has occurred in afterRestore: Error: not here' } });
});

test('without markers nothing is added to the logs', async (t) => {
  const instance = await start(t, 'framed', { args: ['--no-marker'] });
  await instance.init('function main() { console.log("only this"); return {} }');
  await instance.run({});
  const logs = await instance.logs();
  assert.deepEqual(logs, { stdout: 'only this\n', stderr: '' });
  assert.ok(!logs.stdout.includes(MARKER));
});

test('a channel instance loads no HTTP module and waits in epoll alone', { skip: process.platform !== 'linux' }, async (t) => {
  const instance = await start(t, 'framed');
  await instance.init('const main = () => ({ http: process.moduleLoadList.filter((m) => /NativeModule (_?http|_?tls)/.test(m)), active: process.getActiveResourcesInfo() })');
  const { body } = await instance.run({});
  assert.deepEqual(body.http, []);
  assert.deepEqual(body.active.filter((kind) => kind !== 'PipeWrap' && kind !== 'TCPSocketWrap'), []);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.match(fs.readFileSync(`/proc/${instance.child.pid}/wchan`, 'utf8'), /^(0|.*ep_poll.*|do_epoll.*)$/);
});

test('a bad option is refused with a message', () => {
  assert.throws(() => execFileSync(process.execPath, [LOADER, '--fd', 'three'], { stdio: 'pipe' }), /--fd takes a number, not three/);
});
