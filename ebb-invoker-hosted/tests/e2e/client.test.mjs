// Drives a running invoker with the npm package `openwhisk`, and with plain HTTP where that has no word for it.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test client.test.mjs
//
// CALLS (1,000), FUNCTIONS (100) and CLIENTS (32) make the last test shorter. OUTSIDE_SEEN is this machine's address as actions see it.
// Nothing here knows what the instances are: the same tests hold for Linux processes and for an image.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import openwhisk from 'openwhisk';
import { zip } from '../../../ebb-invoker/tests/loader/archives.mjs';
import { API_KEY, APIHOST, auth, call, deploy, eventually, ow, raw } from './api.mjs';

test('actions are deployed, called, updated, listed and deleted', async () => {
  const created = await ow.actions.create({ name: 'greet', action: 'const main = ({ name }) => ({ hello: name })' });
  assert.equal(created.version, '0.0.1');
  await assert.rejects(ow.actions.create({ name: 'greet', action: '' }), { statusCode: 409 });
  assert.deepEqual((await call('greet', { name: 'ada' })).response.result, { hello: 'ada' });
  assert.deepEqual(await call('greet', { name: 'ada' }, { result: true }), { hello: 'ada' });
  await deploy('greet', 'const main = ({ name }) => ({ bye: name })');
  assert.deepEqual(await call('greet', { name: 'ada' }, { result: true }), { bye: 'ada' }, 'the update takes effect at once');
  assert.ok((await ow.actions.list()).some(({ name }) => name === 'greet'));
  assert.equal((await ow.actions.get('greet')).exec.code, 'const main = ({ name }) => ({ bye: name })');
  await ow.actions.delete('greet');
  await assert.rejects(call('greet'), { statusCode: 404 });
});

test('a call that does not wait is found among the activations, with its logs', async () => {
  await deploy('logs', 'function main() { console.log("out"); console.error("err"); return { n: 1 } }');
  const { activationId } = await ow.actions.invoke({ name: 'logs' });
  const record = await eventually('the record', () => ow.activations.get(activationId));
  assert.deepEqual(record.response.result, { n: 1 });
  const { logs } = await ow.activations.logs(activationId);
  assert.deepEqual(logs.map((line) => line.slice(31)).sort(), ['stderr: err', 'stdout: out']);
  assert.match(logs[0], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z +std(out|err): /);
  assert.deepEqual((await ow.activations.result(activationId)).result, { n: 1 });
  assert.ok((await ow.activations.list({ limit: 50 })).some((a) => a.activationId === activationId));
});

test('state stays in an instance, and an update starts afresh', async () => {
  await deploy('count', 'let n = 0; const main = () => ({ n: ++n })');
  const first = (await call('count')).response.result.n;
  assert.equal((await call('count')).response.result.n, first + 1);
  await deploy('count', 'let n = 100; const main = () => ({ n: ++n })');
  assert.equal((await call('count')).response.result.n, 101);
});

test('alarms fire triggers: each second, once, and not any more when they are deleted', async () => {
  await deploy('woken', 'const main = ({ who }) => ({ woken: who })');
  const woken = async () => (await ow.activations.list({ name: 'woken', docs: true, limit: 100 }))
    .filter(({ response }) => response.result?.woken === 'by alarm');
  const feedName = '/whisk.system/alarms/alarm';
  await ow.triggers.update({ name: 'tick' });
  await ow.rules.update({ name: 'ticked', trigger: 'tick', action: 'woken' });
  const created = await ow.feeds.create({
    feedName, trigger: 'tick', params: { cron: '* * * * * *', trigger_payload: { who: 'by alarm' } },
  });
  assert.deepEqual(created.response.result, { status: 'success' });
  await eventually('two firings', async () => (await woken()).length >= 2);
  const { response: { result } } = await ow.feeds.get({ feedName, trigger: 'tick' });
  assert.equal(result.config.cron, '* * * * * *');
  assert.equal(result.status.active, true);
  await ow.feeds.delete({ feedName, trigger: 'tick' });
  const until = (await woken()).length;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.ok((await woken()).length <= until + 1, 'it fires no more');
  await assert.rejects(
    ow.feeds.create({ feedName, trigger: 'tick', params: { cron: 'never' } }),
    (error) => JSON.stringify(error.error).includes("cron pattern 'never' is not valid"),
  );
  await ow.feeds.create({
    feedName: '/whisk.system/alarms/once', trigger: 'tick', params: { date: Date.now() + 1500, deleteAfterFire: 'rules' },
  });
  await eventually('its end', () => ow.triggers.get('tick').then(() => false, ({ statusCode }) => statusCode === 404));
  await assert.rejects(ow.rules.get('ticked'), { statusCode: 404 });
});

