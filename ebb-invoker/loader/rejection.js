// What a rejected promise looks like in JSON: the rules of the npm package serialize-error, which the reference
// runtime uses: errors become objects with name, message, stack and their own members; functions are left out; a
// reference back to an enclosing object is the text "[Circular]".
'use strict';

function plain(value, enclosing) {
  const copy = Array.isArray(value) ? [] : {};
  enclosing.push(value);
  for (const key of Object.keys(value)) {
    const member = value[key];
    if (typeof member === 'function') continue;
    if (member === null || typeof member !== 'object') copy[key] = member;
    else copy[key] = enclosing.includes(member) ? '[Circular]' : plain(member, enclosing);
  }
  enclosing.pop();
  for (const key of ['name', 'message', 'stack', 'code']) {
    if (typeof value[key] === 'string') copy[key] = value[key];
  }
  return copy;
}

/** The value of `error` in the answer. */
function describeRejection(rejected) {
  if (!rejected) return {};
  if (typeof rejected === 'function') return `[Function: ${rejected.name || 'anonymous'}]`;
  if (typeof rejected !== 'object') return rejected;
  try {
    return plain(rejected, []);
  } catch (error) {
    // A getter that throws, or nesting deeper than the stack.
    return `The rejection could not be described: ${error?.message}`;
  }
}

module.exports = { describeRejection };
