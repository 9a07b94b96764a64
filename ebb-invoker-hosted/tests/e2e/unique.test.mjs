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
  'uuid-random@1': 'p()',
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
    const drawn = [require('crypto').randomUUID()];
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
      return { loaded, begin, end: clocks(), sameZone: zone === new Intl.DateTimeFormat().resolvedOptions().timeZone && hour === new Date().getTimezoneOffset(), hours: -hour / 60 };
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
    return {'loaded': loaded, 'begin': begin, 'end': clocks(), 'sameZone': zone == (time.tzname, time.timezone), 'hours': -time.timezone / 3600}
`,
})) {
  test(`instances in ${language} know the time, and keep the zone that they were told`, async (t) => {
    const { json: { runtimes } } = await raw('GET', '/', { key: false });
    if (!runtimes[language]) return t.skip('it is not there');
    await ow.actions.update({ name: 'clocks', action: { exec: { kind: `${language}:default`, code: action } } });
    const { answers: all, copies } = await answers('clocks');
    t.diagnostic(`${copies} of ${CLONES} were copies`);
    const there = fs.existsSync('/usr/share/zoneinfo');
    for (const { loaded, begin, end, sameZone, hours } of all) {
      assert.ok(Math.abs(end[0] - Date.now()) < 60_000, `it is ${new Date(end[0])} there`);
      assert.ok(sameZone);
      // Without the machine's files only Node knows zones.
      if (there || language === 'nodejs') assert.equal(hours, 13);
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

// Programs, which have no loader: what they draw when they start they keep, and each call draws again.
const C = (draw) => `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
static unsigned long long draw(void) { unsigned long long drawn = 0; ${draw}; return drawn; }
int main(int count, char **arguments) {
  static char line[1 << 16];
  unsigned long long kept = EARLY ? draw() : 0;
  while (fgets(line, sizeof line, stdin)) {
    char *wait = strstr(line, "\\"wait\\":");
    if (!kept) kept = draw();
    usleep(1e6 * atof(wait + 7));
    dprintf(3, "{\\"drawn\\":[\\"%llx\\",\\"%llx\\"]}\\n", kept, draw());
  }
}`;
const CPP = `
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <unistd.h>
static unsigned long long draw() { std::mt19937_64 generator(std::random_device{}()); return generator() | 1; }
static unsigned long long kept = EARLY ? draw() : 0;
int main() {
  static char line[1 << 16];
  while (fgets(line, sizeof line, stdin)) {
    if (!kept) kept = draw();
    usleep(1e6 * atof(strstr(line, "\\"wait\\":") + 7));
    dprintf(3, "{\\"drawn\\":[\\"%llx\\",\\"%llx\\"]}\\n", kept, draw());
  }
}`;
const RUST = `
use std::{collections::hash_map::RandomState, hash::{BuildHasher, Hasher}, io::{stdin, BufRead, Write}, os::fd::FromRawFd, time::Duration};
fn draw() -> u64 { RandomState::new().build_hasher().finish() }
fn main() {
    let mut answers = unsafe { std::fs::File::from_raw_fd(3) };
    let mut kept = if EARLY { draw() } else { 0 };
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let wait = line.split("\\"wait\\":").nth(1).unwrap();
        let wait: f64 = wait[..wait.find(['}', ',']).unwrap()].trim().parse().unwrap();
        if kept == 0 { kept = draw(); }
        std::thread::sleep(Duration::from_secs_f64(wait));
        writeln!(answers, "{{\\"drawn\\":[\\"{kept:x}\\",\\"{:x}\\"]}}", std::thread::spawn(draw).join().unwrap()).unwrap();
    }
}`;
const GO = `package main
import ("bufio"; "encoding/json"; "fmt"; "hash/maphash"; "math/rand"; "os"; "time")
var kept string
func draw() string { var h maphash.Hash; return fmt.Sprintf("%x-%x", h.Sum64(), rand.New(rand.NewSource(int64(maphash.String(maphash.MakeSeed(), "")))).Int63()) }
func main() {
	if EARLY { kept = draw() }
	answers := os.NewFile(3, "answers")
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes(10)
		if err != nil { return }
		var call struct { Value struct { Wait float64 } }
		json.Unmarshal(line, &call)
		if kept == "" { kept = draw() }
		time.Sleep(time.Duration(call.Value.Wait * 1e9))
		fmt.Fprintf(answers, "{\\"drawn\\":[%q,%q]}\\n", kept, draw())
	}
}`;
const PROGRAMS = {
  'a program in C by arc4random': ['cc -O2 -DEARLY=$EARLY -o program source.c', 'source.c', C('arc4random_buf(&drawn, sizeof drawn)')],
  'a program in Rust by its hash tables': ['rustc -O -C panic=abort -o program source.rs', 'source.rs', RUST],
  'a program in C++ by random_device': ['c++ -O2 -DEARLY=$EARLY -o program source.cc', 'source.cc', CPP],
  'a program in Go by its hash tables': ['CGO_ENABLED=0 GOCACHE=$PWD/cache GO111MODULE=off go build -o program source.go', 'source.go', GO],
  'a program in C by getentropy': ['cc -O2 -DEARLY=$EARLY -o program source.c', 'source.c', C('getentropy(&drawn, sizeof drawn)')],
  'a program in C by RDRAND': ['cc -O2 -mrdrnd -DEARLY=$EARLY -o program source.c', 'source.c', C('while (!__builtin_ia32_rdrand64_step(&drawn));')],
  'a program in C by /dev/urandom': ['cc -O2 -DEARLY=$EARLY -o program source.c', 'source.c',
    C('int device = open("/dev/urandom", O_RDONLY); if (read(device, &drawn, sizeof drawn) < 0) abort(); close(device)')],
  'a program in C by /proc/sys/kernel/random/uuid': ['cc -O2 -DEARLY=$EARLY -o program source.c', 'source.c',
    C('FILE *file = fopen("/proc/sys/kernel/random/uuid", "r"); if (fscanf(file, "%llx", &drawn) < 0) abort(); fclose(file)')],
};

/** Interpreters that the machine may have packed; `KEPT` is drawn at the start, or at the first call. */
const SCRIPTS = {
  perl: `#!/usr/bin/perl
