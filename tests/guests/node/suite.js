// What an unmodified Node.js must be able to do in a UC, as a TAP stream; runs on any Node from 18, so that a check can be
// checked on Linux. `node suite.js [long] [PATTERN]`: `long` adds the checks that take their time, PATTERN picks by name.
'use strict';
const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');

const words = process.argv.slice(2);
const long = words.includes('long');
const pattern = new RegExp(words.filter((w) => w !== 'long')[0] ?? '');
const checks = [];
const check = (name, run) => pattern.test(name) && checks.push({ name, run });
const longCheck = (name, run) => long && check(name, run);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const major = Number(process.versions.node.split('.')[0]);

// The language's runtime.

check('timers fire in order and not early', async () => {
  const seen = [];
  const begun = process.hrtime.bigint();
  setTimeout(() => seen.push('timeout 400'), 400);
  setTimeout(() => seen.push('timeout 200'), 200);
  setImmediate(() => seen.push('immediate'));
  process.nextTick(() => seen.push('tick'));
  queueMicrotask(() => seen.push('microtask'));
  await sleep(450);
  assert(process.hrtime.bigint() - begun >= 449_000_000n);
  // Within a promise's job microtasks come before ticks, else behind them.
  assert.deepStrictEqual(seen.splice(0, 2).sort(), ['microtask', 'tick']);
  assert.deepStrictEqual(seen, ['immediate', 'timeout 200', 'timeout 400']);
});

check('an interval repeats until it is cleared', async () => {
  let count = 0;
  await new Promise((done) => {
    const timer = setInterval(() => { if (++count === 4) { clearInterval(timer); done(); } }, 2);
  });
  await sleep(10);
  assert.strictEqual(count, 4);
});

check('promises settle, time out and are aborted', async () => {
  assert.deepStrictEqual(await Promise.allSettled([sleep(1).then(() => 1), Promise.reject(new Error('no'))])
    .then((all) => all.map((p) => p.status)), ['fulfilled', 'rejected']);
  await assert.rejects(require('node:timers/promises').setTimeout(10_000, 0, { signal: AbortSignal.timeout(5) }),
    { name: 'AbortError' });
  async function* numbers() { for (let i = 0; i < 3; i++) { await null; yield i; } }
  let sum = 0;
  for await (const n of numbers()) sum += n;
  assert.strictEqual(sum, 3);
});

check('hot code is compiled and keeps its results', () => {
  const hot = (n) => { let h = 0; for (let i = 0; i < n; i++) h = (Math.imul(h, 31) + (i ^ (h >>> 7))) | 0; return h; };
  const first = hot(1000);
  for (let i = 0; i < 300; i++) assert.strictEqual(hot(1000), first);
  let x = 0.5;
  for (let i = 0; i < 100_000; i++) x = 3.7 * x * (1 - x);
  assert.strictEqual(x.toFixed(3).length, 5);
});

check('garbage is collected', () => {
  const before = process.memoryUsage().heapUsed;
  let kept;
  for (let i = 0; i < 300; i++) kept = Array.from({ length: 1000 }, (_, n) => ({ n, text: `text ${n}` }));
  assert.strictEqual(kept[999].n, 999);
  assert(process.memoryUsage().heapUsed - before < 64 << 20);
});

check('process.memoryUsage gives plausible numbers', () => {
  const usage = process.memoryUsage();
  assert(usage.rss > 10 << 20 && usage.rss < 2 ** 32, `rss ${usage.rss}`);
  assert(usage.heapTotal >= usage.heapUsed && usage.heapUsed > 1 << 20);
  assert.strictEqual(typeof process.memoryUsage.rss(), 'number');
  const held = Buffer.alloc(32 << 20, 1);
  assert(process.memoryUsage().rss >= usage.rss + (28 << 20));
  assert(process.memoryUsage().external >= held.length);
});