const FAULTS = [
  ['an application error', 'const main = () => ({ error: "mine" })', 'application error', 'mine'],
  ['a rejection', 'const main = () => Promise.reject("no")', 'application error', 'no'],
  ['a synchronous throw', 'const main = () => { throw new Error("up") }', 'action developer error', 'An error has occurred: Error: up'],
  ['a result that is no object', 'const main = () => "text"', 'action developer error', 'The action did not return a dictionary.'],
  ['null', 'const main = () => null', 'action developer error', 'The action did not produce a valid JSON or JSON Array response: null'],
  ['a cycle', 'const main = () => { const a = {}; a.a = a; return a }', 'action developer error', 'Internal error.'],
  ['no entry point', 'const other = 1', 'action developer error', "Initialization has failed due to: Action entrypoint 'main' is not a function."],
  ['empty code', '', 'action developer error', 'Missing main/no code to execute.'],
  ['process.exit', 'const main = () => process.exit(1)', 'action developer error', 'The action did not produce a valid response and exited unexpectedly.'],
  ['process.exit while loading', 'process.exit(1)', 'action developer error', 'The action did not initialize and exited unexpectedly.'],
  ['an unhandled rejection', 'const main = () => { Promise.reject(1); return new Promise(() => {}) }', 'action developer error', 'The action did not produce a valid response and exited unexpectedly.'],
];

for (const [what, code, status, error] of FAULTS) {
  test(`${what} is ${status}`, async () => {
    const name = `fault-${what.replace(/\W/g, '')}`;
    await raw('PUT', `/api/v1/namespaces/_/actions/${name}?overwrite=true`, { body: { exec: { kind: 'nodejs:default', code } } });
    for (let run = 0; run < 2; run++) {
      const { status: http, json } = await raw('POST', `/api/v1/namespaces/_/actions/${name}?blocking=true`);
      assert.equal(http, 502);
      assert.deepEqual([json.response.status, json.response.result.error], [status, error]);
    }
  });
}

for (const [where, code, text] of [
  ['a run', 'const main = () => { for (;;); }', 'The action exceeded its time limits of 500 milliseconds.'],
  ['an init', 'for (;;);', 'The action exceeded its time limits of 500 milliseconds during initialization.'],
  ['a promise', 'const main = () => new Promise(() => {})', 'The action exceeded its time limits of 500 milliseconds.'],
]) {
  test(`an endless loop in ${where} ends at the time limit, and others are served meanwhile`, async () => {
    const name = `loop-${where.replace(/\W/g, '')}`;
    await deploy(name, code, { limits: { timeout: 500 } });
    await deploy('meanwhile', 'const main = () => ({ ok: 1 })');
    const loop = raw('POST', `/api/v1/namespaces/_/actions/${name}?blocking=true`);
    assert.deepEqual(await call('meanwhile', {}, { result: true }), { ok: 1 });
    const { status, json } = await loop;
    assert.deepEqual([status, json.response.result.error], [502, text]);
    assert.equal(json.annotations.find(({ key }) => key === 'timeout').value, true);
    assert.ok(json.duration >= 490, `${json.duration}`);
  });
}

test('an action that takes too much memory is ended', async () => {
  await deploy('hog', 'const main = () => { const all = []; for (;;) all.push(new Array(1e5).fill(all.length)) }', { limits: { memory: 128 } });
  const { json } = await raw('POST', '/api/v1/namespaces/_/actions/hog?blocking=true');
  assert.equal(json.response.status, 'action developer error');
  assert.match(json.response.result.error, /exhausted its memory|exited unexpectedly/);
});

test('a zip with a dependency that npm has installed runs', async () => {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'zipped-'));
  await fs.writeFile(path.join(folder, 'package.json'), '{"name":"zipped","main":"lib/main.js","dependencies":{"chalk":"4.1.2"}}');
  await fs.mkdir(path.join(folder, 'lib'));
  await fs.writeFile(path.join(folder, 'lib/main.js'),
    'const chalk = new (require("chalk").Instance)({ level: 1 }); exports.main = ({ text }) => ({ text: chalk.red(text) })');
  // It is in npm's cache: these tests depend on it as well.
  await promisify(execFile)('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder });
  const files = {};
  for (const entry of await fs.readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isFile()) files[path.relative(folder, file)] = { content: await fs.readFile(file) };
  }
  assert.ok('node_modules/color-convert/index.js' in files, 'with what it depends on itself');
  await fs.rm(folder, { recursive: true });
  await ow.actions.update({ name: 'zipped', action: Buffer.from(zip(files), 'base64') });
  assert.deepEqual(await call('zipped', { text: 'warm' }, { result: true }), { text: '\x1b[31mwarm\x1b[39m' });
});

