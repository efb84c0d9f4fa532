//! From an open WebSocket to a connection that has said who it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use contract::ErrorKind;
use edge::Refusal;
use runtime::lifecycle::Stop;
use stomp_codec::{Command, Decoder, Frame, HeartBeat, Item, Limits, Role, Version, validate};
use tokio::time::Instant;
use tracing::debug;

use crate::bye::Bye;
use crate::connection::Connection;
use crate::identity::{Identity, Query};
use crate::service::Edge;
use crate::socket::Socket;

/// The `server` header of CONNECTED.
const SERVER: &str = concat!("longwire/", env!("CARGO_PKG_VERSION"));
/// How long a client has to take its last words and to answer the closing.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What CONNECT settled.
pub(crate) struct Hello {
    /// The version spoken from now on.
    pub version: Version,
    /// Milliseconds between the beats that we send and that we expect; 0 = none.
    pub beats: (u32, u32),
    /// Who it is.
    pub identity: Identity,
    /// `client-id`: tells apart pages of one visitor that are to be served independently.
    pub client: Option<String>,
    /// Names the connection.
    pub session: String,
}

/// Serves a connection to its end. It has until `deadline` to authenticate.
pub(crate) async fn serve(
    mut socket: Socket,
    edge: &Arc<Edge>,
    query: &Query,
    deadline: Instant,
    stop: Stop,
) {
    let limits = Limits {
        max_body: edge.config.limits.max_message.as_usize(),
        ..Limits::default()
    };
    let mut decoder = Decoder::new(Role::Server, limits);
    let mut input = BytesMut::new();
    let greeted = tokio::select! {
        () = stop.soft().cancelled() => Err(Bye::draining(edge.jitter())),
        greeted = tokio::time::timeout_at(deadline, greet(edge, query, &mut socket, &mut decoder, &mut input)) => {
            greeted.unwrap_or_else(|_| Err(Bye::refused(silent(), None)))
        }
    };
    match greeted {
        Ok(hello) => {
            edge.metrics.connect("ok");
            tracing::Span::current().record("session", &hello.session);
            decoder.set_version(hello.version);
            socket.trust();
            Connection::new(edge.clone(), socket, decoder, input, hello)
                .run(&stop)
                .await;
        }
        Err(bye) => {
            edge.metrics.connect(bye.code());
            say_last(socket, &bye, decoder.version()).await;
        }
    }
}

fn silent() -> Refusal {
    Refusal::new(
        ErrorKind::Unauthorized,
        "no CONNECT came in time; send it as soon as the WebSocket is open",
    )
}

/// Writes the ERROR that is due and closes.
pub(crate) async fn say_last(mut socket: Socket, bye: &Bye, version: Option<Version>) {
    debug!(reason = bye.code(), "closing");
    if let Some(frame) = bye.frame() {
        socket.put(|out| frame.encode(version.unwrap_or(Version::V12), out));
    }
    if !matches!(bye, Bye::Gone) {
        // A client that does not answer is dropped.
        drop(tokio::time::timeout(LAST_WORDS, socket.close(bye.close_code())).await);
    }
}

async fn greet(
    edge: &Edge,
    query: &Query,
    socket: &mut Socket,
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<Hello, Bye> {
    let frame = first_frame(edge, socket, decoder, input).await?;
    if !edge.core.lease.is_held() {
        let detail = "this server is cut off from the rest; connect again";
        return Err(Bye::refused(Refusal::new(ErrorKind::Unavailable, detail), None));
    }
    if !matches!(frame.command, Command::Connect | Command::Stomp) {
        let detail = format!("{} came before CONNECT; connect first", frame.command);
        return Err(Bye::refused(Refusal::new(ErrorKind::Unauthorized, detail), None));
    }
    let version = Version::negotiate(frame.get("accept-version"))?;
    validate(&frame, version)?;
    let ours = u32::try_from(edge.config.heart_beat.as_millis()).unwrap_or(0);
    let ours = HeartBeat {
        send: ours,
        want: ours,
    };
    let beats = match frame.get("heart-beat") {
        Some(theirs) if version >= Version::V11 => HeartBeat::negotiate(ours, HeartBeat::parse(theirs)?),
        _ => (0, 0),
    };
    let identity = Identity::of(edge, &frame, query)
        .await
        .map_err(|r| Bye::refused(r, None))?;
    let session = uuid::Uuid::new_v4().simple().to_string();
    socket.put(|out| Frame::connected(version, &session, SERVER, ours).encode(version, out));
    Ok(Hello {
        version,
        beats,
        identity,
        client: frame.get("client-id").map(str::to_owned),
        session,
    })
}

async fn first_frame(
    edge: &Edge,
    socket: &mut Socket,
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<Frame, Bye> {
    let room = edge.config.limits.max_before_auth.as_usize() + 1;
    loop {
        match decoder.decode(input)? {
            Some(Item::Frame(frame)) => return Ok(frame),
            Some(Item::HeartBeat) => {}
            None => {
                socket.turn(room, input).await?;
            }
        }
    }
}