check('the process and the machine describe themselves', () => {
  const os = require('node:os');
  assert.strictEqual(process.platform, 'linux');
  assert.strictEqual(process.arch, 'x64');
  assert(process.pid > 0);
  assert.strictEqual(fs.realpathSync(process.execPath), process.execPath);
  assert.strictEqual(os.endianness(), 'LE');
  assert(os.totalmem() >= os.freemem() && os.freemem() > 0);
  assert(os.cpus().length >= 1 && os.uptime() >= 0 && os.loadavg().length === 3);
  assert.strictEqual(os.type(), 'Linux');
  assert(os.hostname().length > 0);
  assert.strictEqual(os.userInfo().username, 'root');
  assert.strictEqual(process.cwd(), path.resolve('.'));
  assert(process.uptime() > 0);
  const { user } = process.cpuUsage();
  for (let i = 0, x = 1; i < 3e6; i++) x = Math.imul(x, 31);
  assert(process.cpuUsage().user >= user);
  assert(process.resourceUsage().maxRSS > 0);
  assert.strictEqual(os.networkInterfaces().lo[0].address, '127.0.0.1');
  process.title = 'suite';
  assert.strictEqual(process.title, 'suite');
  process.umask(0o27);
  assert.strictEqual(process.umask(0o22), 0o27);
  process.kill(process.pid, 0);
});

check('signals reach their handlers', async () => {
  const got = once(process, 'SIGUSR2');
  process.kill(process.pid, 'SIGUSR2');
  assert.strictEqual((await got)[0], 'SIGUSR2');
});

check('Intl formats dates, numbers and collates', () => {
  assert.strictEqual(new Intl.NumberFormat('de-DE').format(1234567.5), '1.234.567,5');
  assert.strictEqual(new Date(0).toLocaleDateString('fr-FR', { timeZone: 'UTC', month: 'long', day: 'numeric' }), '1 janvier');
  assert.deepStrictEqual(['z', 'ä', 'a'].sort(new Intl.Collator('de').compare), ['a', 'ä', 'z']);
  assert.strictEqual(new Intl.PluralRules('en', { type: 'ordinal' }).select(22), 'two');
  assert.strictEqual('İ'.toLocaleLowerCase('tr'), 'i');
  assert.strictEqual([...new Intl.Segmenter('th', { granularity: 'word' }).segment('สวัสดีโลก')].length, 2);
  assert.strictEqual(new Intl.DateTimeFormat('en', { timeZone: 'America/New_York', hour: 'numeric' }).format(new Date(0)), '7 PM');
});

check('WebAssembly compiles, runs and traps', async () => {
  // (func (export "fac") (param i64) (result i64) ...) with a recursive call, and a memory of one page.
  const code = Uint8Array.from([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 11, 2, 96, 1, 126, 1, 126, 96, 1, 127, 1, 127, 3, 3, 2, 0, 1, 5, 3, 1, 0, 1,
    7, 20, 3, 3, 102, 97, 99, 0, 0, 4, 108, 111, 97, 100, 0, 1, 3, 109, 101, 109, 2, 0, 10, 31, 2,
    21, 0, 32, 0, 80, 4, 126, 66, 1, 5, 32, 0, 32, 0, 66, 1, 125, 16, 0, 126, 11, 11,
    7, 0, 32, 0, 40, 2, 0, 11]);
  const { instance } = await WebAssembly.instantiate(code);
  assert.strictEqual(instance.exports.fac(20n), 2432902008176640000n);
  new Uint32Array(instance.exports.mem.buffer)[1] = 77;
  assert.strictEqual(instance.exports.load(4), 77);
  // V8 leaves the bounds check to a guard region and a SIGSEGV handler.
  assert.throws(() => instance.exports.load(1 << 20), WebAssembly.RuntimeError);
  assert.throws(() => instance.exports.fac(-1n), RangeError);
  assert.strictEqual(instance.exports.fac(5n), 120n);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 10, shared: true });
  memory.grow(2);
  assert.strictEqual(memory.buffer.byteLength, 3 * 65536);
});

check('deep recursion is an error, not the end', () => {
  const deep = (n) => 1 + deep(n + 1);
  assert.throws(() => deep(0), RangeError);
  assert.throws(() => deep(0), /Maximum call stack/);
});

