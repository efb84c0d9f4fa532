//! The connection to Redis: made when it is needed, given up when it does not answer, and never waited for longer than
//! a timeout.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::RedisConfig;
use crate::presence::PresenceError;

/// How long a server that could not be reached is left alone: whoever asks meanwhile is not kept waiting.
const REST: Duration = Duration::from_millis(500);
/// Questions that may be on their way at a time.
const ON_THE_WAY: usize = 1024;

pub(super) struct Line {
    client: Client,
    connecting: AsyncConnectionConfig,
    response_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<MultiplexedConnection>,
    /// Grows with each connection: only the one that failed is given up.
    number: u64,
    /// Not to be tried again before, and why.
    rest: Option<(Instant, String)>,
}

impl Line {
    pub fn new(config: &RedisConfig) -> Result<Self, PresenceError> {
        let connecting = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout.get()))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(ON_THE_WAY);
        Ok(Self {
            client: config.client()?,
            connecting,
            response_timeout: config.response_timeout.get(),
            state: Mutex::default(),
        })
    }

    /// Asks all of it in one round trip.
    pub async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T, PresenceError> {
        match self.ask_once(questions).await {
            // A server that was started anew has closed the connection that was open: that is found out by asking.
            Err(Failed::Closed(_)) => self.ask_once(questions).await,
            answer => answer,
        }
        .map_err(Failed::into_error)
    }

    async fn ask_once<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T, Failed> {
        let (mut connection, number) = self.open().await.map_err(Failed::Other)?;
        match timeout(self.response_timeout, questions.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_unrecoverable_error() => {
                self.give_up(number, None).await;
                Err(Failed::Closed(error))
            }
            Ok(Err(error)) => Err(Failed::Other(error.into())),
            Err(_) => {
                let why = format!("redis does not answer within {:?}", self.response_timeout);
                self.give_up(number, Some(why.clone())).await;
                Err(Failed::Other(PresenceError(why)))
            }
        }
    }

    async fn open(&self) -> Result<(MultiplexedConnection, u64), PresenceError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((open.clone(), state.number));
        }
        if let Some((until, why)) = &state.rest
            && Instant::now() < *until
        {
            return Err(PresenceError(why.clone()));
        }
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&self.connecting);
        match connecting.await {
            Ok(open) => {
                state.number += 1;
                state.rest = None;
                state.open = Some(open.clone());
                Ok((open, state.number))
            }
            Err(error) => {
                let why = format!("connecting to redis: {error}");
                state.rest = Some((Instant::now() + REST, why.clone()));
                Err(PresenceError(why))
            }
        }
    }

    async fn give_up(&self, number: u64, why: Option<String>) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.open = None;
            state.rest = why.map(|why| (Instant::now() + REST, why));
        }
    }
}

enum Failed {
    /// The connection is closed.
    Closed(RedisError),
    Other(PresenceError),
}

impl Failed {
    fn into_error(self) -> PresenceError {
        match self {
            Failed::Closed(error) => error.into(),
            Failed::Other(error) => error,
        }
    }
}
