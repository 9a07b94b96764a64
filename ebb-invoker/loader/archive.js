// Unpacks the archive of an action, zip or tar.gz, into a fresh directory, with nothing but zlib.
//
// The archive is not trusted: no entry leaves the directory (names and links are checked before anything is written,
// and nothing is written through a link), the unpacked size and the number of entries are bounded, and what is declared must
// be what is there. Any fault fails the whole archive with the protocol's text.
//
// Formats: PKWARE APPNOTE 6.3.10 (stored and deflated entries, no zip64, no encryption); POSIX.1-2017 pax and ustar,
// and GNU tar's long names.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');

/** Bytes of all files together. */
const SIZE_LIMIT = 512 * 1024 * 1024;
const ENTRY_LIMIT = 65_535;

const UNSUPPORTED = 'There was an error uncompressing the action archive. The file type is unsupported';
const BAD_ZIP = 'There was an error uncompressing the action Zip archive.';
const BAD_TAR = 'There was an error uncompressing the action Tar GZ archive.';

class BadArchive extends Error {}

function check(condition, message) {
  if (!condition) throw new BadArchive(message);
}

/** Writes the entries of one archive below `root`. */
class Tree {
  #root;
  #links = [];
  #size = 0;
  #entries = 0;

  constructor(root) {
    this.#root = root;
  }

