// @stomp/stompjs with each version of the protocol: receipts, ack modes, transactions, heart-beats, errors.
import assert from 'node:assert/strict';
import { Client, Versions } from '@stomp/stompjs';
import { WebSocket } from 'ws';
import { http, scenario, uid, until, urls, visit } from '../lib/scenario.js';

globalThis.WebSocket ??= WebSocket;

async function connect(visitor, version, more = {}) {
  const errors = [];
  const client = new Client({
    brokerURL: urls.stomp,
    reconnectDelay: 0,
    heartbeatIncoming: 10_000,
    heartbeatOutgoing: 10_000,
    stompVersions: new Versions([version]),
    connectHeaders: { login: visitor.uid, passcode: visitor.accessToken },
    onStompError: (frame) => errors.push(frame),
    ...more,
  });
  await new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onWebSocketError = reject;
    client.activate();
  });
  client.errors = errors;
  return client;
}

const receipt = (client, action) => {
  const id = uid();
  const done = new Promise((resolve) => client.watchForReceipt(id, resolve));
  action(id);
  return done;
};

scenario(async () => {
  for (const version of ['1.0', '1.1', '1.2']) {
    const { visitor, thread } = await visit();
    const dotted = thread.topic.replaceAll('/', '.');
    const message = (content) => ({ uid: uid(), type: 'TEXT', content, status: 'SENDING', thread, user: { uid: visitor.uid } });
    const say = (client, content, headers = {}) =>
      receipt(client, (id) =>
        client.publish({ destination: `/app/${dotted}`, body: JSON.stringify(message(content)), headers: { receipt: id, ...headers } }));
    for (const mode of ['auto', 'client', 'client-individual']) {
      if (version === '1.0' && mode === 'client-individual') continue;
      const client = await connect(visitor, version);
      assert.equal(client.connectedVersion ?? '1.0', version); // 1.0 does not say it
      const heard = [];
      await receipt(client, (id) =>
        client.subscribe(`/topic/${dotted}`, (frame) => {
          heard.push(JSON.parse(frame.body).content);
          if (mode !== 'auto') frame.ack();
        }, { ack: mode, receipt: id, id: `sub-${mode}` }));
      const said = [];
      for (let i = 0; i < 20; i += 1) {
        said.push(`${mode} ${i}`);
        await say(client, said.at(-1));
      }
      await until(`all have come in ${mode}`, () => said.every((text) => heard.includes(text)));
      assert.deepEqual(heard.filter((text) => text.startsWith(`${mode} `)), said);

      // A transaction is all or nothing.
      const aborted = client.begin();
      client.publish({ destination: `/app/${dotted}`, body: JSON.stringify(message('aborted')), headers: { transaction: aborted.id } });
      aborted.abort();
      const committed = client.begin();
      client.publish({ destination: `/app/${dotted}`, body: JSON.stringify(message(`committed ${mode}`)), headers: { transaction: committed.id } });
      committed.commit();
      await until('the committed message has come', () => heard.includes(`committed ${mode}`));
      assert.ok(!heard.includes('aborted'));
      assert.deepEqual(client.errors, []);
      await client.deactivate();
    }

    // A broken frame: ERROR with a message, and the connection ends.
    const client = await connect(visitor, version);
    const closed = new Promise((resolve) => { client.onWebSocketClose = resolve; });
    client.publish({ destination: '/nowhere/at.all', body: '{}', headers: { receipt: 'r-1' } });
    await until('an ERROR has come', () => client.errors.length > 0);
    assert.ok(client.errors[0].headers.message);
    assert.equal(client.errors[0].headers['receipt-id'], 'r-1');
    await closed;
    await client.deactivate();
  }
});
