// What an action's logs and stack traces show: the action with file and line, and nothing of the loader.
import assert from 'node:assert/strict';
import test from 'node:test';
import { zip } from './archives.mjs';
import { MARKER, TRANSPORTS, start } from './instance.mjs';

const FAILED = 'Initialization has failed due to: ';
const MARK = `${MARKER}\n`;
const archive = { binary: true };

/** Nothing in it names a file of the loader, or what of Node leads to one. */
function isTheActions(text) {
  assert.doesNotMatch(text, /\/loader\/|loader\.js|Runtime\.|node:events|Immediate|node:net/, text);
}

for (const transport of TRANSPORTS) {
  test(transport, { concurrency: 2 }, async (t) => {
    await t.test('a dynamic import logs nothing', async (t) => {
      const instance = await start(t, transport);
      await instance.init('async function main() { return { sep: (await import("path")).posix.sep } }');
      assert.deepEqual(await instance.run({}), { status: 200, body: { sep: '/' } });
      assert.deepEqual(await instance.logs(), { stdout: MARK, stderr: MARK });
    });

    await t.test('a module of the archive is imported as one is required', async (t) => {
      const instance = await start(t, transport);
      const code = zip({
        'package.json': '{"type":"module","main":"main.js"}',
        'main.js': 'import { one } from "./lib/one.js"; export const main = () => ({ one });',
        'lib/one.js': 'export const one = 1;',
      });
      assert.deepEqual((await instance.init(code, archive)).body, { OK: true });
      assert.deepEqual(await instance.run({}), { status: 200, body: { one: 1 } });
      assert.deepEqual(await instance.logs(), { stdout: MARK, stderr: MARK });
    });

    await t.test('a syntax error in an archive begins with the file and the line', async (t) => {
      const instance = await start(t, transport);
      const code = zip({
        'index.js': 'exports.main = require("./lib/util.js").main',
        'lib/util.js': '\nexports.main = () => { return\n',
      });
      const { status, body } = await instance.init(code, archive);
      assert.equal(status, 502);
      assert.match(body.error.slice(FAILED.length), /^\/.*\/lib\/util\.js:3\n/);
      assert.match(body.error, /\nSyntaxError: Unexpected end of input\n/);
      assert.match(body.error, /at Object\.<anonymous> \(.*\/index\.js:1:16\)/);
      isTheActions(body.error);
    });

    await t.test('broken JSON in an archive is named', async (t) => {
      const instance = await start(t, transport);
      const { body } = await instance.init(zip({ 'index.js': 'require("./conf/a.json")', 'conf/a.json': '{' }), archive);
      assert.match(body.error.slice(FAILED.length), /^SyntaxError: .*\/conf\/a\.json: /);
      isTheActions(body.error);
    });

    for (const [what, code, message, place] of [
      ['a wrong token', 'function main() {\n  let x = ;\n}', "SyntaxError: Unexpected token ';'", 'action.js:2\n  let x = ;\n          ^'],
      ['an import', '// module\nimport fs from "fs"\nfunction main() {}', 'SyntaxError: Cannot use import statement outside a module', 'action.js:2\nimport fs from "fs"\n^^^^^^'],
      ['an open bracket at the end', 'const main = (', 'SyntaxError: Unexpected end of input', 'action.js:1\nconst main = ('],
      ['an open block at the end', 'function main() {\n  if (1) {', 'SyntaxError: Unexpected end of input', 'action.js:2\n  if (1) {'],
      ['an open template at the end', '\nconst main = `abc', 'SyntaxError: Unexpected end of input', 'action.js:2\nconst main = `abc'],
      ['an export', 'export const main = () => 1', "SyntaxError: Unexpected token 'export'", 'action.js:1\nexport const main = () => 1\n^^^^^^'],
    ]) {
      await t.test(`${what} in source text is an error with its line`, async (t) => {
        const instance = await start(t, transport);
        const { status, body } = await instance.init(code);
        assert.equal(status, 502);
        assert.ok(body.error.startsWith(`${FAILED}${message}\n    at `), body.error);
        assert.ok(body.error.includes(place), body.error);
        isTheActions(body.error);
        const { stderr } = await instance.logs();
        // As it stands: in no brackets, though it has no frame.
        assert.match(stderr, /^Error during initialization: \/.*action\.js:\d+\n/m);
        assert.ok(stderr.includes(`${message}\n${MARK}`), stderr);
        assert.ok(stderr.includes(place), stderr);
        isTheActions(stderr);
      });
    }

    await t.test('an error while loading ends with the frames of the action', async (t) => {
      const instance = await start(t, transport);
      const code = zip({ 'index.js': '\nrequire("./lib/deep.js")', 'lib/deep.js': 'const f = () => {\n  throw new Error("early")\n}\nf()' });
      const { body } = await instance.init(code, archive);
      assert.match(body.error.slice(FAILED.length), /^Error: early\n    at f \(.*\/lib\/deep\.js:2:9\)\n/);
      isTheActions(body.error);
      isTheActions((await instance.logs()).stderr);
    });

    await t.test('what is thrown, rejected or logged ends with the frames of the action', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`
        async function main({ how }) {
          const error = new RangeError('far');
          if (how === 'log') { console.log(error.stack); return {} }
          if (how === 'node') { try { require('fs').readFileSync(7.5) } catch (e) { return { stack: e.stack } } }
          if (how === 'capture') { const o = {}; Error.captureStackTrace(o); return { stack: o.stack } }
          throw error;
        }`);
      const { body: { error } } = await instance.run({ how: 'reject' });
      assert.match(error.stack, /^RangeError: far\n    at main \(.*action\.js:3:25\)$/);
      const { body: { stack } } = await instance.run({ how: 'node' });
      assert.match(stack, /^TypeError \[ERR_INVALID_ARG_TYPE\]: .*\n(    at .*\n)*    at main \(.*action\.js:5:/);
      isTheActions(stack);
      assert.match((await instance.run({ how: 'capture' })).body.stack, /^Error\n    at main \(.*action\.js:6:[0-9]+\)$|^\[object Object\]\n    at main/);
      await instance.run({ how: 'log' });
      const { stdout, stderr } = await instance.logs();
      assert.match(stdout, /RangeError: far\n    at main \(.*action\.js:3:25\)\n/);
      isTheActions(stdout);
      assert.equal(stderr, MARK.repeat(4));
    });

    await t.test('a synchronous throw is logged with the frames of the action', async (t) => {
      const instance = await start(t, transport);
      await instance.init('function main() {\n  null.x\n}');
      assert.equal((await instance.run({})).status, 502);
      const { stderr } = await instance.logs();
      assert.match(stderr, /^TypeError: Cannot read properties of null \(reading 'x'\)\n    at main \(.*action\.js:2:8\)\n/);
      isTheActions(stderr);
    });

    await t.test('a library may format traces itself and put back what was there', async (t) => {
      const instance = await start(t, transport);
      await instance.init(`
        function caller() {
          const before = Error.prepareStackTrace;
          Error.prepareStackTrace = (error, frames) => frames;
          const frames = new Error().stack;
          Error.prepareStackTrace = before;
          return frames[1].getFunctionName();
        }
        function main() {
          const name = caller();
          return { name, hidden: !Object.keys(Error).includes('prepareStackTrace'), stack: new Error('x').stack };
        }`);
      const { body } = await instance.run({});
      assert.deepEqual([body.name, body.hidden], ['main', true]);
      assert.match(body.stack, /^Error: x\n    at main \(.*action\.js:11:[0-9]+\)$/);
    });
  });
}
