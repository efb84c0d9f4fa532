//! Keeps a line open.

use std::sync::Arc;
use std::time::Duration;

use contract::routing::{Downstream, Hello, Routing};
use contract::{ErrorKind, RpcError};
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::Line;

/// How long to wait at first, and at most, before an owner is looked for again that is not there. What owners announce may be
/// lost, and nothing is acknowledged until one is found.
const ABSENT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// The same after a line that was opened and has ended soon.
const UNSTEADY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often it is looked whether something waits for too long.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// What an owner that lives has answered by then, even what it had to hold.
const OVERDUE: Duration = Duration::from_secs(4);
/// A line that has stood for so long is opened anew at once when it ends. What has ended another sooner may end the
/// next too.
const STEADY: Duration = Duration::from_secs(1);

/// What a line asks of the rest of the edge.
pub(crate) trait Listener: Send + Sync {
    /// Every filter that this edge wants from the partition.
    fn filters(&self, partition: PartitionId) -> Vec<(OrgId, TopicFilter)>;
    /// The edge's end of a line.
    fn end_of(&self, partition: PartitionId, line: u64) -> Arc<dyn Downstream>;
}

/// What a line needs to be opened.
#[derive(Clone, Copy)]
pub(crate) struct With<'a> {
    pub edge: &'a EdgeId,
    pub routing: &'a dyn Routing,
    pub listener: &'a dyn Listener,
}

impl Line {
    /// Keeps the line open. Never returns.
    pub(crate) async fn keep(&self, with: With<'_>) {
        let (mut absent, mut unsteady) = (ABSENT.0, UNSTEADY.0);
        loop {
            let pause = match self.open(with).await {
                Ok(()) => {
                    absent = ABSENT.0;
                    let opened = Instant::now();
                    self.until_ended().await;
                    if opened.elapsed() >= STEADY {
                        unsteady = UNSTEADY.0;
                        continue;
                    }
                    doubled(&mut unsteady, UNSTEADY.1)
                }
                Err(error) => {
                    debug!(partition = %self.partition, %error, "a partition has no owner yet");
                    doubled(&mut absent, ABSENT.1)
                }
            };
            tokio::select! {
                biased;
                () = self.announced.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn open(&self, with: With<'_>) -> Result<(), RpcError> {
        let (line, next, epoch) = {
            let mut state = self.state.lock();
            state.line += 1;
            (state.line, state.next, state.epoch)
        };
        let hello = Hello {
            edge: with.edge.clone(),
            partition: self.partition,
            epoch,
            first: next,
            after: self.heard(),
            // Entered into the table before they are attached: whatever is not among these waits to be sent.
            filters: with.listener.filters(self.partition),
        };
        let end = with.listener.end_of(self.partition, line);
        let up = tokio::select! {
            biased;
            up = with.routing.open(hello, end) => up?,
            () = self.until_over(line) => return Err(over()),
        };
        let mut state = self.state.lock();
        if state.line != line {
            return Err(over());
        }
        state.up = Some(up);
        state.opened = Instant::now();
        let heard = self.heard();
        for number in state.first()..state.next {
            if !state.send(number, heard) {
                self.end(&mut state);
                break;
            }
        }
        Ok(())
    }

    /// Waits until the line that is being opened has ended already, or another owner has said that it is there.
    async fn until_over(&self, line: u64) {
        while self.state.lock().line == line {
            self.changed.notified().await;
        }
    }

    async fn until_ended(&self) {
        while self.state.lock().up.is_some() {
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(LOOK) => {}
            }
            if self.is_overdue(OVERDUE) {
                info!(partition = %self.partition, "the owner of a partition does not answer; it is looked for again");
                let mut state = self.state.lock();
                self.end(&mut state);
            }
        }
    }

    /// An owner has begun to speak, or has given everything that was missed: what is after the boundary comes live.
    pub(crate) fn welcomed(&self, boundary: Position) {
        self.whole.set_if_unset(boundary);
    }
}

/// The pause, which is twice as long the next time.
fn doubled(pause: &mut Duration, most: Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(most);
    now
}

fn over() -> RpcError {
    RpcError::new(
        ErrorKind::Unavailable,
        "the line has ended already, or another owner is there",
    )
}
