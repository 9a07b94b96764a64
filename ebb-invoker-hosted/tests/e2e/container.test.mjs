// The image as one action container (`--runtime`): the table of states of the action-runtime protocol, over HTTP.
//
//   RUNNER=ebb-runner/run IMAGE=.../invoker node --test container.test.mjs
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import test from 'node:test';

const MARKER = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX';

const boot = (options, env) => spawn(process.env.RUNNER, [process.env.IMAGE, '--runtime', ...options], {
  cwd: fileURLToPath(new URL('../../../', import.meta.url)),
  env: { ...process.env, EBB_FORWARD: '0:8080', EBB_CORES: '1', EBB_MEMORY: '1G', EBB_TIMEOUT: '120', ...env },
  stdio: ['ignore', 'pipe', 'pipe'],
});

/** Boots a container for `use`, which gets a function that asks it. */
async function container(use, { options = [], env = {} } = {}) {
  const child = boot(options, env);
  const it = { console: '', ended: once(child, 'exit') };
  let port;
  let told = '';
  child.stdout.on('data', (text) => { it.console += text; });
  child.stderr.on('data', (text) => {
    told += text;
    port ??= /TCP 127\.0\.0\.1:(\d+) is port 8080/.exec(told)?.[1];
  });
  it.ask = async (method, path, body, type = 'application/json') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method, headers: body === undefined ? {} : { 'content-type': type },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    if (response.status >= 0) {
      assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
      assert.equal(Number(response.headers.get('content-length')), Buffer.byteLength(text));
    }
    return [response.status, JSON.parse(text)];
  };
  it.init = (code, more = {}) => it.ask('POST', '/init', { value: { name: 'a', main: 'main', code, ...more } });
  it.run = (value, more = {}) => it.ask('POST', '/run', { value, ...more });
  try {
    for (let attempt = 0; ; attempt++) {
      // Refused or cut until Node listens.
      const answer = port && await it.ask('POST', '/nowhere').catch(() => undefined);
      if (answer) break;
      assert.ok(attempt < 600, `the container does not answer:\n${it.console}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await use(it);
  } finally {
    child.kill();
    await it.ended;
  }
}

const error = (text) => ({ error: text });

test('a container goes from ready to stopped as the table of states says', () => container(async (it) => {
  const bad = [500, error('Bad request.')];
  assert.deepEqual(await it.ask('GET', '/init'), bad);
  assert.deepEqual(await it.ask('POST', '/other', {}), bad);
  assert.deepEqual(await it.ask('POST', '/init', '{'), bad);
  assert.deepEqual(await it.ask('POST', '/init', '3'), bad);
  assert.deepEqual(await it.ask('POST', '/run', JSON.stringify('x'.repeat(48 << 20))), bad);
  assert.deepEqual(await it.run({}), [403, error('System not initialized.')]);
  assert.deepEqual(await it.ask('POST', '/init'), [403, error('Missing main/no code to execute.')]);
  assert.deepEqual(await it.ask('POST', '/init', 'value=1', 'text/plain'), [403, error('Missing main/no code to execute.')]);
  assert.deepEqual(await it.init(''), [403, error('Missing main/no code to execute.')]);
  assert.deepEqual(await it.init('const main = (p) => { console.log("ran"); return eval(p.what) }', { env: { A: 'b', n: 1, none: null } }), [200, { OK: true }]);
  assert.deepEqual(await it.init('const main = 1'), [403, error('Cannot initialize the action more than once.')]);
  for (const [what, expected] of [
    ['({ a: 1 })', [200, { a: 1 }]],
    ['[1, 2]', [200, [1, 2]]],
    ['null', [200, null]],
    ['undefined', [200, {}]],
    ['({ error: "mine" })', [200, { error: 'mine' }]],
    ['Promise.reject("no")', [200, { error: 'no' }]],
    ['Promise.resolve({ later: 1 })', [200, { later: 1 }]],
    ['({ env: process.env.A + process.env.n + process.env.none + process.env.__OW_ACTIVATION_ID })', [200, { env: 'b1id' }]],
    ['"text"', [502, error('The action did not return a dictionary.')]],
    ['3', [502, error('The action did not return a dictionary.')]],
    ['Symbol()', [502, error('The action did not return a dictionary.')]],
    ['10n', [502, error('The action did not return a dictionary.')]],
    ['(() => {})', [502, error('The action did not return a dictionary.')]],
    ['(() => { const a = {}; a.a = a; return a })()', [500, error('Internal error.')]],
    ['({ n: 10n })', [500, error('Internal error.')]],
  ]) assert.deepEqual(await it.run({ what }, { activation_id: 'id' }), expected, what);
  assert.deepEqual(await it.run({ what: '(() => { throw new Error("up") })()' }), [502, error('An error has occurred: Error: up')]);
  assert.deepEqual(await it.run({}), [403, error('System not ready, status is stopped.')]);
  assert.deepEqual(await it.init('const main = 1'), [403, error('Cannot initialize the action more than once.')]);
  // Both streams are the console's: two markers for each completed run, none for the others.
  const markers = it.console.split('\n').filter((line) => line.endsWith(MARKER)).length;
  assert.equal(markers, 2 * 16, it.console);
}));

test('a failed init stops a container', () => container(async (it) => {
  const [status, answer] = await it.init('throw new TypeError("no")');
  assert.equal(status, 502);
  assert.match(answer.error, /^Initialization has failed due to: TypeError: no\n/);
  assert.deepEqual(await it.init('const main = 1'), [403, error('System not ready, status is stopped.')]);
  assert.deepEqual(await it.run({}), [403, error('System not initialized.')]);
}));

test('an argument of a wrong type leaves a container running for good', () => container(async (it) => {
  await it.init('const main = () => new Promise((done) => setTimeout(done, 3000, {}))');
  const first = it.run({});
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.deepEqual(await it.run({}), [403, error('System not ready, status is running.')]);
  assert.deepEqual(await first, [200, {}]);
  assert.deepEqual(await it.run(3), [403, error("Internal system error: the argument must be a dictionary but has type 'number'.")]);
  assert.deepEqual(await it.run({}), [403, error('System not ready, status is running.')]);
}));

test('runs overlap where the container is told to, and an exit ends the machine', () => container(async (it) => {
  await it.init('let n = 0; const main = ({ exit }) => exit ? process.exit(3) : new Promise((done) => setTimeout(() => done({ n }), 3000, ++n))');
  assert.deepEqual(await Promise.all([it.run({}), it.run({})]), [[200, { n: 2 }], [200, { n: 2 }]]);
  await assert.rejects(it.run({ exit: true }));
  const [code] = await it.ended;
  assert.notEqual(code, 0);
  assert.match(it.console, /Node has ended with status 3/);
}, { options: ['--concurrent'] }));

test('a container has the variables that it is started with, and none that name places of the host', () => container(async (it) => {
  const names = ['__OW_API_HOST', 'KEEP', 'TZ', 'EMPTY', 'NODE_ENV', 'HOST_PLACE', 'EBB_CORES', 'HOME'];
  const [status] = await it.init(`const main = () => Object.fromEntries(${JSON.stringify(names)}.map((name) => [name, process.env[name] ?? null]))`);
  assert.equal(status, 200);
  const [, seen] = await it.run({});
  assert.deepEqual(seen, {
    __OW_API_HOST: 'http://api.test:3233', KEEP: 'a b & c%41', TZ: 'Asia/Tokyo', EMPTY: '', NODE_ENV: 'test', HOST_PLACE: null,
    EBB_CORES: null, HOME: '/tmp',
  });
}, { env: {
  __OW_API_HOST: 'http://api.test:3233', KEEP: 'a b & c%41', TZ: 'Asia/Tokyo', EMPTY: '', NODE_ENV: 'test', HOST_PLACE: process.execPath,
} }));

test('a container that no port of the host leads to says so', async () => {
  // As where the port of the whole invoker is still forwarded, which is the default.
  const child = boot([], { EBB_FORWARD: '0:3233' });
  const ended = once(child, 'exit');
  let said = '';
  for await (const text of child.stdout) {
    said += text;
    // All of the line: it may come in parts.
    if (/leads to port 8080.*\n/.test(said)) break;
  }
  child.kill();
  await ended;
  assert.match(said, /invoker: no port of the host leads to port 8080 of this image/);
});
