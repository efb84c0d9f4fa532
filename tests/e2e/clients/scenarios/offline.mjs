// A thousand messages while the agent is away, a thousand while the visitor is away: all of them, in order, once each.
import assert from 'node:assert/strict';
import { openAgent, openVisitor } from '../lib/pages.js';
import { http, login, scenario, uid, until, visit } from '../lib/scenario.js';

const COUNT = 1000;
const numbers = Array.from({ length: COUNT }, (_, index) => String(index));

scenario(async () => {
  const session = await login('agent1');
  let agent = await openAgent({ login: session });
  assert.equal(agent.connack.sessionPresent, false);
  const { visitor, thread } = await visit();
  let page = await openVisitor({ visitor, thread, receipts: false });

  // The agent is away.
  await agent.close();
  for (const number of numbers) page.page.stompSendMessage(JSON.stringify(page.message('TEXT', number)));
  await until('all are stored', () => page.seen.heard.filter(({ type }) => type === 'TEXT').length >= COUNT, 60_000);
  agent = await openAgent({ login: session });
  assert.equal(agent.connack.sessionPresent, true);
  const texts = () => agent.seen.heard.filter(({ type, user }) => type === 'TEXT' && user === visitor.uid);
  await until('the agent has all of them', () => texts().length >= COUNT, 60_000);
  assert.deepEqual(texts().map(({ content }) => content), numbers);

  // Nothing of it comes twice: the next connection gets only what is new.
  await agent.close();
  agent = await openAgent({ login: session });
  const marker = page.message('TEXT', 'marker');
  page.page.stompSendMessage(JSON.stringify(marker));
  await agent.hears('the marker', (message) => message.uid === marker.uid);
  assert.deepEqual(texts().map(({ content }) => content), ['marker']);

  // The visitor is away.
  const before = new Set(page.seen.heard.map((message) => message.uid));
  await page.close();
  for (const number of numbers) await agent.page.mqttSendMessage(uid(), 'TEXT', number, thread);
  await until('all are stored', () => agent.seen.heard.filter(({ user }) => user === agent.desk).length >= COUNT, 60_000);
  page = await openVisitor({ visitor, thread, receipts: false });
  const answers = () => page.seen.heard.filter((message) => message.user?.uid === agent.desk && message.type === 'TEXT');
  await until('the visitor has all of them', () => answers().length >= COUNT, 60_000);
  assert.deepEqual(answers().map(({ content }) => content), numbers);
  const again = page.seen.heard.filter((message) => before.has(message.uid));
  assert.deepEqual(again, [], 'nothing comes twice');

  const { data } = await http('GET', `/api/v1/messages?topic=${encodeURIComponent(thread.topic)}&after=0&limit=500`, {
    token: session.accessToken,
  });
  assert.equal(data.data.content.length, 500);
  assert.equal(data.data.more, true);
  assert.deepEqual(agent.seen.failures, []);
});
