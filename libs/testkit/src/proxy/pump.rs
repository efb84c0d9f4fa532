//! Bytes from one socket to another, with faults.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Counts, Fault, Faults, Way};

const CHUNK: usize = 16 * 1024;
/// Chunks on their way: what a network holds, and what a stalled one has taken.
const QUEUE: usize = 1024;
/// How often a slow connection takes its bytes.
const TICKS_PER_SECOND: u32 = 20;

/// A chunk and when it arrives.
type Sent = (Instant, Bytes);

/// Pumps both ways until both are closed, or one breaks.
pub(super) async fn both(
    client: &mut TcpStream,
    server: &mut TcpStream,
    faults: &watch::Receiver<Faults>,
    counts: &Counts,
    seed: u64,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let pump = |way, from, to| Pump {
        way,
        from,
        to,
        faults: faults.clone(),
        counts,
        rng: StdRng::seed_from_u64(seed.rotate_left(8) ^ way as u64),
    };
    let up = pump(Way::ToServer, from_client, to_server);
    let down = pump(Way::ToClient, from_server, to_client);
    tokio::try_join!(up.run(), down.run()).map(|_| ())
}

struct Pump<'a> {
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    faults: watch::Receiver<Faults>,
    counts: &'a Counts,
    rng: StdRng,
}

impl Pump<'_> {
    async fn run(self) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(QUEUE);
        let reader = Reader {
            way: self.way,
            from: self.from,
            faults: self.faults.clone(),
            counts: self.counts,
            rng: self.rng,
        };
        let writer = Writer {
            way: self.way,
            to: self.to,
            faults: self.faults,
            counts: self.counts,
        };
        tokio::try_join!(reader.read(queue), writer.write(queued)).map(|_| ())
    }
}

struct Reader<'a> {
    way: Way,
    from: ReadHalf<'a>,
    faults: watch::Receiver<Faults>,
    counts: &'a Counts,
    rng: StdRng,
}

impl Reader<'_> {
    fn fault(&self) -> Fault {
        *self.faults.borrow().of(self.way)
    }

    async fn read(mut self, queue: mpsc::Sender<Sent>) -> io::Result<()> {
        let mut due = Instant::now();
        loop {
            let rate = self.fault().rate;
            let size = rate.map_or(CHUNK, |rate| rate.div_ceil(TICKS_PER_SECOND) as usize);
            let mut chunk = BytesMut::with_capacity(size.min(CHUNK));
            let taken = (&mut self.from)
                .take(size.min(CHUNK) as u64)
                .read_buf(&mut chunk)
                .await?;
            if taken == 0 {
                return Ok(());
            }
            self.maybe_break()?;
            let fault = self.fault();
            if fault.swallowing {
                self.counts.swallowed[self.way as usize].fetch_add(taken as u64, Ordering::SeqCst);
            } else {
                due = due.max(Instant::now() + fault.latency + self.some(fault.jitter));
                if queue.send((due, chunk.freeze())).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(rate) = rate {
                sleep(Duration::from_secs_f64(taken as f64 / f64::from(rate))).await;
            }
        }
    }

    fn maybe_break(&mut self) -> io::Result<()> {
        let probability = self.faults.borrow().drop;
        if probability > 0.0 && self.rng.random_bool(probability.min(1.0)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    fn some(&mut self, at_most: Duration) -> Duration {
        at_most.mul_f64(self.rng.random::<f64>())
    }
}

struct Writer<'a> {
    way: Way,
    to: WriteHalf<'a>,
    faults: watch::Receiver<Faults>,
    counts: &'a Counts,
}

impl Writer<'_> {
    async fn write(mut self, mut queue: mpsc::Receiver<Sent>) -> io::Result<()> {
        while let Some((due, chunk)) = queue.recv().await {
            sleep_until(due).await;
            self.flowing().await;
            self.to.write_all(&chunk).await?;
            self.counts.forwarded[self.way as usize].fetch_add(chunk.len() as u64, Ordering::SeqCst);
        }
        // That the sender has finished is told like everything else it says.
        self.flowing().await;
        self.to.shutdown().await
    }

    async fn flowing(&mut self) {
        let way = self.way;
        // The sender of faults outlives every connection.
        let _gone = self.faults.wait_for(|faults| !faults.of(way).stalled).await;
    }
}
