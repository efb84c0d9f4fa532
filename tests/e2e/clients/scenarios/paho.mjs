// The code of paho-web-notes.md with the npm package: a protobuf sent, received and reported as delivered.
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { messageProto, threadProto, userProto } from '../lib/protobuf.js';
import { address, scenario, uid, until } from '../lib/scenario.js';

globalThis.WebSocket ??= WebSocket;
const { default: Paho } = await import('paho-mqtt');

scenario(async () => {
  const { host, port } = address('LW_WS');
  for (const path of ['/mqtt', '/websocket']) {
    const seen = { arrived: [], delivered: [], lost: [] };
    const client = new Paho.Client(host, port, path, `paho-${uid()}`);
    client.onConnectionLost = (reason) => seen.lost.push(reason);
    client.onMessageArrived = (message) => seen.arrived.push(message);
    // With QoS 0 this version of the library calls what the callback returns.
    client.onMessageDelivered = (message) => {
      seen.delivered.push(message);
      return () => {};
    };
    await new Promise((onSuccess, onFailure) => client.connect({ onSuccess, onFailure, mqttVersion: 4 }));
    await new Promise((onSuccess, onFailure) => client.subscribe('xx', { qos: 1, onSuccess, onFailure }));

    const message = new messageProto.Message();
    message.setUid('xxx');
    message.setContent('xxx');
    message.setThread(new threadProto.Thread());
    message.setUser(new userProto.User());
    for (const qos of [0, 1, 2]) {
      const bytes = message.serializeBinary(); // 序列化
      const msgSend = new Paho.Message(bytes);
      msgSend.destinationName = 'xx';
      msgSend.qos = qos;
      client.send(msgSend);
    }
    await until('all are there and delivered', () => seen.arrived.length >= 3 && seen.delivered.length >= 3);
    for (const { payloadBytes } of seen.arrived) {
      assert.equal(messageProto.Message.deserializeBinary(payloadBytes).getContent(), 'xxx');
    }
    assert.deepEqual(seen.lost, []);
    client.disconnect();
  }
});