test('an action with a key calls its platform', async () => {
  await deploy('inside', `const main = async () => {
      const { __OW_API_HOST: host, __OW_API_KEY: key } = process.env;
      const headers = { authorization: 'Basic ' + Buffer.from(key).toString('base64') };
      return { names: (await (await fetch(host + '/api/v1/namespaces/_/actions', { headers })).json()).map(({ name }) => name) };
    }`, { annotations: { 'provide-api-key': true } });
  const { names } = await call('inside', {}, { result: true });
  assert.ok(names.includes('inside'), `${names}`);
});

// Instances in an image have the package; those that are Linux processes have what is installed there.
test('require("openwhisk")() in an action is a client of its platform', { skip: !process.env.OUTSIDE_SEEN }, async () => {
  await deploy('callee', 'const main = ({ n }) => ({ n: n + 1 })');
  await deploy('caller', `const openwhisk = require('openwhisk');
    const main = ({ n }) => openwhisk().actions.invoke({ name: 'callee', params: { n }, blocking: true, result: true })`,
  { annotations: { 'provide-api-key': true } });
  assert.deepEqual(await call('caller', { n: 1 }, { result: true }), { n: 2 });
});

test('packages, parameters and bindings merge', async () => {
  await ow.packages.update({ name: 'tools', package: { parameters: [{ key: 'a', value: 1 }, { key: 'b', value: 1 }] } });
  await ow.actions.update({ name: 'tools/show', action: 'const main = (p) => p', params: { b: 2, c: 2 } });
  assert.deepEqual(await call('tools/show', { c: 3 }, { result: true }), { a: 1, b: 2, c: 3 });
  assert.equal((await ow.packages.get('tools')).actions[0].name, 'show');
  await ow.actions.delete('tools/show');
  await ow.packages.delete('tools');
});

test('triggers call the actions of their rules', async () => {
  await deploy('react', 'const main = (p) => p');
  await ow.triggers.update({ name: 'event' });
  await ow.rules.update({ name: 'on-event', trigger: 'event', action: 'react' });
  // By the invoker's own clock: a client's may differ by a little.
  const before = (await call('react')).end;
  await ow.triggers.invoke({ name: 'event', params: { what: 'fired' } });
  const [record] = await eventually('the call', async () => {
    const found = await ow.activations.list({ name: 'react', since: before, docs: true });
    const fired = found.filter(({ response }) => response.result.what);
    return fired.length > 0 && fired;
  });
  assert.equal(record.response.result.what, 'fired');
  await ow.triggers.delete({ name: 'event' });
  await ow.rules.delete({ name: 'on-event' });
});

test('sequences pass results on', async () => {
  await deploy('inc', 'const main = ({ n }) => ({ n: n + 1 })');
  await ow.actions.update({ name: 'thrice', sequence: ['/_/inc', '/_/inc', '/_/inc'] });
  const record = await call('thrice', { n: 1 });
  assert.deepEqual(record.response.result, { n: 4 });
  const stored = await ow.activations.get(record.activationId);
  assert.equal(stored.logs.length, 3);
});

test('the system package serves clients', async () => {
  assert.deepEqual(await ow.actions.invoke({ name: '/whisk.system/utils/echo', params: { a: 1 }, blocking: true, result: true }), { a: 1 });
  assert.deepEqual(await ow.actions.invoke({ name: '/whisk.system/utils/sort', params: { lines: ['b', 'a'] }, blocking: true, result: true }), { lines: ['a', 'b'], length: 2 });
  const everything = await ow.namespaces.get('_');
  assert.ok(Array.isArray(everything.actions) && Array.isArray(everything.triggers));
});

test('web actions answer browsers', async () => {
  await deploy('page', 'const main = ({ who, __ow_method }) => ({ statusCode: 201, headers: { "x-by": __ow_method }, body: `<b>${who}</b>` })',
    { annotations: { 'web-export': true } });
  const { status, text, headers } = await raw('GET', '/api/v1/web/guest/default/page?who=ada', { key: false });
  assert.deepEqual([status, text, headers.get('x-by'), headers.get('content-type')], [201, '<b>ada</b>', 'get', 'text/html; charset=utf-8']);
});

