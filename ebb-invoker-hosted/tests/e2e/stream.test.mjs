// Web actions that answer in parts: Node, Python and programs; clients that are slow or go away; time limits; what the records say.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test stream.test.mjs
//
// Functions in Python and the shell are left out where the invoker says that it has no such kind, or cannot run them.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { EventSource } from 'eventsource';
import { APIHOST, call, eventually, ow, raw } from './api.mjs';

const WEB = `${APIHOST}/api/v1/web/guest/default`;
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function deploy(name, code, { kind = 'nodejs:default', limits, annotations = {} } = {}) {
  await ow.actions.update({ name, action: { exec: { kind, code }, limits,
    annotations: Object.entries({ 'web-export': true, ...annotations }).map(([key, value]) => ({ key, value })) } });
}

/** An answer as it comes: its head, and its pieces with their times; `end` is how it ended. */
function streamed(path, { onPiece = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const request = http.get(`${WEB}/${path}`, (response) => {
      const pieces = [];
      const done = (end) => resolve({ status: response.statusCode, headers: response.headers, pieces, end,
        text: Buffer.concat(pieces.map(({ bytes }) => bytes)).toString() });
      response.on('data', (bytes) => {
        pieces.push({ bytes, ms: performance.now() - begun });
        onPiece(pieces, request, response);
      });
      response.on('end', () => done('complete'));
      response.on('error', () => done('broken'));
    });
    request.on('error', reject);
  });
}

/** The record of the last call of an action, when it is there: another one than those that are known. */
const record = (name, known = []) => eventually(`the record of ${name}`, async () => {
  const [activation] = await ow.activations.list({ name, limit: 1, docs: true });
  return known.includes(activation?.activationId) ? undefined : activation;
});
const stream = ({ annotations }) => annotations.find(({ key }) => key === 'stream')?.value;

const TICKS = {
  'an async generator': ['nodejs:default', `
    async function* main() { for (let i = 0; i < 3; i++) { yield 'tick ' + i + '\\n'; await new Promise((r) => setTimeout(r, 300)); } }`],
  'a body that is a stream': ['nodejs:default', `
    const { Readable } = require('node:stream');
    const main = () => ({ headers: { 'content-type': 'text/plain' }, body: Readable.from((async function* () {
      for (let i = 0; i < 3; i++) { yield 'tick ' + i + '\\n'; await new Promise((r) => setTimeout(r, 300)); } })()) })`],
  'a web stream': ['nodejs:default', `
    const main = () => ({ body: new ReadableStream({ async start(c) {
      for (let i = 0; i < 3; i++) { c.enqueue(Buffer.from('tick ' + i + '\\n')); await new Promise((r) => setTimeout(r, 300)); } c.close(); } }) })`],
  'a Python generator': ['python:default', `
import time
def main(args):
    for i in range(3):
        yield f"tick {i}\\n"
        time.sleep(0.3)
`],
  'a program': ['native:default', `#!/bin/sh
while read -r call; do
  case "$call" in *'"stream":true'*) ;; *) command -v sleep >&2 || said=too; echo "{\\"body\\":\\"whole\\",\\"sleeps\\":\\"$said\\"}" >&3; continue;; esac
  echo '+{"headers":{"content-type":"text/plain"}}' >&3
  for i in 0 1 2; do printf '+"tick %s\\\\n"\\n' $i >&3; sleep 0.3; done
  echo '{}' >&3
done
`],
};

