//! What readers see is published here, after each batch of entries.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tracing::error;

use super::types::StoredMembership;
use crate::audit::Guards;
use crate::keyring::Keyring;
use crate::machine::{Machine, Parts};
use crate::secret::Secret;
use crate::view::View;

/// The state as the rooms beside the handle see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// Index of the last entry of the log that is in it.
    pub(crate) index: u64,
    /// The machine.
    pub(crate) parts: Parts,
    /// The members as the log has them.
    pub(crate) membership: StoredMembership,
}

/// Publishes the state.
pub(crate) struct Publisher {
    node: Arc<str>,
    /// Opens the keyring.
    key: Secret,
    guards: Guards,
    keyring: Option<(Vec<u8>, Arc<Keyring>)>,
    applied: watch::Sender<Arc<Applied>>,
    views: Option<watch::Sender<Arc<View>>>,
    /// Where the first view is told. The channel closes with the machine: then this node takes no changes any more.
    first_view: Arc<OnceLock<watch::Receiver<Arc<View>>>>,
}

impl Publisher {
    pub(crate) fn new(
        node: Arc<str>,
        (key, guards): (Secret, Guards),
        first_view: Arc<OnceLock<watch::Receiver<Arc<View>>>>,
    ) -> (Self, watch::Receiver<Arc<Applied>>) {
        let (applied, receiver) = watch::channel(Arc::default());
        let publisher = Self {
            node,
            key,
            guards,
            keyring: None,
            applied,
            views: None,
            first_view,
        };
        (publisher, receiver)
    }

    /// Publishes the state after the entry at `index`.
    pub(super) fn publish(&mut self, index: u64, machine: &Machine, membership: &StoredMembership) {
        let parts = machine.parts();
        let view = self.keyring(parts).map(|keyring| {
            let secrets = (keyring, self.guards.clone());
            Arc::new(View::new(parts.clone(), secrets, Arc::clone(&self.node)))
        });
        if let Some(view) = &view {
            match &self.views {
                // Every call makes audit records, and nobody follows those: to wake all followers costs more than many
                // records. Who looks sees them.
                Some(views) => drop(views.send_if_modified(|last| {
                    let is_news = !view.adds_only_records(last);
                    *last = Arc::clone(view);
                    is_news
                })),
                None => {
                    let (views, receiver) = watch::channel(Arc::clone(view));
                    self.views = Some(views);
                    // This is the only one who sets it.
                    let _first = self.first_view.set(receiver);
                }
            }
        }
        self.applied.send_replace(Arc::new(Applied {
            index,
            parts: parts.clone(),
            membership: membership.clone(),
        }));
    }

    /// The keyring, opened once for each envelope.
    pub(super) fn keyring(&mut self, parts: &Parts) -> Option<Arc<Keyring>> {
        let envelope = parts.secrets().keyring()?;
        match &self.keyring {
            Some((of, keyring)) if of == envelope => Some(Arc::clone(keyring)),
            before => match Keyring::from_envelope(envelope, &self.key) {
                Some(keyring) => {
                    let keyring = Arc::new(keyring);
                    self.keyring = Some((envelope.to_vec(), Arc::clone(&keyring)));
                    Some(keyring)
                }
                None => {
                    error!("the key file does not open the keyring");
                    before.as_ref().map(|(_, keyring)| Arc::clone(keyring))
                }
            },
        }
    }
}