check('vm contexts are apart', () => {
  const vm = require('node:vm');
  const context = vm.createContext({ x: 20 });
  assert.strictEqual(vm.runInContext('var y = x + 1; y * 2', context), 42);
  assert.strictEqual(context.y, 21);
  assert.throws(() => vm.runInNewContext('for (;;);', {}, { timeout: 30 }), { code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' });
});

check('ES modules load, with top-level await and cycles', async () => {
  const module = await import('./module.mjs');
  assert.strictEqual(module.answer, 42);
  assert.strictEqual(module.default(), 'default');
  assert(module.url.endsWith('/module.mjs'));
  assert.strictEqual((await import('data:text/javascript,export default 7')).default, 7);
  await assert.rejects(import('./absent.mjs'), { code: 'ERR_MODULE_NOT_FOUND' });
});

check('require finds files, JSON and built-ins, and says what is missing', () => {
  assert.deepStrictEqual(require('./data.json'), { kind: 'data', list: [1, 2, 3] });
  assert.strictEqual(require.resolve('./suite.js'), __filename);
  assert.throws(() => require('./absent'), { code: 'MODULE_NOT_FOUND' });
  assert(require('node:module').builtinModules.includes('fs'));
});

check('structured clone, BigInt, URL and text encodings', () => {
  assert.deepStrictEqual(structuredClone(new Map([[1, { a: [new Date(0)] }]])), new Map([[1, { a: [new Date(0)] }]]));
  assert.strictEqual((2n ** 4000n).toString().length, 1205);
  const url = new URL('https://user:pass@例え.jp:8443/a/../b?q=1&q=2#f');
  assert.strictEqual(url.href, 'https://user:pass@xn--r8jz45g.jp:8443/b?q=1&q=2#f');
  assert.deepStrictEqual(url.searchParams.getAll('q'), ['1', '2']);
  assert.strictEqual(new TextDecoder('shift_jis').decode(Uint8Array.of(0x83, 0x65)), 'テ');
  assert.strictEqual(Buffer.from('€').toString('base64url'), '4oKs');
  assert.strictEqual(require('node:querystring').stringify({ a: [1, 2], b: 'ü' }), 'a=1&a=2&b=%C3%BC');
});

check('performance timers and the event loop can be watched', async () => {
  const { performance, monitorEventLoopDelay, PerformanceObserver } = require('node:perf_hooks');
  const seen = new Promise((done) => new PerformanceObserver((list) => done(list.getEntries()[0].name)).observe({ entryTypes: ['measure'] }));
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  performance.mark('a');
  await sleep(25);
  performance.measure('from a', 'a');
  assert.strictEqual(await seen, 'from a');
  while (!(delay.max > 0)) await sleep(5);
  delay.disable();
  assert(performance.now() > 0 && Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 5000);
  assert(Date.now() > Date.UTC(2020, 0));
});

check('AsyncLocalStorage follows its calls', async () => {
  const storage = new (require('node:async_hooks').AsyncLocalStorage)();
  const all = await Promise.all([1, 2, 3].map((n) => storage.run(n, async () => { await sleep(4 - n); return storage.getStore(); })));
  assert.deepStrictEqual(all, [1, 2, 3]);
});

// Files.

const scratch = () => fs.mkdtempSync(path.join(require('node:os').tmpdir(), 'suite-'));

check('files are written, read, appended, truncated and removed', async () => {
  const dir = scratch();
  const file = path.join(dir, 'file');
  fs.writeFileSync(file, 'one\n');
  fs.appendFileSync(file, 'two\n');
  assert.strictEqual(fs.readFileSync(file, 'utf8'), 'one\ntwo\n');
  assert.strictEqual(fs.statSync(file).size, 8);
  fs.truncateSync(file, 3);
  assert.strictEqual(await fs.promises.readFile(file, 'latin1'), 'one');
  const handle = await fs.promises.open(file, 'r+');
  await handle.write(Buffer.from('X'), 0, 1, 1);
  assert.strictEqual((await handle.read(Buffer.alloc(3), 0, 3, 0)).bytesRead, 3);
  await handle.datasync();
  await handle.close();
  assert.strictEqual(fs.readFileSync(file, 'utf8'), 'oXe');
  fs.copyFileSync(file, `${file}2`);
  fs.renameSync(`${file}2`, `${file}3`);
  fs.linkSync(file, `${file}4`);
  assert.strictEqual(fs.statSync(file).nlink, 2);
  fs.symlinkSync('file', `${file}5`);
  assert.strictEqual(fs.readlinkSync(`${file}5`), 'file');
  assert.strictEqual(fs.realpathSync(`${file}5`), file);
  fs.chmodSync(file, 0o600);
  assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600);
  fs.utimesSync(file, 1, 2);
  assert.strictEqual(fs.statSync(file).mtimeMs, 2000);
  assert.deepStrictEqual(fs.readdirSync(dir).sort(), ['file', 'file3', 'file4', 'file5']);
  assert(fs.readdirSync(dir, { withFileTypes: true }).find((e) => e.name === 'file5').isSymbolicLink());
  assert.throws(() => fs.readFileSync(path.join(dir, 'absent')), { code: 'ENOENT' });
  assert.throws(() => fs.mkdirSync(dir), { code: 'EEXIST' });
  assert.throws(() => fs.rmdirSync(dir), { code: 'ENOTEMPTY' });
  fs.accessSync(file, fs.constants.R_OK | fs.constants.W_OK);
  fs.rmSync(dir, { recursive: true });
  assert(!fs.existsSync(dir));
});

check('directory trees are made, walked, copied and removed', async () => {
  const dir = scratch();
  fs.mkdirSync(path.join(dir, 'a/b/c'), { recursive: true });
  for (const name of ['a/1', 'a/b/2', 'a/b/c/3']) await fs.promises.writeFile(path.join(dir, name), name);
  await fs.promises.cp(path.join(dir, 'a'), path.join(dir, 'copy'), { recursive: true });
  const names = fs.readdirSync(path.join(dir, 'copy'), { recursive: true }).sort();
  assert.deepStrictEqual(names, ['1', 'b', 'b/2', 'b/c', 'b/c/3']);
  for await (const entry of await fs.promises.opendir(dir)) assert(entry.isDirectory());
  await fs.promises.rm(dir, { recursive: true });
  assert.throws(() => fs.opendirSync(dir), { code: 'ENOENT' });
});

check('a large file streams through pipes and keeps its bytes', async () => {
  const { pipeline } = require('node:stream/promises');
  const { createHash } = require('node:crypto');
  const dir = scratch();
  const data = Buffer.alloc(3 << 20);
  for (let i = 0; i < data.length; i += 4) data.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  fs.writeFileSync(path.join(dir, 'in'), data);
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(path.join(dir, 'in')),
    async function* (source) { for await (const chunk of source) { hash.update(chunk); yield chunk; } },
    fs.createWriteStream(path.join(dir, 'out')));
  assert(fs.readFileSync(path.join(dir, 'out')).equals(data));
  assert.strictEqual(hash.digest('hex'), createHash('sha256').update(data).digest('hex'));
  fs.rmSync(dir, { recursive: true });
});

