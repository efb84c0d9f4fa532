//! The loop of a connection: what is read, what is handed out, what the clock asks for.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_codec::ReasonCode;
use runtime::lifecycle::Stop;
use tokio::time::{Instant, Sleep};

use super::Connection;
use super::end::End;
use crate::transport::Turn;

/// Above this many unwritten bytes the client is taken to be slow: nothing more is handed out to it.
const HIGH_WATER: usize = 128 * 1024;
/// How long after its expiry a token's connection ends at the latest, should the wall clock be set meanwhile.
const EXPIRY_CHECK: Duration = Duration::from_secs(25);
/// How often a connection looks whether it has memory to give back.
const TIDY: Duration = Duration::from_secs(30);

impl Connection {
    pub(super) async fn turns(&mut self, stop: &Stop) -> Result<Infallible, End> {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        // What came behind CONNECT in the same segment.
        self.packets().await?;
        loop {
            self.hand_out().await?;
            self.rearm(timer.as_mut());
            let read = self.may_read();
            tokio::select! {
                turn = self.socket.wire.turn(read, &mut self.socket.input, &mut self.socket.out) => match turn {
                    Ok(Turn::Read) => {
                        self.socket.last_read = Instant::now();
                        self.packets().await?;
                    }
                    Ok(Turn::Written) => {}
                    Ok(Turn::Closed) | Err(_) => return Err(End::Lost),
                },
                () = self.mailbox.take(&mut self.mail) => {
                    self.take_mail().await?;
                    self.go_on().await?;
                }
                () = self.receiver.fetched() => {}
                () = timer.as_mut() => self.time_passes().await?,
                () = self.edge.core.room(self.publishing.busy), if !read && self.edge.core.is_full(self.publishing.busy) => {
                    self.go_on().await?;
                }
                () = stop.soft().cancelled() => return Err(Box::pin(self.drain()).await),
            }
        }
    }

    /// Whether more may be taken from the client now: not while too much of what it sent waits for the log, and nothing
    /// behind a PUBLISH that is held back.
    fn may_read(&self) -> bool {
        // One more than MQTT 5 allows is read, to see that it is one too many.
        let limit = usize::from(self.edge.config.limits.receive_maximum) + 1;
        self.publishing.outbox.len() < limit
            && self.publishing.delayed.is_none()
            && self.publishing.paused_until.is_none()
            && !self.edge.core.is_full(self.publishing.busy)
    }

    /// What was held back, if its time has come; then what else has been read.
    async fn go_on(&mut self) -> Result<(), End> {
        if self.publishing.paused_until.is_none()
            && let Some(publish) = self.publishing.delayed.take()
        {
            Box::pin(self.publish(publish)).await?;
        }
        self.packets().await
    }

    async fn packets(&mut self) -> Result<(), End> {
        while self.may_read() {
            match self.socket.decoder.decode(&mut self.socket.input)? {
                Some(packet) => self.packet(packet).await?,
                None => break,
            }
        }
        if self.socket.input.is_empty() {
            // A waiting connection keeps no buffer.
            self.socket.input = BytesMut::new();
        }
        Ok(())
    }

    /// Writes what the session hands out, and what waits, as far as the socket takes it.
    async fn hand_out(&mut self) -> Result<(), End> {
        loop {
            let mut write = std::mem::take(&mut self.write);
            // Another edge may hold the session by now; what is handed out waits until this one knows.
            if self.is_ours().await? {
                self.receiver.outputs(&mut write);
            }
            let any = !write.is_empty();
            for output in write.drain(..) {
                self.output(output);
            }
            if write.capacity() <= 64 {
                self.write = write;
            }
            if !self.socket.out.is_empty() {
                self.socket
                    .wire
                    .write_now(&mut self.socket.out)
                    .await
                    .map_err(|_| End::Lost)?;
            }
            let slow = self.socket.out.len() > HIGH_WATER;
            if slow != self.socket.throttled {
                self.socket.throttled = slow;
                self.receiver.throttle(slow);
            } else if !any {
                break;
            }
        }
        if self.socket.out.is_empty() && self.socket.out.capacity() > 0 {
            self.socket.out = BytesMut::new();
        }
        Ok(())
    }

    /// The next time that something is due by the clock.
    fn rearm(&self, timer: Pin<&mut Sleep>) {
        let now = Instant::now();
        let mut due = now + TIDY;
        if !self.peer.keep_alive.is_zero() {
            due = due.min((self.socket.last_read + self.peer.keep_alive).max(now + Duration::from_millis(1)));
        }
        if let Some(at) = self.who.expires_at {
            let left = at.saturating_sub(self.edge.core.clock.unix_millis() / 1000);
            due = due.min(now + Duration::from_secs(left.max(1)).min(EXPIRY_CHECK));
        }
        if self.is_dirty() {
            due = due.min(now + self.edge.core.saver.interval());
        }
        if self.held.stored && self.held.term != self.edge.core.lease.term() {
            due = due.min(self.held.ask_again.max(now + Duration::from_millis(1)));
        }
        if self.receiver.has_delivered() {
            due = due.min(now + self.edge.core.config.delivered_interval.get());
        }
        if let Some(until) = self.publishing.paused_until {
            due = due.min(until);
        }
        // A timer that is due sooner stays: it finds nothing to do and is set anew. Setting it at every turn would cost more.
        if timer.deadline() <= now || due < timer.deadline() {
            timer.reset(due);
        }
    }

    async fn time_passes(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if !self.may_read() {
            // We do not listen, so the client's silence says nothing.
            self.socket.last_read = now;
        }
        if !self.peer.keep_alive.is_zero() && now >= self.socket.last_read + self.peer.keep_alive {
            let detail = "nothing was heard for one and a half times the keep alive";
            return Err(End::ours("keep-alive", ReasonCode::KeepAliveTimeout, detail));
        }
        let unix = self.edge.core.clock.unix_millis() / 1000;
        if self.who.expires_at.is_some_and(|at| at <= unix) {
            return Err(End::ours(
                "unauthorized",
                ReasonCode::NotAuthorized,
                "the access token has expired",
            ));
        }
        if self.publishing.paused_until.is_some_and(|until| until <= now) {
            self.publishing.paused_until = None;
            self.go_on().await?;
        }
        if self.is_dirty() {
            self.save();
        }
        if self.receiver.has_delivered() {
            self.receiver.report_delivered();
        }
        if self.socket.out.is_empty() && self.receiver.session.is_idle() {
            self.receiver.session.shrink();
        }
        Ok(())
    }
}
