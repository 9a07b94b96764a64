// The states of an action runtime and its answers, whatever carries them (channel.js, http.js).
//
//   ready -> init -> ready with code -> run -> ready ...      starting: init is at work; stopped: final
//
// `init` and `run` take the parsed body of a request and a function `reply(status, text)`, where text is
// JSON. Exactly one reply is given to every request, unless the action ends the process. A caller that takes results in parts gives `run`
// a function `send(kind, bytes)` as well, is given parts by it before the reply, and calls `taken` for each and `leave` when it has gone.
'use strict';

const { isPromise } = require('node:util').types;
const environment = require('./environment.js');
const { load, text } = require('./load.js');
const { streamed, Sending, collected } = require('./parts.js');
const { describeRejection } = require('./rejection.js');
const { hideLoader, shown } = require('./stack.js');
const world = require('./world.js');

const MARKER = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';
const OK = '{"OK":true}';
const failure = (message) => JSON.stringify({ error: message });

/** What an `init` environment value looks like as an environment variable. */
function environmentText(value) {
  if (!value) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The environment variable for a member of a run request. Platforms send the same few members each time. */
const variables = new Map();
function variableOf(member) {
  let variable = variables.get(member);
  if (variable === undefined) {
    variable = `__OW_${member.toUpperCase()}`;
    if (variables.size < 32) variables.set(member, variable);
  }
  return variable;
}

/**
 * The reason of a failed init: the stack. That of a syntax error opens with the place, which among the files of an archive
 * is what matters. Source text is one file, so there the error comes first, and the place after it.
 */
function reason(error, isArchive) {
  const stack = error?.stack;
  if (typeof stack !== 'string' || stack === '') return text(error);
  const message = `${error.name}: ${error.message}`;
  const at = isArchive ? 0 : stack.indexOf(message);
  if (at <= 0) return stack;
  return `${message}\n    at ${stack.slice(0, at).trimEnd()}${stack.slice(at + message.length)}`;
}

class Runtime {
  #state = 'ready';
  #entry;
  /** The action's hooks, if it has one for being copied. */
  #hooks;
  /** That hook is at work. */
  #restoring;
  /** What is sent in parts at the moment. */
  #sending;
  #concurrent;
  #marker;
  /**
   * The last of each object that a call makes, without what is large in it. V8 forgets a shape, and what code has learned of it, with the last
   * object that has it: a copy of a warmed instance would have to begin anew.
   */
  #shapes = { init: undefined, immediate: undefined, module: undefined, run: undefined };

  constructor({ concurrent = false, marker = true } = {}) {
    this.#concurrent = concurrent;
    this.#marker = marker;
    world.remember();
    environment.overlookConsole();
    environment.conceal();
    hideLoader();
  }

  init(body, reply) {
    if (this.#entry !== undefined) return this.#refuse('Cannot initialize the action more than once.', reply);
    if (this.#state !== 'ready') return this.#refuse(`System not ready, status is ${this.#state}.`, reply);
    const value = body.value;
    const filled = (member) => typeof member === 'string' && member !== '';
    if (!filled(value?.main) || !filled(value?.code)) return reply(403, failure('Missing main/no code to execute.'));
    this.#state = 'starting';
    // Requests that came with this one see `starting`.
    this.#shapes.immediate = setImmediate(() => this.#load(value, reply));
    this.#shapes.init = body;
  }

  #load(value, reply) {
    const { code, main, binary, env } = value;
    value.code = '';
    if (env !== null && typeof env === 'object' && !Array.isArray(env)) {
      for (const name in env) environment.set(name, environmentText(env[name]));
    }
    const failed = (error) => {
      this.#state = 'stopped';
      console.error('Error during initialization:', shown(error));
      const message = `Initialization has failed due to: ${reason(error, binary === true)}`;
      this.#mark(() => reply(502, failure(message)));
    };
    const ready = (loaded) => {
      try {
        this.#take(loaded);
      } catch (error) {
        return failed(error);
      }
      this.#state = 'ready';
      reply(200, OK);
    };
    let loaded;
    try {
      loaded = load(code, main, binary === true);
    } catch (error) {
      return failed(error);
    }
    // Whatever the action has made of the global Promise.
    if (isPromise(loaded)) return void loaded.then(ready, failed);
    ready(loaded);
  }

  /** Takes what was loaded. To read exports may run the action's code. */
  #take({ entry, exports, module }) {
    const { beforeCapture, afterRestore } = exports ?? {};
    if (typeof afterRestore === 'function') this.#hooks = { beforeCapture, afterRestore };
    this.#entry = entry;
    this.#shapes.module = module;
  }

  /** Whether the action has a hook for being copied. */
  get hasHooks() {
    return this.#hooks !== undefined;
  }

  /** Is captured next: the action's hook lets go of what copies must not share. */
  rest(reply) {
    if (this.#state !== 'ready') return this.#refuse(`System not ready, status is ${this.#state}.`, reply);
    const ended = (error) => {
      if (!error) return reply(200, OK);
      console.error('Error in beforeCapture:', error);
      reply(502, failure(`beforeCapture has failed due to: ${reason(error, true)}`));
    };
    Promise.resolve(this.#hooks?.beforeCapture)
      .then((hook) => typeof hook === 'function' && hook())
      .then(() => ended(), (error) => ended(error ?? new Error('an unknown error')));
  }

  /** Goes on as a copy: the action's hook makes anew what copies must not share, before the next run. */
  restored() {
    const hook = this.#hooks?.afterRestore;
    if (!hook) return;
    const hooked = new Promise((resolve) => resolve(hook()));
    this.#restoring = hooked.catch((error) => {
      // What would be shared must not be used.
      console.error('Error in afterRestore:', error);
      this.#state = 'stopped';
      return { failed: error };
    });
  }

  run(body, reply, send) {
    if (this.#restoring) {
      const restoring = this.#restoring;
      this.#restoring = undefined;
      return void restoring.then((ended) => (ended?.failed === undefined && this.#state !== 'stopped'
        ? this.run(body, reply, send)
        : this.#mark(() => reply(502, failure(`An error has occurred in afterRestore: ${text(ended?.failed)}`)))));
    }
    if (this.#entry === undefined) return this.#refuse('System not initialized.', reply);
    if (this.#state !== 'ready' && !(this.#concurrent && this.#state === 'running')) {
      return this.#refuse(`System not ready, status is ${this.#state}.`, reply);
    }
    this.#state = 'running';
    const value = body.value ?? {};
    if (typeof value !== 'object') {
      // The reference runtime stays in `running` for good; its callers replace the instance.
      return this.#refuse(
        `Internal system error: the argument must be a dictionary but has type '${typeof value}'.`, reply);
    }
    for (const name in body) {
      if (name === 'value') continue;
      const told = body[name];
      if (typeof told === 'string') environment.give(variableOf(name), told);
    }
    environment.settle();
    body.value = null;
    this.#shapes.run = body;
    let result;
    try {
      result = (0, this.#entry)(value);
    } catch (thrown) {
      this.#state = 'stopped';
      console.error(thrown);
      return this.#mark(() => reply(502, failure(`An error has occurred: ${text(thrown)}`)));
    }
    Promise.resolve(result).then(
      (resolved) => this.#complete(resolved, reply, send),
      (rejected) => this.#complete({ error: describeRejection(rejected) }, reply));
  }

  /** The caller has taken a part. */
  taken() {
    this.#sending?.taken();
  }

  /** The caller of what is sent in parts has gone. */
  leave() {
    this.#sending?.leave();
  }

  #stream(stream, reply, send) {
    const whole = send ? (this.#sending = new Sending()).run(stream, send) : collected(stream);
    whole.then((result) => result, (error) => {
      console.error(error);
      return { error: describeRejection(error) };
    }).then((result) => {
      this.#sending = undefined;
      this.#complete(result, reply);
    });
  }

  #complete(result = {}, reply, send) {
    const stream = streamed(result);
    if (stream) return this.#stream(stream, reply, send);
    if (this.#state === 'running') this.#state = 'ready';
    if (typeof result !== 'object') {
      console.error(`Result must be of type object but has type "${typeof result}":`, result);
      return this.#mark(() => reply(502, failure('The action did not return a dictionary.')));
    }
    this.#mark(() => {
      let answer;
      try {
        // toJSON may have the last word, and it may say nothing.
        answer = JSON.stringify(result) ?? '';
      } catch (error) {
        console.error('[wrapEndpoint]', error);
        return reply(500, failure('Internal error.'));
      }
      reply(200, answer);
    });
  }

  /** Back to `ready` without code, as after the start: what a warmed instance does before its snapshot. */
  reset(reply) {
    if (this.#state === 'starting' || this.#state === 'running') {
      return this.#refuse(`System not ready, status is ${this.#state}.`, reply);
    }
    this.#entry = undefined;
    this.#hooks = undefined;
    this.#state = 'ready';
    world.restore();
    // What is captured next is watched already.
    world.watchStocks();
    world.takeDrew();
    reply(200, OK);
  }

  #refuse(message, reply) {
    console.error('Internal system error:', message);
    reply(403, failure(message));
  }

  /** Ends the activation's logs, then continues: what was logged is out before the answer is. */
  #mark(then) {
    const { stdout, stderr } = process;
    if (this.#marker) {
      stdout.write(MARKER);
      stderr.write(MARKER);
    }
    if (!stdout.writableLength && !stderr.writableLength) return then();
    stdout.write('', () => stderr.write('', () => then()));
  }
}

/** The body of a request: an object or array, `{}` for an empty one; throws for anything else. */
function parseBody(json) {
  if (json === '') return {};
  const body = JSON.parse(json);
  if (body === null || typeof body !== 'object') throw new SyntaxError('the body is neither an object nor an array');
  return body;
}

const BAD_REQUEST = failure('Bad request.');
/** The largest request body in bytes. */
const BODY_LIMIT = 48 * 1024 * 1024;

module.exports = { Runtime, parseBody, BAD_REQUEST, BODY_LIMIT, MARKER };
