// What must differ between instances does, whatever package draws it: instances of one function are called beside each other, and no two
// outputs of any of them may be equal.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key ALL=1 node --test unique.test.mjs
//
// Without ALL only the first packages of each language are tried. Says for each how many of the instances were copies of a snapshot.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { zip } from '../../../ebb-invoker/tests/loader/archives.mjs';
import { metric, nothingPutOff, ow, raw } from './api.mjs';

const CLONES = 6;
const all = process.env.ALL !== undefined;

/** Packages of npm with an expression that draws from them; `p` is the package. */
const NODE = {
  'nanoid@3': 'p.nanoid()',
  'uuid@8': 'p.v4()',
  'bson@6': 'new p.ObjectId().toHexString()',
  'ulid@2': 'p.ulid()',
  'uuid@9': '[p.v1(), p.v4()].join()',
  'uuid@11': '[p.v1(), p.v4(), p.v6(), p.v7()].join()',
  '@paralleldrive/cuid2@2': 'p.createId()',
  'cuid@3': 'p()',
  'shortid@2': 'p.generate()',
  'short-unique-id@5': 'new p().rnd(16)',
  'hyperid@3': 'p()()',
  'uid-safe@2': 'p.sync(18)',
  'randomstring@1': 'p.generate()',
  'random-js@2': 'new p.Random().uuid4()',
  'chance@1': 'new p().guid()',
  'seedrandom@3': 'p()()',
  'xid-js@1': 'p.next()',
  'uniqid@5': 'p()',
  'mersenne-twister@1': 'new p().random()',
  'bson-objectid@2': 'p().toHexString()',
};

/** What Python draws with. */
const PYTHON = {
  random: ['import random', 'random.getrandbits(64)'],
  uuid: ['import uuid', '(str(uuid.uuid1()), str(uuid.uuid4()))'],
  secrets: ['import secrets', 'secrets.token_hex(8)'],
  'an instance of Random that is there before': ['import random\nown = random.Random()', 'own.random()'],
  SystemRandom: ['import random\nown = random.SystemRandom()', 'own.random()'],
  tempfile: ['import tempfile', 'next(tempfile._get_candidate_names())'],
  'email.utils': ['import email.utils', 'email.utils.make_msgid()'],
  ssl: ['import ssl', 'ssl.RAND_bytes(8).hex()'],
  numpy: ['import numpy', '(numpy.random.random(), numpy.random.default_rng().random())'],
};

const some = (table) => Object.entries(table).slice(0, all ? undefined : 4);

/** Calls instances of a function beside each other; what each of them has drawn, and how many were copies. */
async function draws(name) {
  const warm = 'ebb_activation_seconds_count{start="warm"}';
  await ow.actions.invoke({ name, blocking: true, result: true, params: { wait: 0 } });
  // It is captured when the machine is quiet, if it is.
  await nothingPutOff();
  const before = await metric(warm);
  const calls = Array.from({ length: CLONES }, () => ow.actions.invoke({ name, blocking: true, result: true, params: { wait: 1.5 } }));
  const drawn = (await Promise.all(calls)).map(({ drawn }) => drawn);
  return { drawn, copies: (await metric(warm)) - before };
}