for (const [what, [kind, code]] of Object.entries(TICKS)) {
  test(`${what} is answered in parts as they come`, async (t) => {
    const known = await raw('GET', '/', { key: false });
    const family = kind.split(':')[0];
    if (!known.json.runtimes[family]) return t.skip(`there is no ${family}`);
    await deploy('ticks', code, { kind });
    let waits = true;
    if (family === 'native') {
      const whole = await call('ticks').catch(({ error }) => error);
      if (whole.response?.result?.body !== 'whole') return t.skip('there is no shell in the image');
      // An image need not have this program.
      waits = whole.response.result.sleeps === '';
    }
    await raw('GET', '/api/v1/web/guest/default/ticks', { key: false }); // a start takes time as well
    const got = await streamed('ticks');
    assert.equal(got.status, 200);
    assert.equal(got.headers['transfer-encoding'], 'chunked');
    assert.equal(got.headers['content-length'], undefined);
    assert.equal(got.text, 'tick 0\ntick 1\ntick 2\n');
    assert.equal(got.end, 'complete');
    const [first, , last] = got.pieces;
    assert.ok(!waits || last.ms - first.ms > 400, `they came ${last.ms - first.ms} ms apart`);
    const { response, annotations } = await record('ticks');
    assert.equal(response.success, true);
    assert.deepEqual(stream({ annotations }), { parts: 3, bytes: 21, ended: 'complete' });
  });
}

test('an EventSource gets events, and comes again with the last id', async () => {
  await deploy('events', `
    const main = ({ __ow_headers: headers }) => {
      const since = Number(headers['last-event-id'] ?? 0);
      return { headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' }, body: (async function* () {
        yield { retry: 50, data: 'hello\\nagain' };
        for (let id = since + 1; id <= since + 2; id++) yield { event: 'count', id, data: { id } };
      })() };
    }`);
  const source = new EventSource(`${WEB}/events`);
  const ids = [];
  const greetings = [];
  source.addEventListener('message', ({ data }) => greetings.push(data));
  source.addEventListener('count', ({ data }) => ids.push(JSON.parse(data).id));
  try {
    await eventually('five events', async () => ids.length >= 5);
  } finally {
    source.close();
  }
  assert.deepEqual(ids.slice(0, 5), [1, 2, 3, 4, 5]);
  assert.equal(greetings[0], 'hello\nagain');
});

const without = (program) => spawnSync(program, ['--version']).error !== undefined && `${program} is not installed`;

test('an EventSource in a browser gets events, and comes again with the last id', { skip: without('chromium') }, async (t) => {
  // It closes each answer after two events. The page tells what it has got by a web action of its own.
  await deploy('told-events', `
    const main = ({ __ow_headers: headers }) => {
      const since = Number(headers['last-event-id'] ?? 0);
      return { headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' }, body: (async function* () {
        yield { retry: 50, data: 'ü and\\nmore' };
        for (let id = since + 1; id <= since + 2; id++) {
          await new Promise((r) => setTimeout(r, 500));
          yield { event: 'count', id, data: { id, since } };
        }
      })() };
    }`);
  await deploy('told-page', `
    const main = () => ({ body: \`<!doctype html><meta charset=utf-8><script>
      const got = [], greetings = [];
      const source = new EventSource('told-events');
      source.onmessage = ({ data }) => greetings.push(data);
      source.addEventListener('count', ({ data, lastEventId }) => {
        got.push({ ...JSON.parse(data), lastEventId, at: performance.now() });
        if (got.length < 5) return;
        source.close();
        fetch('told-result.json', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ got, greetings }) });
      });
    </script>\` })`);
  await deploy('told-result', 'const main = ({ got, greetings }) => ({ got, greetings })');
  const known = (await ow.activations.list({ name: 'told-result' })).map(({ activationId }) => activationId);
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'browser-'));
  const browser = spawn('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${profile}`,
    '--remote-debugging-port=0', `${WEB}/told-page`], { stdio: 'ignore', detached: true });
  let told;
  try {
    // A browser takes its time to start.
    for (let tries = 0; !told && tries < 10; tries++) told = await record('told-result', known).catch(() => undefined);
  } finally {
    process.kill(-browser.pid, 'SIGKILL');
    await new Promise((resolve) => { if (browser.exitCode !== null || browser.signalCode !== null) resolve(); else browser.on('close', resolve); });
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  assert.ok(told, 'the page told nothing');
  const { got, greetings } = told.response.result;
  t.diagnostic(JSON.stringify(got));
  assert.deepEqual(got.map(({ id, since, lastEventId }) => [id, since, lastEventId]),
    [[1, 0, '1'], [2, 0, '2'], [3, 2, '3'], [4, 2, '4'], [5, 4, '5']]);
  assert.equal(greetings[0], 'ü and\nmore');
  // A busy machine may bring two together, but not in each answer.
  assert.ok(Math.max(got[1].at - got[0].at, got[3].at - got[2].at) > 200, 'they came at once');
});

