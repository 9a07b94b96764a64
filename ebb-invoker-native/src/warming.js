// What the base is warmed with: the modules that actions use and the paths that most of them take, so that a copy finds them
// loaded and compiled. It starts no threads and leaves no timer for long, for every copy would have them.
const assert = require('assert');
const crypto = require('crypto');
const events = require('events');
const fs = require('fs');
const http = require('http');
const https = require('https');
const path = require('path');
const querystring = require('querystring');
const { setTimeout: delay } = require('timers/promises');
const { promisify } = require('util');
const v8 = require('v8');
const zlib = require('zlib');
require('child_process');
require('dns');
require('fs/promises');
require('net');
require('os');
require('stream/promises');
require('tls');
require('url');

const turn = promisify(setImmediate);

// What `fetch` reads HTTP by is an instance of WebAssembly that comes some time after its first use.
const { instantiate } = WebAssembly;
const isUsed = process.moduleLoadList.some((name) => name.endsWith('undici/undici'));
let reader;
WebAssembly.instantiate = (...given) => (reader = instantiate(...given));

/** A request to a server of our own: both sides of HTTP and of a connection. */
async function loopback(text) {
  // Its timer wakes the process once more when it is due, also after the server was closed.
  const server = http.createServer({ connectionsCheckingInterval: 1 }, (request, response) => {
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ body })));
  });
  try {
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
    return await new Promise((resolve, reject) => {
      const { port } = server.address();
      const request = http.request({ host: '127.0.0.1', port, method: 'POST', agent: false }, (response) => {
        let answer = '';
        response.setEncoding('utf8').on('data', (part) => { answer += part; }).on('end', () => resolve(JSON.parse(answer)));
      });
      request.once('error', reject).end(text);
    });
  } finally {
    server.close();
  }
}

function values(args) {
  const text = JSON.stringify({ ...args, list: [1, 2.5, 'three'].map((x) => [x, typeof x]) });
  const { list, ...rest } = JSON.parse(text);
  const map = new Map(Object.entries(rest));
  const words = `hello ${map.get('name') ?? 'nobody'}`.split(' ').filter(Boolean).sort((a, b) => a.localeCompare(b));
  const url = new URL('https://example.com/a/b?c=d#e');
  url.searchParams.append('name', words.join('-'));
  return {
    words, list, url: url.href, at: new Date().toISOString(), sum: [1, 2, 3].reduce((a, b) => a + b, Math.random()),
    found: /^(\w+)-(\w+)$/.exec('one-two')?.slice(1), query: querystring.parse('a=1&b=2'), file: path.join('/a', '..', 'b.js'),
    bytes: Buffer.from('text', 'utf8').toString('base64'),
  };
}

function cryptography() {
  const digest = crypto.createHash('sha256').update('text').digest('hex');
  const keyed = crypto.createHmac('sha256', 'key').update('text').digest('base64');
  return [digest, keyed, crypto.randomBytes(16).toString('hex'), crypto.randomUUID(), crypto.randomInt(100)];
}

async function main(args) {
  console.log('warming', { name: args.name });
  const emitter = new events.EventEmitter();
  const heard = events.once(emitter, 'done');
  emitter.emit('done', 1);
  await heard;
  await turn();
  assert(values(args).list.length === 3);
  if (!args.all) return { greeting: `hello ${args.name}` };
  fs.writeFileSync('/tmp/warming', zlib.gzipSync('text'));
  assert.strictEqual(zlib.gunzipSync(fs.readFileSync('/tmp/warming')).toString(), 'text');
  fs.unlinkSync('/tmp/warming');
  const answer = await (await fetch('data:application/json,{"fetched":true}')).json();
  assert(answer.fetched && https.Agent && cryptography().length === 5);
  // Where there is no network this is left out.
  const echo = await loopback('text').catch(() => ({ body: 'text' }));
  assert.strictEqual(echo.body, 'text');
  // In a version of Node that has none it never comes.
  for (let left = 500; !isUsed && reader === undefined && left > 0; left--) await delay(5);
  await reader;
  WebAssembly.instantiate = instantiate;
  // Actions' WebAssembly is compiled when it is called, as usual.
  v8.setFlagsFromString('--wasm-lazy-compilation');
  return { greeting: `hello ${args.name}`, echo };
}
