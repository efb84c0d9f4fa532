//! Real redis-servers, and namespaces in one that tests share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, Recipe};
use crate::shared::Shared;
use crate::{DEADLINE, DataDir, find, ports, within};

/// The URL of a running server to use instead of starting one.
pub(crate) const URL: &str = "LONGWIRE_TEST_REDIS";
/// The program.
const PROGRAM: &str = "LONGWIRE_REDIS_SERVER";

/// A redis-server that keeps nothing, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    daemon: Daemon,
    port: ports::Claim,
    _data: DataDir,
}

impl Deref for RedisServer {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl RedisServer {
    /// A server by itself, ready. It saves nothing: presence does not outlive it.
    pub async fn start() -> Self {
        let (port, data) = (ports::claim(), DataDir::new());
        let number = port.port.to_string();
        let recipe = Recipe::new("redis-server", find::program(PROGRAM, "redis-server", None))
            .args(["--bind", "127.0.0.1", "--port", &number])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--dir".into(), data.path().as_os_str().to_owned()]);
        let server = Self {
            daemon: Daemon::new(recipe),
            port,
            _data: data,
        };
        server.restart().await;
        server
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.at())
    }

    /// Where clients connect, as an address.
    pub fn address(&self) -> SocketAddr {
        self.port.at()
    }

    /// Starts it again, empty, at the same port.
    pub async fn restart(&self) {
        self.daemon.launch();
        self.daemon
            .ready(
                DEADLINE,
                async || matches!(say(self.port.at(), "PING").await, Ok(pong) if pong == "+PONG"),
            )
            .await;
    }

    /// Has it do something (`FLUSHALL`), as `redis-cli` would: the first line of its answer.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn command(&self, line: &str) -> String {
        say(self.port.at(), line).await.expect("asking redis")
    }
}

/// An inline command, and the first line of the answer.
async fn say(address: SocketAddr, line: &str) -> std::io::Result<String> {
    let talk = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') {
            if socket.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&answer);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    within("an answer of redis", Duration::from_secs(5), talk).await
}

/// A name in a server that no other test uses.
#[derive(Debug)]
pub struct RedisNamespace {
    /// Where clients connect.
    pub url: String,
    /// The prefix of every key: `cluster.name`.
    pub name: String,
    _server: Option<Arc<RedisServer>>,
}

/// A fresh name in the server of `LONGWIRE_TEST_REDIS`, or in one of this process.
pub async fn server() -> RedisNamespace {
    static OWN: Shared<RedisServer> = Shared::new();
    let name = crate::shared::fresh_name();
    if let Ok(url) = std::env::var(URL) {
        return RedisNamespace {
            url,
            name,
            _server: None,
        };
    }
    let server = OWN.get(RedisServer::start).await;
    RedisNamespace {
        url: server.url(),
        name,
        _server: Some(server),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_comes_back_empty_at_the_same_place() {
        let server = RedisServer::start().await;
        assert_eq!(server.command("SET a 1").await, "+OK");
        server.kill().await;
        server.restart().await;
        assert_eq!(server.command("GET a").await, "$-1");
    }

    #[tokio::test]
    async fn a_stopped_server_goes_on_where_it_stood() {
        let server = RedisServer::start().await;
        server.command("SET a 1").await;
        server.stop();
        let asked = tokio::time::timeout(Duration::from_millis(200), say(server.address(), "GET a")).await;
        assert!(asked.is_err(), "nothing answers");
        server.cont();
        assert_eq!(server.command("GET a").await, "$1");
    }
}
