// Functions in all languages in one machine, driven and mixed by the npm package `openwhisk`: sequences, bindings, triggers, conductors, the web.
//
//   APIHOST=http://localhost:3233 API_KEY=uuid:key node --test kinds.test.mjs
//
// Languages that the invoker does not have are left out, and programs where there is no C compiler.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { zip } from '../../../ebb-invoker/tests/loader/archives.mjs';
import { call, eventually, ow, raw } from './api.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kinds-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

/** Answers what it was given, or refuses it: the value of a line is its first object or array. */
const ECHO = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char *line = NULL;
  size_t room = 0;
  FILE *answers = fdopen(3, "w");
  while (getline(&line, &room, stdin) > 0) {
    char *value = strstr(line, "\\"value\\":") + 8, *end = value;
    int depth = 0, inside = 0;
    do {
      if (inside) {
        if (*end == '\\\\') end++;
        else if (*end == '"') inside = 0;
      } else if (*end == '"') inside = 1;
      else if (*end == '{' || *end == '[') depth++;
      else if (*end == '}' || *end == ']') depth--;
      end++;
    } while (depth > 0);
    *end = 0;
    if (strstr(value, "\\"fail\\":\\"program\\"")) fprintf(answers, "{\\"error\\":\\"program\\"}\\n");
    else if (strncmp(value, "{\\"list\\":\\"program\\"", 17) == 0) fprintf(answers, "[\\"program\\",%s]\\n", value);
    else fprintf(answers, "{\\"was\\":%s,\\"by\\":\\"program\\"}\\n", value);
    fflush(answers);
    printf("program saw %ld bytes\\n", (long)(end - value));
    fflush(stdout);
  }
}
`;

function compiled() {
  const file = path.join(folder, 'echo');
  fs.writeFileSync(`${file}.c`, ECHO);
  const built = spawnSync('cc', ['-O2', '-o', file, `${file}.c`]);
  return built.status === 0 ? fs.readFileSync(file) : undefined;
}

const { json: { runtimes } } = await raw('GET', '/', { key: false });
/** Each: kind, code, and what a record says that it ran as. */
const LANGUAGES = Object.fromEntries(Object.entries({
  node: ['nodejs:default', `const main = (was) => {
    console.log('node saw', JSON.stringify(was).length, 'characters');
    if (was.fail === 'node') return { error: 'node' };
    return was.list === 'node' ? ['node', was] : { was, by: 'node' };
  }`],
  python: ['python:default', `import json
def main(was):
    print('python saw', len(json.dumps(was)), 'characters')
    fail = isinstance(was, dict) and was.get('fail') == 'python'
    if fail:
        raise ValueError('python')
    return ['python', was] if isinstance(was, dict) and was.get('list') == 'python' else {'was': was, 'by': 'python'}
