// What unpacking costs, and what is said of an entry that is damaged: on the module itself, in this process.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import zlib from 'node:zlib';
import { targz, zip } from './archives.mjs';

const { unpack } = createRequire(import.meta.url)('../../loader/archive.js');

/** Unpacks, and gives the directory, how often each function was called, and what was printed. */
function unpacked(t, archive) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'archive-test-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const calls = {};
  for (const [module, name] of [[zlib, 'gunzipSync'], [zlib, 'inflateRawSync'], [fs, 'mkdirSync'], [fs, 'realpathSync']]) {
    t.mock.method(module, name);
    calls[name] = () => module[name].mock.callCount();
  }
  const said = t.mock.method(console, 'error', () => {});
  let failure;
  try {
    unpack(Buffer.from(archive, 'base64'), () => root);
  } catch (error) {
    failure = error;
  }
  const counts = Object.fromEntries(Object.entries(calls).map(([name, count]) => [name, count()]));
  t.mock.restoreAll();
  return { root, counts, failure, said: said.mock.calls.map((call) => call.arguments.join(' ')).join('\n') };
}

const MANY = Object.fromEntries(Array.from({ length: 1600 }, (_, n) =>
  [`node_modules/p${Math.floor(n / 20)}/lib/f${n}.js`, `module.exports = ${n};\n`.repeat(50)]));

for (const [format, pack] of [['zip', zip], ['tar.gz', targz]]) {
  test(`a ${format} of 1,600 small files costs one call of zlib, and one of the file system for each directory`, (t) => {
    const { root, counts, failure } = unpacked(t, pack(MANY));
    assert.equal(failure, undefined);
    assert.deepEqual(counts, { gunzipSync: 1, inflateRawSync: 0, mkdirSync: 80, realpathSync: 0 });
    for (const [name, text] of Object.entries(MANY)) assert.equal(fs.readFileSync(path.join(root, name), 'utf8'), text);
  });
}

test('a zip of large and empty, deflated and stored files is unpacked as it was packed', (t) => {
  const files = {
    'a/large': 'abcdefgh'.repeat(700_000), // more than one batch
    'a/empty': '',
    'stored': { content: 'as it is', stored: true },
    'a/larger': 'x'.repeat(9_000_000),
    'stored-empty': { content: '', stored: true },
    'last': 'end',
  };
  const { root, failure } = unpacked(t, zip(files));
  assert.equal(failure, undefined);
  for (const [name, entry] of Object.entries(files)) {
    assert.equal(fs.readFileSync(path.join(root, name), 'utf8'), entry.content ?? entry);
  }
});

test('of a hundred files the damaged one is named', (t) => {
  const files = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`f${n}`, `${n}`.repeat(100)]));
  const archive = Buffer.from(zip(files), 'base64');
  const packed = zlib.deflateRawSync(files.f57);
  const at = archive.indexOf(packed);
  // Another text of the same length, so that only the checksum tells.
  zlib.deflateRawSync(files.f57.replace('5', '6')).copy(archive, at, 0, packed.length);
  const { failure, said } = unpacked(t, archive.toString('base64'));
  assert.match(failure, /Zip archive/);
  assert.match(said, /f57/);
});
