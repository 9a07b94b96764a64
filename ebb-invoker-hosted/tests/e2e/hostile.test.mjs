// Bad input to a running invoker: each gets the protocol's status with a JSON error, and the next request is served.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test hostile.test.mjs
//
// QUEUED (12,000) makes the flood of calls that do not wait smaller: beyond 10,000 they are refused.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import zlib from 'node:zlib';
import { tar, targz, zip } from '../../../ebb-invoker/tests/loader/archives.mjs';
import { APIHOST, auth, bytes, call, deploy, eventually, metric, ow, raw } from './api.mjs';

const ACTIONS = '/api/v1/namespaces/_/actions';
const HEAD = `host: h\r\nauthorization: ${auth}\r\n`;
const JSON_HEAD = `${HEAD}content-type: application/json\r\n`;

/** The status and the error of an answer as it came over the wire; the error has to be JSON. */
function refusal(answer) {
  const [head, body] = answer.split('\r\n\r\n');
  assert.match(head, /\r\ncontent-type: application\/json/i, answer);
  const { error, code } = JSON.parse(body);
  assert.ok(typeof error === 'string' && error !== '' && typeof code === 'string' && code !== '', body);
  assert.ok(head.toLowerCase().includes(`\r\nx-request-id: ${code}`.toLowerCase()), head);
  return [Number(head.split(' ')[1]), error];
}

/** Whether others are served still. */
async function isServed() {
  assert.equal((await raw('GET', '/ping')).text, 'pong');
}

const MALFORMED = [
  ['no request line', 'nonsense\r\n\r\n', 400],
  ['another protocol', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400],
  ['a version that there is not', `GET / HTTP/3.0\r\n${HEAD}\r\n`, 505],
  ['a blank in a header name', `GET / HTTP/1.1\r\nbad name: x\r\n\r\n`, 400],
  ['a head without end', `GET / HTTP/1.1\r\n${'x: y\r\n'.repeat(5000)}`, 431],
  ['a long path', `GET /${'a'.repeat(40_000)} HTTP/1.1\r\n\r\n`, 431],
  ['a length that is no number', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: many\r\n\r\n`, 400],
  ['a negative length', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: -1\r\n\r\n`, 400],
  ['two lengths', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: 1\r\ncontent-length: 2\r\n\r\n{}`, 400],
  ['a length and chunks', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}`, 400],
  ['an unknown transfer coding', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}transfer-encoding: gzip\r\n\r\n`, 501],
  ['a broken chunk', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n`, 400],
  ['a body that is announced too large', `PUT ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: 99999999999\r\n\r\n`, 413],
  ['a call that is announced too large', `POST ${ACTIONS}/x HTTP/1.1\r\n${JSON_HEAD}content-length: 1048577\r\n\r\n`, 413],
];

for (const [what, request, status] of MALFORMED) {
  test(`HTTP: ${what} is ${status} with a JSON error`, async () => {
    const [got, error] = refusal(await bytes(Buffer.from(request, 'latin1')));
    assert.equal(got, status, error);
    await isServed();
  });
}

const REFUSED = [
  ['no key', 'GET', ACTIONS, { key: false }, 401],
  ['a wrong key', 'GET', ACTIONS, { headers: { authorization: `Basic ${btoa('a:b')}` } }, 401],
  ['a key that is no base64', 'GET', ACTIONS, { headers: { authorization: 'Basic %%%' } }, 401],
  ['another scheme', 'GET', ACTIONS, { headers: { authorization: 'Bearer x' } }, 401],
  ['another namespace', 'GET', '/api/v1/namespaces/other/actions', {}, 403],
  ['an unknown action', 'GET', `${ACTIONS}/nowhere`, {}, 404],
  ['a call of an unknown action', 'POST', `${ACTIONS}/nowhere`, {}, 404],
  ['an action in an unknown package', 'PUT', `${ACTIONS}/nowhere/a`, { body: { exec: { kind: 'nodejs:default', code: '' } } }, 404],
  ['an unknown activation', 'GET', `/api/v1/namespaces/_/activations/${'0'.repeat(32)}`, {}, 404],
  ['an unknown path', 'GET', '/api/v2/nothing', {}, 404],
  ['a method that there is not', 'PATCH', `${ACTIONS}/a`, {}, 405],
  ['a name with illegal characters', 'PUT', `${ACTIONS}/${encodeURIComponent('a/../b?')}`, { body: {} }, 400],
  ['half a document', 'PUT', `${ACTIONS}/x`, { body: '{"exec":' }, 400],
  ['a document that is no object', 'PUT', `${ACTIONS}/x`, { body: '[]' }, 400],
  ['a document that is no UTF-8', 'PUT', `${ACTIONS}/x`, { body: Buffer.from([0x7b, 0xff, 0xfe]) }, 400],
  ['a document without exec', 'PUT', `${ACTIONS}/x`, { body: {} }, 400],
  ['an unknown runtime', 'PUT', `${ACTIONS}/x`, { body: { exec: { kind: 'cobol:68', code: '' } } }, 400],
  ['a limit out of range', 'PUT', `${ACTIONS}/x`, { body: { exec: { kind: 'nodejs:default', code: '' }, limits: { memory: 1 << 20 } } }, 400],
  ['concurrency above 1', 'PUT', `${ACTIONS}/x`, { body: { exec: { kind: 'nodejs:default', code: '' }, limits: { concurrency: 2 } } }, 400],
  ['parameters above 1 MiB', 'PUT', `${ACTIONS}/x`, { body: { exec: { kind: 'nodejs:default', code: '' }, parameters: [{ key: 'k', value: 'x'.repeat(1 << 20) }] } }, 413],
  ['a body of another type', 'PUT', `${ACTIONS}/x`, { body: 'a=b', headers: { 'content-type': 'text/plain' } }, 415],
  ['nesting beyond reason', 'POST', '/api/v1/namespaces/whisk.system/actions/utils/echo', { body: '['.repeat(500_000) }, 400],
];