check('the root is the archive: read as it is, changed in private', () => {
  const self = fs.readFileSync(__filename);
  assert(self.includes('What an unmodified Node.js must be able to do'));
  assert(fs.statSync('/etc/passwd').isFile());
  assert(fs.readFileSync('/proc/self/maps', 'utf8').includes('[stack]'));
  assert(fs.readFileSync('/proc/self/status', 'utf8').includes('VmRSS'));
  assert.strictEqual(fs.readlinkSync('/proc/self/exe'), process.execPath);
  assert.strictEqual(fs.readFileSync('/dev/null').length, 0);
  const random = fs.openSync('/dev/urandom');
  assert.notDeepStrictEqual(Buffer.alloc(16), (() => { const b = Buffer.alloc(16); fs.readSync(random, b); return b; })());
  fs.closeSync(random);
});

check('fs.watch says what changes or is inert, and ends', async () => {
  const dir = scratch();
  const watcher = fs.watch(dir);
  fs.writeFileSync(path.join(dir, 'new'), '');
  await sleep(5);
  watcher.close();
  fs.rmSync(dir, { recursive: true });
});

// Libraries.

check('crypto: hashes, ciphers, keys, signatures, random numbers', async () => {
  const crypto = require('node:crypto');
  assert.strictEqual(crypto.createHash('sha256').update('abc').digest('hex'),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.strictEqual(crypto.createHmac('sha512', 'key').update('x').digest('hex').length, 128);
  const key = crypto.randomBytes(32);
  const iv = crypto.randomBytes(12);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, iv);
  const sealed = Buffer.concat([cipher.update('secret'), cipher.final()]);
  const opener = crypto.createDecipheriv('aes-256-gcm', key, iv).setAuthTag(cipher.getAuthTag());
  assert.strictEqual(Buffer.concat([opener.update(sealed), opener.final()]).toString(), 'secret');
  const derived = await promisify(crypto.pbkdf2)('password', 'salt', 1000, 32, 'sha256');
  assert.strictEqual(derived.toString('hex').slice(0, 16), '632c2812e46d4604');
  assert.strictEqual((await promisify(crypto.scrypt)('p', 's', 16)).length, 16);
  const pair = await promisify(crypto.generateKeyPair)('ec', { namedCurve: 'P-256' });
  const signature = crypto.sign('sha256', Buffer.from('text'), pair.privateKey);
  assert(crypto.verify('sha256', Buffer.from('text'), pair.publicKey, signature));
  assert.match(crypto.randomUUID(), /^[0-9a-f-]{36}$/);
  const subtle = crypto.webcrypto.subtle;
  assert.strictEqual((await subtle.digest('SHA-1', Buffer.from('abc'))).byteLength, 20);
});

