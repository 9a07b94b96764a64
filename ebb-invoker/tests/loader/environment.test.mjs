// What an action finds in its environment, whenever and however it looks: the loader sets the variables of a call only when somebody may see
// them (loader/environment.js).
import assert from 'node:assert/strict';
import test from 'node:test';
import { TRANSPORTS, start } from './instance.mjs';

const NAMES = ['__OW_ACTIVATION_ID', '__OW_NAMESPACE', 'OWN'];
const SEEN = `const seen = (env) => Object.fromEntries(${JSON.stringify(NAMES)}.map((name) => [name, env[name]]));`;
const IN_CHILD = `JSON.stringify(((env) => Object.fromEntries(${JSON.stringify(NAMES)}.map((name) => [name, env[name]])))(process.env))`;

// How actions look: code whose `main` gives back what it sees when its argument has `look`.
const LOOKS = [
  ['process.env', `${SEEN} const main = ({ look }) => (look ? seen(process.env) : {})`],
  ['an environment kept since it was loaded', `${SEEN} const { env } = process; const main = ({ look }) => (look ? seen(env) : {})`],
  ['require', `${SEEN} const main = ({ look }) => (look ? seen(require('process').env) : {})`],
  ['import', `${SEEN} const main = async ({ look }) => (look ? seen((await import('node:process')).env) : {})`],
  ['a descriptor', `${SEEN} const main = ({ look }) => {
    if (!look) return {};
    const { get, value } = Object.getOwnPropertyDescriptor(process, 'env');
    return seen(get ? get.call(process) : value);
  }`],
  ['all members of process', `${SEEN} const main = ({ look }) => (look ? seen({ ...process }.env) : {})`],
  ['a child process', `const { execFileSync } = require('child_process');
    const main = ({ look }) => (look ? JSON.parse(execFileSync(process.execPath, ['-p', ${JSON.stringify(IN_CHILD)}], { encoding: 'utf8' })) : {})`],
  ['a worker thread', `const { Worker } = require('worker_threads');
    const main = ({ look }) => (look ? new Promise((resolve) => {
      new Worker(${JSON.stringify(`require('worker_threads').parentPort.postMessage(${IN_CHILD})`)}, { eval: true }).on('message', (text) => resolve(JSON.parse(text)));
    }) : {})`],
  ['a report', `${SEEN} const main = ({ look }) => (look ? seen(process.report.getReport().environmentVariables) : {})`],
];

const identity = (activation_id, namespace) => ({ activation_id, namespace });

for (const transport of TRANSPORTS) {
  test(transport, { concurrency: 2 }, async (t) => {
    for (const [way, code] of LOOKS) {
      await t.test(`${way} shows the variables of the call, after calls that did not look as well`, async (t) => {
        const instance = await start(t, transport);
        await instance.init(code, { env: { __OW_ACTIVATION_ID: 'init', OWN: 'mine' } });
        for (const [id, look] of [['1', false], ['2', false], ['3', true], ['4', false], ['5', true], ['6', true]]) {
          const { status, body } = await instance.run({ look }, identity(id, 'guest'));
          assert.equal(status, 200, JSON.stringify(body));
          if (look) assert.deepEqual(body, { __OW_ACTIVATION_ID: id, __OW_NAMESPACE: 'guest', OWN: 'mine' });
        }
      });
    }

    await t.test('code that is loaded sees the variables of init', async (t) => {
      const instance = await start(t, transport);
      await instance.init('const { __OW_ACTIVATION_ID: id, OWN } = process.env; const main = () => ({ id, OWN })', { env: { __OW_ACTIVATION_ID: 'init', OWN: 'mine' } });
      assert.deepEqual((await instance.run({}, identity('1', 'guest'))).body, { id: 'init', OWN: 'mine' });
    });

    await t.test('a member that only an earlier call had keeps its value', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`${SEEN} const main = ({ look }) => (look ? seen(process.env) : {})`);
      await instance.run({}, { namespace: 'guest' });
      await instance.run({}, { namespace: 5 });
      const { body } = await instance.run({ look: true }, { activation_id: '2' });
      assert.deepEqual(body, { __OW_ACTIVATION_ID: '2', __OW_NAMESPACE: 'guest' });
    });

    await t.test('what an action has changed or deleted is there again in the next call, unchanged values as well', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`${SEEN} const main = ({ act }) => {
        const before = seen(process.env);
        if (act === 'change') process.env.__OW_NAMESPACE = 'changed';
        if (act === 'delete') delete process.env.__OW_NAMESPACE;
        return before;
      }`);
      for (const act of ['change', 'delete', '']) {
        const { body } = await instance.run({ act }, identity('1', 'guest'));
        assert.deepEqual(body, { __OW_ACTIVATION_ID: '1', __OW_NAMESPACE: 'guest' });
      }
    });

    await t.test('what a run is not told again is there, also when the action has changed or deleted it', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`${SEEN} const main = ({ act }) => {
        if (!act) return {};
        const before = seen(process.env);
        if (act === 'change') process.env.__OW_NAMESPACE = 'changed';
        if (act === 'delete') delete process.env.__OW_NAMESPACE;
        return before;
      }`);
      await instance.run({}, identity('1', 'guest'));
      for (const [id, act] of [['2', 'look'], ['3', 'change'], ['4', 'delete'], ['5', 'look']]) {
        const { body } = await instance.run({ act }, { activation_id: id });
        assert.deepEqual(body, { __OW_ACTIVATION_ID: id, __OW_NAMESPACE: 'guest' });
      }
    });

    await t.test('an environment of the action\'s own gets the variables', async (t) => {
      const instance = await start(t, transport);
      await instance.init('process.env = { OWN: "mine" }; const main = () => ({ ...process.env })');
      for (const id of ['1', '2']) {
        assert.deepEqual((await instance.run({}, identity(id, 'guest'))).body, { __OW_ACTIVATION_ID: id, __OW_NAMESPACE: 'guest', OWN: 'mine' });
      }
    });

    await t.test('process is as Node makes it for whoever has looked, and a line of the console is no look', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`const kinds = () => ['env', 'report', 'dlopen'].map((way) => Object.keys(Object.getOwnPropertyDescriptor(process, way)).sort().join());
        const main = () => { console.log('a line'); const before = kinds(); void process.env; return { before, after: kinds() }; }`);
      const { body } = await instance.run({}, identity('1', 'guest'));
      const [accessor, data] = ['configurable,enumerable,get,set', 'configurable,enumerable,value,writable'];
      assert.deepEqual(body, { before: [accessor, accessor, accessor], after: [data, accessor, data] });
    });

    await t.test('the console still heeds FORCE_COLOR', async (t) => {
      const instance = await start(t, transport);
      await instance.init('const main = () => { console.log({ n: 1 }); return {}; }', { env: { FORCE_COLOR: '3' } });
      await instance.run({});
      assert.match((await instance.logs()).stdout, /\x1b\[33m1\x1b\[39m/);
    });
  });
}

test('a copy made anew shows nothing of the action before it', async (t) => {
  const instance = await start(t, 'framed');
  const code = `${SEEN} const main = () => seen(process.env)`;
  await instance.init(code, { env: { OWN: 'mine' } });
  await instance.run({}, identity('1', 'guest'));
  await instance.send('/reset', '');
  await instance.init('const main = () => ({})');
  await instance.run({}, identity('2', 'guest'));
  await instance.send('/reset', '');
  await instance.init(code);
  assert.deepEqual((await instance.run({})).body, {});
});
