// Functions the plain Linux way, as well as one Node can do it: a process for each instance, one call at a time in each, started
// when no idle one is there, kept as long as the limit allows, the least recently used ended first.
//   node functions.js PORT LIMIT
//   PUT /NAME {code, main}   POST /NAME {...}   DELETE /NAME   GET /metrics
const { fork } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');

if (process.send) return instance();

const [port, limit] = process.argv.slice(2).map(Number);
const functions = new Map(); // name -> { code, main, idle: [instance] }
const idle = new Map(); // instance -> name, in order of use
const waiting = []; // calls for which there is no room
const counts = { hot: 0, cold: 0, failed: 0 };
let instances = 0;

// In a child: the function's code comes first, then calls.
function instance() {
  let run;
  process.on('message', async ({ code, main, value }) => {
    try {
      if (code !== undefined) run = new Function(`${code}\nreturn ${main}`)();
      process.send({ result: code === undefined ? await run(value) : {} });
    } catch (error) {
      process.send({ error: String(error) });
    }
  });
}

const ask = (child, message) => new Promise((resolve, reject) => {
  const ended = () => reject(new Error('the instance has ended'));
  child.once('exit', ended).once('message', ({ result, error }) => {
    child.off('exit', ended);
    error === undefined ? resolve(result) : reject(new Error(error));
  });
  child.send(message);
});

function forget(child) {
  const own = functions.get(idle.get(child))?.idle;
  own?.splice(own.indexOf(child), 1);
  idle.delete(child);
}

function end(child) {
  forget(child);
  child.kill('SIGKILL');
}

async function start(fn) {
  instances++;
  const child = fork(__filename, [], { execArgv: ['--max-semi-space-size=1'], serialization: 'json' });
  child.on('exit', () => { forget(child); instances--; waiting.shift()?.(); });
  await ask(child, { code: fn.code, main: fn.main });
  return child;
}

async function obtain(fn) {
  for (;;) {
    const child = fn.idle.pop();
    if (child) { idle.delete(child); counts.hot++; return child; }
    if (instances < limit) { counts.cold++; return start(fn); }
    const oldest = idle.keys().next().value;
    const room = new Promise((resolve) => waiting.push(resolve));
    if (oldest) end(oldest);
    await room;
  }
}

async function call(name, value) {
  const fn = functions.get(name);
  if (!fn) throw new Error(`no function ${name}`);
  const child = await obtain(fn);
  const result = await ask(child, { value });
  if (functions.get(name) === fn) {
    fn.idle.push(child);
    idle.set(child, name);
    waiting.shift()?.();
  } else end(child);
  return result;
}

function metrics() {
  const memory = (name) => 1024 * new RegExp(`${name}: *(\\d+)`).exec(fs.readFileSync('/proc/meminfo', 'utf8'))[1];
  return `starts_hot ${counts.hot}\nstarts_cold ${counts.cold}\nfailed ${counts.failed}\ninstances ${instances}\n` +
    `used_bytes ${memory('MemTotal') - memory('MemAvailable')}\n`;
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

http.createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, async (request, response) => {
  const name = request.url.slice(1);
  const answer = (status, body, type = 'application/json') =>
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
  try {
    const body = await text(request);
    if (request.method === 'GET') return answer(200, metrics(), 'text/plain');
    if (request.method === 'PUT') functions.set(name, { ...JSON.parse(body), idle: [] });
    else if (request.method === 'DELETE') {
      for (const child of [...functions.get(name)?.idle ?? []]) end(child);
      functions.delete(name);
    } else return answer(200, JSON.stringify(await call(name, JSON.parse(body))));
    answer(200, '{}');
  } catch (error) {
    counts.failed++;
    answer(502, JSON.stringify({ error: String(error) }));
  }
}).listen(port);
