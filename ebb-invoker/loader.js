// What Node runs inside an instance: loads one action and runs it as often as it is told to.
//
//   node --expose-gc loader.js [--port 8080] [--concurrent]   the action-runtime protocol of Apache OpenWhisk, over HTTP
//   node --expose-gc loader.js --fd 3 [--no-marker]   the same over one inherited socket (loader/channel.js)
//
// The invoker uses the second form: an idle instance then waits in one epoll call, has no HTTP module loaded
// and owes its host nothing. Both forms share loader/runtime.js, which says what an action may expect.
'use strict';

const { Runtime } = require('./loader/runtime.js');

function option(name, otherwise) {
  const at = process.argv.indexOf(`--${name}`);
  if (at < 0) return otherwise;
  const number = Number(process.argv[at + 1]);
  if (Number.isInteger(number) && number >= 0) return number;
  console.error(`loader: --${name} takes a number, not ${process.argv[at + 1]}`);
  process.exit(2);
}

const runtime = new Runtime({
  concurrent: /^true$/i.test(process.env.__OW_ALLOW_CONCURRENT ?? '') || process.argv.includes('--concurrent'),
  marker: !process.argv.includes('--no-marker'),
});
const fd = option('fd');
if (fd !== undefined) require('./loader/channel.js').serve(runtime, fd);
else require('./loader/http.js').serve(runtime, option('port', 8080));