for (const [what, method, path, options, status] of REFUSED) {
  test(`${what} is ${status}`, async () => {
    const { status: got, json, text } = await raw(method, path, options);
    assert.equal(got, status, text);
    assert.ok(json.error && json.code, text);
  });
}

test('what exists is not made anew, and not as another kind', async () => {
  await ow.packages.update({ name: 'taken' });
  await deploy('there', 'const main = (p) => p');
  const body = { exec: { kind: 'nodejs:default', code: '' } };
  assert.equal((await raw('PUT', `${ACTIONS}/there`, { body })).status, 409);
  assert.equal((await raw('PUT', `${ACTIONS}/taken?overwrite=true`, { body })).status, 409);
  assert.equal((await raw('DELETE', `${ACTIONS}/taken`)).status, 409);
  await ow.packages.delete('taken');
});

test('a body in chunks is taken, and beyond the limit refused', async () => {
  await deploy('echo', 'const main = (p) => p');
  const chunk = (text) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const start = `POST ${ACTIONS}/echo?blocking=true&result=true HTTP/1.1\r\n${JSON_HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n`;
  const answer = await bytes(`${start}${chunk('{"a":')}${chunk('1}')}0\r\n\r\n`);
  assert.ok(answer.startsWith('HTTP/1.1 200') && answer.endsWith('{"a":1}'), answer);
  const [status] = refusal(await bytes(start + chunk('x'.repeat(65_536)).repeat(17)));
  assert.equal(status, 413);
  await isServed();
});

const INDEX = { 'index.js': 'exports.main = () => ({ ok: 1 })' };
const BASE64 = (data) => Buffer.from(data).toString('base64');
const FAILED = 'Initialization has failed due to: There was an error uncompressing the action';
const ZIP = `${FAILED} Zip archive.`, TAR = `${FAILED} Tar GZ archive.`;
const TYPE = `${FAILED} archive. The file type is unsupported`;
const megabytes = (n) => Buffer.alloc(n << 20);

const ARCHIVES = [
  ['no archive', BASE64('plain text of some length'), TYPE],
  ['a zip cut off', BASE64(Buffer.from(zip(INDEX), 'base64').subarray(0, 60)), ZIP],
  ['a tar.gz cut off', BASE64(Buffer.from(targz(INDEX), 'base64').subarray(0, 60)), TAR],
  ['a damaged zip', BASE64(Buffer.from(zip(INDEX), 'base64').map((byte, at) => at > 40 && at < 50 ? byte ^ 0xff : byte)), ZIP],
  ['a zip that climbs', zip({ ...INDEX, '../evil.js': 'x' }), ZIP],
  ['a zip with an absolute path', zip({ ...INDEX, '/loader.js': 'x' }), ZIP],
  ['a zip with a link out', zip({ ...INDEX, out: { link: '../../../loader' } }), ZIP],
  ['a tar.gz that climbs', targz({ ...INDEX, '../evil.js': 'x' }), TAR],
  ['a tar.gz with a link out', targz({ ...INDEX, out: { type: '2', link: '/loader' } }), TAR],
  ['a zip bomb by its declaration', zip({ 'index.js': { content: 'x', size: 0xffffffff } }), ZIP],
  ['a zip bomb that lies', zip({ 'index.js': { content: megabytes(64), size: 10 } }), ZIP],
  ['many zip bombs together', zip(Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`f${n}`, { content: 'x', size: 100 << 20 }]))), ZIP],
  ['a zip of zips that says it is larger than it is', zip({ 'a.zip': { content: zip(INDEX), size: 1 << 20 } }), ZIP],
];

