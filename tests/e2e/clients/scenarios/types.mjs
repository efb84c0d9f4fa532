// Every message type of the guides, both ways.
import assert from 'node:assert/strict';
import { openAgent, openVisitor } from '../lib/pages.js';
import { http, login, scenario, uid, visit } from '../lib/scenario.js';

// agent-mqtt-guide.md, "支持的消息类型"
const MESSAGE_TYPES = [
  'TEXT', 'IMAGE', 'FILE', 'VIDEO', 'AUDIO', 'VOICE', 'LOCATION', 'WELCOME', 'ARTICLE', 'GOODS', 'ORDER', 'TYPING',
  'PROCESSING', 'STREAM', 'PREVIEW', 'DELIVERED', 'READ', 'NOTICE', 'RECALL', 'TRANSFER', 'TRANSFER_ACCEPT',
  'TRANSFER_REJECT', 'INVITE', 'INVITE_ACCEPT', 'INVITE_REJECT', 'RATE_INVITE', 'RATE_SUBMIT', 'RATE_CANCEL',
];
// What happens between colleagues is no visitor's business.
const HIDDEN = /^(TRANSFER|INVITE(?!_VISITOR))/;
const TRANSIENT = ['TYPING', 'PROCESSING', 'PREVIEW'];

scenario(async () => {
  const agent = await openAgent({ login: await login('agent1') });
  const { visitor, thread } = await visit();
  const page = await openVisitor({ visitor, thread, receipts: false });

  const mine = uid();
  await agent.page.mqttSendMessage(mine, 'TEXT', 'to be recalled', thread);
  const theirs = page.message('TEXT', 'to be read');
  page.page.stompSendMessage(JSON.stringify(theirs));
  await agent.hears('the first message', (message) => message.uid === theirs.uid);
  await page.hears('the first answer', (message) => message.uid === mine);

  const contents = { RECALL: mine, DELIVERED: theirs.uid, READ: theirs.uid, TYPING: '' };
  const sent = [];
  for (const type of MESSAGE_TYPES) {
    const message = { uid: uid(), type, content: contents[type] ?? JSON.stringify({ of: type }) };
    sent.push(message);
    await agent.page.mqttSendMessage(message.uid, type, message.content, thread);
  }
  for (const message of sent) {
    const echo = await agent.hears(`its own ${message.type}`, (heard) => heard.uid === message.uid);
    assert.equal(echo.type, message.type);
    if (HIDDEN.test(message.type)) continue;
    const copy = await page.hears(message.type, (heard) => heard.uid === message.uid);
    assert.equal(copy.type, message.type);
    if (!['IMAGE', 'FILE', 'VIDEO', 'AUDIO', 'VOICE', 'LOCATION'].includes(message.type)) {
      assert.equal(copy.content ?? '', message.content);
    } else {
      assert.equal(JSON.parse(copy.content).type, message.type);
    }
  }
  // The visitor has everything now; what it has not by now it never gets.
  const leaked = page.seen.heard.filter((message) => HIDDEN.test(message.type));
  assert.deepEqual(leaked, []);
  assert.deepEqual(page.seen.recalled, [mine]);
  assert.equal(page.seen.typing, 1);
  assert.equal(page.seen.processing, 1);

  // The visitor's own: the guide's special messages and every plain type.
  page.page.stompSendRateSubmitMessage({
    uid: sent.find(({ type }) => type === 'RATE_INVITE').uid, score: 5, resolved: true, content: '很好', thread, visitor: page.me,
  });
  page.page.stompSendLeaveMessage({
    uid: uid(), nickname: 'V', contact: '13800000000', content: 'call me', type: 'OTHER', images: [], thread, visitor: page.me,
  });
  page.page.stompSendRecallMessage(theirs.uid, thread);
  const rate = await agent.hears('RATE_SUBMIT', (m) => m.type === 'RATE_SUBMIT' && m.user === visitor.uid);
  assert.equal(JSON.parse(rate.extra).score, 5);
  const leave = await agent.hears('LEAVE_MSG_SUBMIT', (m) => m.type === 'LEAVE_MSG_SUBMIT');
  assert.equal(JSON.parse(leave.extra).contact, '13800000000');
  await agent.hears('the recall', (m) => m.type === 'RECALL' && m.content === theirs.uid);
  await page.hears('its own recall', (m) => m.type === 'RECALL' && m.content === theirs.uid);
  assert.deepEqual(page.seen.successes, ['评价成功', '留言成功']);
  for (const type of ['TEXT', 'IMAGE', 'FILE', 'VIDEO', 'AUDIO', 'VOICE', 'LOCATION', 'GOODS', 'ORDER', 'FORM_SUBMIT',
    'CHOICE_SUBMIT', 'FAQ_QUESTION', 'SOME_TYPE_OF_THE_FUTURE']) {
    const message = page.message(type, JSON.stringify({ of: type }));
    page.page.stompSendMessage(JSON.stringify(message));
    const heard = await agent.hears(type, (m) => m.uid === message.uid);
    assert.equal(heard.type, type);
    assert.equal(heard.content, message.content);
    await page.hears(`its own ${type}`, (m) => m.uid === message.uid);
  }

  // History: nothing transient, nothing hidden for the visitor, no recalled content for anybody.
  const path = `topic=${encodeURIComponent(thread.topic)}&after=0&limit=500`;
  const { data } = await http('GET', `/visitor/api/v1/messages?${path}`);
  const types = data.data.content.map(({ type }) => type);
  assert.deepEqual(types.filter((type) => TRANSIENT.includes(type) || HIDDEN.test(type)), []);
  const contentsNow = data.data.content.map(({ content }) => content);
  assert.ok(!contentsNow.includes('to be recalled') && !contentsNow.includes('to be read'), 'recalled content is gone');
  assert.deepEqual(agent.seen.failures, []);
  assert.deepEqual(page.seen.errors, []);
});
