//! A visitor's page: STOMP over WebSocket, a durable subscription for each of its conversations, every message with a receipt.

use std::time::Duration;

use bytes::BytesMut;
use rand::Rng;
use stomp_codec::{Command, Decoder, Frame, Item as Unit, Limits, Role, Version};
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{Form, Link, PATIENCE};
use super::{End, Part, Phase, Protocol};
use crate::envelope::Heard;
use crate::record::AckKind;
use crate::target::any;

/// What it offers and asks for, in milliseconds.
const HEART_BEAT: u64 = 10_000;
/// The server beats every ten seconds; twice that and a little is silence.
const SILENCE: Duration = Duration::from_secs(21);
/// Receipts of SUBSCRIBE begin so; those of messages are their uids.
const SUBSCRIBED: &str = "subscribed-";

/// A page.
pub(crate) struct Stomp {
    client_id: String,
}

/// A connection at work.
struct Life<'a> {
    part: &'a mut Part,
    link: Link,
    decoder: Decoder,
    buf: BytesMut,
    out: BytesMut,
    /// Subscriptions not confirmed yet.
    open: usize,
    heard_last: Instant,
    wrote_last: Instant,
    leave_at: Instant,
}

impl Stomp {
    pub(crate) fn new(client_id: String) -> Self {
        Self { client_id }
    }

    async fn connect<'a>(&self, part: &'a mut Part) -> Result<Life<'a>, String> {
        let at = any(&part.shared.target.http, &mut part.rng)
            .expect("there is one")
            .join("/stomp");
        let link = Link::open(&part.shared.target, &at, Some(("v12.stomp", Form::Text))).await?;
        let limits = Limits {
            max_body: 4 << 20,
            ..Limits::default()
        };
        let now = Instant::now();
        let mut life = Life {
            leave_at: part.next_absence(),
            part,
            link,
            decoder: Decoder::new(Role::Client, limits),
            buf: BytesMut::new(),
            out: BytesMut::new(),
            open: 0,
            heard_last: now,
            wrote_last: now,
        };
        let token = life.part.token();
        let connect = Frame::new(Command::Connect)
            .with_header("accept-version", "1.2")
            .with_header("host", "longwire")
            .with_header("heart-beat", &format!("{HEART_BEAT},{HEART_BEAT}"))
            .with_header("login", &token.sub)
            .with_header("passcode", &token.text)
            .with_header("client-id", &self.client_id);
        life.put(&connect);
        let greeting = async {
            life.link.write(&mut life.out).await?;
            loop {
                match life.decoder.decode(&mut life.buf).map_err(|e| e.to_string())? {
                    Some(Unit::Frame(frame)) if frame.command == Command::Connected => return Ok(()),
                    Some(Unit::Frame(frame)) => return Err(refusal(&frame)),
                    Some(Unit::HeartBeat) => {}
                    None => life.link.read(&mut life.buf).await?,
                }
            }
        };
        let late = |_| Err(format!("no CONNECTED within {PATIENCE:?}"));
        timeout(PATIENCE, greeting).await.unwrap_or_else(late)?;
        life.decoder.set_version(Version::V12);
        Ok(life)
    }
}

impl Protocol for Stomp {
    async fn life(&mut self, part: &mut Part) -> End {
        let mut life = match self.connect(part).await {
            Ok(life) => life,
            Err(why) => return End::Broken(why),
        };
        life.part.born();
        life.subscribe();
        match life.run().await {
            Ok(end) => life.leave(end).await,
            Err(why) => End::Broken(why),
        }
    }
}

