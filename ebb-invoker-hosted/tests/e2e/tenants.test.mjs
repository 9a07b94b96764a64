// Namespaces of a running invoker, each driven with the npm package `openwhisk`.
//   APIHOST=http://localhost:3233 API_KEY=uuid:key ADMIN_KEY=uuid:key node --test tenants.test.mjs
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import openwhisk from 'openwhisk';
import { APIHOST, eventually, ow } from './api.mjs';

const { ADMIN_KEY } = process.env;

async function manage(method, path = '', body = undefined, key = ADMIN_KEY) {
  const response = await fetch(`${APIHOST}/admin/namespaces${path}`, {
    method,
    body: body && JSON.stringify(body),
    headers: { authorization: `Basic ${Buffer.from(key).toString('base64')}`, 'content-type': 'application/json' },
  });
  return { status: response.status, json: await response.json() };
}

const client = (key) => openwhisk({ apihost: APIHOST, api_key: key, apiversion: 'v1', namespace: '_' });

async function add(name, limits = {}) {
  const { status, json } = await manage('PUT', `/${name}`, { limits });
  assert.equal(status, 200, JSON.stringify(json));
  return json.key;
}

const refusal = (status) => (error) => error.statusCode === status;

after(async () => {
  for (const { namespace } of (await manage('GET')).json) if (namespace.startsWith('tenant')) await manage('DELETE', `/${namespace}`);
});

test('a tenant deploys, calls and lists its own', async () => {
  const tenant = client(await add('tenant-a'));
  await tenant.actions.update({ name: 'whoami', action: 'exports.main = () => ({ namespace: process.env.__OW_NAMESPACE })' });
  const record = await tenant.actions.invoke({ name: 'whoami', blocking: true });
  assert.deepEqual(record.response.result, { namespace: 'tenant-a' });
  assert.deepEqual(await tenant.namespaces.list(), ['tenant-a']);
  await eventually('the record', async () => (await tenant.activations.get({ name: record.activationId })).namespace === 'tenant-a');
  await assert.rejects(ow.activations.get({ name: record.activationId }), refusal(404));
  await assert.rejects(ow.actions.get({ name: 'whoami', namespace: 'tenant-a' }), refusal(403));
  assert.ok(!(await ow.actions.list({ limit: 200 })).some(({ namespace }) => namespace.startsWith('tenant')));
});

test('the administrator, and nobody else, has a time line made of what all cores do', async () => {
  const trace = async (method, key = ADMIN_KEY) => {
    const headers = { authorization: `Basic ${Buffer.from(key).toString('base64')}` };
    const response = await fetch(`${APIHOST}/admin/trace`, { method, headers });
    return { status: response.status, json: await response.json() };
  };
  assert.equal((await trace('POST', process.env.API_KEY)).status, 401);
  assert.deepEqual(await trace('POST'), { status: 200, json: { tracing: true } });
  await ow.actions.update({ name: 'traced', action: 'exports.main = () => ({})' });
  await ow.actions.invoke({ name: 'traced', blocking: true });
  assert.deepEqual(await trace('DELETE'), { status: 200, json: { tracing: false } });
  const { json: { traceEvents } } = await trace('GET');
  const begun = traceEvents.filter(({ ph }) => ph === 'B').length;
  assert.ok(begun > 10, `${begun} spans of ${traceEvents.length} events`);
  assert.equal((await trace('PUT')).status, 405);
  await ow.actions.delete({ name: 'traced' });
});

test('two tenants share no instance of a published action', async () => {
  const [owner, other] = [client(await add('tenant-owner')), client(await add('tenant-other'))];
  await owner.packages.update({ name: 'open', package: { publish: true } });
  await owner.actions.update({ name: 'open/count', action: 'let calls = 0; exports.main = () => ({ calls: ++calls })' });
  const count = async (of) => (await of.actions.invoke({ name: '/tenant-owner/open/count', blocking: true, result: true })).calls;
  assert.deepEqual([await count(owner), await count(owner)], [1, 2]);
  assert.equal(await count(other), 1);
});

test('the limits of one tenant are not those of another', async () => {
  const small = client(await add('tenant-small', { invocationsPerMinute: 3 }));
  const large = client(await add('tenant-large'));
  for (const tenant of [small, large]) await tenant.actions.update({ name: 'f', action: 'exports.main = () => ({})' });
  const calls = (tenant) => Promise.allSettled(Array.from({ length: 6 }, () => tenant.actions.invoke({ name: 'f', blocking: true })));
  const done = (results) => results.filter(({ status }) => status === 'fulfilled').length;
  const [few, all] = await Promise.all([calls(small), calls(large)]);
  assert.deepEqual([done(few), done(all)], [3, 6]);
  assert.ok(few.filter(({ status }) => status === 'rejected').every(({ reason }) => reason.statusCode === 429));
});

test('an action on the web is lent a key with which it calls its platform', async () => {
  const tenant = client(await add('tenant-web'));
  await tenant.actions.update({
    name: 'me',
    action: `exports.main = async () => {
      const { __OW_API_HOST: host, __OW_API_KEY: key } = process.env;
      const headers = { authorization: 'Basic ' + Buffer.from(key).toString('base64') };
      return { body: await (await fetch(host + '/api/v1/namespaces', { headers })).json() };
    }`,
    annotations: { 'web-export': true, 'provide-api-key': true },
  });
  const response = await fetch(`${APIHOST}/api/v1/web/tenant-web/default/me.json`);
  assert.deepEqual(await response.json(), { body: ['tenant-web'] });
});

test('a key that was rotated opens nothing, nor does that of a tenant that was removed', async () => {
  const old = client(await add('tenant-key'));
  await old.triggers.update({ name: 't' });
  const { json } = await manage('POST', '/tenant-key/key');
  await assert.rejects(old.triggers.list(), refusal(401));
  const tenant = client(json.key);
  assert.equal((await tenant.triggers.list()).length, 1);
  assert.equal((await manage('DELETE', '/tenant-key')).status, 200);
  await assert.rejects(tenant.triggers.list(), refusal(401));
  assert.equal((await client(await add('tenant-key')).triggers.list()).length, 0);
});

test('a tenant that calls as much as it can does not keep another waiting', async () => {
  const [busy, calm] = [client(await add('tenant-busy')), client(await add('tenant-calm'))];
  const spin = 'exports.main = () => { const end = Date.now() + 20; while (Date.now() < end); return {} }';
  const names = Array.from({ length: 12 }, (_, n) => `f${n}`);
  await Promise.all(names.map((name) => busy.actions.update({ name, action: spin })));
  await calm.actions.update({ name: 'f', action: 'exports.main = () => ({})' });
  await calm.actions.invoke({ name: 'f', blocking: true });
  let running = names.length * 20;
  const load = names.flatMap((name) => Array.from({ length: 20 }, async () => {
    await busy.actions.invoke({ name, blocking: true }).catch(() => undefined);
    running -= 1;
  }));
  await eventually('some of the load', async () => running < names.length * 20);
  await calm.actions.invoke({ name: 'f', blocking: true });
  assert.ok(running > names.length * 4, `${running} of the other's calls were left`);
  await Promise.all(load);
});

test('without the key for it, nothing is managed', async () => {
  for (const key of [process.env.API_KEY, `${ADMIN_KEY}x`]) {
    for (const [method, path] of [['GET', ''], ['PUT', '/tenant-x'], ['DELETE', '/guest']]) {
      assert.equal((await manage(method, path, undefined, key)).status, 401);
    }
  }
});
