//! What a connection does over and over.

use crate::wire::Answer;

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The iteration is complete; its latency counts.
    Done,
    /// The iteration goes on with another request.
    Again,
}

/// A repeated exchange. An iteration is one request or several, timed as one.
pub(crate) trait Job {
    /// Its name in an error.
    fn label(&self) -> &str;

    /// Bytes of the iteration's next request.
    fn request(&mut self, id: u64) -> &[u8];

    /// Checks the answer to the request with `id`.
    ///
    /// # Errors
    /// What is wrong with it; that ends the run.
    fn check(&mut self, id: u64, answer: Answer<'_>) -> Result<Step, String>;
}
