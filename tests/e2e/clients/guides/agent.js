// The code of the agent guide ("MQTT 长连接") and of the agent reference ("客服端长连接"), as a page would copy it. Only
// the frame around it is ours: `app` is what both leave to the application (stores, user info, the URL).
import mqtt from 'mqtt';
import { messageProto, threadProto, userProto } from '../lib/protobuf.js';

export function agentPage(app) {
  const {
    addMessageToStore, emitMessageStatusEvent, generateMessageId, getAgentInfo, getMemberInfo, getMqttUrl, getUserInfo,
    handleDeliveredReceipt, handleFileMessage, handleImageMessage, handleReadReceipt, handleTextMessage,
    handleTypingMessage, isCustomerServiceThread, sendReceiptMessage, sendRestMessage, shouldSendReceipt,
    showErrorMessage, storeFailedMessage, updateMessageStatus,
  } = app;
  const { log } = app.console;
  const console = { log, error: log };
  const userInfo = getUserInfo();
  let mqttClient = null;

  // --- agent-mqtt-reference.md, "建立连接" ---
  const mqttConnect = ({ uid, username, accessToken }) => {
    // 检查访问令牌 - 匿名用户不建立MQTT连接
    if (!accessToken) {
      console.log("accessToken is empty, don't connect mqtt");
      return;
    }

    // 生成唯一的客户端ID
    // 格式：用户ID/渠道/设备ID
    const deviceUid = app.deviceUid ?? 'device_unique_id'; // 设备唯一标识
    const clientId = `${uid}/web/${deviceUid}`;

    // MQTT连接配置详解
    const options = {
      keepalive: 30,          // 心跳间隔(秒)，设置0为禁用
      clientId: clientId,     // 客户端唯一标识，用于服务端识别客户端身份
      username: username,     // MQTT用户名，用于服务端认证
      password: accessToken,  // MQTT密码(访问令牌)，用于服务端认证
      clean: false,          // 持久会话：false=离线时可接收QoS 1和2消息
      path: "/websocket",    // WebSocket路径，WSS协议必需
      reconnectPeriod: 5000, // 重连间隔(毫秒)，设置0禁用自动重连
      connectTimeout: 30000, // 连接超时(毫秒)
      reschedulePings: true, // 发送数据包后重新安排ping消息
      rejectUnauthorized: false, // WSS连接时是否验证服务器证书
    };

    // 连接 MQTT 服务器,并将客户端实例赋值给全局变量
    mqttClient = mqtt.connect(getMqttUrl(), options);

    return mqttClient;
  };

  // --- agent-mqtt-guide.md, "添加事件监听" ---
  const listen = (client) => {
    // 连接成功事件
    client.on('connect', () => {
      console.log('MQTT 连接成功');
      // 可以在这里订阅主题
    });

    // 接收消息事件
    client.on('message', (topic, message, packet) => {
      console.log('收到消息:', {
        topic: topic,
        message: message.toString(),
        packet: packet
      });

      // 处理收到的消息
      handleReceivedMessage(topic, message);
    });

    // 重连事件
    client.on('reconnect', () => {
      console.log('MQTT 重新连接中...');
    });

    // 连接关闭事件
    client.on('close', () => {
      console.log('MQTT 连接已关闭');
    });

    // 错误事件
    client.on('error', (error) => {
      console.error('MQTT 连接错误:', error);
    });

    // 离线事件
    client.on('offline', () => {
      console.log('MQTT 客户端离线');
    });
  };

  // --- agent-mqtt-guide.md, "MQTT 发送消息（首选方式）" ---
  // MQTT发送消息的核心函数
  const mqttSendMessage = async (messageUid, messageType, messageContent, currentThread, fromTicketTab = false) => {
    console.log('MQTT发送消息:', { messageUid, messageType, messageContent });
    const timestamp = Date.now();

    // 检查MQTT连接状态
    if (mqttClient && mqttClient.connected) {
      // 1. 构建Thread信息
      const thread = new threadProto.Thread();
      thread.setUid(currentThread.uid);
      thread.setType(currentThread.type);
      thread.setTopic(currentThread.topic);

      // 设置Thread用户信息
      const threadUser = new userProto.User();
      threadUser.setUid(currentThread.user?.uid);
      threadUser.setNickname(currentThread.user?.nickname);
      threadUser.setAvatar(currentThread.user?.avatar);
      thread.setUser(threadUser);

      // 2. 构建发送者信息（根据会话类型选择不同的用户身份）
      const user = new userProto.User();

      if (fromTicketTab) {
        // 工单会话：使用成员信息
        const memberInfo = getMemberInfo();
        user.setUid(memberInfo?.uid);
        user.setNickname(memberInfo?.nickname);
        user.setAvatar(memberInfo?.avatar);
        user.setType('MEMBER');
      } else if (isCustomerServiceThread(currentThread)) {
        // 客服会话：使用客服信息
        const agentInfo = getAgentInfo();
        user.setUid(agentInfo?.uid);
        user.setNickname(agentInfo?.nickname);
        user.setAvatar(agentInfo?.avatar);
        user.setType('AGENT');
      } else {
        // 普通会话：使用用户信息
        const userInfo = getUserInfo();
        user.setUid(userInfo.uid);
        user.setNickname(userInfo.nickname);
        user.setAvatar(userInfo.avatar);
        user.setType('USER');
      }

      // 3. 构建消息体
      const messageExtra = {
        orgUid: userInfo?.currentOrganization?.uid // 组织ID
      };

      const message = new messageProto.Message();
      message.setUid(messageUid);
      message.setType(messageType);
      message.setStatus('SENDING');
      message.setCreatedat(timestamp);
      message.setChannel('web');
      message.setContent(formatMessageContent(messageType, messageContent));
      message.setUser(user);
      message.setThread(thread);
      message.setExtra(JSON.stringify(messageExtra));

      // 4. 序列化为二进制数据并发送
      const messageData = message.serializeBinary();
      mqttClient.publish(currentThread.topic, messageData, { qos: 0 });

      // 5. 立即更新本地消息状态
      const messageResponse = {
        uid: message.getUid(),
        type: message.getType(),
        content: messageContent,
        channel: message.getChannel(),
        createdAt: message.getCreatedat(),
        status: message.getStatus(),
        thread: {
          uid: message.getThread().getUid(),
          type: message.getThread().getType(),
          topic: message.getThread().getTopic(),
        },
        user: {
          uid: message.getUser().getUid(),
          nickname: message.getUser().getNickname(),
          avatar: message.getUser().getAvatar(),
        },
      };

      // 添加到本地消息存储
      addMessageToStore(messageResponse);
      console.log('MQTT消息发送成功');

    } else {
      // MQTT连接断开，降级到HTTP发送
      console.log('MQTT连接断开，使用HTTP发送');
      await sendMessageViaHttp(messageUid, messageType, messageContent, currentThread, fromTicketTab);
    }
  };

  // 格式化不同类型的消息内容
  const formatMessageContent = (messageType, messageContent) => {
    // 文本类型消息直接返回
    const textTypes = ['TEXT', 'WELCOME', 'NOTICE', 'TYPING', 'PROCESSING', 'READ', 'DELIVERED', 'RECALL'];
    if (textTypes.includes(messageType)) {
      return messageContent;
    }

    // 多媒体消息需要转换为JSON格式
    switch (messageType) {
      case 'IMAGE':
        return JSON.stringify({ url: messageContent, type: 'IMAGE' });
      case 'FILE':
        return JSON.stringify({ url: messageContent, type: 'FILE' });
      case 'VIDEO':
        return JSON.stringify({ url: messageContent, type: 'VIDEO' });
      case 'AUDIO':
        return JSON.stringify({ url: messageContent, type: 'AUDIO' });
      case 'VOICE':
        return JSON.stringify({ url: messageContent, type: 'VOICE' });
      case 'LOCATION':
        return JSON.stringify({ address: messageContent, type: 'LOCATION' });
      default:
        return messageContent;
    }
  };

  // --- agent-mqtt-guide.md, "HTTP 发送消息（降级方式）" ---
  // HTTP降级发送消息
  const sendMessageViaHttp = async (messageUid, messageType, messageContent, currentThread, fromTicketTab) => {
    console.log('HTTP发送消息:', { messageUid, messageType, messageContent });

    // 1. 构建HTTP消息格式（JSON格式）
    const messageObject = formatMessageProtobuf(
      currentThread,
      getUserInfo(),
      getAgentInfo(),
      messageUid,
      messageType,
      messageContent,
      Date.now()
    );

    try {
      // 2. 发送HTTP请求
      const messageString = JSON.stringify(messageObject);
      const response = await sendRestMessage(messageString);

      console.log('HTTP响应:', response.data);

      // 3. 处理响应结果
      if (response.data.code === 200) {
        // 发送成功，更新本地消息状态
        updateMessageStatus(messageObject.uid, 'SUCCESS');
        console.log('HTTP消息发送成功');

        // 触发状态更新事件
        emitMessageStatusEvent({
          uid: messageObject.uid,
          type: 'SUCCESS'
        });
      } else {
        // 发送失败
        console.error('HTTP消息发送失败:', response.data.message);
        updateMessageStatus(messageObject.uid, 'FAILED');
        showErrorMessage(response.data.message);
      }

    } catch (error) {
      console.error('HTTP发送异常:', error);
      updateMessageStatus(messageObject.uid, 'FAILED');

      // 可以将失败的消息存储到本地，待连接恢复后重发
      storeFailedMessage(messageObject);
    }
  };

  // HTTP消息格式化函数
  const formatMessageProtobuf = (currentThread, userInfo, agentInfo, messageUid, messageType, messageContent, timestamp) => {
    return {
      uid: messageUid,
      type: messageType,
      content: formatMessageContent(messageType, messageContent),
      status: 'SENDING',
      createdAt: timestamp,
      channel: 'web',
      user: {
        uid: userInfo.uid,
        nickname: userInfo.nickname,
        avatar: userInfo.avatar,
        type: 'USER'
      },
      thread: {
        uid: currentThread.uid,
        type: currentThread.type,
        topic: currentThread.topic,
        user: {
          uid: currentThread.user?.uid,
          nickname: currentThread.user?.nickname,
          avatar: currentThread.user?.avatar
        }
      },
      extra: {
        orgUid: userInfo?.currentOrganization?.uid
      }
    };
  };

  // --- agent-mqtt-reference.md, "处理接收消息" (the guide's own, with the parsing spelt out and its receipts) ---
  const handleReceivedMessage = (topic, messageBinary) => {
    try {
      // 解析protobuf, 解密消息内容
      const messageProtobuf =
        messageProto.Message.deserializeBinary(messageBinary);
      console.log('接收到的消息:', messageProtobuf);
      const message = {
        uid: messageProtobuf.getUid(),
        type: messageProtobuf.getType(),
        content: messageProtobuf.getContent(),
        createdAt: messageProtobuf.getCreatedat(),
        user: {
          uid: messageProtobuf.getUser().getUid(),
          nickname: messageProtobuf.getUser().getNickname(),
          avatar: messageProtobuf.getUser().getAvatar()
        }
      };

      // 根据消息类型处理
      switch (message.type) {
        case 'TEXT':
          handleTextMessage(message);
          break;
        case 'IMAGE':
          handleImageMessage(message);
          break;
        case 'FILE':
          handleFileMessage(message);
          break;
        case 'TYPING':
          handleTypingMessage(message);
          break;
        case 'READ':
          handleReadReceipt(message);
          break;
        case 'DELIVERED':
          handleDeliveredReceipt(message);
          break;
        default:
          console.log('未知消息类型:', message.type);
      }

      // 发送消息回执
      if (shouldSendReceipt(message.type)) {
        sendReceiptMessage(topic, message.uid);
      }

      app.received(topic, messageProtobuf);
    } catch (error) {
      console.error('处理消息错误:', error);
      app.failed(error);
    }
  };

  // --- agent-mqtt-guide.md, "连接管理" ---
  // 检查是否已连接
  const isConnected = () => {
    return mqttClient && mqttClient.connected;
  };

  // 手动重连
  const reconnect = () => {
    if (mqttClient) {
      mqttClient.reconnect();
    }
  };

  // 断开连接
  const disconnect = () => {
    if (mqttClient) {
      mqttClient.end();
    }
  };

  return { disconnect, generateMessageId, isConnected, listen, mqttConnect, mqttSendMessage, reconnect };
}
