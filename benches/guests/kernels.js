// JavaScript kernels for the bench `v8`: what programs spend V8's time with. `node kernels.js quick|whole` prints lines
// `figure NAME VALUE`: the median milliseconds of each kernel, and `check_NAME`, what it computed.
'use strict';

// A generator that gives the same numbers everywhere (xorshift32, Marsaglia 2003).
let state;
const random = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 4294967296;
};

// Polymorphic calls between objects: tokens that move through a ring of stations.
class Station { constructor(next) { this.next = next; this.seen = 0; } }
class Adder extends Station { take(x) { this.seen++; return (x + 7) & 0xffff; } }
class Shifter extends Station { take(x) { this.seen++; return ((x << 1) | (x >>> 15)) & 0xffff; } }
class Mixer extends Station { take(x) { this.seen++; return (x ^ this.seen) & 0xffff; } }
class Gate extends Station { take(x) { return x & 1 ? x : this.next.take(x) ^ 3; } }
function objects() {
  const kinds = [Adder, Shifter, Mixer, Gate];
  let ring = new Adder(null);
  const first = ring;
  for (let i = 1; i < 64; i++) ring = new kinds[i % 4](ring);
  first.next = ring;
  let x = 1;
  for (let i = 0, at = ring; i < 1_000_000; i++, at = at.next) x = at.take(x);
  return x;
}

// Floating point over typed arrays: a heat equation on a grid.
function grid() {
  const n = 96;
  let a = new Float64Array(n * n), b = new Float64Array(n * n);
  for (let i = 0; i < a.length; i++) a[i] = random();
  for (let step = 0; step < 80; step++) {
    for (let y = 1; y < n - 1; y++) {
      for (let x = 1; x < n - 1; x++) {
        const i = y * n + x;
        b[i] = a[i] + 0.2 * (a[i - 1] + a[i + 1] + a[i - n] + a[i + n] - 4 * a[i]);
      }
    }
    [a, b] = [b, a];
  }
  return Math.round(a.reduce((sum, v) => sum + v, 0) * 1000);
}

// Short-lived objects with numbers in them: rays and spheres.
class Vector {
  constructor(x, y, z) { this.x = x; this.y = y; this.z = z; }
  plus(o) { return new Vector(this.x + o.x, this.y + o.y, this.z + o.z); }
  minus(o) { return new Vector(this.x - o.x, this.y - o.y, this.z - o.z); }
  times(f) { return new Vector(this.x * f, this.y * f, this.z * f); }
  dot(o) { return this.x * o.x + this.y * o.y + this.z * o.z; }
  unit() { return this.times(1 / Math.sqrt(this.dot(this))); }
}
function rays() {
  const spheres = Array.from({ length: 6 }, () => ({ at: new Vector(random() * 4 - 2, random() * 4 - 2, 4 + random() * 2), r: 0.4 + random() }));
  const light = new Vector(1, 2, -1).unit();
  let bright = 0;
  for (let y = 0; y < 60; y++) {
    for (let x = 0; x < 60; x++) {
      const ray = new Vector(x / 30 - 1, y / 30 - 1, 1).unit();
      let near = Infinity, hit = null;
      for (const s of spheres) {
        const b = ray.dot(s.at), d = b * b - s.at.dot(s.at) + s.r * s.r;
        if (d > 0 && b - Math.sqrt(d) < near) { near = b - Math.sqrt(d); hit = s; }
      }
      if (hit) bright += Math.max(0, ray.times(near).minus(hit.at).unit().plus(light.times(0.01)).dot(light));
    }
  }
  return Math.round(bright * 100);
}

// A tree that lives while its nodes come and go: work for the garbage collector.
function tree() {
  let root = null, count = 0;
  const insert = (node, key) => {
    if (!node) { count++; return { key, left: null, right: null, text: `value ${key}`, list: [key, key + 1] }; }
    if (key < node.key) node.left = insert(node.left, key);
    else if (key > node.key) node.right = insert(node.right, key);
    return node;
  };
  const drop = (node) => {
    if (!node.left) return node.right;
    node.left = drop(node.left);
    return node;
  };
  for (let i = 0; i < 12_000; i++) {
    root = insert(root, Math.floor(random() * 1e6));
    if (i > 4000) root = drop(root);
  }
  return count;
}

