// Every row of the action runtime's contract, over both transports.
import assert from 'node:assert/strict';
import test from 'node:test';
import { MARKER, TRANSPORTS, start } from './instance.mjs';

const MARK = `${MARKER}\n`;
const IDENTITY = 'function main(args) { return args }';
const refused = (error) => ({ status: 403, body: { error } });
const OK = { status: 200, body: { OK: true } };

/** Runs one code once and says what came back and what was logged. */
const RESULTS = [
  // [what, code, argument, status, body, stderr before the marker]
  ['an object', 'const main = () => ({ a: 1 })', {}, 200, { a: 1 }],
  ['its argument', IDENTITY, { a: [1, null, 'ü'] }, 200, { a: [1, null, 'ü'] }],
  ['an array argument', IDENTITY, [1, { b: 2 }], 200, [1, { b: 2 }]],
  ['a null argument as {}', IDENTITY, null, 200, {}],
  ['a missing argument as {}', IDENTITY, undefined, 200, {}],
  ['exactly one argument', 'function main() { return { n: arguments.length } }', {}, 200, { n: 1 }],
  ['nothing as {}', 'function main() {}', {}, 200, {}],
  ['null', 'const main = () => null', {}, 200, null],
  ['an array', 'const main = () => [1, 2]', {}, 200, [1, 2]],
  ['a promise of an object', 'const main = async () => ({ late: true })', {}, 200, { late: true }],
  ['a promise of nothing as {}', 'const main = async () => {}', {}, 200, {}],
  ['a foreign thenable', 'const main = () => ({ then(f) { setTimeout(f, 5, { t: 1 }) } })', {}, 200, { t: 1 }],
  ['an object with error', 'const main = () => ({ error: "mine", x: 1 })', {}, 200, { error: 'mine', x: 1 }],
  ['what JSON.stringify makes of it',
    'const main = () => ({ u: undefined, n: NaN, d: new Date(0), j: { toJSON: () => "j" }, m: new Map([[1, 2]]), s: new Set([1]), b: Buffer.from("a") })',
    {}, 200, { n: null, d: '1970-01-01T00:00:00.000Z', j: 'j', m: {}, s: {}, b: { type: 'Buffer', data: [97] } }],
  ...[['string', '"words"', 'words'], ['number', '17', '17'], ['boolean', 'true', 'true'], ['function', '() => 1', '[Function (anonymous)]'],
    ['symbol', 'Symbol("s")', 'Symbol(s)'], ['bigint', '12n', '12n']].map(([type, value, shown]) =>
    [`a ${type} refused`, `const main = () => (${value})`, {}, 502, { error: 'The action did not return a dictionary.' },
      `Result must be of type object but has type "${type}": ${shown}\n`]),
  ['a rejection with words', 'const main = () => Promise.reject("no")', {}, 200, { error: 'no' }],
  ['a rejection with a number', 'const main = () => Promise.reject(7)', {}, 200, { error: 7 }],
  ['a rejection without reason as {}', 'const main = () => Promise.reject()', {}, 200, { error: {} }],
  ['a rejection with a falsy reason as {}', 'const main = () => Promise.reject(0)', {}, 200, { error: {} }],
  ['a rejection with an object', 'const main = () => Promise.reject({ code: 4, deep: { er: [1] } })', {}, 200, { error: { code: 4, deep: { er: [1] } } }],
  ['a rejection with an array', 'const main = () => Promise.reject([1, { a: 1 }])', {}, 200, { error: [1, { a: 1 }] }],
  ['a rejection with a cycle', 'const main = () => { const a = { b: {} }; a.b.a = a; return Promise.reject(a) }', {}, 200, { error: { b: { a: '[Circular]' } } }],
];

const UNSERIALISABLE = [
  ['a cycle', 'const main = () => { const a = {}; a.a = a; return a }'],
  ['a bigint inside', 'const main = () => ({ n: 1n })'],
  ['a throwing getter', 'const main = () => ({ get a() { throw new Error("got") } })'],
];

const THROWN = [
  ['an error', 'new Error("x")', 'Error: x'],
  ['words', '"words"', 'words'],
  ['an object', '({ a: 1 })', '[object Object]'],
  ['undefined', 'undefined', 'undefined'],
];

