// What every scenario needs: where the server is, waiting with a deadline, and a failure that ends the process.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

export const urls = {
  mqtt: `mqtt://${process.env.LW_MQTT}`,
  ws: `ws://${process.env.LW_WS}/websocket`,
  wsMqtt: `ws://${process.env.LW_WS}/mqtt`,
  stomp: `ws://${process.env.LW_HTTP}/stomp`,
  http: `http://${process.env.LW_HTTP}`,
};
export const address = (name) => {
  const [host, port] = process.env[name].split(':');
  return { host, port: Number(port) };
};

export const ORG = 'df_org_uid';
export const DESK = 'df_ag_uid';
export const uid = () => randomUUID().replaceAll('-', '');

const DEADLINE = 20_000;

/** Waits until `check` gives something, and returns it. */
export async function until(what, check, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `waited ${deadline} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits for one event of an emitter; `error` rejects. */
export function once(emitter, event, deadline = DEADLINE) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited ${deadline} ms in vain for '${event}'`)), deadline);
    const settle = (done) => (...args) => {
      clearTimeout(timer);
      done(...args);
    };
    emitter.once(event, settle((...args) => resolve(args)));
    if (event !== 'error') emitter.once('error', settle(reject));
  });
}

export async function http(method, path, { token, body } = {}) {
  const headers = { 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(urls.http + path, { method, headers, body: body && JSON.stringify(body) });
  const data = await response.json();
  return { status: response.status, data };
}

/** Login of the dev profile, as the agent's page does. */
export async function login(username) {
  const { status, data } = await http('POST', '/auth/v1/login', { body: { username, password: username } });
  assert.equal(status, 200, JSON.stringify(data));
  assert.equal(data.code, 200);
  return data.data;
}

/** A visitor's page before it connects: who am I, and which thread is mine. Deployed pages never present the token. */
export async function visit({ nickname = 'Visitor', sid = DESK, type = '0', ...known } = {}) {
  const init = await http('POST', '/visitor/api/v1/init', { body: { orgUid: ORG, nickname, ...known } });
  assert.equal(init.status, 200, JSON.stringify(init.data));
  const visitor = init.data.data;
  const thread = await http('POST', '/visitor/api/v1/thread', {
    body: { uid: visitor.uid, orgUid: ORG, sid, type },
  });
  assert.equal(thread.status, 200, JSON.stringify(thread.data));
  return { visitor, thread: thread.data.data.thread, first: thread.data.data };
}

/** Runs a scenario: exit code 0 or the reason. */
export function scenario(steps) {
  steps().then(
    () => process.exit(0),
    (error) => {
      console.error(error?.stack ?? error);
      process.exit(1);
    },
  );
}
