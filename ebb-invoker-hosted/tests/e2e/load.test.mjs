// What an invoker does under load: which instances serve which calls, how functions share the cores, and the limits of an action.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test load.test.mjs
//
// CORES (2) says how many the invoker has.
import assert from 'node:assert/strict';
import test from 'node:test';
import { call, deploy, ow, raw } from './api.mjs';

const CORES = Number(process.env.CORES ?? 2);
const result = (name, params) => call(name, params, { result: true });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Calls from `clients` at the same time, one after the other each, until `count` are done or `until` has come. */
async function load(clients, count, one) {
  let next = 0;
  const began = performance.now();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (next < count) await one(next++);
  }));
  return (performance.now() - began) / count;
}

test('calls of a function that computes share one instance of a core', async (t) => {
  await deploy('compute', 'const main = ({ n }) => ({ n: n + 1, by: process.pid })');
  const by = new Set();
  await result('compute', { n: 0 });
  await load(8, 160, async (n) => {
    const answer = await result('compute', { n });
    assert.equal(answer.n, n + 1);
    by.add(answer.by);
  });
  t.diagnostic(`${by.size} instances`);
  // One more for each core, if the machine was held up for long.
  assert.ok(by.size <= 2 * CORES, `${by.size} instances`);
});

test('calls of a function that waits run beside one another, each on an instance of its own', async (t) => {
  await deploy('waits', `let running = 0;
    const main = async () => { const seen = ++running; await new Promise((done) => setTimeout(done, 400)); running--; return { seen } }`);
  // The second time there are instances.
  for (let round = 0; round < 2; round++) {
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 10 }, () => result('waits')));
    const took = performance.now() - began;
    t.diagnostic(`10 calls of 400 ms in ${took.toFixed(0)} ms`);
    assert.ok(answers.every(({ seen }) => seen === 1), 'one call at a time');
    assert.ok(took < 2800, `${took} ms`);
  }
});

test('a call is not kept waiting by another call of its function that spins', async (t) => {
  await deploy('either', 'const main = ({ spin }) => { const end = Date.now() + spin; while (Date.now() < end); return {} }');
  await result('either', { spin: 0 });
  const spinning = Promise.all(Array.from({ length: CORES }, () => result('either', { spin: 3000 })));
  await sleep(100);
  const began = performance.now();
  await result('either', { spin: 0 });
  const took = performance.now() - began;
  t.diagnostic(`${took.toFixed(0)} ms`);
  assert.ok(took < 2000, `${took} ms`);
  await spinning;
});