test('curl -N shows parts as they come', async () => {
  await deploy('slow', `async function* main() { yield 'first\\n'; await new Promise((r) => setTimeout(r, 1500)); yield 'second\\n'; }`);
  const curl = spawn('curl', ['-sN', `${WEB}/slow.text`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const seen = [];
  const begun = performance.now();
  curl.stdout.on('data', (bytes) => seen.push([bytes.toString(), performance.now() - begun]));
  const [code] = await new Promise((resolve) => curl.on('close', (...how) => resolve(how)));
  assert.equal(code, 0);
  assert.deepEqual(seen.map(([text]) => text), ['first\n', 'second\n']);
  assert.ok(seen[1][1] - seen[0][1] > 1000);
});

test('parts are bytes, text and lines of JSON, with status and headers of the function', async () => {
  await deploy('mixed', `
    function main() {
      return { statusCode: 201, headers: { 'X-Own': 'yes', 'content-type': 'application/octet-stream', 'content-length': 5 }, body: (function* () {
        yield 'ü'; yield Buffer.from([0, 255]); yield { a: 1 }; yield ''; yield 'x'.repeat(200000); })() };
    }`);
  const got = await streamed('mixed');
  assert.deepEqual([got.status, got.headers['x-own'], got.headers['content-length']], [201, 'yes', undefined]);
  const bytes = Buffer.concat(got.pieces.map((piece) => piece.bytes));
  assert.deepEqual(bytes.subarray(0, 12), Buffer.concat([Buffer.from('ü'), Buffer.from([0, 255]), Buffer.from('{"a":1}\n')]));
  assert.equal(bytes.length, 12 + 200000);
  assert.equal((await streamed('mixed.json')).headers['content-type'], 'application/octet-stream');
});

test('callers that take no parts get the whole', async () => {
  await deploy('whole', `async function* main({ n = 2 }) { for (let i = 0; i < n; i++) yield 'part ' + i + ' '; }`);
  assert.deepEqual(await call('whole', {}, { result: true }), { body: 'part 0 part 1 ' });
  const { name } = await ow.actions.update({ name: 'twice', action: { exec: { kind: 'sequence', components: ['/_/whole', '/_/whole'] },
    annotations: [{ key: 'web-export', value: true }] } });
  const sequence = await raw('GET', `/api/v1/web/guest/default/${name}.json`, { key: false });
  assert.deepEqual(sequence.json, { body: 'part 0 part 1 ' });
  // One without an end is stopped at the size that no answer may have.
  const endless = await call('whole', { n: 1e9 }).catch(({ error }) => error);
  assert.match(endless.response.result.error, /^The action produced a response that exceeded the allowed length/);
});

test('a function waits for a slow client', async () => {
  await deploy('fast', `
    async function* main() { let n = 0; try { for (;;) { n++; yield Buffer.alloc(65536); } } finally { console.log('made', n); } }`);
  let ended;
  await new Promise((resolve, reject) => {
    const request = http.get(`${WEB}/fast`, (response) => {
      response.once('data', () => {
        response.pause();
        setTimeout(() => { request.destroy(); resolve(); }, 2000);
      });
      response.on('error', () => {});
    });
    request.on('error', (error) => (ended === undefined ? reject(error) : undefined));
    ended = false;
  });
  const { annotations, activationId } = await record('fast');
  const { parts, bytes, ended: how } = stream({ annotations });
  assert.equal(how, 'client gone');
  // What the sockets on the way hold, and a few parts.
  assert.ok(bytes < 24 << 20, `${bytes} bytes were sent to a client that read none`);
  const { logs } = await eventually('the logs', () => ow.activations.logs(activationId));
  const made = Number(/made (\d+)/.exec(logs.join('\n'))?.[1]);
  assert.ok(made >= parts && made <= parts + 8, `${made} were made for ${parts} that were taken`);
});

for (const [what, kind, code] of [
  ['a Node generator', 'nodejs:default', `
    async function* main() { try { for (;;) { yield 'x'; await new Promise((r) => setTimeout(r, 50)); } } finally { console.log('told'); } }`],
  ['a silent Node stream', 'nodejs:default', `
    const { Readable } = require('node:stream');
    const main = () => { const body = new Readable({ read() {}, destroy(e, done) { console.log('told'); done(e); } }); body.push('x'); return { body }; }`],
  ['a Python generator', 'python:default', `
import time
def main(args):
    try:
        while True:
            yield "x"
            time.sleep(0.05)
    finally:
        print("told")
`],
]) {
  test(`${what} is told that its client has gone, and serves the next one`, async (t) => {
    const known = await raw('GET', '/', { key: false });
    if (!known.json.runtimes[kind.split(':')[0]]) return t.skip('there is no such kind');
    await deploy('told', code, { kind });
    const seen = (await ow.activations.list({ name: 'told' })).map(({ activationId }) => activationId);
    for (let round = 0; round < 2; round++) {
      await streamed('told', { onPiece: (pieces, request) => request.destroy() }).catch(() => {});
      const wanted = (await record('told', seen)).activationId;
      seen.push(wanted);
      await eventually('what it says', async () => (await ow.activations.logs(wanted)).logs.some((line) => line.endsWith('stdout: told')));
      const { response, annotations } = await ow.activations.get(wanted);
      assert.equal(response.success, true);
      assert.equal(stream({ annotations }).ended, 'client gone');
      if (round) assert.equal(annotations.find(({ key }) => key === 'initTime'), undefined, 'the instance is the same');
    }
  });
}

test('a function that does not end when its client has gone is ended', async () => {
  await deploy('deaf', `async function* main() { yield 'x'; await new Promise(() => setInterval(() => {}, 1000)); }`);
  const begun = performance.now();
  await streamed('deaf', { onPiece: (pieces, request) => request.destroy() }).catch(() => {});
  const { annotations } = await record('deaf');
  assert.equal(stream({ annotations }).ended, 'client gone');
  assert.ok(performance.now() - begun < 10_000);
  const again = await streamed('deaf', { onPiece: (pieces, request) => request.destroy() }).catch(() => 'gone');
  assert.ok(again);
});

test('each part has the time of a call, and all together have theirs', async () => {
  const each = `async function* main({ ms }) { for (;;) { yield 'x'; await new Promise((r) => setTimeout(r, Number(ms))); } }`;
  await deploy('timed', each, { limits: { timeout: 500 }, annotations: { 'stream-timeout': 1500 } });
  await streamed('timed?ms=2000').then(({ end, text }) => assert.deepEqual([end, text], ['broken', 'x']));
  const late = await record('timed');
  assert.equal(late.response.result.error, 'The action exceeded its time limits of 500 milliseconds.');
  assert.equal(stream(late).ended, 'broken');
  const begun = performance.now();
  const { end, pieces } = await streamed('timed?ms=100');
  assert.equal(end, 'broken');
  assert.ok(pieces.length >= 3, 'it went on for longer than a call may take');
  assert.ok(performance.now() - begun > 1000 && performance.now() - begun < 9000);
});

test('a function that fails on the way breaks its answer off, and the next call is served', async () => {
  await deploy('fails', `async function* main({ after }) { yield 'x'; if (after) throw new Error('on the way'); }`);
  const got = await streamed('fails?after=1');
  assert.deepEqual([got.status, got.text, got.end], [200, 'x', 'broken']);
  const { response, annotations } = await record('fails');
  assert.deepEqual([response.status, response.result.error.message], ['application error', 'on the way']);
  assert.equal(stream({ annotations }).ended, 'broken');
  assert.equal((await streamed('fails')).end, 'complete');
  // What cannot be a head is an answer of its own.
  await deploy('headless', `const main = () => ({ statusCode: 'none', body: (async function* () { yield 'x'; })() })`);
  const refused = await raw('GET', '/api/v1/web/guest/default/headless', { key: false });
  assert.equal(refused.status, 400);
});
