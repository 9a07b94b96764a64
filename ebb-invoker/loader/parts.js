// Results that come in parts: a generator, a stream or anything else that is iterated asynchronously, either as the result or as its
// member `body`.
//
// Each part is sent as soon as it is there: text as UTF-8, bytes as they are, anything else as a line of JSON, or, in a stream of
// server-sent events, as an event: `{ event, id, retry, data }`. No more than WINDOW parts are sent ahead of the caller; the
// function is not asked for another one until it has taken one of them.
'use strict';

/** Parts that are under way to a caller. */
const WINDOW = 4;
/** Bytes of a part; longer ones are cut. */
const LARGEST = 64 * 1024;
/** Bytes that are collected for a caller that takes no parts: more than any answer may have. */
const COLLECTED = 1024 * 1024 + 1024;

const { asyncIterator, iterator } = Symbol;
/**
 * A member of any object. Each action has objects of shapes of its own, and the first access to one of a new shape takes V8
 * thousands of instructions, also for a member that is not there. To ask for it first takes a hundred.
 */
const member = (object, name) => (Reflect.has(object, name) ? object[name] : undefined);
const isAsync = (value) => typeof value === 'object' && value !== null && typeof member(value, asyncIterator) === 'function';
const isGenerator = (value) => typeof value === 'object' && value !== null
  && typeof member(value, 'next') === 'function' && typeof value[iterator] === 'function';

/** The stream in a result and what is said of it, or undefined if it has none. */
function streamed(result) {
  if (typeof result !== 'object' || result === null) return undefined;
  if (isAsync(result) || isGenerator(result)) return { head: {}, body: result };
  const body = member(result, 'body');
  if (!isAsync(body) && !isGenerator(body)) return undefined;
  const head = { ...result };
  delete head.body;
  return { head, body };
}

function isOfEvents({ headers }) {
  const name = Object.keys(headers ?? {}).find((name) => name.toLowerCase() === 'content-type');
  return name !== undefined && /^\s*text\/event-stream\s*(;|$)/i.test(String(headers[name]));
}

/** A server-sent event. Source: the HTML Standard, section 9.2. */
function event({ event, id, retry, data }) {
  const line = (name, value) => (value === undefined ? '' : `${name}: ${String(value).replace(/[\r\n]+/g, ' ')}\n`);
  const text = typeof data === 'string' ? data : JSON.stringify(data) ?? '';
  const lines = text.split(/\r\n|\r|\n/).map((one) => `data: ${one}\n`).join('');
  return `${line('event', event)}${line('id', id)}${line('retry', retry)}${lines}\n`;
}

function bytesOf(part, asEvents) {
  if (typeof part === 'string') return Buffer.from(part);
  if (ArrayBuffer.isView(part)) return Buffer.from(part.buffer, part.byteOffset, part.byteLength);
  if (part instanceof ArrayBuffer) return Buffer.from(part);
  return Buffer.from(asEvents && typeof part === 'object' && part !== null ? event(part) : `${JSON.stringify(part) ?? ''}\n`);
}

/** Sends a stream to a caller that takes parts. `send(kind, bytes)` gives a part on its way. */
class Sending {
  #sent = 0;
  #wake;
  #left = false;
  #iterator;
  #body;

  /** The caller has taken a part. */
  taken() {
    this.#sent -= 1;
    this.#go();
  }

  /** The caller has gone: the function is told as a consumer tells it, by `return` of its iterator, or by destroying its stream. */
  leave() {
    this.#left = true;
    this.#go();
    if (typeof this.#body?.destroy === 'function') this.#body.destroy();
    // A generator hears of it when it yields for the next time.
    else void Promise.resolve(this.#iterator?.return?.()).catch(() => {});
  }

  #go() {
    this.#wake?.();
    this.#wake = undefined;
  }

  async run({ head, body }, send) {
    const asEvents = isOfEvents(head);
    this.#body = body;
    this.#iterator = body[Symbol.asyncIterator]?.() ?? body[Symbol.iterator]();
    send('head', Buffer.from(JSON.stringify(head)));
    try {
      while (!this.#left) {
        const { value, done } = await this.#iterator.next();
        if (done || this.#left) return;
        const bytes = bytesOf(await value, asEvents);
        for (let at = 0; at < bytes.length; at += LARGEST) {
          while (this.#sent >= WINDOW && !this.#left) await new Promise((resolve) => { this.#wake = resolve; });
          if (this.#left) return;
          this.#sent += 1;
          send('part', bytes.subarray(at, at + LARGEST));
        }
      }
    } catch (error) {
      // A stream that was destroyed says so.
      if (!this.#left) throw error;
    }
  }
}

/** The result with the whole stream as its body, for a caller that takes no parts. */
async function collected({ head, body }) {
  const asEvents = isOfEvents(head);
  const parts = [];
  let size = 0;
  let isText = true;
  for await (const part of body) {
    const bytes = bytesOf(part, asEvents);
    isText &&= typeof part === 'string' || !(ArrayBuffer.isView(part) || part instanceof ArrayBuffer);
    parts.push(bytes);
    size += bytes.length;
    // It is too long as it is.
    if (size > COLLECTED) break;
  }
  const whole = Buffer.concat(parts);
  return { ...head, body: isText ? whole.toString() : whole.toString('base64') };
}

module.exports = { streamed, Sending, collected };
