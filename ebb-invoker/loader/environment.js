// The environment of an action: what init gives it, and the variables __OW_* that are new with each call.
//
// To set a variable goes through Node into the C library, which keeps every value that a variable has ever had. So as long as nobody but
// this loader has looked at the environment, those are noted only. Where Node gives the environment away, the first look sets
// what was noted; from then on each value is set at once, for whoever has looked may have kept what he found.
'use strict';

/** Where one can look: `process.env`, a report of the process, a library in machine code. Worker threads and processes begin with the first. */
const WAYS = ['env', 'report', 'dlopen'];

const PREFIX = '__OW_';

/** What each run has, whether it is told again or not. Init tells it first. */
const OF_RUNS = new Set(
  ['NAMESPACE', 'ACTION_NAME', 'ACTION_VERSION', 'ACTIVATION_ID', 'TRANSACTION_ID', 'DEADLINE'].map((name) => PREFIX + name));
const given = new Map();
/** What else init has set, while nobody has looked. */
const noted = new Map();
/** Which of them this run has set already. */
const done = new Set();
/** The ways as Node has made them, while ours stand in for them, and the environment. */
let own;
let environment;
/** Node looks by itself for something else. */
let unnoticed = 0;

/** Sets what was noted, and gets out of the way. */
function reveal() {
  if (own === undefined) return;
  Object.defineProperties(process, own);
  own = undefined;
  for (const [name, text] of noted) process.env[name] = text;
  noted.clear();
  settle();
}

/** A run begins: whoever has looked finds what was given. */
function settle() {
  if (own !== undefined) return;
  const { env } = process;
  // To read a variable takes less than to set it, and what was given before is there as a rule.
  for (const [name, text] of given) if (!done.has(name) && env[name] !== text) env[name] = text;
  done.clear();
}

/** Begins anew: until somebody looks, variables are noted only. */
function conceal() {
  given.clear();
  if (own !== undefined) return;
  const found = {};
  for (const way of WAYS) {
    const descriptor = Object.getOwnPropertyDescriptor(process, way);
    // What cannot be put back as it was stays as it is, and with it all.
    if (!descriptor?.configurable) return;
    found[way] = descriptor;
  }
  environment = process.env;
  own = found;
  for (const way of WAYS) {
    Object.defineProperty(process, way, {
      get() {
        if (unnoticed > 0 && way === 'env') return environment;
        reveal();
        return process[way];
      },
      set(value) {
        reveal();
        Reflect.set(process, way, value, this);
      },
      enumerable: found[way].enumerable,
      configurable: true,
    });
  }
}

/** Sets a variable of init's. */
function set(name, text) {
  if (OF_RUNS.has(name)) give(name, text);
  else if (own === undefined) process.env[name] = text;
  else if (name.startsWith(PREFIX)) noted.set(name, text);
  else environment[name] = text;
}

/** Sets a variable of this run, which `settle` shows, and of later ones. */
function give(name, text) {
  if (own === undefined && given.get(name) !== text) {
    process.env[name] = text;
    done.add(name);
  }
  given.set(name, text);
}

/** Calls something of Node's that looks for variables other than ours, and hands none on. */
function unseen(call) {
  unnoticed += 1;
  try {
    return call();
  } finally {
    unnoticed -= 1;
  }
}

/** The console asks for FORCE_COLOR with each line. */
function overlookConsole() {
  const symbol = Object.getOwnPropertySymbols(console).find(({ description }) => description === 'kGetInspectOptions');
  const descriptor = symbol && Object.getOwnPropertyDescriptor(console, symbol);
  if (typeof descriptor?.value !== 'function' || !descriptor.configurable) return;
  const { value: options } = descriptor;
  descriptor.value = function (stream) {
    return unseen(() => Reflect.apply(options, this, [stream]));
  };
  Object.defineProperty(console, symbol, descriptor);
}

module.exports = { set, give, settle, conceal, reveal, unseen, overlookConsole };