test('what is put to a web action reaches it as it was sent, also where it looks like a document', async () => {
  await deploy('taker', 'const main = ({ exec, n, __ow_body: body }) => ({ code: exec?.code.length, n, body: body?.length })',
    { annotations: { 'web-export': true } });
  const put = (type, body) => raw('PUT', '/api/v1/web/guest/default/taker.json', { key: false, body, headers: { 'content-type': type } });
  const code = 'x'.repeat(200_000);
  assert.deepEqual((await put('application/json', { exec: { kind: 'nodejs:default', code }, n: 1 })).json, { code: 200_000, n: 1 });
  assert.deepEqual((await put('text/plain', code)).json, { body: 200_000 });
  assert.equal((await put('text/plain', 'x'.repeat((1 << 20) + 1))).status, 413);
});

test('web actions get paths and methods of their own', async () => {
  const web = { annotations: { 'web-export': true } };
  const told = '{ __ow_method: method, __ow_path: path, title }';
  await deploy('books', `const main = (${told}) => ({ statusCode: method === 'post' ? 201 : 200, body: { method, path, title } })`, web);
  await deploy('plain', 'const main = ({ q, __ow_path: path }) => ({ q, path })', web);
  await deploy('counted-out', 'exports.main = () => ({ headers: { "content-type": "text/plain" }, body: (function* () { yield "a"; yield "b" })() })', web);
  const club = { basepath: '/club', responsetype: 'http', action: 'books' };
  const made = await ow.routes.create({ ...club, relpath: '/books/{isbn}', operation: 'GET' });
  const url = made.gwApiUrl;
  assert.equal(url, `${APIHOST}/api/guest/club`);
  await ow.routes.create({ ...club, relpath: '/books', operation: 'POST' });
  await ow.routes.create({ ...club, relpath: '/plain', operation: 'get', action: 'plain', responsetype: 'json' });
  await ow.routes.create({ ...club, relpath: '/parts', operation: 'get', action: '/_/counted-out' });
  const ask = async (path, options) => {
    const response = await fetch(url + path, options);
    const text = await response.text();
    return [response.status, text.startsWith('{') ? JSON.parse(text) : text];
  };
  assert.deepEqual(await ask('/books/978-0596517748'), [200, { method: 'get', path: '/club/books/978-0596517748' }]);
  const book = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"title":"JavaScript: The Good Parts"}' };
  assert.deepEqual(await ask('/books', book), [201, { method: 'post', path: '/club/books', title: 'JavaScript: The Good Parts' }]);
  assert.deepEqual(await ask('/plain/more?q=a%20b'), [200, { q: 'a b', path: '/more' }]);
  assert.deepEqual(await ask('/parts'), [200, 'ab']);
  assert.deepEqual(await ask('/books', { method: 'DELETE' }), [404, { status: 404, message: 'Error: Whoops. Verb not supported.' }]);
  assert.deepEqual(await ask('/none'), [404, { status: 404, message: 'Error: Not found.' }]);
  const preflight = await fetch(`${url}/books`, { method: 'OPTIONS', headers: { origin: 'https://page', 'access-control-request-headers': 'x-a' } });
  const allowed = ['origin', 'headers', 'credentials'].map((what) => preflight.headers.get(`access-control-allow-${what}`));
  assert.deepEqual([preflight.status, ...allowed], [200, 'https://page', 'x-a', 'true']);
  const { apis: [{ value }] } = await ow.routes.list({ basepath: '/club' });
  assert.deepEqual(Object.keys(value.apidoc.paths), ['/books/{isbn}', '/books', '/plain', '/parts']);
  assert.equal(value.apidoc.paths['/books'].post['x-openwhisk'].action, 'books');
  await ow.routes.delete({ basepath: '/club', relpath: '/books', operation: 'POST' });
  assert.equal((await ask('/books', book))[0], 404);
  // What is told of it makes it again.
  await ow.routes.delete({ basepath: '/club' });
  assert.equal((await ask('/plain'))[0], 404);
  await ow.routes.create({ swagger: JSON.stringify(value.apidoc) });
  assert.equal((await ask('/books', book))[0], 201);
  assert.deepEqual((await ow.routes.get({ name: '/club' })).apis.map((api) => api.value), [value]);
  await ow.routes.delete({ basepath: '/club' });
  assert.deepEqual(await ow.routes.list(), { apis: [] });
  await assert.rejects(ow.routes.delete({ basepath: '/club' }), /API deletion failure: API '\/club' does not exist\./);
});

