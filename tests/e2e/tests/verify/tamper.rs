//! Somebody in the middle of one direction of MQTT over TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as Shared, oneshot};

/// What is done to one message on its way to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It comes twice.
    Double,
    /// It does not come, and the server is told that it did.
    Swallow,
    /// It comes after the next one of its conversation.
    Delay,
}

/// The texts before the one that is tampered with.
const PASS: usize = 40;

/// Who still has to do the deed, and whom to tell the uid.
type Job = Arc<Mutex<Option<(Deed, usize, oneshot::Sender<String>)>>>;

/// Listens, and passes everything on to `server` but for one deed: the uid of the message it was done to.
pub async fn between(server: SocketAddr, deed: Deed) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send, receive) = oneshot::channel();
    let job: Job = Arc::new(Mutex::new(Some((deed, PASS, send))));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let to_server = Arc::new(Shared::new(to_server));
            tokio::spawn(pass(from_client, to_server.clone()));
            tokio::spawn(deliver(from_server, to_client, to_server, job.clone()));
        }
    });
    (address, receive)
}

async fn pass(mut from: OwnedReadHalf, to: Arc<Shared<OwnedWriteHalf>>) {
    let mut buf = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buf).await {
        // The other side may be gone first.
        let _gone = to.lock().await.write_all(&buf[..n]).await;
    }
    let _gone = to.lock().await.shutdown().await;
}

/// A packet: its first byte, and everything after the length. `None` at the end.
async fn packet(from: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>, Vec<u8>)> {
    let mut raw = vec![from.read_u8().await.ok()?];
    let (mut size, mut shift) = (0_usize, 0);
    loop {
        let byte = from.read_u8().await.ok()?;
        raw.push(byte);
        size |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; size];
    from.read_exact(&mut body).await.ok()?;
    raw.extend_from_slice(&body);
    Some((raw[0], body, raw))
}

async fn deliver(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: Arc<Shared<OwnedWriteHalf>>,
    job: Job,
) {
    // What is delayed: its topic and its bytes.
    let mut held: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some((first, body, raw)) = packet(&mut from).await {
        let topic_end = usize::from(u16::from_be_bytes([
            body.first().copied().unwrap_or(0),
            body.get(1).copied().unwrap_or(0),
        ])) + 2;
        let is_text = first & 0xF0 == 0x30 && body.windows(4).any(|four| four == b"TEXT");
        let deed = is_text.then(|| turn(&job, &body)).flatten();
        let sent = match deed {
            Some(Deed::Swallow) => {
                let ack = [0x40, 2, body[topic_end], body[topic_end + 1]];
                back.lock().await.write_all(&ack).await
            }
            Some(Deed::Delay) => {
                held = Some((body[..topic_end].to_vec(), raw));
                Ok(())
            }
            Some(Deed::Double) => to.write_all(&[raw.as_slice(), raw.as_slice()].concat()).await,
            None => to.write_all(&raw).await,
        };
        let overtaken = held.take_if(|(topic, _)| deed.is_none() && is_text && body.starts_with(topic));
        let late = match overtaken {
            Some((_, raw)) => to.write_all(&raw).await,
            None => Ok(()),
        };
        if sent.and(late).is_err() {
            return;
        }
    }
}

/// Whether this is the message to tamper with: one of a visitor's. An agent's may be its own, sent at QoS 0, of which the echo
/// is all the acknowledgement there is.
fn turn(job: &Job, body: &[u8]) -> Option<Deed> {
    let mut job = job.lock().unwrap();
    let (_, left, _) = job.as_mut()?;
    let start = body.windows(2).position(|two| two == b"vf").unwrap();
    let uid = body[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
    let uid: String = uid.map(|byte| char::from(*byte)).collect();
    let writer: u32 = uid.split('-').nth(1).unwrap().parse().unwrap();
    if *left > 0 || writer % 2 == 1 {
        *left = left.saturating_sub(1);
        return None;
    }
    let (deed, _, tell) = job.take()?;
    tell.send(uid).unwrap();
    Some(deed)
}
