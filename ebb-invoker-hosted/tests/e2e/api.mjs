// How the tests ask a running invoker: with the npm package `openwhisk`, and with plain HTTP where that has no word for it.
// APIHOST and API_KEY say where it is.
import net from 'node:net';
import openwhisk from 'openwhisk';

export const { APIHOST, API_KEY } = process.env;
export const ow = openwhisk({ apihost: APIHOST, api_key: API_KEY, apiversion: 'v1', namespace: '_' });
export const auth = `Basic ${Buffer.from(API_KEY).toString('base64')}`;

/** One request without the client. */
export async function raw(method, path, { body, headers = {}, key = true } = {}) {
  const response = await fetch(APIHOST + path, {
    method,
    body: body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    headers: { ...(key ? { authorization: auth } : {}), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
  });
  const text = await response.text();
  let json;
  try { json = JSON.parse(text); } catch { /* not all answers are */ }
  return { status: response.status, text, json, headers: response.headers };
}

export const deploy = (name, action, more = {}) => ow.actions.update({ name, action, ...more });
export const call = (name, params = {}, more = {}) => ow.actions.invoke({ name, params, blocking: true, ...more });

export async function eventually(what, f) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const value = await f().catch(() => undefined);
    if (value !== undefined && value !== false) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen`);
}

/** Sends bytes as they are over a connection of their own; what came back until the other side closed it. */
export function bytes(data, { patience = 20_000 } = {}) {
  const { hostname, port } = new URL(APIHOST);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = net.connect(Number(port), hostname, () => socket.write(data));
    socket.setTimeout(patience, () => socket.destroy(new Error(`no end after ${patience} ms: ${answer}`)));
    socket.setEncoding('utf8').on('data', (text) => { answer += text; });
    socket.on('error', reject).on('close', () => resolve(answer));
  });
}

/** The value of a metric, by its name with labels. */
export async function metric(name) {
  const { text } = await raw('GET', '/metrics');
  const line = text.split('\n').find((line) => line.startsWith(`${name} `));
  return Number(line?.slice(name.length));
}

/** Waits until no snapshot is left to be taken. */
export async function nothingPutOff() {
  for (let attempt = 0; attempt < 100; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (await metric('ebb_captures_put_off') === 0) return;
  }
  throw new Error('a quiet machine still has snapshots to take after 10 s');
}
