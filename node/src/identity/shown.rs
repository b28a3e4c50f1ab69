//! What one connection has shown of its credential.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;
use parking_lot::Mutex;

use super::authenticate::{Authenticated, Identity};
use super::credential;
use crate::error::CallError;

/// The credentials that a connection showed first and last, and whose they are. Clients send the same one with every
/// request; to recognise it costs one plain hash, where to look it up costs a keyed one.
///
/// Of the credential nothing is kept but its SHA-256.
#[derive(Default)]
pub struct Shown {
    /// Nearly always the only one, and read without a lock.
    first: OnceLock<Known>,
    last: Mutex<Option<Known>>,
}

/// One credential.
struct Known {
    hash: Digest,
    who: Arc<Authenticated>,
}

impl Known {
    /// Whose it is, if it is the one with this hash and good under `identity`.
    fn is(&self, hash: &Digest, identity: &Identity) -> Option<Arc<Authenticated>> {
        let same = self.who.version() == identity.version()
            && verify_slices_are_equal(self.hash.as_ref(), hash.as_ref()).is_ok();
        same.then(|| Arc::clone(&self.who))
    }
}

impl Shown {
    /// As [`Identity::authenticate`].
    ///
    /// # Errors
    ///
    /// As for [`Identity::authenticate`].
    pub fn recognise(
        &self,
        identity: &Identity,
        headers: &HeaderMap,
    ) -> Result<Arc<Authenticated>, CallError> {
        let Ok(Some(key)) = credential::find(headers) else {
            return identity.authenticate(headers);
        };
        let hash = digest(&SHA256, key.as_bytes());
        let is = |known: &Known| known.is(&hash, identity);
        let known = self.first.get().and_then(is);
        let known = known.or_else(|| self.last.lock().as_ref().and_then(is));
        if let Some(who) = known {
            return Ok(who);
        }
        let who = identity.authenticate(headers)?;
        let shown = Known {
            hash,
            who: Arc::clone(&who),
        };
        if let Err(another) = self.first.set(shown) {
            *self.last.lock() = Some(another);
        }
        Ok(who)
    }
}

/// The hash of a key that somebody thought of could be guessed from.
impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::header::AUTHORIZATION;
    use lockgate_cluster::Cluster;
    use tempfile::TempDir;

    use super::*;
    use crate::config::{self, Options, Registry};

    /// With these keys, each of which is its own name.
    fn registry(keys: &[&str], dir: &TempDir) -> Registry {
        let keys: String = keys
            .iter()
            .map(|key| {
                format!("    - {{ id: {key}, key_env: {key}, principal: {key}, roles: [all] }}\n")
            })
            .collect();
        let file = dir.path().join("lockgate.yaml");
        std::fs::write(
            &file,
            format!("roles:\n  all: {{ allow: [\"*\"] }}\nidentity:\n  api_keys:\n{keys}"),
        )
        .unwrap();
        let options = Options {
            unsafe_no_auth: false,
            env: Arc::new(|name| Some(name.to_owned())),
        };
        config::load(&file, &options).unwrap().config.registry
    }

    /// Who comes in with `key`.
    fn who(shown: &Shown, identity: &Identity, key: Option<&str>) -> Result<String, String> {
        let value = key.map(|key| (AUTHORIZATION, format!("Bearer {key}").parse().unwrap()));
        let found = shown.recognise(identity, &value.into_iter().collect());
        found
            .map(|who| who.caller.principal.to_string())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn every_request_comes_in_by_what_it_shows_itself() {
        let dir = TempDir::new().unwrap();
        let cluster = Cluster::open(&dir.path().join("data"), || UNIX_EPOCH).unwrap();
        let identity = |keys| Identity::new(&registry(keys, &dir), &cluster.view()).unwrap();
        let both = identity(&["ci", "dev"]);
        let shown = Shown::default();
        for key in ["ci", "ci", "dev", "ci", "dev", "dev"] {
            assert_eq!(who(&shown, &both, Some(key)), Ok(key.to_owned()));
        }
        for stranger in [None, Some("de"), Some("devs"), Some("")] {
            assert!(who(&shown, &both, stranger).is_err(), "{stranger:?}");
            assert!(who(&shown, &both, Some("dev")).is_ok());
        }
        // A key that is withdrawn is not good any more because it was.
        let one = identity(&["ci"]);
        assert!(who(&shown, &one, Some("dev")).is_err());
        assert!(who(&shown, &one, Some("ci")).is_ok());
    }
}