check('zlib: deflate, gzip and brotli, at once and as streams', async () => {
  const zlib = require('node:zlib');
  const text = Buffer.from('the same again and again. '.repeat(4000));
  for (const [pack, unpack] of [['gzip', 'gunzip'], ['deflate', 'inflate'], ['brotliCompress', 'brotliDecompress']]) {
    const packed = await promisify(zlib[pack])(text);
    assert(packed.length < text.length / 20, pack);
    assert((await promisify(zlib[unpack])(packed)).equals(text), unpack);
    assert(zlib[`${unpack}Sync`](packed).equals(text));
  }
  const stream = zlib.createGzip();
  stream.end(text);
  let size = 0;
  for await (const chunk of stream.pipe(zlib.createGunzip())) size += chunk.length;
  assert.strictEqual(size, text.length);
  await assert.rejects(promisify(zlib.gunzip)(Buffer.from('not gzip')), { code: 'Z_DATA_ERROR' });
});

check('streams hold back, transform, and pass errors on', async () => {
  const { Readable, Writable, Transform, pipeline } = require('node:stream');
  const seen = [];
  await promisify(pipeline)(Readable.from(['a', 'b', 'c']),
    new Transform({ objectMode: true, transform(chunk, _, next) { setImmediate(next, null, `${chunk}`.toUpperCase()); } }),
    new Writable({ objectMode: true, highWaterMark: 1, write(chunk, _, next) { seen.push(`${chunk}`); setTimeout(next, 1); } }));
  assert.deepStrictEqual(seen, ['A', 'B', 'C']);
  await assert.rejects(promisify(pipeline)(Readable.from((function* () { yield 'x'; throw new Error('broken'); })()),
    new Writable({ write: (chunk, encoding, next) => next() })), /broken/);
  const web = new ReadableStream({ start(c) { c.enqueue('w'); c.close(); } });
  assert.strictEqual((await web.getReader().read()).value, 'w');
});

check('readline splits input into lines', async () => {
  const { PassThrough } = require('node:stream');
  const input = new PassThrough();
  const lines = require('node:readline').createInterface({ input, crlfDelay: Infinity });
  const seen = [];
  setImmediate(() => input.end('one\r\ntwo\nthree'));
  for await (const line of lines) seen.push(line);
  assert.deepStrictEqual(seen, ['one', 'two', 'three']);
});

// Threads.

check('worker_threads exchange messages and share memory', async () => {
  const { Worker } = require('node:worker_threads');
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(`
    const { parentPort, workerData, threadId } = require('node:worker_threads');
    Atomics.wait(workerData, 0, 0);
    Atomics.store(workerData, 1, 99);
    Atomics.notify(workerData, 1);
    parentPort.on('message', (m) => { parentPort.postMessage({ sum: m.list.reduce((a, b) => a + b), threadId }); });
  `, { eval: true, workerData: shared });
  await once(worker, 'online');
  Atomics.store(shared, 0, 1);
  Atomics.notify(shared, 0);
  worker.postMessage({ list: [1, 2, 3] });
  const [answer] = await once(worker, 'message');
  assert.deepStrictEqual(answer, { sum: 6, threadId: worker.threadId });
  assert.strictEqual(shared[1], 99);
  assert.strictEqual(await worker.terminate(), 1);
});