for (const [what, code, error] of ARCHIVES) {
  test(`${what} fails its action and nothing else`, async () => {
    await raw('PUT', `${ACTIONS}/archive?overwrite=true`, { body: { exec: { kind: 'nodejs:default', code } } });
    const { status, json } = await raw('POST', `${ACTIONS}/archive?blocking=true`);
    assert.deepEqual([status, json.response.status, json.response.result.error], [502, 'action developer error', error]);
    assert.deepEqual(await call('/whisk.system/utils/echo', { still: 1 }, { result: true }), { still: 1 });
  });
}

for (const [format, code] of [
  ['zip', () => zip({ ...INDEX, ...Object.fromEntries(Array.from({ length: 7 }, (_, n) => [`f${n}`, { content: megabytes(40) }])) })],
  ['tar.gz', () => zlib.gzipSync(tar({ ...INDEX, zeros: { content: megabytes(250) } })).toString('base64')],
]) {
  // A process unpacks to the host's disk, which is no part of an action's memory.
  test(`a ${format} bomb that unpacks to more than an action may use ends with it`, { skip: process.env.HOSTED }, async () => {
    await raw('PUT', `${ACTIONS}/bomb?overwrite=true`, { body: { exec: { kind: 'nodejs:default', code: code() }, limits: { memory: 128, timeout: 20_000 } } });
    const { status, json } = await raw('POST', `${ACTIONS}/bomb?blocking=true`);
    assert.deepEqual([status, json.response.status], [502, 'action developer error']);
    assert.match(json.response.result.error, /error uncompressing|exhausted its memory|did not initialize|time limits/);
    assert.deepEqual(await call('/whisk.system/utils/echo', { still: 1 }, { result: true }), { still: 1 });
    await ow.actions.delete('bomb');
  });
}

