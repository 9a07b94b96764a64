// From the code of an action to the function that runs it.
//
// Source text is the body of a CommonJS module of its own; an archive is unpacked into a fresh directory, which
// becomes the working directory. What goes wrong is thrown: a string where the text is the protocol's, else
// the error that Node or the action raised.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { compileFunction } = require('node:vm');
const world = require('./world.js');

/** String(value), for values that cannot be converted as well. */
function text(value) {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function assertFunction(entry, main) {
  if (typeof entry !== 'function') throw `Action entrypoint '${main}' is not a function.`;
  return entry;
}

const property = (object, names) => names.reduce((value, name) => value?.[name], object);

/** A dotted name can be compiled into the module; any other expression has to be evaluated in its scope. */
const DOTTED_NAME = /^[A-Za-z$_][\w$]*(\.[A-Za-z$_][\w$]*)*$/;
/** The same with all of Unicode: its tables take V8 longer than all else of a small action's init. */
const UNICODE_NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*$/u;

/** What is wrong with code whose end the line behind it has hidden: then that line is said to be wrong, which is not the action's. */
function ownError(error, code, file) {
  const lines = code.split('\n').length;
  if (!(error instanceof SyntaxError) || !String(error.stack).startsWith(`${file}:${lines + 1}\n`)) return error;
  try {
    compileFunction(code, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: file });
  } catch (own) {
    return own;
  }
  return error;
}

/** Where source text is taken to be, and where it finds modules: in the working directory, which is hardly ever another one. */
let directory;
let file;
let paths;
function enter(working) {
  if (working === directory) return;
  directory = working;
  file = path.join(directory, 'action.js');
  paths = Module._nodeModulePaths(path.dirname(file));
}

function loadSource(code, main) {
  enter(process.cwd());
  const module = new Module(file, null);
  module.filename = file;
  module.paths = paths.slice();
  const lookup = DOTTED_NAME.test(main) || UNICODE_NAME.test(main) ? main : `eval(${JSON.stringify(main)})`;
  const body = `${code}\n;return () => (${lookup});`;
  const { exports } = module;
  // As Node compiles a file, so that import() works in it as in one. It is CommonJS, whatever it looks like.
  let found;
  try {
    found = module._compile(body, file, 'commonjs');
  } catch (error) {
    throw ownError(error, code, file);
  }
  module.loaded = true;
  let entry;
  try {
    entry = typeof found === 'function' ? found() : undefined;
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    const names = main.split('.');
    entry = property(module.exports, names) ?? property(exports, names);
  }
  return { entry: assertFunction(entry, main), exports: module.exports, module };
}

function loadArchive(code, main) {
  const { unpack } = require('./archive.js');
  const root = unpack(Buffer.from(code, 'base64'), () => world.directory());
  process.chdir(root);
  const dot = main.indexOf('.');
  let file = root;
  let names = [main];
  if (dot >= 0) {
    file = path.join(root, main.slice(0, dot));
    names = main.slice(dot + 1).split('.');
  } else if (!fs.existsSync(path.join(root, 'package.json')) && !fs.existsSync(path.join(root, 'index.js'))) {
    throw 'Zipped actions must contain either package.json or index.js at the root.';
  }
  const load = Module.createRequire(path.join(root, 'action.js'));
  const found = (exports) => ({ entry: assertFunction(property(exports, names), main), exports });
  let exports;
  try {
    exports = load(file);
  } catch (error) {
    // An ES module that waits while it loads, or any in an older Node.
    if (!ONLY_IMPORTED.has(error?.code)) throw error;
    const resolved = load.resolve(file);
    // Others have begun, and what they require is one: they must not run a second time.
    if (isCommonJs(resolved)) throw error;
    return import(pathToFileURL(resolved)).then(found);
  }
  return found(exports);
}

/** Whether a file is the body of a CommonJS module: one that exports by a statement is none. */
function isCommonJs(file) {
  try {
    compileFunction(fs.readFileSync(file, 'utf8').replace(/^#!.*/, ''), ['exports', 'require', 'module', '__filename', '__dirname']);
    return true;
  } catch {
    return false;
  }
}

/** What `require` says of a module that `import()` can load. */
const ONLY_IMPORTED = new Set(['ERR_REQUIRE_ASYNC_MODULE', 'ERR_REQUIRE_ESM']);

/** Loads the code: its entry point, what its module exports, and the module if it is one of ours. Or a promise of these, if that takes a while. */
const load = (code, main, binary) => (binary ? loadArchive(code, main) : loadSource(code, main));

module.exports = { load, text };