`],
  program: ['native:default', compiled()],
}).filter(([, [kind, code]]) => code !== undefined && runtimes[kind.split(':')[0]]));
const ALL = Object.keys(LANGUAGES);

for (const [language, [kind, code]] of Object.entries(LANGUAGES)) {
  await ow.actions.update({ name: `in-${language}`, action: { exec: { kind, code: typeof code === 'string' ? code : code.toString('base64') } } });
}

const sequence = (name, names, more = {}) => ow.actions.update({ name, sequence: names.map((one) => `/_/${one}`), ...more });

/** What a chain of languages makes of a value. */
const through = (languages, value) => languages.reduce((was, by) => ({ was, by }), value);

test('each language is deployed, called, updated, read, listed and deleted in the same way', async () => {
  for (const [language, [kind, code]] of Object.entries(LANGUAGES)) {
    const name = `life-${language}`;
    const exec = { kind, code: typeof code === 'string' ? code : code.toString('base64') };
    const created = await ow.actions.create({ name, action: { exec, parameters: [{ key: 'bound', value: 'ü' }] } });
    assert.equal(created.version, '0.0.1');
    assert.equal(created.exec.binary, typeof code !== 'string');
    assert.deepEqual(await call(name, { n: 1 }, { result: true }), { was: { bound: 'ü', n: 1 }, by: language });
    const { activationId } = await ow.actions.invoke({ name, params: { n: 2 } });
    const record = await eventually('the record', () => ow.activations.get(activationId));
    assert.deepEqual(record.response.result.was, { bound: 'ü', n: 2 });
    assert.ok(record.logs.some((line) => line.includes(`stdout: ${language} saw `)), `${record.logs}`);
    const ran = record.annotations.find(({ key }) => key === 'kind').value;
    assert.equal(ran.split(':')[0], kind.split(':')[0]);
    const updated = await ow.actions.update({ name, action: { parameters: [{ key: 'bound', value: 2 }] } });
    assert.equal(updated.version, '0.0.2');
    assert.equal((await call(name, {}, { result: true })).was.bound, 2);
    assert.equal((await ow.actions.get(name)).exec.code, exec.code);
    assert.ok((await ow.actions.list({ limit: 200 })).some((action) => action.name === name));
    await ow.actions.delete(name);
    await assert.rejects(call(name), { statusCode: 404 });
  }
});

test('sequences mix languages in every order', async () => {
  const orders = ALL.flatMap((a) => ALL.flatMap((b) => ALL.map((c) => [a, b, c])));
  await Promise.all(orders.map(async (order) => {
    const name = `mixed-${order.join('-')}`;
    await sequence(name, order.map((language) => `in-${language}`));
    const record = await call(name, { text: 'ü"\\\n😀', n: 1.5 });
    assert.deepEqual(record.response.result, through(order, { text: 'ü"\\\n😀', n: 1.5 }), name);
    const stored = await eventually('its record', () => ow.activations.get(record.activationId));
    const parts = await Promise.all(stored.logs.map((id) => eventually('a part', () => ow.activations.get(id))));
    assert.deepEqual(parts.map((part) => part.name), order.map((language) => `in-${language}`));
    assert.ok(parts.every(({ cause }) => cause === record.activationId));
    await ow.actions.delete(name);
  }));
});

test('a sequence of sequences carries 800 KB through all languages', async () => {
  await sequence('inner', ALL.map((language) => `in-${language}`));
  await sequence('outer', ['inner', 'in-node', 'inner']);
  const text = 'x'.repeat(800_000);
  assert.deepEqual(await call('outer', { text }, { result: true }), through([...ALL, 'node', ...ALL], { text }));
});

for (const language of ALL) {
  test(`what fails in ${language} ends a sequence there`, async () => {
    const name = `fails-${language}`;
    await sequence(name, [`in-${language}`, ...ALL.map((other) => `in-${other}`)]);
    const { error: { response, activationId } } = await call(name, { fail: language }).then(() => assert.fail('it went on'), (error) => error);
    assert.deepEqual([response.status, response.result], ['application error', { error: language }]);
    const { logs } = await eventually('its record', () => ow.activations.get(activationId));
    assert.equal(logs.length, 1);
  });

  test(`a list from ${language} is the argument of all others`, async () => {
    for (const other of ALL) {
      const name = `list-${language}-${other}`;
      await sequence(name, [`in-${language}`, `in-${other}`]);
      const given = { list: language };
      assert.deepEqual(await call(name, given, { result: true }), { was: [language, given], by: other }, name);
      await ow.actions.delete(name);
    }
  });
}

test('packages, bindings, triggers and the web take all languages', async () => {
  await ow.packages.update({ name: 'polyglot', package: { parameters: [{ key: 'from', value: 'package' }] } });
  await ow.triggers.update({ name: 'polyglot-event' });
  for (const [language, [kind, code]] of Object.entries(LANGUAGES)) {
    const exec = { kind, code: typeof code === 'string' ? code : code.toString('base64') };
    await ow.actions.update({ name: `polyglot/${language}`, action: { exec, annotations: [{ key: 'web-export', value: true }] } });
    await ow.rules.update({ name: `on-polyglot-${language}`, trigger: 'polyglot-event', action: `/_/polyglot/${language}` });
  }
  await raw('PUT', '/api/v1/namespaces/_/packages/bound?overwrite=true',
    { body: { binding: { namespace: '_', name: 'polyglot' }, parameters: [{ key: 'by', value: 'binding' }] } });
  for (const language of ALL) {
    const expected = { was: { from: 'package', by: 'binding', n: 1 }, by: language };
    assert.deepEqual(await call(`bound/${language}`, { n: 1 }, { result: true }), expected);
    const { status, json } = await raw('GET', `/api/v1/web/guest/polyglot/${language}.json?n=1`, { key: false });
    assert.equal(status, 200);
    assert.deepEqual([json.by, json.was.n, json.was.__ow_method], [language, '1', 'get']);
    const { json: { error } } = await raw('GET', `/api/v1/web/guest/polyglot/${language}.text`, { key: false });
    assert.equal(error, 'Response does not include requested property.');
  }
  const { activationId } = await ow.triggers.invoke({ name: 'polyglot-event', params: { fired: true } });
  const { logs } = await eventually('the record of the trigger', () => ow.activations.get(activationId));
  const called = logs.map((line) => JSON.parse(line));
  assert.deepEqual(called.map(({ success }) => success), ALL.map(() => true));
  const records = await Promise.all(called.map((one) => eventually('what a rule has called', () => ow.activations.get(one.activationId))));
  assert.deepEqual(records.map(({ response }) => response.result.by).sort(), [...ALL].sort());
  for (const language of ALL) await ow.rules.delete({ name: `on-polyglot-${language}` });
  await ow.triggers.delete({ name: 'polyglot-event' });
});

test('a conductor in Python calls all languages one after the other', { skip: !LANGUAGES.python }, async () => {
  const code = `
def main(args):
    state = args.pop('$composer', None) or {'left': ${JSON.stringify(ALL)}}
    if not state['left']:
        return {'params': args}
    return {'action': '/_/in-' + state['left'].pop(0), 'params': args, 'state': {'$composer': state}}
