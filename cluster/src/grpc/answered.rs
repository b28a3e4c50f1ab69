//! Answers the messages of a stream, each of which may be refused.

use std::sync::{Arc, OnceLock};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tonic::{Status, Streaming};

/// What `answer` says to the messages up to the first that `read` refuses, then why that one was refused.
pub(super) fn answered<M, T, A, S>(
    messages: Streaming<M>,
    read: impl Fn(M) -> Result<T, Status> + Send + 'static,
    answer: impl FnOnce(BoxStream<'static, T>) -> S,
) -> BoxStream<'static, Result<A, Status>>
where
    M: Send + 'static,
    T: Send + 'static,
    A: Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    let refused = Arc::new(OnceLock::new());
    let answers = answer(accepted(messages, read, Arc::clone(&refused)).boxed());
    // What was accepted before the refusal is answered first.
    let refusal = stream::once(async move { refused.get().cloned() });
    let refusal = refusal.filter_map(|status| async { status.map(Err) });
    answers.chain(refusal).boxed()
}

/// The messages of a stream up to the first that is refused, with the reason in `refused`.
fn accepted<M: Send + 'static, T: Send>(
    messages: Streaming<M>,
    read: impl Fn(M) -> Result<T, Status> + Send + 'static,
    refused: Arc<OnceLock<Status>>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(
        (messages, read, refused),
        |(mut messages, read, refused)| async {
            let next = match messages.message().await {
                Ok(Some(message)) => read(message),
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            match next {
                Ok(accepted) => Some((accepted, (messages, read, refused))),
                Err(status) => {
                    // Only this stream sets it, and it ends here.
                    let _first = refused.set(status);
                    None
                }
            }
        },
    )
}
