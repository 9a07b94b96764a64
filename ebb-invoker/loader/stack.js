// Keeps this loader out of the stack traces that an action sees, logs and answers: they end with the action's own frames.
//
// A trace is formatted by Error.prepareStackTrace if that is a function. Libraries that set their own keep what was there and
// put it back, so this is seen by nobody who does not look for it. What it returns is what Node would, without our frames and
// without those of Node that only lead to them.
'use strict';

const path = require('node:path');
const { inspect, types } = require('node:util');

const ours = (file) =>
  typeof file === 'string' && (file.startsWith(__dirname + path.sep) || file === path.join(__dirname, '..', 'loader.js'));
const nodes = (file) => typeof file === 'string' && file.startsWith('node:');
const toText = Error.prototype.toString;

/** What Node marks its own errors with. */
const marker = (() => {
  try {
    Buffer.from(0);
  } catch (error) {
    const symbols = [error, Object.getPrototypeOf(error)].flatMap(Object.getOwnPropertySymbols);
    return symbols.find(({ description }) => description === 'kIsNodeError');
  }
})();

/** The first line. Node's own errors show their code. */
const headline = (error) =>
  marker !== undefined && marker in error ? `${error.name} [${error.code}]: ${error.message}` : Reflect.apply(toText, error, []);

function prepareStackTrace(error, trace) {
  const frames = trace.filter((frame) => !ours(frame.getFileName()));
  if (frames.length < trace.length) {
    while (frames.length > 0 && nodes(frames.at(-1).getFileName())) frames.pop();
  }
  return [headline(error), ...frames].join('\n    at ');
}

/** An error as logs show it. `inspect` puts one whose stack has no frame into brackets; here it has none because those that led to it are ours. */
function shown(error) {
  if (!types.isNativeError(error)) return error;
  const text = inspect(error);
  const bracketed = `[${error.stack}]`;
  return text.startsWith(bracketed) ? error.stack + text.slice(bracketed.length) : text;
}

/** From now on. */
function hideLoader() {
  Object.defineProperty(Error, 'prepareStackTrace', { value: prepareStackTrace, writable: true, configurable: true });
}

module.exports = { hideLoader, shown };
