// The code of miniprogram-mqtt-notes.md: /mqtt, no credentials, a random client id, clean: false, keep alive 30 and 0.
import assert from 'node:assert/strict';
import $mqtt from 'mqtt';
import { scenario, until, urls } from '../lib/scenario.js';

scenario(async () => {
  for (const keepalive of [30, 0]) {
    const mqttOptions = {
      keepalive,
      clean: false,
      connectTimeout: 5000, // Timeout
      clientId: Math.random().toString(36).substr(3, 10),
    };
    const heard = [];
    const client = $mqtt.connect(urls.wsMqtt, mqttOptions);
    client.on('connect', () => {
      // 这是为了给自己发条消息,其它无作用
      client.subscribe('test', (err) => {
        if (!err) {
          client.publish('test', '{}');
        }
      });
    });
    client.on('message', (topic, message) => {
      // 把arrayBuffer转成字符串
      const encodedString = String.fromCharCode.apply(null, new Uint8Array(message));
      heard.push(encodedString);
    });
    await until('the message to itself has come', () => heard.length > 0);
    assert.deepEqual(heard, ['{}']);
    client.end(true); // 主动断开连接
  }
});
