// mqtt.js, 3.1.1 and 5, TCP and WebSocket: what the specification promises on ordinary topics.
import assert from 'node:assert/strict';
import mqtt from 'mqtt';
import { once, scenario, uid, until, urls } from '../lib/scenario.js';

const [, , protocolVersion, url] = [null, null, Number(process.argv[2]), urls[process.argv[3]]];
const v5 = protocolVersion === 5;

const clients = [];
async function connect(options = {}) {
  const client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, connectTimeout: 20_000, ...options });
  client.inbox = [];
  client.on('message', (topic, payload, packet) => client.inbox.push({ topic, text: payload.toString(), packet }));
  clients.push(client);
  const [connack] = await once(client, 'connect');
  client.connack = connack;
  client.next = (match) => until(`a message ${match}`, () => client.inbox.find(match));
  return client;
}

scenario(async () => {
  const a = await connect();
  const b = await connect({ clientId: `b-${uid()}`, clean: true, keepalive: 2 });
  assert.equal(a.connack.sessionPresent, false);

  for (const qos of [0, 1, 2]) {
    const [granted] = await b.subscribeAsync(`stock/${qos}/+`, { qos });
    assert.equal(granted.qos, qos);
    const big = 'x'.repeat(100_000);
    await a.publishAsync(`stock/${qos}/small`, 'small', { qos });
    await a.publishAsync(`stock/${qos}/big`, big, { qos });
    await a.publishAsync(`stock/${qos}/empty`, '', { qos });
    const small = await b.next((m) => m.topic === `stock/${qos}/small`);
    assert.equal(small.packet.qos, qos);
    assert.equal(small.packet.retain, false);
    assert.equal((await b.next((m) => m.topic === `stock/${qos}/big`)).text, big);
    assert.equal((await b.next((m) => m.topic === `stock/${qos}/empty`)).text, '');
  }

  // 200 in flight at once, in order.
  await b.subscribeAsync('stock/many', { qos: 1 });
  await Promise.all(Array.from({ length: 200 }, (_, i) => a.publishAsync('stock/many', String(i), { qos: 1 })));
  const many = () => b.inbox.filter((m) => m.topic === 'stock/many').map((m) => Number(m.text));
  await until('all have come', () => many().length >= 200);
  assert.deepEqual(many(), Array.from({ length: 200 }, (_, i) => i));

  // Retained: kept, replaced, removed.
  await a.publishAsync('stock/retained', 'old', { qos: 1, retain: true });
  await a.publishAsync('stock/retained', 'new', { qos: 1, retain: true });
  await b.subscribeAsync('stock/retained', { qos: 1 });
  const retained = await b.next((m) => m.topic === 'stock/retained');
  assert.equal(retained.text, 'new');
  assert.equal(retained.packet.retain, true);
  await a.publishAsync('stock/retained', '', { qos: 1, retain: true });
  const late = await connect();
  await late.subscribeAsync(['stock/retained', 'stock/marker'], { qos: 1 });
  await a.publishAsync('stock/marker', 'marker', { qos: 1 });
  await late.next((m) => m.topic === 'stock/marker');
  assert.deepEqual(late.inbox.map((m) => m.topic), ['stock/marker']);

  // Unsubscribed is unsubscribed.
  await b.unsubscribeAsync('stock/many');
  await b.subscribeAsync('stock/marker', { qos: 1 });
  await a.publishAsync('stock/many', 'too late', { qos: 1 });
  await a.publishAsync('stock/marker', 'after', { qos: 1 });
  await b.next((m) => m.topic === 'stock/marker' && m.text === 'after');
  assert.ok(!many().includes(NaN), 'nothing after UNSUBACK');

  // The will of a connection that breaks, and none of one that takes leave.
  const will = (payload) => ({ topic: 'stock/will', payload: Buffer.from(payload), qos: 1, retain: false });
  await b.subscribeAsync('stock/will', { qos: 1 });
  const polite = await connect({ will: will('polite') });
  await polite.endAsync();
  const broken = await connect({ will: will('broken') });
  broken.stream.destroy();
  await b.next((m) => m.topic === 'stock/will');
  assert.deepEqual(b.inbox.filter((m) => m.topic === 'stock/will').map((m) => m.text), ['broken']);

  // Away, with a persistent session.
  const clientId = `p-${uid()}`;
  const options = { clientId, clean: false, ...(v5 && { properties: { sessionExpiryInterval: 600 } }) };
  let p = await connect(options);
  assert.equal(p.connack.sessionPresent, false);
  await p.subscribeAsync('stock/away', { qos: 1 });
  await p.endAsync();
  for (let i = 0; i < 100; i += 1) await a.publishAsync('stock/away', String(i), { qos: 1 });
  p = await connect(options);
  assert.equal(p.connack.sessionPresent, true);
  await until('all have come', () => p.inbox.length >= 100);
  assert.deepEqual(p.inbox.map((m) => Number(m.text)), Array.from({ length: 100 }, (_, i) => i));
  await p.endAsync();
  p = await connect({ clientId, clean: true });
  assert.equal(p.connack.sessionPresent, false);
  await p.endAsync();
  p = await connect(options);
  assert.equal(p.connack.sessionPresent, false, 'a clean start took the session away');

  if (v5) {
    const { properties } = a.connack;
    assert.ok(properties.assignedClientIdentifier === undefined || properties.assignedClientIdentifier.length > 0);
    assert.ok(properties.receiveMaximum > 0 && properties.maximumPacketSize > 0, JSON.stringify(properties));
    await b.subscribeAsync('stock/v5', { qos: 1, properties: { subscriptionIdentifier: 42 } });
    await a.publishAsync('stock/v5', 'x', {
      qos: 1,
      properties: {
        payloadFormatIndicator: true,
        contentType: 'text/plain',
        responseTopic: 'stock/answer',
        correlationData: Buffer.from([1, 2, 3]),
        userProperties: { one: '1', two: ['2', '3'] },
        messageExpiryInterval: 100,
      },
    });
    const got = (await b.next((m) => m.topic === 'stock/v5')).packet.properties;
    assert.equal(got.contentType, 'text/plain');
    assert.equal(got.responseTopic, 'stock/answer');
    assert.deepEqual([...got.correlationData], [1, 2, 3]);
    assert.deepEqual({ ...got.userProperties }, { one: '1', two: ['2', '3'] });
    assert.equal(got.subscriptionIdentifier, 42);
    assert.ok(got.messageExpiryInterval <= 100 && got.messageExpiryInterval > 90);
    if (properties.sharedSubscriptionAvailable !== false) {
      const shared = await Promise.all([connect(), connect()]);
      for (const client of shared) await client.subscribeAsync('$share/group/stock/shared', { qos: 1 });
      for (let i = 0; i < 20; i += 1) await a.publishAsync('stock/shared', String(i), { qos: 1 });
      await until('each has come to one of them', () => shared[0].inbox.length + shared[1].inbox.length >= 20);
      const all = [...shared[0].inbox, ...shared[1].inbox].map((m) => Number(m.text)).toSorted((x, y) => x - y);
      assert.deepEqual(all, Array.from({ length: 20 }, (_, i) => i));
    }
  }

  // The client with a keep alive of two seconds has been pinging all the while.
  assert.ok(b.connected);
});
