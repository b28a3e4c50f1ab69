//! Batches, which revision 2025-03-26 has: several answers become one.

use bytes::Bytes;
use futures_util::stream;

use crate::answer::{Answer, Event, Events};

/// Answers to a batch: one array when all are plain, one stream otherwise.
pub(super) fn join_answers(answers: Vec<Answer>) -> Answer {
    let plain = answers
        .iter()
        .all(|answer| !matches!(answer, Answer::Events(_)));
    let bodies = |answers: Vec<Answer>| -> Vec<Bytes> {
        answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Json { chunks, .. } => Some(Bytes::from(chunks.concat())),
                Answer::Accepted | Answer::Events(_) => None,
            })
            .collect()
    };
    if plain {
        return Answer::json([b"[", bodies(answers).join(&b","[..]).as_slice(), b"]"].concat());
    }
    let streams = answers.into_iter().filter_map(|answer| match answer {
        Answer::Accepted => None,
        Answer::Json { chunks, .. } => {
            let event = Event {
                id: None,
                retry_ms: None,
                data: Bytes::from(chunks.concat()),
            };
            Some(Events(Box::pin(stream::iter([event]))))
        }
        Answer::Events(events) => Some(events),
    });
    let all = stream::select_all(streams.map(|events| events.0));
    Answer::Events(Events(Box::pin(all)))
}