// As the client's own test does it: test/integration/routes.test.js of apache/openwhisk-client-js.
test('a route is created, retrieved and deleted with a token, whatever its action is', async () => {
  const { routes, actions } = openwhisk({ apihost: APIHOST, api_key: API_KEY, apigw_token: 'a token', namespace: '_' });
  await actions.create({ name: 'routeAction', action: '' });
  await routes.create({ action: 'routeAction', basepath: '/testing', relpath: '/foo/bar', operation: 'POST' });
  const { apis } = await routes.list({ basepath: '/testing' });
  assert.equal(apis.length, 1);
  assert.equal(apis[0].value.apidoc.basePath, '/testing');
  assert.equal(apis[0].value.apidoc.paths['/foo/bar'].post['x-openwhisk'].action, 'routeAction');
  await routes.delete({ basepath: '/testing' });
  await actions.delete({ name: 'routeAction' });
});

test('an action reaches another server', async () => {
  const server = http.createServer((request, response) => response.end('{"from":"outside"}')).listen(0, process.env.OUTSIDE ?? '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://${process.env.OUTSIDE_SEEN ?? '127.0.0.1'}:${server.address().port}/`;
  await deploy('out', 'const main = async ({ url }) => (await fetch(url)).json()');
  assert.deepEqual(await call('out', { url }, { result: true }), { from: 'outside' });
  server.close();
  server.closeAllConnections();
});

test('bad input gets the status of the protocol, and the next request is served', async () => {
  const path = '/api/v1/namespaces/_/actions/bad';
  assert.equal((await raw('GET', path, { key: false })).status, 401);
  assert.equal((await raw('PUT', path, { body: '{' })).status, 400);
  assert.equal((await raw('PUT', path, { body: Buffer.from([0xff, 0xfe]) })).status, 400);
  assert.equal((await raw('PUT', path, { body: { exec: { kind: 'nodejs:default', code: 'x'.repeat((48 << 20) + 1) } } })).status, 413);
  assert.equal((await raw('GET', '/api/v1/namespaces/_/actions/none')).status, 404);
  assert.equal((await raw('POST', '/api/v1/namespaces/_/actions/none')).status, 404);
  await deploy('bad', Buffer.from('UEsDBAAAAAAAAAAA', 'base64'));
  const { status, json } = await raw('POST', `${path}?blocking=true`);
  assert.deepEqual([status, json.response.result.error], [502, 'Initialization has failed due to: There was an error uncompressing the action Zip archive.']);
  const controller = new AbortController();
  await deploy('slow', 'const main = () => new Promise((done) => setTimeout(done, 300, {}))');
  const gone = fetch(`${APIHOST}/api/v1/namespaces/_/actions/slow?blocking=true`, { method: 'POST', headers: { authorization: auth }, signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(gone);
  assert.equal((await raw('GET', '/ping')).text, 'pong');
});

test('metrics count what happened', async () => {
  const value = async (name) => Number((await raw('GET', '/metrics')).text.split('\n').find((line) => line.startsWith(`${name} `))?.split(' ').at(-1));
  const name = 'ebb_activations_total{status="success"}';
  const before = await value(name);
  await deploy('counted', 'const main = () => ({})');
  await call('counted');
  assert.ok(await value(name) > before);
});

const CALLS = Number(process.env.CALLS ?? 1000), FUNCTIONS = Number(process.env.FUNCTIONS ?? 100);
const CLIENTS = Number(process.env.CLIENTS ?? 32);

test(`${CALLS} calls of ${FUNCTIONS} functions from ${CLIENTS} clients: none lost, none answered twice`, async (t) => {
  const functions = Array.from({ length: FUNCTIONS }, (_, n) => `many-${n}`);
  for (const [n, name] of functions.entries()) {
    await deploy(name, `let calls = 0; const main = ({ id }) => ({ id, by: ${n}, calls: ++calls })`);
  }
  let next = 0;
  const began = Date.now();
  const ids = new Set();
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (next < CALLS) {
      const id = next++;
      const record = await call(functions[id % FUNCTIONS], { id });
      assert.deepEqual([record.response.result.id, record.response.result.by], [id, id % FUNCTIONS]);
      assert.ok(!ids.has(record.activationId));
      ids.add(record.activationId);
    }
  });
  await Promise.all(clients);
  assert.equal(ids.size, CALLS);
  t.diagnostic(`${(1000 * CALLS / (Date.now() - began)).toFixed(0)} calls per second`);
  for (const name of functions) await ow.actions.delete(name);
});
