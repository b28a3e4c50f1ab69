//! Places for the tasks of one server: so many in all, and so many for each caller.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::digest::Digest;

/// Tasks of one server.
const TASKS_MAX: usize = 4_096;
/// Tasks of one caller at one server, so that no caller takes all places.
pub(super) const TASKS_OWNER_MAX: usize = 256;

/// What is taken of them.
#[derive(Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    owners: HashMap<Digest, usize>,
}

/// Whose bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Owner,
    Server,
}

/// One place, given back when this is dropped. It is taken before the server is asked for a task: what it has begun
/// can be refused no more.
#[derive(Debug)]
pub(in super::super) struct Place {
    taken: Arc<Mutex<Taken>>,
    owner: Digest,
}

impl Places {
    /// Takes one.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub(super) fn take(&self, owner: &Digest) -> Result<Place, Full> {
        let mut taken = self.0.lock();
        let mine = taken.owners.get(owner).copied().unwrap_or_default();
        if mine >= TASKS_OWNER_MAX {
            return Err(Full::Owner);
        }
        if taken.all >= TASKS_MAX {
            return Err(Full::Server);
        }
        taken.all += 1;
        *taken.owners.entry(*owner).or_default() += 1;
        Ok(Place {
            taken: Arc::clone(&self.0),
            owner: *owner,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(n) = taken.owners.get_mut(&self.owner) {
            *n -= 1;
            if *n == 0 {
                taken.owners.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_caller_takes_all_and_all_have_a_bound() {
        let places = Places::default();
        let mut taken = Vec::new();
        for caller in 0..16 {
            for _ in 0..TASKS_OWNER_MAX {
                taken.push(places.take(&[caller; 32]).unwrap());
            }
            assert_eq!(places.take(&[caller; 32]).unwrap_err(), Full::Owner);
        }
        assert_eq!(places.take(&[16; 32]).unwrap_err(), Full::Server);
        assert_eq!(taken.len(), TASKS_MAX);
        taken.pop();
        taken.push(places.take(&[16; 32]).unwrap());
        taken.clear();
        let left = places.0.lock();
        assert_eq!((left.all, left.owners.len()), (0, 0));
    }
}
