// What must differ between instances does, whatever package draws it: instances of one function are called beside each other, and no two
// outputs of any of them may be equal.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key ALL=1 node --test unique.test.mjs
//
// Without ALL only the first packages of each language are tried. Says for each how many of the instances were copies of a snapshot.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
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