impl Life<'_> {
    fn subscribe(&mut self) {
        let user = &self.part.shared.users[self.part.user];
        let topics: Vec<(usize, String)> = user
            .topics
            .iter()
            .map(|topic| {
                (
                    *topic,
                    dotted(&self.part.shared.conversations[*topic].thread.topic),
                )
            })
            .collect();
        self.open = topics.len();
        for (topic, dotted) in topics {
            let frame = Frame::new(Command::Subscribe)
                .with_header("id", &topic.to_string())
                .with_header("destination", &format!("/topic/{dotted}"))
                .with_header("ack", "client-individual")
                .with_header("receipt", &format!("{SUBSCRIBED}{topic}"));
            self.put(&frame);
        }
    }

    async fn run(&mut self) -> Result<End, String> {
        let mut phase = self.part.phase.clone();
        loop {
            while let Some(unit) = self.decoder.decode(&mut self.buf).map_err(|e| e.to_string())? {
                if let Unit::Frame(frame) = unit {
                    self.take(&frame)?;
                }
            }
            if let Some(end) = self.end()? {
                return Ok(end);
            }
            self.part.write_due();
            self.send();
            if !self.out.is_empty() {
                self.wrote_last = Instant::now();
            }
            self.link.write(&mut self.out).await?;
            let soon = Instant::now() + Duration::from_millis(250);
            let wake = self.part.outbox.due().map_or(soon, |due| due.min(soon));
            tokio::select! {
                read = self.link.read(&mut self.buf) => {
                    read?;
                    self.heard_last = Instant::now();
                }
                () = sleep_until(wake) => {}
                changed = phase.changed() => changed.map_err(|_| "the run is gone")?,
            }
        }
    }

    fn end(&mut self) -> Result<Option<End>, String> {
        let now = Instant::now();
        let plan = &self.part.shared.plan;
        if now - self.heard_last > SILENCE {
            return Err(format!("nothing came for {SILENCE:?}"));
        }
        if let (_, Some(oldest)) = self.part.outbox.flying()
            && now - oldest > plan.ack_timeout
        {
            return Err(format!("no RECEIPT for {:?}", plan.ack_timeout));
        }
        if self.open > 0 && now - self.wrote_last > plan.ack_timeout {
            return Err(format!("no RECEIPT of SUBSCRIBE for {:?}", plan.ack_timeout));
        }
        if now - self.wrote_last > Duration::from_millis(HEART_BEAT / 2) {
            self.out.extend_from_slice(b"\n");
        }
        Ok(match self.part.phase() {
            Phase::Done => Some(End::Done),
            Phase::Writing if now >= self.leave_at && self.open == 0 => Some(End::Away(self.part.absence())),
            _ => None,
        })
    }

    fn send(&mut self) {
        // A page sends when it is subscribed, so that the echo comes.
        while self.open == 0
            && let Some(item) = self.part.outbox.waiting()
        {
            self.part.took_off(item.key);
            let draft = self.part.draft(&item);
            let frame = Frame::new(Command::Send)
                .with_header("destination", &format!("/app/{}", dotted(&draft.thread.topic)))
                .with_header("receipt", &draft.uid)
                .with_body(draft.json().to_string());
            self.put(&frame);
        }
    }

    fn put(&mut self, frame: &Frame) {
        frame.encode(Version::V12, &mut self.out);
    }

    fn take(&mut self, frame: &Frame) -> Result<(), String> {
        match frame.command {
            Command::Message => self.message(frame),
            Command::Receipt => self.receipt(frame.get("receipt-id").unwrap_or_default()),
            Command::Error => return self.error(frame),
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, frame: &Frame) {
        let refused = frame.get("code").zip(frame.get("receipt-id"));
        if let Some((code, uid)) = refused {
            let key = self.part.ledger.lock().names.key(uid);
            self.part.refused(key, code);
        } else if let Some(heard) = Heard::json(&frame.body) {
            let marked = frame.get("redelivered") == Some("true");
            self.part.heard(&heard, marked);
        }
        if let Some(ack) = frame.get("ack") {
            let ack = Frame::new(Command::Ack).with_header("id", ack);
            self.put(&ack);
        }
    }

    fn receipt(&mut self, receipt: &str) {
        if receipt.starts_with(SUBSCRIBED) {
            self.open = self.open.saturating_sub(1);
            if self.open == 0 {
                self.part.connected();
            }
        } else {
            let key = self.part.ledger.lock().names.key(receipt);
            self.part.acked(key, AckKind::Receipt, 0);
        }
    }

    fn error(&mut self, frame: &Frame) -> Result<(), String> {
        let code = frame.get("code").unwrap_or_default();
        let for_good = matches!(
            code,
            "conflict" | "forbidden" | "payload-too-large" | "invalid-payload"
        );
        if let Some(uid) = frame.get("receipt-id").filter(|_| for_good) {
            let key = self.part.ledger.lock().names.key(uid);
            self.part.refused(key, code);
        }
        Err(refusal(frame))
    }

    /// Goes: half of the time properly, half of the time without a word.
    async fn leave(mut self, end: End) -> End {
        if matches!(end, End::Done) || self.part.rng.random_bool(0.5) {
            self.put(&Frame::new(Command::Disconnect).with_header("receipt", "bye"));
            if self.link.write(&mut self.out).await.is_ok() {
                self.link.closed().await;
            }
        }
        end
    }
}

fn dotted(topic: &str) -> String {
    topic.replace('/', ".")
}

/// What ERROR says.
fn refusal(frame: &Frame) -> String {
    let code = frame.get("code").unwrap_or_default();
    format!(
        "{:?} {code}: {}",
        frame.command,
        frame.get("message").unwrap_or_default()
    )
}