function differ(drawn) {
  const seen = new Map();
  for (const [instance, values] of drawn.entries()) {
    for (const value of values.flatMap((value) => String(value).split(','))) {
      assert.ok(!seen.has(value), `instances ${seen.get(value)} and ${instance} have both drawn ${value}`);
      seen.set(value, instance);
    }
  }
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'unique-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

/** A key, and a certificate of it that nobody vouches for. */
function selfSigned() {
  const key = path.join(folder, 'key.pem'), cert = path.join(folder, 'cert.pem');
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=test', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { privateKey: fs.readFileSync(key), certificate: fs.readFileSync(cert) };
}

/** A package with what it needs and a function that draws, as an archive in base64. */
function archive(wanted, expression) {
  const own = fs.mkdtempSync(path.join(folder, 'package-'));
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', own, wanted]);
  const files = { 'package.json': '{"main":"index.js"}' };
  for (const entry of fs.readdirSync(path.join(own, 'node_modules'), { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isFile() && /\.(js|cjs|mjs|json)$/.test(entry.name)) files[path.relative(own, file)] = fs.readFileSync(file, 'utf8');
  }
  const name = wanted.replace(/(.)@.*$/, '$1');
  files['index.js'] = `
    const all = require('${name}');
    const p = all.default ?? all;
    exports.main = async ({ wait }) => { await new Promise((f) => setTimeout(f, 1000 * wait)); return { drawn: [${expression}, ${expression}] }; };`;
  return zip(files);
}

for (const [wanted, expression] of some(NODE)) {
  test(`no two instances draw the same from ${wanted}`, async (t) => {
    await ow.actions.update({ name: 'draws', action: { exec: { kind: 'nodejs:default', code: archive(wanted, expression) } } });
    const { drawn, copies } = await draws('draws');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    differ(drawn);
  });
}

test('instances that share by their own will are found', async (t) => {
  if (process.env.HOSTED) return t.skip('processes are no copies');
  const action = `
    const drawn = [crypto.randomUUID()];
    exports.afterRestore = () => {};
    exports.main = async ({ wait }) => { await new Promise((f) => setTimeout(f, 1000 * wait)); return { drawn }; };`;
  await ow.actions.update({ name: 'shares', action });
  const { drawn } = await draws('shares');
  assert.throws(() => differ(drawn), /have both drawn/);
});

// What an instance has open or has been told, as its function knows it. `server` says which connection a request came on.
const outside = process.env.OUTSIDE_SEEN ?? '127.0.0.1';

/** A server that answers with the number of the connection, and whether its TLS session is an earlier one's. */
function counting(make) {
  let connections = 0;
  const server = make((request, response) => {
    const { socket } = request;
    socket.number ??= ++connections;
    response.end(JSON.stringify({ connection: socket.number, resumed: socket.isSessionReused?.() ?? false }));
  });
  server.keepAliveTimeout = 60_000;
  return new Promise((resolve) => server.listen(0, process.env.OUTSIDE ?? '127.0.0.1', () => resolve(server)));
}

/** A function that asks that server through a pool of connections that it keeps, and says what it was told by its own name. */
const pooling = (module, port) => `
  const protocol = require('${module}');
  const agent = new protocol.Agent({ keepAlive: true, rejectUnauthorized: false });
  const ask = () => new Promise((resolve, reject) => protocol.get({ host: '${outside}', port: ${port}, agent }, (response) => {
    let text = '';
    response.on('data', (part) => { text += part; }).on('end', () => resolve(JSON.parse(text)));
  }).on('error', reject));
  exports.main = async ({ wait }) => {
    const first = await ask();
    await new Promise((f) => setTimeout(f, 1000 * wait));
    return { drawn: [process.pid], first, second: await ask() };
  };`;

/** What instances of a function answer that are called beside each other, and how many were copies. */
async function answers(name) {
  await ow.actions.invoke({ name, blocking: true, result: true, params: { wait: 0 } });
  await nothingPutOff();
  const warm = 'ebb_activation_seconds_count{start="warm"}';
  const before = await metric(warm);
  const calls = Array.from({ length: CLONES }, () => ow.actions.invoke({ name, blocking: true, result: true, params: { wait: 1.5 } }));
  const all = await Promise.all(calls);
  const copies = (await metric(warm)) - before;
  // Without copies they would have nothing to share.
  assert.ok(copies > 0 || process.env.HOSTED);
  return { answers: all, copies };
}

test('no two instances use one connection of a pool, and each finds that those of before are gone', async (t) => {
  const server = await counting((serve) => http.createServer(serve));
  try {
    await ow.actions.update({ name: 'pools', action: pooling('http', server.address().port) });
    const { answers: all, copies } = await answers('pools');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    const instances = new Map(all.map(({ drawn: [instance], first, second }) => [instance, [first.connection, second.connection]]));
    assert.equal(instances.size, CLONES);
    const used = [...instances.values()].flatMap((numbers) => [...new Set(numbers)]);
    assert.equal(new Set(used).size, used.length, `two instances on one connection: ${JSON.stringify([...instances])}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

const without = (command) => spawnSync(command, ['version']).error !== undefined && `${command} is not there`;

test('no two instances go on with one session of TLS', { skip: without('openssl') }, async (t) => {
  const { privateKey, certificate } = selfSigned();
  const server = await counting((serve) => https.createServer({ key: privateKey, cert: certificate }, serve));
  // A connection for each request, so that sessions go on: the agent keeps their tickets.
  server.keepAliveTimeout = 1;
  server.prependListener('request', (_, response) => response.setHeader('connection', 'close'));
  try {
    await ow.actions.update({ name: 'sessions', action: pooling('https', server.address().port) });
    const { answers: all, copies } = await answers('sessions');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    const fresh = new Set(all.map(({ drawn: [instance] }) => instance));
    assert.equal(fresh.size, CLONES);
    // The instance that had the first call may be among them, and has a session of its own to go on with.
    const resumed = all.filter(({ first }) => first.resumed);
    assert.ok(resumed.length <= 1, `${resumed.length} instances began with a session that was there before`);
    assert.ok(all.every(({ second }) => second.resumed), 'the agent keeps no sessions, so this shows nothing');
  } finally {
    server.close();
  }
});

for (const [language, action] of Object.entries({
  nodejs: `process.env.TZ = 'Pacific/Apia';
    const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone, hour = new Date().getTimezoneOffset();
    const loaded = [Date.now(), performance.now(), Number(process.hrtime.bigint() / 1000000n)];
    exports.main = async ({ wait }) => {
      const clocks = () => [Date.now(), performance.now(), Number(process.hrtime.bigint() / 1000000n)];
      const begin = clocks();
      await new Promise((f) => setTimeout(f, 1000 * wait));
      return { loaded, begin, end: clocks(), sameZone: zone === new Intl.DateTimeFormat().resolvedOptions().timeZone && hour === new Date().getTimezoneOffset() };
    };`,
  python: `import os, time
os.environ['TZ'] = 'Pacific/Apia'
time.tzset()
zone = (time.tzname, time.timezone)
clocks = lambda: [time.time() * 1000, time.monotonic() * 1000, time.perf_counter() * 1000]
loaded = clocks()
def main(args):
    begin = clocks()
    time.sleep(args['wait'])
    return {'loaded': loaded, 'begin': begin, 'end': clocks(), 'sameZone': zone == (time.tzname, time.timezone)}
`,
})) {
  test(`instances in ${language} know the time, and keep the zone that they were told`, async (t) => {
    const { json: { runtimes } } = await raw('GET', '/', { key: false });
    if (!runtimes[language]) return t.skip('it is not there');
    await ow.actions.update({ name: 'clocks', action: { exec: { kind: `${language}:default`, code: action } } });
    const { answers: all, copies } = await answers('clocks');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    for (const { loaded, begin, end, sameZone } of all) {
      assert.ok(Math.abs(end[0] - Date.now()) < 60_000, `it is ${new Date(end[0])} there`);
      assert.ok(sameZone);
      for (const [clock, before] of loaded.entries()) assert.ok(before <= begin[clock], `clock ${clock} went back by ${before - begin[clock]} ms`);
      // Timers of a copy last as long as they were asked to, by each clock.
      for (const [clock, before] of begin.entries()) {
        const passed = end[clock] - before;
        assert.ok(passed > 1490 && passed < 30_000, `1.5 s took ${passed} ms by clock ${clock}`);
      }
    }
  });
}

const { json: platform } = await raw('GET', '/', { key: false });
for (const [what, [begin, expression]] of platform.runtimes.python ? some(PYTHON) : []) {
  test(`no two instances draw the same from Python's ${what}`, async (t) => {
    const code = `import time\ntry:\n    ${begin.replace('\n', '\n    ')}\n    there = True\nexcept ImportError:\n    there = False\n`
      + `def main(args):\n    time.sleep(args["wait"])\n    return {"drawn": [${expression}, ${expression}] if there else None}\n`;
    await ow.actions.update({ name: 'draws', action: { exec: { kind: 'python:default', code } } });
    const { drawn, copies } = await draws('draws');
    if (drawn[0] === null) return t.skip('it is not there');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    differ(drawn);
  });
}
