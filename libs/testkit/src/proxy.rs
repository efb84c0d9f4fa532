//! A bad network between a client and a server: a TCP proxy that does to connections what it is told, while they run.
//!
//! ```text
//! client ──► reader ──queue──► writer ──► server        each way has a reader and a writer, so that latency
//!        ◄── writer ◄──queue── reader ◄──               does not slow down what follows
//! ```
//!
//! What is random comes from a seed. Faults apply to open connections and to new ones, until [`Proxy::heal`].

mod pump;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The socket's buffer towards a server whose bytes come slowly: the server is to notice.
const SMALL_BUFFER: u32 = 16 * 1024;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
}

/// What is wrong with one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    latency: Duration,
    jitter: Duration,
    /// Bytes per second.
    rate: Option<u32>,
    stalled: bool,
    swallowing: bool,
}

/// What is wrong.
#[derive(Debug, Clone, Default)]
struct Faults {
    to_server: Fault,
    to_client: Fault,
    cut: bool,
    /// How likely each chunk is to be the connection's last.
    drop: f64,
    /// All connections of before this number are to end.
    dropped: u64,
}

impl Faults {
    fn of(&self, way: Way) -> &Fault {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    fn of_mut(&mut self, way: Way) -> &mut Fault {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicUsize,
    forwarded: [AtomicU64; 2],
    swallowed: [AtomicU64; 2],
}

/// A proxy in front of one server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    faults: watch::Sender<Faults>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("listening on a free port");
        let address = listener.local_addr().expect("it is bound");
        let (faults, counts) = (watch::Sender::default(), Arc::<Counts>::default());
        let target = watch::Sender::new(target);
        let acceptor = Acceptor {
            target: target.subscribe(),
            faults: faults.subscribe(),
            counts: counts.clone(),
            seed,
        };
        Self {
            address,
            target,
            faults,
            counts,
            task: tokio::spawn(acceptor.run(listener)),
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there.
    pub fn retarget(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Every byte arrives so much later, both ways, and up to `jitter` more, in order.
    pub fn latency(&self, latency: Duration, jitter: Duration) {
        self.faults.send_modify(|faults| {
            for fault in [&mut faults.to_server, &mut faults.to_client] {
                (fault.latency, fault.jitter) = (latency, jitter);
            }
        });
    }

    /// Takes so many bytes per second from whoever sends this way; the sender's buffers fill up. Set before a client
    /// connects, hardly anything waits in the kernel.
    pub fn rate(&self, way: Way, bytes_per_second: u32) {
        self.change(way, |fault| fault.rate = Some(bytes_per_second.max(1)));
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cut = true);
    }

    /// Closes every connection, once.
    pub fn drop_connections(&self) {
        let before = self.counts.accepted.load(Ordering::SeqCst);
        self.faults.send_modify(|faults| faults.dropped = before);
    }

    /// Takes what is sent this way and keeps it to itself; what was kept arrives after [`Proxy::heal`]. The other way
    /// goes on. Both ways stalled are a network that has gone silent.
    pub fn stall(&self, way: Way) {
        self.change(way, |fault| fault.stalled = true);
    }

    /// Takes what is sent this way and throws it away.
    pub fn swallow(&self, way: Way) {
        self.change(way, |fault| fault.swallowing = true);
    }

    /// Each chunk is its connection's last with this probability, 0 to 1.
    pub fn lossy(&self, probability: f64) {
        self.faults.send_modify(|faults| faults.drop = probability);
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| {
            let dropped = faults.dropped;
            *faults = Faults {
                dropped,
                ..Faults::default()
            };
        });
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Connections that have been accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Bytes forwarded so far.
    pub fn forwarded(&self, way: Way) -> u64 {
        self.counts.forwarded[way as usize].load(Ordering::SeqCst)
    }

    /// Bytes thrown away so far.
    pub fn swallowed(&self, way: Way) -> u64 {
        self.counts.swallowed[way as usize].load(Ordering::SeqCst)
    }

    fn change(&self, way: Way, change: impl FnOnce(&mut Fault)) {
        self.faults.send_modify(|faults| change(faults.of_mut(way)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Acceptor {
    target: watch::Receiver<SocketAddr>,
    faults: watch::Receiver<Faults>,
    counts: Arc<Counts>,
    seed: u64,
}

impl Acceptor {
    /// The connections end with this future: they are in its set.
    async fn run(self, listener: TcpListener) {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let number = self.counts.accepted.fetch_add(1, Ordering::SeqCst);
            let faults = self.faults.clone();
            if faults.borrow().cut {
                reset(&client);
                continue;
            }
            let (target, counts) = (*self.target.borrow(), self.counts.clone());
            let seed = self.seed.wrapping_add(number);
            connections.spawn(async move {
                counts.open.fetch_add(1, Ordering::SeqCst);
                serve(client, target, number, faults, &counts, seed).await;
                counts.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }
}

/// One connection, to its end.
async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    number: u64,
    faults: watch::Receiver<Faults>,
    counts: &Counts,
    seed: u64,
) {
    let slow = faults.borrow().to_client.rate.is_some();
    let Ok(mut server) = connect(target, slow).await else {
        return reset(&client);
    };
    // Fails on a socket that is closed already.
    let _closed = (client.set_nodelay(true), server.set_nodelay(true));
    let mut until = faults.clone();
    {
        let both = pump::both(&mut client, &mut server, &faults, counts, seed);
        tokio::select! {
            finished = both => if finished.is_ok() {
                return;
            },
            _ = until.wait_for(|faults| faults.cut || number < faults.dropped) => {}
        }
    }
    reset(&client);
    reset(&server);
}

async fn connect(target: SocketAddr, slow: bool) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if slow {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    socket.connect(target).await
}

/// Has the socket closed as a broken connection is, not as a finished one.
fn reset(socket: &TcpStream) {
    // Fails on a socket that is closed already.
    let _closed = socket.set_zero_linger();
}

#[cfg(test)]
mod tests;
