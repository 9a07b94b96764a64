// Makes archives for tests, malformed ones as well.
import zlib from 'node:zlib';

function crc32(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes);
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** A zip of `{name: text}`; an entry may be `{content, link, size, stored}` instead. */
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, entry] of Object.entries(files)) {
    const { content, link, size, stored } = typeof entry === 'string' ? { content: entry } : entry;
    const bytes = Buffer.from(link ?? content);
    const packed = stored ? bytes : zlib.deflateRawSync(bytes);
    const named = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(stored ? 0 : 8, 4);
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(size ?? bytes.length, 18);
    common.writeUInt16LE(named.length, 22);
    const local = Buffer.concat([Buffer.from('504b0304', 'hex'), common, named, packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(((link === undefined ? 0o100644 : 0o120777) << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('504b01021403', 'hex'), common, tail, named);
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('504b0506', 'hex');
  end.writeUInt16LE(Object.keys(files).length, 8);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]).toString('base64');
}

/** A ustar of `{name: text}`; an entry may be `{content, type, link}`; a name of over 100 bytes gets a pax header. */
export function tar(files) {
  const blocks = [];
  for (const [name, entry] of Object.entries(files)) {
    const { content = '', type = '0', link = '' } = typeof entry === 'string' ? { content: entry } : entry;
    if (name.length > 100) {
      let record = ` path=${name}\n`;
      let length = record.length + 1;
      while (String(length).length + record.length !== length) length += 1;
      blocks.push(...one('pax', `${length}${record}`, 'x', ''));
    }
    blocks.push(...one(name.slice(0, 100), content, type, link));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function one(name, content, type, link) {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write(' '.repeat(8), 148);
  header.write(type, 156);
  header.write(link, 157);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
}

export const targz = (files) => zlib.gzipSync(tar(files)).toString('base64');
