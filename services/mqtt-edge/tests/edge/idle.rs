//! What a connection costs while nothing happens.

use testkit::{DEADLINE, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::Rig;

const WARM_UP: u32 = 200;
const CONNECTIONS: u32 = 1500;
/// For the edge's end, the subscription in the tables of edge and routing, the row in the store's cache, and the client's
/// socket, which lives in this process too.
const LIMIT: usize = 12 * 1024;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn idle(edge: std::net::SocketAddr, n: u32) -> TcpStream {
    let mut socket = testkit::raw::tcp(edge).await;
    let id = format!("i{n:05}");
    // A persistent session of 3.1.1 with one subscription.
    let mut packets = b"\x10\x12\x00\x04MQTT\x04\x00\x00\x3c\x00\x06".to_vec();
    packets.extend(id.as_bytes());
    packets.extend(b"\x82\x0b\x00\x01\x00\x06");
    packets.extend(id.as_bytes());
    packets.push(1);
    socket.write_all(&packets).await.unwrap();
    let mut answer = [0; 9];
    let read = socket.read_exact(&mut answer);
    within("CONNACK and SUBACK", DEADLINE, read).await.unwrap();
    assert_eq!(answer, *b"\x20\x02\x00\x00\x90\x03\x00\x01\x01");
    socket
}

#[tokio::test]
async fn an_idle_connection_keeps_little_memory() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut clients = Vec::new();
    let mut before = 0;
    for n in 0..WARM_UP + CONNECTIONS {
        if n == WARM_UP {
            before = resident();
        }
        clients.push(idle(edge.tcp, n).await);
    }
    let each = resident().saturating_sub(before) / CONNECTIONS as usize;
    println!("{each} bytes for each idle connection and its client");
    assert!(
        each < LIMIT,
        "{each} bytes for each idle connection and its client"
    );
}