check('several workers run at once and their errors arrive', async () => {
  const { Worker } = require('node:worker_threads');
  const results = await Promise.all([1, 2, 3].map((n) => new Promise((done, fail) => {
    const worker = new Worker('const { parentPort, workerData } = require("node:worker_threads");' +
      'let x = 0; for (let i = 0; i < 1e5; i++) x = (x + i * workerData) % 1000003; parentPort.postMessage(x)', { eval: true, workerData: n });
    worker.once('message', done);
    worker.once('error', fail);
  })));
  assert.strictEqual(new Set(results).size, 3);
  const bad = new Worker('throw new TypeError("from a worker")', { eval: true });
  assert.strictEqual((await once(bad, 'error'))[0].message, 'from a worker');
});

check('Atomics.wait times out', () => {
  const begun = performance.now();
  assert.strictEqual(Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20), 'timed-out');
  assert(performance.now() - begun >= 19);
});

// Processes.

check('child_process: a program runs, with its output and status', async () => {
  const { spawn, spawnSync, execFileSync } = require('node:child_process');
  const child = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout); process.on("exit", () => process.exit(9))']);
  child.stdin.end('through the child');
  let text = '';
  for await (const chunk of child.stdout) text += chunk;
  assert.strictEqual(text, 'through the child');
  assert.deepStrictEqual(child.exitCode === null ? await once(child, 'exit') : [child.exitCode, null], [9, null]);
  assert.strictEqual(execFileSync(process.execPath, ['-p', '6 * 7']).toString(), '42\n');
  assert.strictEqual(spawnSync(process.execPath, ['-e', 'process.kill(process.pid, "SIGKILL")']).signal, 'SIGKILL');
  assert.strictEqual(spawnSync('/no/such/program').error.code, 'ENOENT');
});

check('child_process: a shell', () => {
  const { execSync } = require('node:child_process');
  assert.strictEqual(execSync('x=1; echo $((x + 1)) "$HOME"', { env: { HOME: '/there' } }).toString(), '2 /there\n');
  assert.throws(() => execSync('exit 3', { stdio: 'pipe' }), { status: 3 });
});

check('child_process: a fork exchanges messages and is killed', async () => {
  const { fork } = require('node:child_process');
  const child = fork(path.join(__dirname, 'child.js'), ['argument']);
  child.send({ add: [1, 2] });
  assert.deepStrictEqual((await once(child, 'message'))[0], { sum: 3, argument: 'argument' });
  child.kill();
  assert.deepStrictEqual(await once(child, 'exit'), [null, 'SIGTERM']);
});

// Network, within the program.

const listening = async (server, ...where) => { server.listen(...where); await once(server, 'listening'); return server.address(); };

check('net: a server and clients over TCP, IPv4 and IPv6', async () => {
  const net = require('node:net');
  for (const host of ['127.0.0.1', '::1']) {
    const server = net.createServer((socket) => socket.pipe(socket));
    const { port } = await listening(server, 0, host);
    const socket = net.connect(port, host);
    await once(socket, 'connect');
    assert.strictEqual(socket.remoteAddress, host);
    socket.setNoDelay(true).setKeepAlive(true, 1000);
    socket.end(Buffer.alloc(200_000, 'e'));
    let size = 0;
    for await (const chunk of socket) size += chunk.length;
    assert.strictEqual(size, 200_000);
    server.close();
    await once(server, 'close');
    const refused = net.connect(port, host);
    assert.strictEqual((await once(refused, 'error'))[0].code, 'ECONNREFUSED');
  }
});

check('net: sockets with a path', async () => {
  const net = require('node:net');
  const dir = scratch();
  const server = net.createServer((socket) => socket.end('over a path'));
  await listening(server, path.join(dir, 'socket'));
  let text = '';
  for await (const chunk of net.connect(path.join(dir, 'socket'))) text += chunk;
  assert.strictEqual(text, 'over a path');
  server.close();
  await once(server, 'close');
  fs.rmSync(dir, { recursive: true });
});