// Regular expressions over text.
function patterns() {
  const words = ['alpha', 'beta-12', 'GAMMA', 'delta@example.org', '2026-11-23', '#tag', '192.168.0.1', '<b>bold</b>'];
  let text = '';
  for (let i = 0; i < 5000; i++) text += words[Math.floor(random() * words.length)] + (i % 7 ? ' ' : '\n');
  let found = 0;
  for (const pattern of [/\b[a-z]+-\d+\b/g, /[\w.]+@[\w.]+/g, /(\d{4})-(\d\d)-(\d\d)/g, /(?:\d{1,3}\.){3}\d{1,3}/g, /<(\w+)>.*?<\/\1>/g, /^\S+/gm]) {
    for (const match of text.matchAll(pattern)) found += match[0].length;
    found += text.replace(pattern, '_').length;
  }
  return found;
}

// JSON there and back, and sorting what was in it.
function json() {
  const list = Array.from({ length: 800 }, (_, id) => ({ id, name: `name ${id}`, tags: ['a', 'b', `t${id % 10}`], at: { x: random(), y: id / 3 }, ok: id % 3 === 0 }));
  let length = 0;
  for (let i = 0; i < 4; i++) {
    const text = JSON.stringify(list);
    length += text.length;
    const back = JSON.parse(text);
    back.sort((a, b) => a.at.x - b.at.x);
    length += back[0].id;
  }
  return length;
}

// Integers and bits: SHA-256's compression over a message (FIPS 180-4).
const K = Int32Array.from({ length: 64 }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) ^ (i << 11)) | 0);
function bits() {
  const w = new Int32Array(64), h = Int32Array.from({ length: 8 }, (_, i) => Math.imul(i + 3, 0x85ebca6b));
  const rotate = (x, n) => (x >>> n) | (x << (32 - n));
  for (let block = 0; block < 2000; block++) {
    for (let i = 0; i < 16; i++) w[i] = Math.imul(block + 1, i + 7);
    for (let i = 16; i < 64; i++) {
      const s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 64; i++) {
      const t1 = (k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const t2 = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      k = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, k].forEach((v, i) => { h[i] += v; });
  }
  return h[0] >>> 0;
}

// Maps, sets, strings, closures: a count of words and an index of them.
function collections() {
  const counts = new Map(), index = new Map();
  for (let i = 0; i < 20_000; i++) {
    const word = `w${Math.floor(random() * random() * 900)}`;
    counts.set(word, (counts.get(word) ?? 0) + 1);
    if (!index.has(word)) index.set(word, new Set());
    index.get(word).add(i % 50);
  }
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 20)
    .map(([word, n]) => n * index.get(word).size).reduce((a, b) => a + b);
}

// Compiling: functions from source, which V8 has not seen.
let salt = 0;
function compile() {
  let sum = 0;
  salt++;
  for (let i = 0; i < 100; i++) {
    const lines = Array.from({ length: 25 }, (_, n) => `function f${n}(x) { const y = x * ${n + i}; return y % 2 ? [y, x].map((v) => v + ${n}) : { y, x }; }`);
    sum += new Function(`/* ${salt} */ ${lines.join('\n')}; return f3(${i}).y ?? f3(${i})[0];`)();
  }
  return sum;
}

// Promises and generators.
async function promises() {
  let sum = 0;
  const step = async (n) => { await null; return n & 255; };
  function* numbers(n) { for (let i = 0; i < n; i++) yield i; }
  for (const i of numbers(12_000)) sum += await step(i);
  return sum;
}

(async () => {
  const rounds = process.argv[2] === 'quick' ? 3 : 9;
  for (const kernel of [objects, grid, rays, tree, patterns, json, bits, collections, compile, promises]) {
    const times = [];
    let result;
    // The first two compile.
    for (let round = -2; round < rounds; round++) {
      state = 20261123;
      const begun = performance.now();
      result = await kernel();
      if (round >= 0) times.push(performance.now() - begun);
    }
    times.sort((a, b) => a - b);
    console.log(`figure ${kernel.name} ${times[rounds >> 1].toFixed(3)}`);
    console.log(`figure check_${kernel.name} ${result}`);
  }
})();