for (const transport of TRANSPORTS) {
  test(transport, { concurrency: 2 }, async (t) => {
    for (const [what, code, argument, status, body, stderr = ''] of RESULTS) {
      await t.test(`run gives ${what}, and the instance stays ready`, async (t) => {
        const instance = await start(t, transport);
        assert.deepEqual(await instance.init(code), OK);
        assert.deepEqual(await instance.run(argument), { status, body });
        assert.equal((await instance.run(argument)).status, status, 'the second run');
        assert.deepEqual(await instance.logs(), { stdout: MARK + MARK, stderr: `${stderr}${MARK}${stderr}${MARK}` });
      });
    }

    for (const [what, code] of UNSERIALISABLE) {
      await t.test(`a result with ${what} is an internal error after the marker, and the instance stays ready`, async (t) => {
        const instance = await start(t, transport);
        await instance.init(code);
        for (let run = 0; run < 2; run++) {
          assert.deepEqual(await instance.run({}), { status: 500, body: { error: 'Internal error.' } });
        }
        const { stdout, stderr } = await instance.logs();
        assert.equal(stdout, MARK + MARK);
        assert.ok(stderr.startsWith(`${MARK}[wrapEndpoint]`), stderr);
      });
    }

    for (const [what, thrown, shown] of THROWN) {
      await t.test(`throwing ${what} synchronously stops the instance`, async (t) => {
        const instance = await start(t, transport);
        await instance.init(`function main() { throw ${thrown} }`);
        assert.deepEqual(await instance.run({}), { status: 502, body: { error: `An error has occurred: ${shown}` } });
        assert.deepEqual(await instance.run({}), refused('System not ready, status is stopped.'));
        const { stdout, stderr } = await instance.logs();
        assert.equal(stdout, MARK);
        assert.match(stderr, new RegExp(`${MARKER}\nInternal system error: System not ready, status is stopped.\n$`));
        assert.ok(!stderr.startsWith('XXX'), 'the thrown value is logged first');
      });
    }

    await t.test('an error in an async function has name, message, stack and its own members, and nothing is logged', async (t) => {
      const instance = await start(t, transport);
      await instance.init('async function main() { throw Object.assign(new TypeError("soft"), { code: "E1", f() {}, extra: { a: 1 } }) }');
      const { status, body } = await instance.run({});
      assert.equal(status, 200);
      const { stack, ...rest } = body.error;
      assert.deepEqual(rest, { name: 'TypeError', message: 'soft', code: 'E1', extra: { a: 1 } });
      assert.ok(stack.startsWith('TypeError: soft\n    at '), stack);
      assert.equal((await instance.run({})).status, 200);
      assert.deepEqual(await instance.logs(), { stdout: MARK + MARK, stderr: MARK + MARK });
    });

    for (const value of [{}, { main: 'main' }, { code: IDENTITY }, { main: '', code: IDENTITY }, { main: 'main', code: '' },
      { main: 7, code: IDENTITY }, { main: 'main', code: {} }, 'text', null]) {
      await t.test(`init with ${JSON.stringify(value)} has no main or code and may be retried`, async (t) => {
        const instance = await start(t, transport);
        assert.deepEqual(await instance.post('/init', { value }), refused('Missing main/no code to execute.'));
        assert.deepEqual(await instance.init(IDENTITY), OK);
        assert.deepEqual(await instance.logs(), { stdout: '', stderr: '' });
      });
    }

    await t.test('a request without a body counts as {}', async (t) => {
      const instance = await start(t, transport);
      assert.deepEqual(await instance.post('/init'), refused('Missing main/no code to execute.'));
      await instance.init(IDENTITY);
      assert.deepEqual(await instance.post('/run'), { status: 200, body: {} });
    });

    await t.test('a body that is no JSON, or no object or array, is a bad request and changes nothing', async (t) => {
      const instance = await start(t, transport);
      for (const payload of ['{', '"text"', '7', 'null', 'true']) {
        const { status, text } = await instance.send('/init', payload);
        assert.deepEqual([status, text], [500, '{"error":"Bad request."}'], payload);
      }
      assert.equal((await instance.post('/other', {})).status, 500);
      assert.deepEqual(await instance.init(IDENTITY), OK);
      assert.deepEqual((await instance.send('/run', '[1]')).text, '{}');
      assert.deepEqual(await instance.logs(), { stdout: MARK, stderr: MARK });
    });

    await t.test('a second init is refused whatever the state', async (t) => {
      const instance = await start(t, transport);
      await instance.init('function main() { throw 1 }');
      assert.deepEqual(await instance.init(IDENTITY), refused('Cannot initialize the action more than once.'));
      await instance.run({});
      assert.deepEqual(await instance.init(IDENTITY), refused('Cannot initialize the action more than once.'));
      const { stderr } = await instance.logs();
      assert.ok(stderr.startsWith('Internal system error: Cannot initialize the action more than once.\n'), stderr);
    });

    await t.test('run before init is refused, and init still works', async (t) => {
      const instance = await start(t, transport);
      assert.deepEqual(await instance.run({}), refused('System not initialized.'));
      assert.deepEqual(await instance.init(IDENTITY), OK);
      assert.deepEqual(await instance.logs(), { stdout: '', stderr: 'Internal system error: System not initialized.\n' });
    });

    await t.test('a failed init stops the instance for good', async (t) => {
      const instance = await start(t, transport);
      const { status, body } = await instance.init('console.log("loading"); throw new RangeError("bad day")');
      assert.equal(status, 502);
      assert.ok(body.error.startsWith('Initialization has failed due to: RangeError: bad day\n    at '), body.error);
      assert.deepEqual(await instance.init(IDENTITY), refused('System not ready, status is stopped.'));
      assert.deepEqual(await instance.run({}), refused('System not initialized.'));
      const { stdout, stderr } = await instance.logs();
      assert.equal(stdout, `loading\n${MARK}`);
      assert.match(stderr, new RegExp(`^Error during initialization: RangeError: bad day\n(    at .*\n)+${MARKER}\n` +
        'Internal system error: System not ready, status is stopped.\nInternal system error: System not initialized.\n$'));
    });

    await t.test('an argument that is text, a number or a truth value leaves the instance running for good', async (t) => {
      for (const [value, type] of [['a', 'string'], [1, 'number'], [false, 'boolean']]) {
        const instance = await start(t, transport);
        await instance.init(IDENTITY);
        const error = `Internal system error: the argument must be a dictionary but has type '${type}'.`;
        assert.deepEqual(await instance.run(value), refused(error));
        assert.deepEqual(await instance.run({}), refused('System not ready, status is running.'));
        assert.deepEqual(await instance.logs(), {
          stdout: '', stderr: `Internal system error: ${error}\nInternal system error: System not ready, status is running.\n`,
        });
      }
    });

    await t.test('an overlapping run is refused and the first continues', async (t) => {
      const instance = await start(t, transport);
      await instance.init('const main = ({ ms }) => new Promise((done) => setTimeout(done, ms, { ms }))');
      const first = instance.run({ ms: 300 });
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.deepEqual(await instance.run({ ms: 1 }), refused('System not ready, status is running.'));
      assert.deepEqual(await first, { status: 200, body: { ms: 300 } });
      assert.deepEqual(await instance.run({ ms: 2 }), { status: 200, body: { ms: 2 } });
      const { stdout } = await instance.logs();
      assert.equal(stdout, MARK + MARK);
    });

    await t.test('runs overlap if the container says so, and a throw stops them all', async (t) => {
      const instance = await start(t, transport, { env: { __OW_ALLOW_CONCURRENT: 'True' } });
      await instance.init('const main = ({ ms }) => { if (!ms) throw "up"; return new Promise((done) => setTimeout(done, ms, { ms })) }');
      const slow = instance.run({ ms: 300 });
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.deepEqual(await instance.run({ ms: 1 }), { status: 200, body: { ms: 1 } });
      assert.deepEqual(await instance.run({}), { status: 502, body: { error: 'An error has occurred: up' } });
      assert.deepEqual(await slow, { status: 200, body: { ms: 300 } });
      assert.deepEqual(await instance.run({ ms: 1 }), refused('System not ready, status is stopped.'));
      const { stdout } = await instance.logs();
      assert.equal(stdout, MARK.repeat(3));
    });

    await t.test('state survives between runs', async (t) => {
      const instance = await start(t, transport);
      await instance.init('let n = 0; function main() { globalThis.g = (globalThis.g ?? 0) + 2; process.env.KEPT = "k" + n; return { n: ++n, g, k: process.env.KEPT } }');
      assert.deepEqual((await instance.run({})).body, { n: 1, g: 2, k: 'k0' });
      assert.deepEqual((await instance.run({})).body, { n: 2, g: 4, k: 'k1' });
    });

    for (const [what, code] of [
      ['process.exit', 'function main() { process.exit(3) }'],
      ['an uncaught exception', 'const main = () => { setTimeout(() => { throw 1 }, 1); return new Promise(() => {}) }'],
      ['an unhandled rejection', 'const main = () => { Promise.reject(1); return new Promise(() => {}) }'],
    ]) {
      await t.test(`${what} cuts the open request`, async (t) => {
        const instance = await start(t, transport);
        await instance.init(code);
        await assert.rejects(instance.run({}));
        assert.notEqual(await instance.exit(), 0);
      });
    }

    await t.test('process.exit during init, and an exception after the answer, end the process', async (t) => {
      const first = await start(t, transport);
      await assert.rejects(first.init('process.exit(4)'));
      assert.equal(await first.exit(), 4);
      const second = await start(t, transport);
      await second.init('function main() { setTimeout(() => { throw 1 }, 20); return {} }');
      assert.equal((await second.run({})).status, 200);
      assert.equal(await second.exit(), 1);
    });

    await t.test('init sets the environment before the code loads', async (t) => {
      const instance = await start(t, transport, { env: { OLD: 'o', KEPT: 'k' } });
      const env = { TEXT: 'as is', N: 1.5, T: true, Z: 0, F: false, X: null, E: '', O: { a: [1] }, A: [1, 'b'], OLD: 'new' };
      await instance.init('const seen = { ...process.env }; const main = () => seen', { env });
      const { body } = await instance.run({});
      const expected = { TEXT: 'as is', N: '1.5', T: 'true', Z: '', F: '', X: '', E: '', O: '{"a":[1]}', A: '[1,"b"]', OLD: 'new', KEPT: 'k' };
      for (const [name, value] of Object.entries(expected)) assert.equal(body[name], value, name);
    });

    await t.test('an environment of another type is ignored', async (t) => {
      for (const env of ['text', 7, ['a'], null]) {
        const instance = await start(t, transport);
        assert.deepEqual(await instance.init('const main = () => ({ zero: process.env["0"] ?? "none" })', { env }), OK);
        assert.deepEqual((await instance.run({})).body, { zero: 'none' });
      }
    });

    await t.test('text members of a run become __OW_ variables and keep their value', async (t) => {
      const instance = await start(t, transport, { env: { __OW_API_HOST: 'http://host' } });
      await instance.init('const main = () => Object.fromEntries(Object.entries(process.env).filter(([k]) => k.startsWith("__OW_")))');
      const first = await instance.run({}, { namespace: 'guest', deadline: '17', 'odd name-é': 'x', empty: '', number: 7, object: {}, none: null });
      const expected = { __OW_API_HOST: 'http://host', __OW_NAMESPACE: 'guest', __OW_DEADLINE: '17', '__OW_ODD NAME-É': 'x', __OW_EMPTY: '' };
      assert.deepEqual(first.body, expected);
      const second = await instance.run({}, { namespace: 'other' });
      assert.deepEqual(second.body, { ...expected, __OW_NAMESPACE: 'other' });
    });

    await t.test('streams are separate, load-time output precedes that of the first run, half a line is glued to the marker', async (t) => {
      const instance = await start(t, transport);
      await instance.init('console.log("load"); console.error("LOAD"); function main() { console.log("run"); process.stderr.write("half a line"); return {} }');
      await instance.run({});
      assert.deepEqual(await instance.logs(), { stdout: `load\nrun\n${MARK}`, stderr: `LOAD\nhalf a line${MARK}` });
    });

    await t.test('everything logged is out before the answer, however much it is', async (t) => {
      const instance = await start(t, transport);
      await instance.init('function main() { for (let i = 0; i < 20000; i++) console.log("line " + i + "x".repeat(50)); return {} }');
      await instance.run({});
      const { stdout } = await instance.logs();
      const lines = stdout.split('\n');
      assert.equal(lines.length, 20002);
      assert.equal(lines[20000], MARKER);
    });

    await t.test('large arguments and results arrive whole', async (t) => {
      const instance = await start(t, transport);
      await instance.init(IDENTITY);
      const value = { text: 'é'.repeat(3_000_000) };
      assert.deepEqual((await instance.run(value)).body, value);
    });
  });
}
