//! `Removal`: whether the cluster has removed this node.

use std::path::PathBuf;
use std::sync::Arc;

use lockgate_proto::id::NodeName;
use tokio::sync::watch;

/// The cluster has removed this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{node}` was removed from cluster {cluster}; to let it join again, empty `{}` and give it a token of \
     `lockgate cluster token create`",
    data_dir.display()
)]
pub struct Removed {
    /// Name of this node.
    pub node: NodeName,
    /// Id of the cluster, in hex.
    pub cluster: String,
    /// Where the files of this node are.
    pub data_dir: PathBuf,
}

/// Whether the cluster has removed this node, as far as it knows. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removal(Arc<watch::Sender<Option<Removed>>>);

impl Removal {
    /// Waits until it is known that the node was removed.
    pub(crate) async fn told(&self) -> Removed {
        let mut told = self.0.subscribe();
        loop {
            if let Some(removed) = &*told.borrow_and_update() {
                return removed.clone();
            }
            // The sender lives as long as `self`.
            let _told = told.changed().await;
        }
    }

    pub(crate) fn tell(&self, removed: Removed) {
        self.0.send_replace(Some(removed));
    }
}