/** Sends the head of a document of so many bytes and the first `given` of it; gives the socket, and its answer if there is one. */
function begin(head, length, given = 1) {
  const { hostname, port } = new URL(APIHOST);
  const request = `PUT ${ACTIONS}/x?overwrite=true HTTP/1.1\r\n${head}content-length: ${length}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const it = { answer: '' };
    it.socket = net.connect(Number(port), hostname, () => {
      it.socket.write(request);
      it.socket.write(Buffer.alloc(given, '{'), () => setTimeout(resolve, 300, it));
    });
    it.socket.on('data', (text) => { it.answer += text; }).on('error', reject);
  });
}

test('what strangers announce is refused at once and takes nothing from others', async () => {
  const json = 'host: h\r\ncontent-type: application/json\r\n';
  const strangers = await Promise.all(Array.from({ length: 20 }, (_, n) =>
    begin(n % 2 ? json : `${json}authorization: Basic ${btoa('a:b')}\r\n`, (n + 1) * (5 << 20))));
  for (const { answer } of strangers) assert.equal(refusal(answer)[0], 401);
  for (const { socket } of strangers) socket.destroy();
  await isServed();
});

test('what a caller announces and does not send takes nothing either', async () => {
  const held = await Promise.all(Array.from({ length: 8 }, () => begin(JSON_HEAD, 100 << 20)));
  const { status } = await raw('PUT', `${ACTIONS}/x?overwrite=true`, { body: { exec: { kind: 'nodejs:default', code: 'x'.repeat(600_000) } } });
  assert.equal(status, 200);
  assert.equal((await raw('POST', `${ACTIONS}/nowhere`, { body: { text: 'x'.repeat(100_000) } })).status, 404);
  for (const { socket, answer } of held) {
    assert.equal(answer, '');
    socket.destroy();
  }
});

test('bodies of one namespace that arrive at the same time have to fit together', async () => {
  const held = await begin(JSON_HEAD, 90 << 20, (90 << 20) - 1);
  await eventually('a refusal', async () => {
    const next = await begin(JSON_HEAD, 60 << 20);
    next.socket.destroy();
    return next.answer !== '' && refusal(next.answer)[0] === 503;
  });
  held.socket.destroy();
  await eventually('room', async () => {
    const { status } = await raw('PUT', `${ACTIONS}/x?overwrite=true`, { body: { exec: { kind: 'nodejs:default', code: 'x'.repeat(45 << 20) } } });
    return status === 200;
  });
  await ow.actions.delete('x');
});

test('clients that go away in the middle leave nothing behind', async () => {
  await deploy('slow', 'const main = () => new Promise((done) => setTimeout(done, 300, {}))');
  const { hostname, port } = new URL(APIHOST);
  const started = `POST ${ACTIONS}/slow?blocking=true HTTP/1.1\r\n${JSON_HEAD}content-length: 20\r\n\r\n`;
  const whole = `POST ${ACTIONS}/slow?blocking=true HTTP/1.1\r\n${JSON_HEAD}content-length: 2\r\n\r\n{}`;
  const parts = [started.slice(0, 30), started.slice(0, -2), `${started}{"half":`, whole];
  await Promise.all(Array.from({ length: 24 }, (_, n) => new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () => {
      socket.write(parts[n % parts.length]);
      // Half of them with a reset.
      setTimeout(() => (n % 8 < 4 ? socket.destroy() : socket.resetAndDestroy()), 60);
    });
    socket.on('error', reject).on('close', resolve);
  })));
  await isServed();
  await eventually('the end of all calls', async () => (await metric('ebb_calls_running')) === 0);
});

const QUEUED = Number(process.env.QUEUED ?? 12_000);
const LIMIT = 10_000;

// A core's stack holds the whole chain: in an image it is 256 KiB, and its end would be the machine's.
test('a composition that is a component of itself ends before the stack of a core does', async () => {
  const annotations = [{ key: 'conductor', value: true }];
  const body = { exec: { kind: 'nodejs:default', code: "const main = () => ({ action: 'around' })" }, annotations };
  assert.equal((await raw('PUT', `${ACTIONS}/deep`, { body })).status, 200);
  const around = { exec: { kind: 'sequence', components: ['/_/deep'] } };
  assert.equal((await raw('PUT', `${ACTIONS}/around`, { body: around })).status, 200);
  const { status, json } = await raw('POST', `${ACTIONS}/deep?blocking=true`, { body: {} });
  assert.equal(status, 502);
  assert.equal(json.response.status, 'application error');
  await isServed();
});

test(`${QUEUED} calls that nobody waits for are run or refused, and others are served`, async (t) => {
  // They wait until the time has come, and then not at all.
  await deploy('later', 'const main = ({ until }) => new Promise((done) => setTimeout(done, Math.max(0, until - Date.now()), {}))',
    { limits: { timeout: 120_000 } });
  await deploy('other', 'const main = () => ({ ok: 1 })');
  const name = 'ebb_activations_total{status="success"}';
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  const statuses = {};
  const post = (action, body) => new Promise((resolve, reject) => {
    const request = http.request(`${APIHOST}${ACTIONS}/${action}`, {
      agent, method: 'POST', headers: { authorization: auth, 'content-type': 'application/json', 'content-length': body.length },
    }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => {
        const json = JSON.parse(text);
        const isRefusal = response.statusCode === 429 && json.error.startsWith('Too many concurrent requests in flight');
        if (isRefusal || (response.statusCode === 202 && json.activationId)) resolve(response.statusCode);
        else reject(new Error(`${response.statusCode}: ${text}`));
      });
    });
    request.on('error', reject).end(body);
  });
  const many = async (count, action, body) => {
    let sent = 0;
    const began = Date.now();
    await Promise.all(Array.from({ length: 16 }, async () => {
      while (sent++ < count) {
        const status = await post(action, body);
        statuses[status] = (statuses[status] ?? 0) + 1;
      }
    }));
    return Date.now() - began;
  };
  // How long it takes to send them all, so that none has run before all are there.
  const each = (await many(200, 'other', '{}')) / 200;
  await eventually('the end of the first calls', async () => (await metric('ebb_calls_running')) === 0);
  const before = await metric(name);
  const began = Date.now();
  delete statuses[202];
  const until = (await call('other')).end + Math.round(QUEUED * each * 1.5) + 1000;
  await many(QUEUED, 'later', JSON.stringify({ until }));
  t.diagnostic(`${JSON.stringify(statuses)} after ${Date.now() - began} ms`);
  const accepted = statuses[202];
  assert.equal(accepted + (statuses[429] ?? 0), QUEUED);
  assert.ok(accepted <= LIMIT && (QUEUED <= LIMIT * 0.7 ? accepted === QUEUED : accepted >= LIMIT / 2), `${accepted}`);
  assert.ok((await metric('ebb_queue_length')) <= LIMIT);
  await isServed();
  // They have all been waited for, or run, in the end: none is lost.
  for (let patience = 0; (await metric('ebb_calls_running')) > 0; patience++) {
    assert.ok(patience < 240, 'the calls do not end');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.diagnostic(`all had ended after ${Date.now() - began} ms`);
  assert.equal(await metric(name), before + 1 + accepted);
  assert.deepEqual(await call('other', {}, { result: true }), { ok: 1 });
  agent.destroy();
});
