//! What others see of the reloader.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Status, Versioned};
use crate::config::problem::Problems;

/// Where a caller of [`ReloadHandle::reload`] waits.
pub(super) type Request = oneshot::Sender<Result<Arc<Versioned>, Problems>>;

/// Face of the reloader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    pub(super) versions: watch::Receiver<Arc<Versioned>>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) requests: mpsc::Sender<Request>,
}

/// Why a reload that was asked for did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is not good; what was in force stays.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The node is going down.
    #[error("the node is going down")]
    Stopping,
}

impl ReloadHandle {
    /// The configuration in force.
    pub fn current(&self) -> Arc<Versioned> {
        Arc::clone(&self.versions.borrow())
    }

    /// Follows the configuration in force. Every value is whole and checked.
    pub fn versions(&self) -> watch::Receiver<Arc<Versioned>> {
        self.versions.clone()
    }

    /// How the last reading went.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Follows how readings went.
    pub fn statuses(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Has the file read now and waits for the outcome.
    ///
    /// # Errors
    ///
    /// Fails when the file is refused, which changes nothing, or the node is going down.
    ///
    /// # Cancel safety
    ///
    /// The reading may happen all the same.
    pub async fn reload(&self) -> Result<Arc<Versioned>, ReloadError> {
        let (answer, outcome) = oneshot::channel();
        self.requests
            .send(answer)
            .await
            .map_err(|_| ReloadError::Stopping)?;
        Ok(outcome.await.map_err(|_| ReloadError::Stopping)??)
    }
}