open(my $answers, '>&=', 3); select((select($answers), $| = 1)[0]);
sub drawn { return join('","', rand(), join('', keys %{{ map { $_ => 1 } 'a' .. 'z' }})) }
my $kept = EARLY ? drawn() : undef;
while (my $line = <STDIN>) {
  my ($wait) = $line =~ /"wait":([\\d.]+)/;
  $kept //= drawn();
  select(undef, undef, undef, $wait);
  print $answers "{\\"drawn\\":[\\"$kept\\",\\"" . rand() . "\\"]}\\n";
}
`,
  'php8.2': `#!/usr/bin/php8.2
<?php
$answers = fopen('php://fd/3', 'w');
function drawn() { return [mt_rand() . '-' . mt_rand(), bin2hex(random_bytes(8)), lcg_value() . '']; }
$kept = EARLY ? drawn() : null;
while ($line = fgets(STDIN)) {
  $kept = $kept ?? drawn();
  usleep((int) (1e6 * json_decode($line)->value->wait));
  fwrite($answers, json_encode(['drawn' => array_merge($kept, drawn())]) . "\\n");
}
`,
  'ruby3.1': `#!/usr/bin/ruby3.1
require 'json'
require 'securerandom'
answers = IO.for_fd(3, 'w')
drawn = -> { [rand.to_s, Random.new.rand.to_s, SecureRandom.hex(8), 'x'.hash.to_s + '.' + rand.to_s] }
kept = EARLY ? drawn.call : nil
while (line = STDIN.gets)
  kept ||= drawn.call
  sleep JSON.parse(line)['value']['wait']
  answers.write({ drawn: kept + drawn.call }.to_json + "\\n")
  answers.flush
end
`,
};

/** Deploys a program and lets it draw; `undefined` where it cannot be run. */
async function drawnBy(code) {
  await ow.actions.update({ name: 'draws', action: { exec: { kind: 'native:default', code } } });
  const { json: { response } } = await raw('POST', '/api/v1/namespaces/_/actions/draws?blocking=true', { body: { wait: 0 } });
  if (/^cannot start action: exec .*No such file|^cannot start action: exec \/action\/bin\/exec$/.test(response.result.error ?? '')) return undefined;
  assert.ok(response.success, JSON.stringify(response));
  return draws('draws');
}

for (const early of [1, 0]) {
  const when = early ? 'when it starts' : 'at its first call';
  const own = fs.mkdtempSync(path.join(folder, 'program-'));
  for (const [what, [command, file, source]] of platform.runtimes.native ? some(PROGRAMS) : []) {
    test(`no two instances draw the same from ${what}, which draws ${when}`, async (t) => {
      const isFlag = command.includes('$EARLY');
      fs.writeFileSync(path.join(own, file), isFlag ? source : source.replaceAll('EARLY', early ? 'true' : 'false'));
      const built = spawnSync('sh', ['-c', command], { cwd: own, env: { ...process.env, EARLY: String(early) } });
      if (built.status !== 0 && /not found/.test(built.stderr)) return t.skip('there is no compiler');
      assert.equal(built.status, 0, String(built.stderr));
      const { drawn, copies } = await drawnBy(fs.readFileSync(path.join(own, 'program')).toString('base64'));
      t.diagnostic(`${copies} of ${CLONES} were copies`);
      assert.ok(!early || copies === 0, 'what is kept was drawn before the copies were made');
      differ(drawn);
    });
  }
  for (const [interpreter, source] of platform.runtimes.native ? Object.entries(SCRIPTS) : []) {
    test(`no two instances draw the same from a script of ${interpreter}, which draws ${when}`, async (t) => {
      const found = await drawnBy(source.replaceAll('EARLY', String(early)));
      if (!found) return t.skip('it is not packed');
      t.diagnostic(`${found.copies} of ${CLONES} were copies`);
      differ(found.drawn);
    });
  }
}

test('a program that seeds by the clock is not copied where its action says so', async (t) => {
  if (!platform.runtimes.native) return t.skip('there are no programs');
  const own = fs.mkdtempSync(path.join(folder, 'clock-'));
  // Nothing that the machine could see: a clock, and its own process id.
  const source = C('struct timespec now; clock_gettime(CLOCK_REALTIME, &now); srandom(now.tv_nsec ^ getpid()); drawn = random()').replace('#include <unistd.h>', '#include <time.h>\n#include <unistd.h>');
  fs.writeFileSync(path.join(own, 'source.c'), source);
  const built = spawnSync('cc', ['-O2', '-DEARLY=1', '-o', 'program', 'source.c'], { cwd: own });
  if (built.error) return t.skip('there is no compiler');
  assert.equal(built.status, 0, String(built.stderr));
  const code = fs.readFileSync(path.join(own, 'program')).toString('base64');
  await ow.actions.update({ name: 'seeded', action: { exec: { kind: 'native:default', code }, annotations: [{ key: 'snapshot', value: false }] } });
  const { drawn, copies } = await draws('seeded');
  assert.equal(copies, 0);
  differ(drawn.map(([kept]) => [kept]));
});
