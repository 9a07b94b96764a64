// The action-runtime protocol over HTTP: POST /init and POST /run, as an OpenWhisk platform speaks it to a
// container. Any other request is answered with 500 and changes nothing.
'use strict';

const http = require('node:http');
const environment = require('./environment.js');
const { parseBody, BAD_REQUEST, BODY_LIMIT } = require('./runtime.js');

function serve(runtime, port) {
  const server = http.createServer((request, response) => {
    const reply = (status, json) => {
      response.writeHead(status, {
        'Content-Type': 'application/json; charset=utf-8',
        'Content-Length': Buffer.byteLength(json),
      });
      response.end(json);
    };
    read(request, (json) => {
      const path = request.url.split('?', 1)[0];
      let body;
      try {
        if (json === null || request.method !== 'POST' || (path !== '/init' && path !== '/run')) throw new RangeError();
        body = parseBody(json);
      } catch {
        return reply(500, BAD_REQUEST);
      }
      if (path === '/run') runtime.run(body, reply);
      else runtime.init(body, reply);
    });
  });
  // An action may take any time, and a platform keeps its connection.
  server.timeout = server.requestTimeout = server.headersTimeout = server.keepAliveTimeout = 0;
  // Node looks whether it is a process of a cluster.
  environment.unseen(() => server.listen(port));
  return server;
}

/** Hands over the text of a JSON body, '' if there is none, null if it is too large. */
function read(request, then) {
  const json = /^\s*application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '');
  let chunks = [];
  let size = 0;
  request.on('data', (chunk) => {
    size += chunk.length;
    if (size > BODY_LIMIT) chunks = [];
    else if (json) chunks.push(chunk);
  });
  request.on('end', () => then(size > BODY_LIMIT ? null : Buffer.concat(chunks).toString()));
}

module.exports = { serve };
