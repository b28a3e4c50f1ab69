//! `Debug` of the messages that carry secrets.

use std::fmt;

use super::v1::{Admitted, JoinTokenProof};

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("cluster", &self.cluster)
            .field("raft_id", &self.raft_id)
            .field("membership_log_id", &self.membership_log_id)
            .field("membership", &self.membership)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for JoinTokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinTokenProof")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let admitted = Admitted {
            key: vec![171; 32].into(),
            ..Admitted::default()
        };
        let proof = JoinTokenProof {
            id: "x".to_owned(),
            secret: vec![171; 32].into(),
        };
        for shown in [format!("{admitted:?}"), format!("{proof:?}")] {
            assert!(!shown.contains("171") && !shown.contains("xab"), "{shown}");
        }
    }
}