for (const spinners of [1, CORES, 2 * CORES]) {
  test(`${spinners} functions that spin do not hold up another one`, async (t) => {
    for (let n = 0; n < spinners; n++) await deploy(`spin-${n}`, 'for (;;);', { limits: { timeout: 4000 } });
    await deploy('quick', 'const main = ({ n }) => ({ n })');
    for (let n = 0; n < 20; n++) await result('quick', { n });
    const spinning = Array.from({ length: spinners }, (_, n) => raw('POST', `/api/v1/namespaces/_/actions/spin-${n}?blocking=true`));
    await sleep(500);
    const times = [];
    const end = performance.now() + 2000;
    while (performance.now() < end) {
      const began = performance.now();
      assert.deepEqual(await result('quick', { n: times.length }), { n: times.length });
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    const median = times[times.length >> 1];
    t.diagnostic(`${times.length} calls, median ${median.toFixed(1)} ms, longest ${times.at(-1).toFixed(0)} ms`);
    // A core's time is shared in slices of some ten milliseconds.
    assert.ok(median < (spinners < CORES ? 250 : 1000) && times.at(-1) < 3000, `${median} ${times.at(-1)}`);
    for (const { status, json } of await Promise.all(spinning)) {
      assert.deepEqual([status, json.response.result.error], [502, 'The action exceeded its time limits of 4000 milliseconds during initialization.']);
    }
  });
}

test('100 functions at once get the throughput of a few, each its share', async (t) => {
  const names = Array.from({ length: 100 }, (_, n) => `fair-${n}`);
  for (const name of names) await deploy(name, 'const main = () => ({})');
  for (const name of names) await result(name);
  const few = await load(16, 200, (n) => result(names[n % 4]));
  const counts = new Map();
  const many = await load(32, 400, async (n) => {
    const name = names[n % 100];
    await result(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  });
  t.diagnostic(`${few.toFixed(2)} ms for each call of 4 functions, ${many.toFixed(2)} ms of 100`);
  assert.ok(many < 4 * few, `${many} ${few}`);
  assert.deepEqual(new Set(counts.values()), new Set([4]));
  for (const name of names) await ow.actions.delete(name);
});

test('a function with hundreds of calls waiting does not keep others from their turn', async (t) => {
  await deploy('greedy', 'const main = () => { const end = Date.now() + 20; while (Date.now() < end); return {} }');
  await deploy('modest', 'const main = () => ({})');
  await result('modest');
  const greedy = Array.from({ length: 200 }, () => ow.actions.invoke({ name: 'greedy' }));
  await Promise.all(greedy);
  const times = [];
  for (let n = 0; n < 10; n++) {
    const began = performance.now();
    await result('modest');
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  t.diagnostic(`median ${times[5].toFixed(0)} ms, longest ${times[9].toFixed(0)} ms`);
  assert.ok(times[5] < 500, `${times}`);
});

const logsOf = async ({ activationId }) => {
  for (let attempt = 0; attempt < 100; attempt++) {
    try { return (await ow.activations.logs(activationId)).logs; } catch { await sleep(50); }
  }
  throw new Error('no record');
};

test('logs are cut at the limit of their action', async () => {
  const code = 'const main = () => { for (let n = 0; n < 2000; n++) console.log("x".repeat(999)); return {} }';
  await deploy('talks', code, { limits: { logs: 1 } });
  const logs = await logsOf(await call('talks'));
  assert.ok(logs.at(-1).endsWith('stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.'), logs.at(-1));
  const size = logs.reduce((sum, line) => sum + line.length - 31 - 'stdout: '.length + 1, 0);
  assert.ok(size > 1_000_000 && size < 1_100_000, `${size}`);
  await deploy('talks', code, { limits: { logs: 0 } });
  assert.deepEqual(await logsOf(await call('talks')), []);
});

test('an answer above 1 MiB is cut', async () => {
  await deploy('large', 'const main = ({ n }) => ({ text: "x".repeat(n) })');
  assert.equal((await result('large', { n: 1_000_000 })).text.length, 1_000_000);
  const { status, json } = await raw('POST', '/api/v1/namespaces/_/actions/large?blocking=true', { body: { n: 1 << 20 } });
  assert.deepEqual([status, json.response.status], [502, 'application error']);
  assert.match(json.response.result.error, /^The action produced a response that exceeded the allowed length: 1048587 > 1048576 bytes\. The truncated response was: \{"text":"xx/);
});

test('memory is limited by action, and an instance that used too much is replaced', async () => {
  const code = 'const main = ({ mb }) => { const all = []; for (let n = 0; n < mb; n++) all.push(new Array(1 << 17).fill(n)); return { mb: all.length } }';
  await deploy('small', code, { limits: { memory: 128 } });
  await deploy('big', code, { limits: { memory: 512 } });
  assert.deepEqual(await result('big', { mb: 200 }), { mb: 200 });
  for (let round = 0; round < 2; round++) {
    const { json } = await raw('POST', '/api/v1/namespaces/_/actions/small?blocking=true', { body: { mb: 300 } });
    assert.deepEqual([json.response.status, json.response.result.error], ['action developer error', 'The action exhausted its memory and was aborted.']);
    assert.deepEqual(await result('small', { mb: 10 }), { mb: 10 });
  }
});
