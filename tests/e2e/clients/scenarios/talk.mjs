// Agent (MQTT), visitor (STOMP) and both over HTTP, in every direction, each with its echo.
import assert from 'node:assert/strict';
import { openAgent, openVisitor } from '../lib/pages.js';
import { http, login, scenario, uid, visit } from '../lib/scenario.js';

scenario(async () => {
  const agent = await openAgent({ login: await login('agent1') });
  agent.client.subscribe(`user/${agent.user.uid}/messages`, { qos: 0 }); // as the reference does on 'connect'
  const { visitor, thread, first } = await visit();
  assert.equal(thread.topic, `org/agent/df_ag_uid/${visitor.uid}`);
  assert.equal(visitor.uid, visitor.visitorUid);
  assert.ok(thread.uid && thread.type === 'AGENT' && thread.status && thread.user, JSON.stringify(thread));
  // How a new thread appears in the agent's list: the message of the request comes to the agent too.
  await agent.hears('the new thread', (message) => message.topic === thread.topic && message.uid === first.uid);
  const page = await openVisitor({ visitor, thread });

  const check = (name, uids, content, author) => async () => {
    const toAgent = await agent.hears(name, (message) => message.uid === uids);
    const toVisitor = await page.hears(name, (message) => message.uid === uids);
    for (const copy of [toAgent, toVisitor]) {
      assert.equal(copy.type, 'TEXT');
      assert.equal(copy.content, content);
      assert.equal(copy.status, 'SUCCESS');
      assert.match(copy.createdAt, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
    }
    assert.equal(toAgent.user, author);
    assert.equal(toVisitor.user.uid, author);
    assert.equal(toAgent.topic, thread.topic);
    assert.equal(toVisitor.thread.topic, thread.topic);
    assert.equal(typeof toVisitor.extra, 'string');
    assert.match(toVisitor.position, /^\d+$/);
    assert.equal(typeof toVisitor.timestamp, 'number');
    assert.equal(toVisitor.headers.destination, `/topic/${thread.topic.replaceAll('/', '.')}`);
    for (const header of ['message-id', 'subscription', 'ack', 'content-type', 'position']) {
      assert.ok(toVisitor.headers[header], `MESSAGE has ${header}`);
    }
    assert.ok(!JSON.stringify(toVisitor).includes('null'), 'nulls are omitted');
  };

  const toVisitor = uid();
  await agent.page.mqttSendMessage(toVisitor, 'TEXT', '您好 👋', thread);
  await check('what the agent wrote', toVisitor, '您好 👋', 'df_ag_uid')();
  // "Received is read": the visitor's page answers at once.
  await agent.hears('the READ of it', (message) => message.type === 'READ' && message.content === toVisitor);
  assert.ok(agent.seen.reads.includes(toVisitor));

  const toAgent = page.message('TEXT', 'hello from the website');
  page.page.stompSendMessage(JSON.stringify(toAgent));
  await check('what the visitor wrote', toAgent.uid, 'hello from the website', visitor.uid)();
  await agent.page.mqttSendMessage(uid(), 'DELIVERED', toAgent.uid, thread);
  await page.hears('DELIVERED', (message) => message.type === 'DELIVERED' && message.content === toAgent.uid);

  // The agent's fallback: its socket is down, which the page notices by itself.
  await agent.close();
  const posted = uid();
  await agent.page.mqttSendMessage(posted, 'TEXT', 'over HTTP', thread);
  assert.deepEqual(agent.seen.statuses.at(-1), { message: posted, status: 'SUCCESS' });
  const stored = JSON.parse(agent.seen.posted.data.data);
  assert.equal(stored.uid, posted);
  assert.equal(stored.status, 'SUCCESS');
  await page.hears('what the agent posted', (message) => message.uid === posted && message.content === 'over HTTP');
  agent.client.reconnect();
  await agent.hears('its own post after reconnecting', (message) => message.uid === posted);

  // The visitor's fallback.
  const fallback = page.message('TEXT', 'posted by the visitor');
  await page.page.sendHttpMessage(JSON.stringify(fallback));
  assert.deepEqual(page.seen.errors, []);
  assert.equal(JSON.parse(page.seen.posted.data.data).status, 'SUCCESS');
  await check('what the visitor posted', fallback.uid, 'posted by the visitor', visitor.uid)();

  // Both sides see one history, in one order.
  const path = `topic=${encodeURIComponent(thread.topic)}&pageNumber=0&pageSize=50`;
  const agentLogin = await login('agent1');
  const forAgent = await http('GET', `/api/v1/message/query/topic?${path}`, { token: agentLogin.accessToken });
  const forVisitor = await http('GET', `/visitor/api/v1/message/thread/topic?${path}`);
  const texts = (answer) => answer.data.data.content.filter(({ type }) => type === 'TEXT').map((message) => message.uid);
  const said = [toVisitor, toAgent.uid, posted, fallback.uid];
  assert.deepEqual(texts(forAgent).toSorted(), said.toSorted());
  assert.deepEqual(texts(forVisitor), texts(forAgent));
  for (const name of ['number', 'size', 'totalElements', 'totalPages', 'first', 'last', 'empty']) {
    assert.ok(name in forAgent.data.data, `a page has ${name}`);
  }
  assert.deepEqual(agent.seen.failures, []);
});