check('net: an address in use and a time limit are told', async () => {
  const net = require('node:net');
  const server = net.createServer(() => {});
  const { port } = await listening(server, 0);
  const second = net.createServer();
  second.listen(port);
  assert.strictEqual((await once(second, 'error'))[0].code, 'EADDRINUSE');
  const socket = net.connect(port, '127.0.0.1');
  socket.setTimeout(15);
  await once(socket, 'timeout');
  socket.destroy();
  server.close();
});

check('dgram: datagrams go there and back', async () => {
  const dgram = require('node:dgram');
  for (const [type, host] of [['udp4', '127.0.0.1'], ['udp6', '::1']]) {
    const server = dgram.createSocket(type);
    server.bind(0, host);
    await once(server, 'listening');
    server.on('message', (message, from) => server.send(`${message}!`, from.port, from.address));
    const client = dgram.createSocket(type);
    client.send('ping', server.address().port, host);
    const [answer, from] = await once(client, 'message');
    assert.strictEqual(answer.toString(), 'ping!');
    assert.strictEqual(from.port, server.address().port);
    client.close();
    server.close();
  }
});

check('dns: localhost is known, nonsense is not', async () => {
  const dns = require('node:dns').promises;
  assert.strictEqual((await dns.lookup('localhost', { family: 4 })).address, '127.0.0.1');
  assert.deepStrictEqual(await dns.lookup('127.0.0.9'), { address: '127.0.0.9', family: 4 });
  await assert.rejects(dns.lookup('no.such.name.invalid'), (e) => ['ENOTFOUND', 'EAI_AGAIN'].includes(e.code));
});

check('http: a server answers, with bodies, chunks, errors and kept-alive connections', async () => {
  const http = require('node:http');
  const server = http.createServer(async (request, response) => {
    if (request.url === '/echo') {
      response.writeHead(201, { 'content-type': 'text/plain', 'x-length': request.headers['content-length'] });
      for await (const chunk of request) response.write(chunk);
      response.end();
    } else {
      response.statusCode = 404;
      response.end('nothing here');
    }
  });
  const { port } = await listening(server, 0, '127.0.0.1');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async (options, body) => {
    const request = http.request({ port, host: '127.0.0.1', agent, ...options });
    request.end(body);
    const [response] = await once(request, 'response');
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks), reused: request.reusedSocket };
  };
  const body = Buffer.alloc(100_000, 'b');
  const echo = await ask({ method: 'POST', path: '/echo', headers: { 'content-length': body.length } }, body);
  assert.strictEqual(echo.status, 201);
  assert(echo.body.equals(body));
  const missing = await ask({ path: '/missing' });
  assert.strictEqual(missing.status, 404);
  assert(missing.reused);
  agent.destroy();
  server.close();
  await once(server, 'close');
});

