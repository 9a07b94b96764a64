// Functions in any language the plain Linux way: one process for each, started at its first call, that reads a line of JSON for each
// call and answers one. Run by Node in the Linux guest: `node dispatcher.js PORT python|native`.
//   PUT /NAME {code}: known    POST /NAME {...}: called    DELETE /NAME: ended and forgotten
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');

const [port, language] = process.argv.slice(2);
const functions = new Map(); // name -> {code, instance}

function start(name, code) {
  const path = `/tmp/${name}`;
  // Python's answers come on its standard output, those of a program on descriptor 3.
  const python = language === 'python';
  fs.writeFileSync(path, python ? code : Buffer.from(code, 'base64'), { mode: 0o755 });
  const [program, words] = python ? ['/bin/python3.11', ['/app/action.py', path]] : [path, []];
  const child = spawn(program, words, { stdio: ['pipe', python ? 'pipe' : 'ignore', 'inherit', 'pipe'] });
  const answers = child.stdio[python ? 1 : 3];
  const waiting = [];
  let input = '';
  answers.setEncoding('utf8').on('data', (text) => {
    const lines = (input + text).split('\n');
    input = lines.pop();
    for (const line of lines) waiting.shift()?.resolve(line);
  });
  const fail = (error) => { for (const { reject } of waiting.splice(0)) reject(error); };
  child.on('error', fail).on('exit', () => fail(new Error('the instance has exited')));
  child.stdin.on('error', fail);
  return {
    child,
    run: (body) => new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin.write(`{"value":${body}}\n`);
    }),
  };
}

async function handle(method, name, body) {
  if (method === 'PUT') {
    functions.set(name, { code: JSON.parse(body).code });
    return '{}';
  }
  const known = functions.get(name);
  if (!known) throw new Error(`no function ${name}`);
  if (method === 'DELETE') {
    functions.delete(name);
    known.instance?.child.kill();
    return '{}';
  }
  known.instance ??= start(name, known.code);
  return known.instance.run(body);
}

http.createServer({ keepAliveTimeout: 0 }, async (request, response) => {
  let body = '';
  for await (const part of request.setEncoding('utf8')) body += part;
  try {
    const answer = await handle(request.method, request.url.slice(1), body);
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
  } catch (error) {
    response.writeHead(502).end(JSON.stringify({ error: String(error) }));
  }
}).listen(Number(port), () => console.log('dispatcher listens'));
