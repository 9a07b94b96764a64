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
/** Bytes that are inflated by one call, about. */
const BATCH = 4 * 1024 * 1024;
const TO_WRITE = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_TRUNC;

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
  #directories = new Map(); // those that are there, by the names that entries have for them
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
    let full = this.#directories.get(name);
    if (full === undefined) {
      full = name === '' ? this.#root : this.#inside(name);
      fs.mkdirSync(full, { recursive: true });
      this.#directories.set(name, full);
    }
    return full;
  }

  /** Where an entry that is no directory goes; the directory is made. */
  #place(name) {
    const slash = name.lastIndexOf('/');
    const own = name.slice(slash + 1);
    check(own !== '' && own !== '.' && own !== '..' && !own.includes('\0'), `bad name ${JSON.stringify(name)}`);
    return `${this.directory(slash === 0 ? '/' : name.slice(0, Math.max(slash, 0)))}/${own}`;
  }

  file(name, bytes, mode) {
    const file = fs.openSync(this.#place(name), TO_WRITE, mode & 0o111 ? 0o755 : 0o644);
    try {
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(file, bytes, at);
    } finally {
      fs.closeSync(file);
    }
  }

  copy(name, from) {
    fs.copyFileSync(this.#inside(from), this.#place(name));
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

/** The entries of a zip, in the order of its directory. */
function* entries(bytes) {
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
    if (name.endsWith('/')) {
      yield { name, size };
      continue;
    }
    check(bytes.readUInt32LE(local) === LOCAL_ENTRY, `${name} is not where the directory says`);
    const data = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    check(data + packed <= bytes.length, `${name} is cut off`);
    check(method === DEFLATED || method === 0, `${name} is compressed by the unknown method ${method}`);
    yield { name, size, crc, mode, deflated: method === DEFLATED, content: bytes.subarray(data, data + packed) };
  }
}

function unzip(bytes, tree) {
  let batch = [];
  let size = 0;
  const flush = () => {
    inflate(batch, size);
    for (const { name, content, mode } of batch) {
      if ((mode & FILE_TYPE) === SYMBOLIC_LINK) tree.link(name, content.toString());
      else tree.file(name, content, mode);
    }
    batch = [];
    size = 0;
  };
  for (const entry of entries(bytes)) {
    tree.admit(entry.size);
    if (entry.content === undefined) {
      tree.directory(entry.name);
      continue;
    }
    batch.push(entry);
    if (entry.deflated) size += entry.size;
    if (size >= BATCH) flush();
  }
  flush();
}

const GZIP_HEADER = [0x1f, 0x8b, DEFLATED, 0, 0, 0, 0, 0, 0, 255];
const GZIP_TRAILER = 8;

/**
 * Inflates entries, of `size` bytes together, and checks them. Each becomes a member of one gzip stream, because a call of zlib
 * costs more than a small file; zlib then compares lengths and checksums as well.
 */
function inflate(batch, size) {
  let length = 0;
  for (const { content, deflated } of batch) if (deflated) length += GZIP_HEADER.length + content.length + GZIP_TRAILER;
  const stream = Buffer.allocUnsafe(length);
  let at = 0;
  for (const entry of batch) {
    const { content, crc, deflated } = entry;
    if (!deflated) {
      checkContent(entry);
      continue;
    }
    stream.set(GZIP_HEADER, at);
    at += GZIP_HEADER.length + content.copy(stream, at + GZIP_HEADER.length);
    at = stream.writeUInt32LE(entry.size, stream.writeUInt32LE(crc, at));
  }
  if (length === 0) return;
  let inflated;
  try {
    // One byte more than declared is allowed out, which is enough to see the lie.
    inflated = zlib.gunzipSync(stream, { maxOutputLength: size + 1, chunkSize: Math.max(64, Math.min(size + 1, 4 * BATCH)) });
  } catch {
    inflated = undefined;
  }
  if (inflated?.length !== size) return batch.filter(({ deflated }) => deflated).forEach(inflateAlone);
  at = 0;
  for (const entry of batch) if (entry.deflated) entry.content = inflated.subarray(at, (at += entry.size));
}

/** For a batch in which something is wrong, to say of which entry. */
function inflateAlone(entry) {
  entry.content = zlib.inflateRawSync(entry.content, { maxOutputLength: entry.size + 1 });
  checkContent(entry);
}

function checkContent({ name, content, size, crc }) {
  check(content.length === size && crc32(content) === crc, `${name} is damaged`);
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

/** The sum of a header's bytes, for which its checksum field counts as blanks. */
function sumOf(bytes, header) {
  let sum = 8 * 32;
  for (let at = header; at < header + 148; at++) sum += bytes[at];
  for (let at = header + 156; at < header + BLOCK; at++) sum += bytes[at];
  return sum;
}

function untar(bytes, tree) {
  let extended = {}; // what pax and GNU headers say about the next entry
  for (let header = 0; header + BLOCK <= bytes.length; ) {
    const sum = sumOf(bytes, header);
    // Nothing but zeros ends the archive.
    if (sum === 8 * 32 && bytes[header] === 0) return;
    check(octal(bytes, header + 148, 8) === sum, 'broken header');
    const size = octal(bytes, header + 124, 12);
    const start = header + BLOCK;
    const content = bytes.subarray(start, start + size);
    check(content.length === size, 'cut off');
    const type = String.fromCharCode(bytes[header + 156] || 48);
    if (type === 'x') extended = { ...extended, ...pax(content) };
    else if (type === 'L') extended.path = string(content, 0, size);
    else if (type === 'K') extended.linkpath = string(content, 0, size);
    else if (type !== 'g') {
      const isUstar = bytes[header + 263] === 48 && string(bytes, header + 257, 5) === 'ustar';
      const prefix = isUstar ? string(bytes, header + 345, 155) : '';
      const name = extended.path ?? (prefix && `${prefix}/`) + string(bytes, header, 100);
      const target = extended.linkpath ?? string(bytes, header + 157, 100);
      extended = {};
      tree.admit(size);
      if (type === '5' || ('07'.includes(type) && name.endsWith('/'))) tree.directory(name);
      else if (type === '0' || type === '7') tree.file(name, content, octal(bytes, header + 100, 8));
      else if (type === '1') tree.copy(name, target);
      else if (type === '2') tree.link(name, target);
      else check(false, `${name} is of the unknown type ${type}`);
    }
    header = start + Math.ceil(size / BLOCK) * BLOCK;
  }
}

/** A text of at most `length` bytes, which a zero ends. */
function string(bytes, at, length) {
  let end = at;
  while (end < at + length && bytes[end]) end += 1;
  return end === at ? '' : bytes.toString('utf8', at, end);
}

const BLANK = 32;
const ZERO = 48;

/** A number in octal digits; blanks may stand around them. */
function octal(bytes, at, length) {
  const end = at + length;
  while (at < end && bytes[at] === BLANK) at += 1;
  let number = 0;
  for (; at < end && bytes[at] >= ZERO && bytes[at] < ZERO + 8; at++) number = number * 8 + bytes[at] - ZERO;
  while (at < end && bytes[at] === BLANK) at += 1;
  check(at === end || bytes[at] === 0, 'broken number');
  return number;
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
