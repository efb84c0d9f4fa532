// An agent whose socket breaks and is back within the same second, again and again, under a steady stream.
import assert from 'node:assert/strict';
import { openAgent, openVisitor } from '../lib/pages.js';
import { login, once, scenario, until, visit } from '../lib/scenario.js';

const BREAKS = 8;
const COUNT = 400;

scenario(async () => {
  const agent = await openAgent({ login: await login('agent1') });
  const { visitor, thread } = await visit();
  const page = await openVisitor({ visitor, thread, receipts: false });
  const sent = [];
  const heard = () => agent.seen.heard.filter(({ type, user }) => type === 'TEXT' && user === visitor.uid);
  for (let round = 0; round < BREAKS; round += 1) {
    for (let index = 0; index < COUNT / BREAKS; index += 1) {
      const message = page.message('TEXT', `${sent.length}`);
      sent.push(message.uid);
      page.page.stompSendMessage(JSON.stringify(message));
    }
    agent.client.stream.destroy();
    await once(agent.client, 'close');
    agent.client.reconnect();
    const [connack] = await once(agent.client, 'connect');
    assert.equal(connack.sessionPresent, true);
  }
  await until('the agent has all of them', () => new Set(heard().map((m) => m.uid)).size >= COUNT);
  // At least once, and the first copies in order.
  const first = [...new Set(heard().map((message) => message.uid))];
  assert.deepEqual(first, sent);
});