`;
  await ow.actions.update({ name: 'conducts', action: { exec: { kind: 'python:default', code }, annotations: [{ key: 'conductor', value: true }] } });
  assert.deepEqual(await call('conducts', { n: 1 }, { result: true }), through(ALL, { n: 1 }));
});

const withPip = (...args) => execFileSync('pip3', ['install', '--quiet', '--disable-pip-version-check', '--root-user-action=ignore', ...args], { stdio: 'pipe' });

test('the packages of OpenWhisk\'s own image for Python are there', async (t) => {
  if (!LANGUAGES.python) return t.skip('there is no Python');
  // As core/python311Action/requirements.txt of apache/openwhisk-runtime-python has them, but virtualenv and netifaces.
  const code = `import importlib.metadata, os
def main(args):
    if not os.path.exists('/python/loader.py'):
        return {'process': True}
    import bs4, dateutil.parser, httplib2, kafka, lxml.etree, requests, scrapy, simplejson
    from twisted.internet import defer, reactor
    page = '<html><body><p class="a">one</p><p>two</p></body></html>'
    done = []
    later = defer.Deferred()
    later.addCallback(done.append)
    reactor.callLater(0.01, later.callback, 'called')
    reactor.callLater(0.02, reactor.stop)
    reactor.run(installSignalHandlers=False)
    return {
        'versions': {name: importlib.metadata.version(name) for name in args['names']},
        'bs4': [p.text for p in bs4.BeautifulSoup(page, 'lxml').find_all('p')],
        'lxml': lxml.etree.fromstring(page).xpath('count(//p)'),
        'scrapy': scrapy.Selector(text=page).css('p.a::text').get(),
        'dateutil': dateutil.parser.parse('1 May 2026').isoformat(),
        'simplejson': simplejson.loads('[1.5]'),
        'requests': requests.Request('GET', 'http://a/', params={'b': 'c'}).prepare().url,
        'httplib2': httplib2.Http().timeout,
        'kafka': kafka.TopicPartition('t', 1).partition,
        'twisted': done,
    }
`;
  const pinned = {
    beautifulsoup4: '4.11.2', httplib2: '0.21.0', 'kafka-python': '2.0.2', lxml: '4.9.2', 'python-dateutil': '2.8.2', requests: '2.31.0',
    scrapy: '2.11.2', simplejson: '3.18.3', twisted: '24.7.0',
  };
  await ow.actions.update({ name: 'brought', action: { exec: { kind: 'python:default', code } } });
  const answer = await call('brought', { names: Object.keys(pinned) }, { result: true });
  if (answer.process) return t.skip('functions run on the host\'s Python');
  assert.deepEqual(answer, {
    versions: pinned, bs4: ['one', 'two'], lxml: 2, scrapy: 'one', dateutil: '2026-05-01T00:00:00', simplejson: [1.5],
    requests: 'http://a/?b=c', httplib2: null, kafka: 1, twisted: ['called'],
  });
});

test('what a virtualenv in a ZIP brings can be imported', async (t) => {
  if (!LANGUAGES.python) return t.skip('there is no Python');
  const tool = path.join(folder, 'tool');
  try {
    withPip('--target', tool, 'virtualenv');
  } catch {
    return t.skip('pip cannot install virtualenv (is there a network?)');
  }
  // As OpenWhisk's documentation packs one.
  const own = path.join(folder, 'packed');
  fs.mkdirSync(own);
  execFileSync('/usr/bin/python3', ['-m', 'virtualenv', '--quiet', '--without-pip', 'virtualenv'], { cwd: own, env: { ...process.env, PYTHONPATH: tool } });
  const [version] = fs.readdirSync(path.join(own, 'virtualenv/lib'));
  withPip('--target', path.join(own, 'virtualenv/lib', version, 'site-packages'), 'inflection');
  const main = `import os, sys, inflection
def main(args):
    return {'many': inflection.pluralize(args['one']), 'inside': '/virtualenv/' in inflection.__file__, 'env': os.path.basename(os.environ['VIRTUAL_ENV'])}
`;
  const pack = (without) => {
    const files = { '__main__.py': main };
    for (const entry of fs.readdirSync(path.join(own, 'virtualenv'), { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath ?? entry.path, entry.name);
      if (entry.isFile() && !file.endsWith('.pyc') && entry.name !== without) files[path.relative(own, file)] = { content: fs.readFileSync(file) };
    }
    return zip(files);
  };
  await ow.actions.update({ name: 'packed', action: { exec: { kind: 'python:default', code: pack() } } });
  for (let time = 0; time < 2; time++) {
    assert.deepEqual(await call('packed', { one: 'octopus' }, { result: true }), { many: 'octopi', inside: true, env: 'virtualenv' });
  }
  // One that cannot be activated is an error.
  await ow.actions.update({ name: 'packed', action: { exec: { kind: 'python:default', code: pack('activate_this.py') } } });
  const { error: { response, activationId } } = await call('packed', { one: 'x' }).then(() => assert.fail('it runs'), (error) => error);
  assert.equal(response.status, 'action developer error');
  const { logs } = await eventually('its record', () => ow.activations.get(activationId));
  assert.ok(logs.some((line) => line.includes("Invalid virtualenv. Zip file does not include 'activate_this.py'.")), `${logs}`);
});
