//! BEGIN, COMMIT, ABORT. Frames of a transaction are kept until COMMIT and then handled in order, as if they came now: a
//! transaction is a way to send several messages at once, not a promise that all of them are stored or none.

use contract::ErrorKind;
use edge::Refusal;
use stomp_codec::{Command, Frame};

use crate::bye::Bye;
use crate::connection::Connection;

impl Connection {
    /// BEGIN.
    pub fn begin(&mut self, frame: &Frame) -> Result<(), Bye> {
        let name = name_of(frame);
        if self.transactions.contains_key(name) {
            return Err(refused(
                frame,
                "this transaction has begun already; give each its own name",
            ));
        }
        if self.transactions.len() >= self.edge.config.max_transaction_frames {
            return Err(too_many(frame));
        }
        self.transactions.insert(name.to_owned(), Vec::new());
        self.answer(frame);
        Ok(())
    }

    /// SEND, ACK or NACK of a transaction.
    pub fn put_aside(&mut self, frame: Frame) -> Result<(), Bye> {
        let kept = self.transactions.values().flatten();
        let (frames, bytes) = kept.fold((0, 0), |(n, b), f| (n + 1, b + f.body.len()));
        let config = &self.edge.config;
        let max_bytes = config.limits.max_message.as_usize() * 4;
        if frames >= config.max_transaction_frames || bytes + frame.body.len() > max_bytes {
            return Err(too_many(&frame));
        }
        let Some(kept) = self.transactions.get_mut(name_of(&frame)) else {
            return Err(unknown(&frame));
        };
        kept.push(frame);
        Ok(())
    }

    /// COMMIT. Its RECEIPT leaves when all of it is durable.
    pub async fn commit(&mut self, frame: &Frame) -> Result<(), Bye> {
        let Some(frames) = self.transactions.remove(name_of(frame)) else {
            return Err(unknown(frame));
        };
        for kept in &frames {
            match kept.command {
                Command::Send => self.send(kept).await?,
                _ => {
                    self.acknowledge(kept)?;
                    self.answer(kept);
                }
            }
        }
        self.answer_after_all(frame);
        Ok(())
    }

    /// ABORT.
    pub fn abort(&mut self, frame: &Frame) -> Result<(), Bye> {
        if self.transactions.remove(name_of(frame)).is_none() {
            return Err(unknown(frame));
        }
        self.answer(frame);
        Ok(())
    }
}

fn name_of(frame: &Frame) -> &str {
    frame.get("transaction").unwrap_or_default()
}

fn refused(frame: &Frame, detail: &str) -> Bye {
    Bye::refused(Refusal::invalid(detail), frame.get("receipt"))
}

fn unknown(frame: &Frame) -> Bye {
    refused(frame, "this transaction has not begun; send BEGIN first")
}

fn too_many(frame: &Frame) -> Bye {
    let detail = "transactions hold more than this server allows; commit earlier";
    Bye::refused(
        Refusal::new(ErrorKind::PayloadTooLarge, detail),
        frame.get("receipt"),
    )
}
