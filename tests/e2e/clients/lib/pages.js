// What the guides leave to the application: stores, who I am, how to post. Everything a page is told is recorded.
import { WebSocket } from 'ws';
import { agentPage } from '../guides/agent.js';
import { visitorPage } from '../guides/visitor.js';
import { DESK, ORG, http, once, uid, until, urls } from './scenario.js';

globalThis.WebSocket ??= WebSocket;

const quiet = { log: process.env.LW_VERBOSE ? console.log : () => {} };
const RECEIPTED = ['TEXT', 'IMAGE', 'FILE', 'AUDIO', 'VIDEO'];

/** An agent's page: logged in over HTTP, connected as the guide does. */
export async function openAgent({ login, desk = DESK, deviceUid, url = urls.ws, receipts = false }) {
  const userInfo = login.user;
  const seen = { heard: [], failures: [], stored: [], statuses: [], texts: [], reads: [], delivered: [], typing: 0 };
  const threads = new Map();
  const page = agentPage({
    console: quiet,
    deviceUid,
    getMqttUrl: () => url,
    getUserInfo: () => userInfo,
    getAgentInfo: () => ({ uid: desk, nickname: 'Agent', avatar: 'https://example.org/agent.png' }),
    getMemberInfo: () => ({ uid: desk, nickname: 'Member', avatar: '' }),
    isCustomerServiceThread: (thread) => ['AGENT', 'WORKGROUP'].includes(thread.type),
    generateMessageId: uid,
    addMessageToStore: (message) => seen.stored.push(message),
    updateMessageStatus: (message, status) => seen.statuses.push({ message, status }),
    emitMessageStatusEvent: () => {},
    showErrorMessage: (text) => seen.failures.push(text),
    storeFailedMessage: (message) => seen.failures.push(message),
    sendRestMessage: async (json) => {
      const answer = await http('POST', '/api/v1/message/rest/send', {
        token: login.accessToken,
        body: { json, client: 'WEB' },
      });
      seen.posted = answer;
      return answer;
    },
    handleTextMessage: (message) => seen.texts.push(message),
    handleImageMessage: () => {},
    handleFileMessage: () => {},
    handleTypingMessage: () => { seen.typing += 1; },
    handleReadReceipt: (message) => seen.reads.push(message.content),
    handleDeliveredReceipt: (message) => seen.delivered.push(message.content),
    shouldSendReceipt: (type) => receipts && RECEIPTED.includes(type),
    sendReceiptMessage: (topic, target) => {
      const last = seen.lastThread(topic);
      if (seen.author(target) !== desk) page.mqttSendMessage(uid(), 'DELIVERED', target, last);
    },
    received: (topic, message) => {
      const thread = message.getThread();
      threads.set(topic, { uid: thread.getUid(), type: thread.getType(), topic: thread.getTopic() });
      seen.heard.push({
        topic,
        uid: message.getUid(),
        type: message.getType(),
        content: message.getContent(),
        status: message.getStatus(),
        createdAt: message.getCreatedat(),
        extra: message.getExtra(),
        user: message.getUser().getUid(),
        nickname: message.getUser().getNickname(),
        thread: thread.getTopic(),
        threadUser: thread.getUser().getUid(),
      });
    },
    failed: (error) => seen.failures.push(error),
  });
  seen.lastThread = (topic) => threads.get(topic) ?? { topic, type: 'AGENT', uid: topic };
  seen.author = (target) => seen.heard.find((message) => message.uid === target)?.user;
  const client = page.mqttConnect({ uid: userInfo.uid, username: userInfo.username, accessToken: login.accessToken });
  page.listen(client);
  const [connack] = await once(client, 'connect');
  return {
    client,
    connack,
    page,
    seen,
    user: userInfo,
    desk,
    hears: (what, match) => until(`the agent hears ${what}`, () => seen.heard.find(match)),
    close: () => new Promise((resolve) => client.end(false, {}, resolve)),
  };
}

/** A visitor's page: it has its thread, and connects as the guide does, with nothing but its uid. */
export async function openVisitor({ visitor, thread, receipts = true }) {
  const me = { uid: visitor.uid, nickname: visitor.nickname, avatar: visitor.avatar, type: 'VISITOR' };
  const seen = { heard: [], stored: [], statuses: [], successes: [], errors: [], recalled: [], typing: 0, processing: 0 };
  const subscribed = new Set();
  const page = visitorPage({
    console: quiet,
    getStompWsUrl: () => urls.stomp,
    getCurrentVisitor: () => me,
    getCurrentOrgUid: () => ORG,
    generateUUID: uid,
    isSelfSend: (message) => message.user?.uid === me.uid,
    shouldSendReceipt: (type) => receipts && RECEIPTED.includes(type),
    addMessageToStore: (message) => seen.stored.push(message),
    updateMessageStatus: (message) => seen.statuses.push(message),
    handleRecallMessage: (message) => seen.recalled.push(message.content),
    handleVisitorInvite: () => {},
    showTypingIndicator: () => { seen.typing += 1; },
    showProcessingIndicator: () => { seen.processing += 1; },
    showSuccessMessage: (text) => seen.successes.push(text),
    showErrorMessage: (text) => seen.errors.push(text),
    playAudio: () => {},
    sendRestMessage: async (json) => {
      seen.posted = await http('POST', '/visitor/api/v1/message/send', { body: { json, client: 'WEB' } });
      return seen.posted;
    },
    received: (message, headers) => seen.heard.push({ ...message, headers }),
    subscribed: (topic) => subscribed.add(topic),
    stompError: (frame) => seen.errors.push(frame.headers.message),
  });
  const client = page.stompConnect({ username: visitor.uid, topic: thread.topic, orgUid: ORG });
  page.listen({ topic: thread.topic, orgUid: ORG });
  await until('the visitor is subscribed', () => {
    if (seen.errors.length > 0) throw new Error(`STOMP: ${seen.errors}`);
    return subscribed.size > 0;
  });
  const message = (type, content, more = {}) => ({
    uid: uid(),
    type,
    content,
    status: 'SENDING',
    createdAt: new Date().toISOString(),
    channel: 'HTTP',
    extra: JSON.stringify({ orgUid: ORG }),
    thread,
    user: me,
    ...more,
  });
  // The guide asks for no receipt. Its own typing, sent behind SUBSCRIBE, tells when the subscription hears.
  const typing = message('TYPING', '');
  page.stompSendMessage(JSON.stringify(typing));
  await until('the subscription hears', () => seen.heard.some((heard) => heard.uid === typing.uid));
  return {
    client,
    page,
    seen,
    me,
    thread,
    message,
    hears: (what, match) =>
      until(`the visitor hears ${what}`, () => {
        if (seen.errors.length > 0) throw new Error(`waiting for ${what}: ${seen.errors}`);
        return seen.heard.find(match);
      }),
    close: () => client.deactivate(),
  };
}
