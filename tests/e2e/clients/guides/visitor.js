// The code of the visitor guide ("访客端长连接") as a page would copy it, without its type annotations. Only the frame
// around it is ours: `app` is what it leaves to the application (stores, the visitor, the URL).
import * as StompJs from '@stomp/stompjs';

export function visitorPage(app) {
  const {
    addMessageToStore, generateUUID, getCurrentOrgUid, getCurrentVisitor, getStompWsUrl, handleRecallMessage,
    handleVisitorInvite, isSelfSend, playAudio, sendRestMessage, shouldSendReceipt, showErrorMessage,
    showProcessingIndicator, showSuccessMessage, showTypingIndicator, updateMessageStatus,
  } = app;
  const { log } = app.console;
  const console = { log, error: log };

  // 全局STOMP客户端变量
  let stompClient;
  let transformedTopic;
  let subscribedTopics = [];

  // 建立STOMP连接
  const stompConnect = ({ username, topic, orgUid }) => {
    console.log("STOMP连接参数:", { username, topic, orgUid });
    subscribedTopics = [];

    // 创建STOMP客户端实例
    stompClient = new StompJs.Client({
      brokerURL: getStompWsUrl(), // WebSocket服务器地址
      connectHeaders: {
        login: username || "",
        // 可以添加其他认证头信息
      },
      // 心跳配置 - 保持连接活跃
      heartbeatIncoming: 10 * 1000, // 10秒，与服务器保持一致
      heartbeatOutgoing: 10 * 1000, // 10秒，与服务器保持一致
      // 调试信息输出
      debug: function (str) {
        if (process.env.NODE_ENV === 'development') {
          console.log("STOMP调试:", str);
        }
      },
    });

    return stompClient;
  };

  const listen = ({ topic, orgUid }) => {
    // 连接成功事件
    stompClient.onConnect = function (frame) {
      console.log("STOMP连接成功:", frame);

      // 等待连接完全建立后再订阅
      setTimeout(() => {
        if (stompClient && stompClient.connected) {
          stompSubscribe({ topic, orgUid });
        } else {
          console.error("STOMP连接尚未完全建立");
        }
      }, 500); // 添加500毫秒延时，确保连接已完成建立
    };

    // 连接断开事件
    stompClient.onDisconnect = function (frame) {
      console.log("STOMP连接断开:", frame);
      subscribedTopics = [];
    };

    // WebSocket关闭事件
    stompClient.onWebSocketClose = (event) => {
      console.log("WebSocket连接关闭:", event);
      subscribedTopics = [];
    };

    // WebSocket错误事件
    stompClient.onWebSocketError = (error) => {
      console.error("WebSocket连接错误:", error);
      subscribedTopics = [];
    };

    // STOMP协议错误事件
    stompClient.onStompError = function (frame) {
      console.error("STOMP协议错误:", frame.headers["message"]);
      console.error("错误详情:", frame.body);
      subscribedTopics = [];
      app.stompError(frame);
    };

    // 激活连接
    stompClient.activate();
  };

  // 订阅消息主题
  const stompSubscribe = ({ topic, orgUid }) => {
    // 转换主题格式：将/替换为.
    transformedTopic = topic.replace(/\//g, ".");

    // 检查连接状态
    if (stompClient == null || !stompClient.connected) {
      console.log("STOMP客户端未连接");
      return;
    }

    // 防止重复订阅
    if (subscribedTopics.includes(transformedTopic)) {
      console.log("主题已订阅:", transformedTopic);
      return;
    }

    subscribedTopics.push(transformedTopic);
    console.log("订阅主题:", transformedTopic);

    try {
      stompClient.subscribe(
        "/topic/" + transformedTopic,
        (message) => {
          if (message.body) {
            const messageObject = JSON.parse(message.body);
            app.received(messageObject, message.headers);
            handleReceivedMessage(messageObject, orgUid);
          }
          // 确认消息已处理
          message.ack();
        },
        { ack: "client" } // 客户端手动确认
      );
      app.subscribed(transformedTopic);
    } catch (error) {
      console.error("订阅主题失败:", error);
      // 订阅失败时从列表中移除
      subscribedTopics = subscribedTopics.filter(item => item !== transformedTopic);
    }
  };

  // 发送消息到服务器
  const stompSendMessage = (message) => {
    console.log("STOMP发送消息:", transformedTopic, message);

    // 检查连接状态
    if (!stompIsConnected()) {
      // 连接断开时使用HTTP发送
      sendHttpMessage(message);
      console.log("STOMP连接断开，使用HTTP发送");
      return;
    }

    // 通过STOMP发送消息
    stompClient.publish({
      destination: "/app/" + transformedTopic,
      body: message,
      // 可以添加自定义头信息
      // headers: { priority: '9' },
    });
  };

  // 检查连接状态
  const stompIsConnected = () => {
    return stompClient != null && stompClient?.connected;
  };

  // 处理接收到的消息
  const handleReceivedMessage = (messageObject, orgUid) => {
    // 判断是否为自己发送的消息
    if (!isSelfSend(messageObject)) {
      console.log("接收到其他人的消息:", messageObject);

      // 根据消息类型进行不同处理
      switch (messageObject.type) {
        case 'READ':
        case 'DELIVERED':
          // 消息回执处理
          console.log("收到消息回执:", messageObject);
          updateMessageStatus(messageObject);
          return;

        case 'TYPING':
          // 显示正在输入状态
          showTypingIndicator();
          return;

        case 'PROCESSING':
          // 显示处理中状态
          showProcessingIndicator();
          return;

        case 'RECALL':
          // 处理消息撤回
          handleRecallMessage(messageObject);
          return;

        case 'TRANSFER':
        case 'TRANSFER_ACCEPT':
        case 'TRANSFER_REJECT':
          // 忽略转接相关消息
          return;

        case 'INVITE_VISITOR':
          // 处理访客邀请
          handleVisitorInvite(messageObject);
          break;

        case 'AUTO_CLOSED':
          // 会话自动关闭，不播放提示音
          break;

        default:
          // 播放消息提示音
          playAudio();
      }

      // 发送消息送达回执
      sendReceiptMessage(orgUid, messageObject);

    } else {
      console.log("接收到自己发送的消息:", messageObject);

      // 处理自己发送的消息
      switch (messageObject.type) {
        case 'RATE_SUBMIT':
          showSuccessMessage("评价成功");
          updateMessageStatus(messageObject);
          return;

        case 'LEAVE_MSG_SUBMIT':
          showSuccessMessage("留言成功");
          updateMessageStatus(messageObject);
          return;

        case 'RECALL':
          handleRecallMessage(messageObject);
          return;
      }

      // 标记消息发送成功
      messageObject.status = 'SUCCESS';
    }

    // 将消息添加到消息列表
    addMessageToStore(messageObject);
  };

  const stompSendLeaveMessage = ({ uid, nickname, contact, content, type, images, thread, visitor }) => {
    const messageExtra = {
      uid: uid || "",
      nickname: nickname,
      contact: contact,
      content: content,
      type: type,
      images: images,
      orgUid: getCurrentOrgUid(),
    };

    const message = {
      uid: uid,
      type: "LEAVE_MSG_SUBMIT",
      content: uid,
      status: "SENDING",
      createdAt: new Date().toISOString(),
      channel: "HTTP",
      extra: JSON.stringify(messageExtra),
      thread: thread,
      user: visitor,
    };

    const messageJson = JSON.stringify(message);
    stompSendMessage(messageJson);
  };

  const stompSendRateSubmitMessage = ({ uid, score, resolved, content, thread, visitor }) => {
    const messageExtra = {
      score: score,
      resolved: resolved,
      content: content || "",
      orgUid: getCurrentOrgUid(),
    };

    const message = {
      uid: generateUUID(),
      type: "RATE_SUBMIT",
      content: uid, // 评价对象的消息ID
      status: "SENDING",
      createdAt: new Date().toISOString(),
      channel: "HTTP",
      extra: JSON.stringify(messageExtra),
      thread: thread,
      user: visitor,
    };

    const messageJson = JSON.stringify(message);
    stompSendMessage(messageJson);
  };

  const stompSendRecallMessage = (recallMessageUid, thread) => {
    console.log("发送撤回消息:", recallMessageUid);

    const messageExtra = {
      orgUid: getCurrentOrgUid(),
    };

    const message = {
      uid: generateUUID(),
      type: "RECALL",
      content: recallMessageUid, // 要撤回的消息ID
      status: "SENDING",
      createdAt: new Date().toISOString(),
      channel: "HTTP",
      extra: JSON.stringify(messageExtra),
      thread: thread,
      user: getCurrentVisitor(),
    };

    const messageJson = JSON.stringify(message);
    stompSendMessage(messageJson);
  };

  // 发送消息回执
  const sentUIDs = new Set(); // 避免重复发送回执

  const sendReceiptMessage = (orgUid, message) => {
    // 检查是否需要发送回执
    if (shouldSendReceipt(message?.type)) {
      const uid = message?.uid || "";

      // 避免重复发送
      if (!sentUIDs.has(uid)) {
        sentUIDs.add(uid);

        const messageExtra = {
          orgUid: orgUid,
        };

        const receiptMessage = {
          uid: generateUUID(),
          type: "READ", // 访客端收到即已读
          status: "SENDING",
          content: message?.uid, // 原消息ID
          thread: message?.thread,
          extra: JSON.stringify(messageExtra),
          channel: "HTTP",
          user: {
            uid: getCurrentVisitor().uid,
          },
        };

        stompSendMessage(JSON.stringify(receiptMessage));
      }
    }
  };

  // 当STOMP连接断开时，使用HTTP发送消息
  const sendHttpMessage = async (message) => {
    try {
      const response = await sendRestMessage(message);
      console.log("HTTP发送消息:", message, response.data);

      if (response.data.code === 200) {
        const messageObject = JSON.parse(message);

        // 更新消息状态为成功
        messageObject.status = "SUCCESS";
        updateMessageStatus(messageObject);

        // 显示成功提示
        if (messageObject?.type === "RATE_SUBMIT") {
          showSuccessMessage("评价成功");
        }
        if (messageObject?.type === "LEAVE_MSG_SUBMIT") {
          showSuccessMessage("留言成功");
        }
      } else {
        showErrorMessage(response.data.message);
      }
    } catch (error) {
      console.error("HTTP发送消息失败:", error);
      showErrorMessage("消息发送失败");
    }
  };

  const stompDisconnect = () => {
    console.log("断开STOMP连接");

    if (stompClient == null) {
      return;
    }

    stompClient.deactivate();
    subscribedTopics = [];
  };

  return {
    listen, sendHttpMessage, sendReceiptMessage, stompConnect, stompDisconnect, stompIsConnected, stompSendLeaveMessage,
    stompSendMessage, stompSendRateSubmitMessage, stompSendRecallMessage, stompSubscribe,
    client: () => stompClient,
  };
}