  /** Counts an entry of `size` bytes before it is unpacked. */
  admit(size) {
    this.#entries += 1;
    this.#size += size;
    check(this.#entries <= ENTRY_LIMIT, `more than ${ENTRY_LIMIT} entries`);
    check(this.#size <= SIZE_LIMIT, `more than ${SIZE_LIMIT} bytes unpacked`);
  }

  #inside(name) {
    check(name !== '' && !name.includes('\0') && !path.posix.isAbsolute(name), `bad name ${JSON.stringify(name)}`);
    const full = path.resolve(this.#root, name);
    check(full === this.#root || full.startsWith(this.#root + path.sep), `${JSON.stringify(name)} leaves the archive`);
    return full;
  }

  directory(name) {
    fs.mkdirSync(this.#inside(name), { recursive: true });
  }

  file(name, bytes, mode) {
    const full = this.#inside(name);
    fs.mkdirSync(path.dirname(full), { recursive: true });
    fs.writeFileSync(full, bytes, { mode: mode & 0o111 ? 0o755 : 0o644 });
  }

  copy(name, from) {
    const full = this.#inside(name);
    fs.mkdirSync(path.dirname(full), { recursive: true });
    fs.copyFileSync(this.#inside(from), full);
  }

  link(name, target) {
    const full = this.#inside(name);
    check(!path.posix.isAbsolute(target), `${JSON.stringify(name)} links to an absolute path`);
    this.#inside(path.relative(this.#root, path.resolve(path.dirname(full), target)) || '.');
    this.#links.push([full, target]);
  }

  /** Links come last, so that no file is written through one. */
  finish() {
    for (const [full, target] of this.#links) {
      fs.mkdirSync(path.dirname(full), { recursive: true });
      fs.symlinkSync(target, full);
    }
    // A chain of links may add up to a way out that no single one shows. The native call resolves `..` after links.
    const root = fs.realpathSync.native(this.#root) + path.sep;
    for (const [full] of this.#links) {
      if (!fs.existsSync(full)) continue;
      check((fs.realpathSync.native(full) + path.sep).startsWith(root), `${JSON.stringify(full)} leads out of the archive`);
    }
  }
}

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_ENTRY = 0x04034b50;
const DEFLATED = 8;
const SYMBOLIC_LINK = 0o120000;
const FILE_TYPE = 0o170000;

function unzip(bytes, tree) {
  // The end record is 22 bytes and a comment of up to 65,535.
  let end = bytes.length - 22;
  const first = Math.max(0, end - 65_535);
  while (end >= first && bytes.readUInt32LE(end) !== END_OF_DIRECTORY) end -= 1;
  check(end >= first && end >= 0, 'no central directory');
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  for (let entry = 0; entry < count; entry++) {
    check(bytes.readUInt32LE(at) === DIRECTORY_ENTRY, 'broken central directory');
    const flags = bytes.readUInt16LE(at + 8);
    const method = bytes.readUInt16LE(at + 10);
    const crc = bytes.readUInt32LE(at + 16);
    const packed = bytes.readUInt32LE(at + 20);
    const size = bytes.readUInt32LE(at + 24);
    const nameLength = bytes.readUInt16LE(at + 28);
    const mode = bytes.readUInt32LE(at + 38) >>> 16;
    const local = bytes.readUInt32LE(at + 42);
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength).replaceAll('\\', '/');
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    check((flags & 1) === 0, `${name} is encrypted`);
    tree.admit(size);
    if (name.endsWith('/')) {
      tree.directory(name);
      continue;
    }
    check(bytes.readUInt32LE(local) === LOCAL_ENTRY, `${name} is not where the directory says`);
    const data = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    check(data + packed <= bytes.length, `${name} is cut off`);
    let content = bytes.subarray(data, data + packed);
    // One byte more than declared is allowed out, which is enough to see the lie.
    if (method === DEFLATED) content = zlib.inflateRawSync(content, { maxOutputLength: size + 1 });
    else check(method === 0, `${name} is compressed by the unknown method ${method}`);
    check(content.length === size && crc32(content) === crc, `${name} is damaged`);
    if ((mode & FILE_TYPE) === SYMBOLIC_LINK) tree.link(name, content.toString());
    else tree.file(name, content, mode);
  }
}

let crcTable;
function crc32(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes);
  crcTable ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
    return byte;
  });
  let crc = ~0;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

const BLOCK = 512;

function untar(bytes, tree) {
  let extended = {}; // what pax and GNU headers say about the next entry
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return;
    let sum = 8 * 32; // the checksum field counts as blanks
    for (let byte = 0; byte < BLOCK; byte++) if (byte < 148 || byte >= 156) sum += header[byte];
    check(octal(header, 148, 8) === sum, 'broken header');
    const size = octal(header, 124, 12);
    const content = bytes.subarray(at + BLOCK, at + BLOCK + size);
    check(content.length === size, 'cut off');
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    const type = String.fromCharCode(header[156] || 48);
    if (type === 'x') extended = { ...extended, ...pax(content) };
    else if (type === 'L') extended.path = string(content, 0, size);
    else if (type === 'K') extended.linkpath = string(content, 0, size);
    else if (type !== 'g') {
      const prefix = string(header, 257, 5) === 'ustar' && header[263] === 48 ? string(header, 345, 155) : '';
      const name = extended.path ?? (prefix && `${prefix}/`) + string(header, 0, 100);
      const target = extended.linkpath ?? string(header, 157, 100);
      extended = {};
      tree.admit(size);
      if (type === '5' || ('07'.includes(type) && name.endsWith('/'))) tree.directory(name);
      else if (type === '0' || type === '7') tree.file(name, content, octal(header, 100, 8));
      else if (type === '1') tree.copy(name, target);
      else if (type === '2') tree.link(name, target);
      else check(false, `${name} is of the unknown type ${type}`);
    }
  }
}

function string(bytes, at, length) {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

function octal(bytes, at, length) {
  const digits = string(bytes, at, length).trim();
  check(/^[0-7]*$/.test(digits), 'broken number');
  return digits === '' ? 0 : parseInt(digits, 8);
}

/** Records of the form `LENGTH KEY=VALUE\n`. */
function pax(bytes) {
  const records = {};
  for (let at = 0; at < bytes.length; ) {
    const blank = bytes.indexOf(32, at);
    const length = Number(bytes.toString('latin1', at, blank));
    check(blank > at && length > 0 && at + length <= bytes.length, 'broken pax header');
    const record = bytes.toString('utf8', blank + 1, at + length - 1);
    const equals = record.indexOf('=');
    check(equals > 0, 'broken pax header');
    const key = record.slice(0, equals);
    check(key !== 'size', 'a file above 8 GiB');
    if (key === 'path' || key === 'linkpath') records[key] = record.slice(equals + 1);
    at += length;
  }
  return records;
}

/** Unpacks into the directory that `makeRoot` makes, and returns it. Throws the protocol's text. */
function unpack(bytes, makeRoot) {
  const magic = bytes.toString('hex', 0, 4);
  const isZip = magic === '504b0304';
  if (!isZip && magic !== '1f8b0800' && magic !== '1f8b0808') throw UNSUPPORTED;
  const root = makeRoot();
  const tree = new Tree(root);
  try {
    if (isZip) unzip(bytes, tree);
    else untar(zlib.gunzipSync(bytes, { maxOutputLength: SIZE_LIMIT }), tree);
    tree.finish();
  } catch (error) {
    console.error(`The archive cannot be unpacked: ${error.message}`);
    throw isZip ? BAD_ZIP : BAD_TAR;
  }
  return root;
}

module.exports = { unpack };
