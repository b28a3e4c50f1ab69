//! The registry that several nodes share, as this node can use it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lockgate_cluster::View;
use serde_json::Value;

use crate::config::{self, Options, Problem, Problems, Registry};

/// Reads the registry from the cluster's state. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Replicated {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Where relative paths start.
    dir: PathBuf,
    options: Options,
    /// The last one that was read, by its version. The state changes far more often than the registry.
    last: Mutex<Option<(u64, Arc<Registry>)>>,
}

impl Replicated {
    pub(super) fn new(dir: &Path, options: Options) -> Self {
        let parts = Parts {
            dir: dir.to_owned(),
            options,
            last: Mutex::default(),
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// The registry in force, without what was added to it at run time.
    pub(super) fn registry(&self, view: &View) -> Result<Arc<Registry>, Problems> {
        let Parts { dir, options, last } = &*self.parts;
        let (version, document) = match view.config() {
            Some((version, document)) => (version.version, document.as_ref()),
            None => (0, &b"{}"[..]),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, registry)) = &*last
            && *of == version
        {
            return Ok(Arc::clone(registry));
        }
        let json: Value = serde_json::from_slice(document).map_err(|error| {
            let what = format!("the registry of the cluster is no JSON: {error}");
            Problems::one(None, what, "apply a good one with `lockgate config apply`")
        })?;
        let (registry, tolerated) = config::parse_document_in_force(&json, dir, options)?;
        let registry = Arc::new(registry);
        for Problem {
            key, what, remedy, ..
        } in tolerated
        {
            tracing::warn!(
                key,
                what,
                remedy,
                "the registry in force holds what is not taken any more"
            );
        }
        for server in &registry.unusable {
            tracing::error!(server = %server.name, why = server.why, "server cannot be used on this node");
        }
        *last = Some((version, Arc::clone(&registry)));
        Ok(registry)
    }

    /// Whether the registry part of a file is another one than the cluster's. It changes nothing: the cluster's counts.
    pub(super) fn differs(&self, of_file: &Value, view: &View) -> bool {
        let of_cluster = view
            .config()
            .and_then(|(_, document)| serde_json::from_slice::<Value>(document).ok());
        let rooted = |document: &Value| config::rooted(document, &self.parts.dir);
        of_cluster.is_some_and(|of_cluster| rooted(&of_cluster) != rooted(of_file))
    }
}
