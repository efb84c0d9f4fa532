// A conversation's life with the code of the guides: handed over while the visitor writes, shared, left, closed by either
// side, opened again. The notices are those that deployed pages show.
import assert from 'node:assert/strict';
import { openAgent, openVisitor } from '../lib/pages.js';
import { DESK, http, login, scenario, uid, until, visit } from '../lib/scenario.js';

const DESK2 = 'df_ag2_uid';
const colleague = (own, other) => ({ uid: 'between-two', type: 'MEMBER', topic: `org/member/${own}/${other}` });

scenario(async () => {
  const logins = { ann: await login('agent1'), bob: await login('agent2') };
  const ann = await openAgent({ login: logins.ann });
  const bob = await openAgent({ login: logins.bob, desk: DESK2, deviceUid: 'device_of_bob' });
  const { visitor, thread } = await visit();
  const page = await openVisitor({ visitor, thread, receipts: false });
  const about = { uid: thread.uid, topic: thread.topic };

  // What each has heard of what the visitor has said, in order.
  const said = [];
  const write = async () => {
    const message = page.message('TEXT', String(said.length));
    said.push(message.uid);
    page.page.stompSendMessage(JSON.stringify(message));
    await page.hears('its own message', (heard) => heard.uid === message.uid);
    return message.uid;
  };
  const texts = (heard) => heard.map((message) => message.uid).filter((of) => said.includes(of));
  const tell = async (from, to, type, content) => {
    const message = uid();
    const thread = colleague(from.desk, to.desk);
    await from.page.mqttSendMessage(message, type, JSON.stringify(content), thread);
    await to.hears(type, (heard) => heard.uid === message);
    return message;
  };

  // Handed over while the visitor writes.
  let over = false;
  const writing = (async () => {
    while (!over) await write();
  })();
  await ann.hears('the visitor', () => texts(ann.seen.heard).length > 3);
  const offer = await tell(ann, bob, 'TRANSFER', { note: 'for you', thread: about });
  await tell(bob, ann, 'TRANSFER_ACCEPT', { uid: offer, thread: about });
  await page.hears('that another has joined', (heard) => heard.type === 'NOTICE');
  over = true;
  await writing;
  const last = await write();
  await bob.hears('the last', (heard) => heard.uid === last);
  await tell(bob, ann, 'TEXT', 'a marker');
  const [first, second] = [texts(ann.seen.heard), texts(bob.seen.heard)];
  assert.deepEqual([...first, ...second], said, 'each message came to one of the two, once, in order');
  assert.deepEqual(texts(page.seen.heard), said);
  const notice = (heard) => heard.type === 'NOTICE' && heard.thread === thread.topic;
  assert.equal(ann.seen.heard.filter(notice).length, 1);
  assert.equal(bob.seen.heard.filter(notice).length, 1);

  // Shared: who was first is invited by who has it now, hears and leaves again.
  const invited = await tell(bob, ann, 'INVITE', { thread: about });
  await tell(ann, bob, 'INVITE_ACCEPT', { uid: invited, thread: about });
  await until('she has joined', () => ann.seen.heard.filter(notice).length === 2);
  const both = await write();
  await ann.hears('it again', (heard) => heard.uid === both);
  await bob.hears('it too', (heard) => heard.uid === both);
  await tell(ann, bob, 'INVITE_EXIT', { thread: about });
  const one = await write();
  await bob.hears('it alone', (heard) => heard.uid === one);
  await tell(bob, ann, 'TEXT', 'another marker');
  assert.ok(!texts(ann.seen.heard).includes(one));

  // Closed by who has it; opened again by the visitor's next message, at the desk.
  const closed = await http('POST', '/api/v1/thread/close', { token: logins.bob.accessToken, body: { topic: thread.topic } });
  assert.equal(closed.data.code, 200, JSON.stringify(closed.data));
  await page.hears('the end', (heard) => heard.type === 'AGENT_CLOSED');
  await bob.hears('the end', (heard) => heard.type === 'AGENT_CLOSED');
  const again = await write();
  await ann.hears('what opens it', (heard) => heard.uid === again);
  const path = '/visitor/api/v1/thread/close';
  const ended = await http('POST', path, { body: { topic: thread.topic, uid: visitor.uid } });
  assert.equal(ended.data.code, 200, JSON.stringify(ended.data));
  await page.hears('its own end', (heard) => heard.type === 'VISITOR_CLOSED');
  await ann.hears("the visitor's end", (heard) => heard.type === 'VISITOR_CLOSED');

  assert.equal(ann.desk, DESK);
  for (const type of ['TRANSFER', 'TRANSFER_ACCEPT', 'INVITE', 'INVITE_ACCEPT', 'INVITE_EXIT']) {
    assert.ok(!page.seen.heard.some((heard) => heard.type === type), `the visitor heard ${type}`);
  }
  assert.deepEqual([ann.seen.failures, bob.seen.failures, page.seen.errors], [[], [], []]);
});
