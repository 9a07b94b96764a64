// One instance of the loader as a child process, driven over its socket or over HTTP; both look the same to a test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const MARKER = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX';
export const LOADER = fileURLToPath(new URL('../../loader.js', import.meta.url));
const KINDS = { '/init': 1, '/run': 2, '/reset': 3, '/thaw': 4, '/rest': 5 };
const DREW = 1 << 16;
const HOOKS = 1 << 17;
const HEADER = 12;

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

class Instance {
  constructor(child) {
    this.child = child;
    this.stdout = '';
    this.stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.closed = once(child, 'close');
  }

  /** Ends the process and returns all that it logged. */
  async logs() {
    this.child.kill('SIGKILL');
    await this.closed;
    return { stdout: this.stdout, stderr: this.stderr };
  }

  /** The exit status of a process that ends by itself. */
  async exit() {
    const [code] = await this.closed;
    return code;
  }

  init(code, more = {}) {
    return this.post('/init', { value: { name: 'test', main: 'main', code, ...more } });
  }

  run(value, more = {}) {
    return this.post('/run', { value, ...more });
  }

  async post(to, body) {
    const { status, text } = await this.send(to, body === undefined ? '' : JSON.stringify(body));
    return { status, body: JSON.parse(text) };
  }
}

class Framed extends Instance {
  #next = 1;
  #waiting = new Map();
  #input = Buffer.alloc(0);

  constructor(child) {
    super(child);
    this.socket = child.stdio[3];
    this.socket.on('data', (bytes) => {
      this.#input = Buffer.concat([this.#input, bytes]);
      while (this.#input.length >= HEADER) {
        const end = HEADER + this.#input.readUInt32LE(0);
        if (this.#input.length < end) return;
        const id = this.#input.readUInt32LE(4);
        const kind = this.#input.readUInt32LE(8);
        this.#waiting.get(id).resolve({
          status: kind & 0xffff,
          drew: (kind & DREW) !== 0,
          hooks: (kind & HOOKS) !== 0,
          text: this.#input.toString('utf8', HEADER, end),
        });
        this.#waiting.delete(id);
        this.#input = this.#input.subarray(end);
      }
    });
    const lost = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('connection lost'));
    };
    this.socket.on('close', lost).on('error', lost);
  }

  frame(kind, payload) {
    const bytes = Buffer.from(payload);
    const header = Buffer.alloc(HEADER);
    header.writeUInt32LE(bytes.length, 0);
    header.writeUInt32LE(this.#next, 4);
    header.writeUInt32LE(kind, 8);
    const answer = new Promise((resolve, reject) => this.#waiting.set(this.#next, { resolve, reject }));
    this.#next += 1;
    return { bytes: Buffer.concat([header, bytes]), answer };
  }

  send(to, payload) {
    const { bytes, answer } = this.frame(KINDS[to] ?? 99, payload);
    this.socket.write(bytes);
    return answer;
  }
}

class Http extends Instance {
  constructor(child, port) {
    super(child);
    this.port = port;
    this.agent = new http.Agent({ keepAlive: true });
  }

  send(to, payload, { method = 'POST', headers = { 'content-type': 'application/json' } } = {}) {
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.port, path: to, method, headers, agent: this.agent };
      const request = http.request(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode, text, headers: response.headers }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(payload);
    });
  }

  async listening() {
    for (;;) {
      const socket = net.connect(this.port, '127.0.0.1');
      const up = await Promise.race([once(socket, 'connect').then(() => true, () => false)]);
      socket.destroy();
      if (up) return;
      if (this.child.exitCode !== null) throw new Error(`the loader ended: ${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

export const TRANSPORTS = ['framed', 'http'];

/** Starts an instance; the test's end ends it. */
export async function start(t, transport, { env = {}, args = [] } = {}) {
  const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'loader-test-'));
  const port = transport === 'http' ? await freePort() : 0;
  const own = transport === 'http' ? ['--port', String(port)] : ['--fd', '3'];
  const child = spawn(process.execPath, ['--expose-gc', LOADER, ...own, ...args], {
    cwd,
    env: { PATH: process.env.PATH, TMPDIR: cwd, ...env },
    stdio: transport === 'http' ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const instance = transport === 'http' ? new Http(child, port) : new Framed(child);
  instance.cwd = cwd;
  t.after(async () => {
    await instance.logs();
    instance.agent?.destroy();
    fs.rmSync(cwd, { recursive: true, force: true });
  });
  if (transport === 'http') await instance.listening();
  return instance;
}