check('fetch: GET, POST, streams, aborted requests', async () => {
  const server = require('node:http').createServer(async (request, response) => {
    if (request.url === '/slow') return;
    let text = '';
    for await (const chunk of request) text += chunk;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method: request.method, text }));
  });
  const { port } = await listening(server, 0, '127.0.0.1');
  const at = `http://127.0.0.1:${port}`;
  assert.deepStrictEqual(await (await fetch(`${at}/`)).json(), { method: 'GET', text: '' });
  assert.deepStrictEqual(await (await fetch(`${at}/`, { method: 'POST', body: 'hello' })).json(), { method: 'POST', text: 'hello' });
  await assert.rejects(fetch(`${at}/slow`, { signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' });
  await assert.rejects(fetch('http://127.0.0.1:9/'), /fetch failed/);
  server.closeAllConnections();
  server.close();
});

check('tls: a connection by a shared key', async () => {
  const tls = require('node:tls');
  const psk = Buffer.alloc(32, 7);
  const options = { ciphers: 'PSK+HIGH', maxVersion: 'TLSv1.2' };
  const server = tls.createServer({ ...options, pskCallback: (socket, identity) => (identity === 'me' ? psk : null) },
    (socket) => socket.pipe(socket));
  const { port } = await listening(server, 0, '127.0.0.1');
  const socket = tls.connect({ ...options, port, host: '127.0.0.1', checkServerIdentity: () => undefined, pskCallback: () => ({ psk, identity: 'me' }) });
  await once(socket, 'secureConnect');
  assert(socket.encrypted);
  socket.end(Buffer.alloc(50_000, 't'));
  let size = 0;
  for await (const chunk of socket) size += chunk.length;
  assert.strictEqual(size, 50_000);
  server.close();
});

check('http2: streams of one session', async () => {
  const http2 = require('node:http2');
  const server = http2.createServer();
  server.on('stream', (stream, headers) => { stream.respond({ ':status': 200 }); stream.end(headers[':path']); });
  const { port } = await listening(server, 0, '127.0.0.1');
  const client = http2.connect(`http://127.0.0.1:${port}`);
  const texts = await Promise.all(['/a', '/b', '/c'].map(async (where) => {
    let text = '';
    for await (const chunk of client.request({ ':path': where })) text += chunk;
    return text;
  }));
  assert.deepStrictEqual(texts, ['/a', '/b', '/c']);
  client.close();
  server.close();
});

longCheck('http: 10,000 short requests', async () => {
  const http = require('node:http');
  const server = http.createServer((request, response) => response.end(request.url));
  server.keepAliveTimeout = 0;
  const { port } = await listening(server, 0, '127.0.0.1');
  const get = (agent, n) => new Promise((done, fail) => http.get({ port, host: '127.0.0.1', path: `/${n}`, agent }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (t) => { text += t; }).on('end', () => (text === `/${n}` ? done() : fail(new Error(text))));
  }).on('error', fail));
  // A connection for each of the first 2,000, the rest over 8 kept-alive ones.
  for (let n = 0; n < 2000; n += 10) await Promise.all(Array.from({ length: 10 }, (_, i) => get(false, n + i)));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  for (let n = 2000; n < 10_000; n += 100) await Promise.all(Array.from({ length: 100 }, (_, i) => get(agent, n + i)));
  agent.destroy();
  server.closeAllConnections();
  server.close();
});

// Packages out of the archive.

check('lodash and express come from the archive and work', async () => {
  const _ = require('lodash');
  assert.deepStrictEqual(_.chunk(_.range(5), 2), [[0, 1], [2, 3], [4]]);
  assert.strictEqual(_.template('hi <%= who %>')({ who: 'there' }), 'hi there');
  const express = require('express');
  const app = express();
  app.use(express.json());
  app.use('/files', express.static(__dirname));
  app.get('/hello/:name', (request, response) => response.json({ hello: request.params.name }));
  app.post('/sum', (request, response) => response.send(String(_.sum(request.body))));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const at = `http://127.0.0.1:${server.address().port}`;
  assert.deepStrictEqual(await (await fetch(`${at}/hello/you`)).json(), { hello: 'you' });
  assert.strictEqual(await (await fetch(`${at}/sum`, { method: 'POST', body: '[1,2,3]', headers: { 'content-type': 'application/json' } })).text(), '6');
  assert.deepStrictEqual(await (await fetch(`${at}/files/data.json`)).json(), require('./data.json'));
  assert.strictEqual((await fetch(`${at}/absent`)).status, 404);
  server.closeAllConnections();
  server.close();
});

check('an error is thrown, caught and has its place', () => {
  try {
    null.x;
    assert.fail();
  } catch (error) {
    assert(error instanceof TypeError);
    assert(error.stack.includes('suite.js:'));
  }
  assert(typeof process.report.getReport().header.nodejsVersion === 'string');
});

(async () => {
  console.log(`TAP version 13\n# node ${process.version}, V8 ${process.versions.v8}\n1..${checks.length}`);
  let failed = 0;
  for (const [i, { name, run }] of checks.entries()) {
    let timer;
    const begun = performance.now();
    try {
      await Promise.race([run(), new Promise((_, fail) => { timer = setTimeout(() => fail(new Error('takes too long')), long ? 300_000 : 30_000); })]);
      console.log(`ok ${i + 1} - ${name} # ${Math.round(performance.now() - begun)} ms`);
    } catch (error) {
      failed++;
      console.log(`not ok ${i + 1} - ${name}\n${String(error?.stack ?? error).replace(/^/gm, '#   ')}`);
    }
    clearTimeout(timer);
  }
  console.log(`# ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
})();
