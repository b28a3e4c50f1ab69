//! What an operator says about a node of several.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::join::JoinToken;
use crate::tls::TlsFiles;

/// How a node reaches the others, and they it.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where it listens, TCP and UDP: address and port. Port 0 lets the system choose.
    pub listen: String,
    /// Where the others reach it: host and port. Empty for the address that it listens on.
    pub advertise: String,
    /// Members by name, with host and port: whom to ask for admission, and who may come without a token.
    pub peers: BTreeMap<String, String>,
    /// Its certificate.
    pub tls: TlsFiles,
    /// Key of the CA (PEM), if this node may sign the certificates of nodes that join.
    pub ca_key: Option<PathBuf>,
    /// What to do when its data directory is new.
    pub begin: Begin,
}

/// What a node with a new data directory does.
#[derive(Clone, Debug)]
pub enum Begin {
    /// It makes the cluster.
    Found,
    /// It joins the one that its peers are in. Without a token its certificate must bear a name that stands among
    /// theirs. With one, and no certificate files yet, it gets a certificate too.
    Join {
        /// Lets it in.
        token: Option<JoinToken>,
        /// Whether it wants no vote, also where it may have one.
        learner: bool,
    },
}
