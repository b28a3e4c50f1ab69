//! One response on its connection: the body as it comes, and what becomes of the connection afterwards.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::connection::Connection;
use super::pool::Pool;
use crate::task::spawn_named;

/// How long the end of a body is awaited whose last message has come. Servers write the end right behind it.
const TAIL_TIMEOUT: Duration = Duration::from_secs(1);

/// A response body that is being read. Dropping it closes the connection.
#[derive(Debug)]
pub(in crate::upstream::transport) struct Exchange {
    connection: Box<Connection>,
    pool: Arc<Pool>,
    idle: Duration,
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub(super) enum BodyError {
    Broken(String),
    TooLarge { max: usize },
}

impl Exchange {
    pub(super) fn new(connection: Box<Connection>, pool: Arc<Pool>, idle: Duration) -> Self {
        Self {
            connection,
            pool,
            idle,
        }
    }

    /// Next piece of the body, `None` at its end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(in crate::upstream::transport) async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        let data = poll_fn(|cx| self.connection.poll_data(cx)).await?;
        Some(data.map_err(|cause| cause.describe()))
    }

    /// Reads the whole body and gives the connection back. A body whose length was announced is not copied, nor is one
    /// that came in one piece; another is copied once.
    pub(super) async fn read_all(mut self, bytes_max: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge { max: bytes_max };
        let whole = match self.connection.left() {
            Some(left) => {
                let left = usize::try_from(left).map_err(|_| too_large())?;
                if left > bytes_max {
                    return Err(too_large());
                }
                let whole = poll_fn(|cx| self.connection.poll_whole(left, cx)).await;
                whole.map_err(|cause| BodyError::Broken(cause.describe()))?
            }
            None => Box::pin(self.gather(bytes_max)).await?,
        };
        self.give_back();
        Ok(whole)
    }

    async fn gather(&mut self, bytes_max: usize) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk.map_err(BodyError::Broken)?;
            if first.len() + whole.len() + chunk.len() > bytes_max {
                return Err(BodyError::TooLarge { max: bytes_max });
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
                continue;
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
        Ok(if whole.is_empty() {
            first
        } else {
            whole.freeze()
        })
    }

    /// Ends an exchange that has nothing more to say: the connection goes back at once when the end of the body has
    /// come, otherwise as soon as it comes. One that goes on talking is closed.
    pub(super) async fn settle(mut self) {
        match poll_fn(|cx| Poll::Ready(self.poll_end(cx))).await {
            Poll::Ready(true) => self.give_back(),
            Poll::Ready(false) => {}
            Poll::Pending => {
                if let Some(permit) = self.pool.tail_permit() {
                    // Ends by itself after `TAIL_TIMEOUT`.
                    drop(spawn_named("http-tail", async move {
                        self.settle_later().await;
                        drop(permit);
                    }));
                }
            }
        }
    }

    async fn settle_later(mut self) {
        if let Ok(true) = timeout(TAIL_TIMEOUT, poll_fn(|cx| self.poll_end(cx))).await {
            self.give_back();
        }
    }

    fn give_back(mut self) {
        if self.connection.rest() {
            self.pool.put(self.connection, self.idle);
        }
    }

    /// Whether the body ends here, without a further byte.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.connection.is_body_over() {
            return Poll::Ready(true);
        }
        self.connection.poll_data(cx).map(|data| data.is_none())
    }
}
