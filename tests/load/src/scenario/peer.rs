//! A server in memory that does just enough to be measured, and can be told to make one mistake.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use crate::envelope;
use crate::packet::{self, Packet};
use crate::stomp;

/// What goes wrong, once, with the message of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    Nothing,
    Lose(u64),
    Repeat(u64),
    /// It comes after the one that follows it on the same topic.
    Delay(u64),
    /// It is delivered and never acknowledged.
    ForgetAck(u64),
}

#[derive(Clone)]
struct Subscriber {
    /// A topic, or the beginning of one when it ends in a slash.
    pattern: String,
    stomp: bool,
    out: UnboundedSender<Vec<u8>>,
}

pub(super) struct Peer {
    mistake: Mistake,
    published: Cell<u64>,
    subscribers: RefCell<Vec<Subscriber>>,
    delayed: RefCell<Option<(String, Vec<u8>)>>,
}

/// Starts one on a free port; MQTT and STOMP over WebSocket on the same.
pub(super) async fn start(mistake: Mistake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (published, subscribers, delayed) = (Cell::new(0), RefCell::default(), RefCell::default());
    let peer = Rc::new(Peer {
        mistake,
        published,
        subscribers,
        delayed,
    });
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(Rc::clone(&peer).serve(stream));
        }
    });
    address
}

impl Peer {
    async fn serve(self: Rc<Self>, mut stream: TcpStream) {
        let (out, queued) = unbounded_channel();
        let mut input = BytesMut::new();
        if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
        let stomp = input.starts_with(b"GET");
        if stomp {
            while !input.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut input).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                .await
                .unwrap();
            input.clear();
        }
        let (reader, writer) = stream.into_split();
        spawn_local(write(writer, queued));
        self.read(reader, input, stomp, out).await;
    }

    async fn read(
        &self,
        mut reader: tokio::net::tcp::OwnedReadHalf,
        mut input: BytesMut,
        stomp: bool,
        out: UnboundedSender<Vec<u8>>,
    ) {
        loop {
            while let Some(len) = if stomp {
                self.frame(&input, &out)
            } else {
                self.packet(&input, &out)
            } {
                input.advance(len);
            }
            if reader.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    fn packet(&self, input: &[u8], out: &UnboundedSender<Vec<u8>>) -> Option<usize> {
        let (first, body, len) = packet::split(input).unwrap()?;
        let say = |bytes: &[u8]| out.send(bytes.to_vec()).unwrap_or_default();
        let text = |at: usize| {
            let size = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
            String::from_utf8(body[at + 2..at + 2 + size].to_vec()).unwrap()
        };
        match first >> 4 {
            1 => {
                let client = text(10);
                if let Some((user, _)) = client.split_once('/').filter(|(user, _)| user.contains("_user_")) {
                    self.subscribe(
                        format!("org/agent/{}/", user.replace("_user_", "_ag_")),
                        false,
                        out,
                    );
                }
                say(&[0x20, 2, 0, 0]);
            }
            8 => {
                self.subscribe(text(2), false, out);
                say(&[0x90, 3, body[0], body[1], body[body.len() - 1]]);
            }
            3 => {
                let (_, found) = packet::decode(input).unwrap().unwrap();
                let Packet::Publish {
                    qos,
                    packet_id,
                    topic,
                    payload,
                } = found
                else {
                    panic!("{found:?}")
                };
                let number = self.publish(std::str::from_utf8(topic).unwrap(), qos, payload);
                if qos > 0 && self.mistake != Mistake::ForgetAck(number) {
                    say(&packet::pub_ack(packet_id));
                }
            }
            _ => {}
        }
        Some(len)
    }

    fn frame(&self, input: &[u8], out: &UnboundedSender<Vec<u8>>) -> Option<usize> {
        let size = *input.get(1)? & 0x7F;
        let (header, size) = match size {
            126 => (
                8,
                usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])),
            ),
            size => (6, usize::from(size)),
        };
        let text = input.get(header..header + size)?;
        let (_, frame) = stomp::decode(text).unwrap().unwrap();
        let topic = || {
            let destination = String::from_utf8(frame.header("destination").unwrap().to_vec()).unwrap();
            destination.rsplit('/').next().unwrap().replace('.', "/")
        };
        let say = |text: &str| out.send(framed(text.as_bytes())).unwrap_or_default();
        match frame.command {
            b"CONNECT" => say("CONNECTED\nversion:1.2\n\n\0"),
            b"SUBSCRIBE" => {
                self.subscribe(topic(), true, out);
                say("RECEIPT\nreceipt-id:sub-0\n\n\0");
            }
            b"SEND" => {
                let mut protobuf = Vec::new();
                envelope::put(&mut protobuf, 3, envelope::json_content(frame.body).unwrap());
                self.publish(&topic(), 1, &protobuf);
            }
            b"ACK" => assert_eq!(frame.header("id"), Some(&b"7"[..])),
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
        Some(header + size)
    }

    fn subscribe(&self, pattern: String, stomp: bool, out: &UnboundedSender<Vec<u8>>) {
        self.subscribers.borrow_mut().push(Subscriber {
            pattern,
            stomp,
            out: out.clone(),
        });
    }

    /// Gives the number of the message.
    fn publish(&self, topic: &str, qos: u8, payload: &[u8]) -> u64 {
        let number = self.published.get();
        self.published.set(number + 1);
        match self.mistake {
            Mistake::Lose(which) if which == number => return number,
            Mistake::Delay(which) if which == number => {
                self.delayed.replace(Some((topic.to_owned(), payload.to_vec())));
                return number;
            }
            Mistake::Repeat(which) if which == number => self.forward(topic, qos, payload),
            _ => {}
        }
        self.forward(topic, qos, payload);
        let late = self.delayed.borrow_mut().take_if(|(delayed, _)| delayed == topic);
        if let Some((topic, payload)) = late {
            self.forward(&topic, qos, &payload);
        }
        number
    }

    fn forward(&self, topic: &str, qos: u8, payload: &[u8]) {
        for subscriber in self.subscribers.borrow().iter() {
            let pattern = &subscriber.pattern;
            if topic != pattern && !(pattern.ends_with('/') && topic.starts_with(pattern)) {
                continue;
            }
            let bytes = if subscriber.stomp {
                let content = std::str::from_utf8(envelope::protobuf_content(payload).unwrap()).unwrap();
                framed(format!("MESSAGE\nack:7\n\n{{\"content\":\"{content}\"}}\0").as_bytes())
            } else {
                packet::publish(qos, topic, payload)
            };
            subscriber.out.send(bytes).unwrap_or_default();
        }
    }
}

async fn write(mut writer: tokio::net::tcp::OwnedWriteHalf, mut queued: UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = queued.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A text frame as a server writes it.
fn framed(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    if text.len() < 126 {
        frame = vec![0x81, text.len() as u8];
    }
    frame.extend_from_slice(text);
    frame
}
