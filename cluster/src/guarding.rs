//! Which secret of the operator guards the audit log: nodes tell in a register which ones they hold, and when all of them
//! want the same one, the leader has a key guard that follows from it.
//!
//! ```text
//! audit/guard/<node>   "<log> <number of the node> <mark that it wants> <marks of former secrets that it holds> …"
//! ```
//!
//! Log and number are there because registers outlive both: a cluster made of a snapshot has another log, and a node that
//! was removed and comes back another number. A node of a version that knows nothing of this tells nothing, so nothing is
//! proposed that it could not follow.

use bytes::Bytes;
use lockgate_proto::id::NodeName;

use crate::audit::{AuditCommand, Guards, KeyRanges, Mark};
use crate::command::{Command, Expected, RegisterWrite};
use crate::machine::{Member, Parts};

/// Name of the register of a node, before its name.
const REGISTER: &str = "audit/guard/";

/// Why a node does not take part in an audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardMismatch {
    /// A secret is missing.
    #[error(
        "records from {first} on of this cluster's audit log are guarded by a secret that this node was not given; give \
         it, as `audit.hmac_key_env`, the variable that the other nodes have, with former secrets behind the one in use; \
         without its secret a log cannot go on: only a cluster made with `lockgate snapshot restore` begins a new one"
    )]
    Missing {
        /// First record that it guards.
        first: u64,
    },
    /// It was given another one than another node.
    #[error(
        "node `{node}` was given another secret for the audit log than this node; give all nodes the same one, as \
         `audit.hmac_key_env`, or this one both, with a blank between them"
    )]
    Differs {
        /// Which node.
        node: String,
    },
}

/// Secret from which the MAC key in use follows; `None` for the keyring, and before there is a log.
pub(crate) fn in_force(parts: &Parts) -> Option<&Mark> {
    let ranges = parts.audit().key_ranges()?;
    ranges.guard(ranges.current())
}

/// Whether a node that was given `guards` may take part; `own` is its name.
pub(crate) fn check(parts: &Parts, guards: &Guards, own: &str) -> Result<(), GuardMismatch> {
    let (Some(genesis), Some(ranges)) = (parts.audit().genesis(), parts.audit().key_ranges())
    else {
        return Ok(());
    };
    let held = guards.marks(&genesis.log);
    if let Some(mark) = in_force(parts) {
        return match held.contains(mark) {
            true => Ok(()),
            false => Err(missing(ranges)),
        };
    }
    let others = live(parts).filter(|member| member.name.as_str() != own);
    let differs =
        |member: &&Member| told(parts, member).is_some_and(|(wanted, _)| !held.contains(&wanted));
    match others.filter(|_| !held.is_empty()).find(differs) {
        None => Ok(()),
        Some(member) => Err(GuardMismatch::Differs {
            node: member.name.to_string(),
        }),
    }
}

/// The key in use follows from a secret that is not there.
pub(crate) fn missing(ranges: &KeyRanges) -> GuardMismatch {
    let first = ranges.starts().last().map_or(0, |(first, _)| *first);
    GuardMismatch::Missing { first }
}

/// What node `own` has to tell of its secrets, if it has not told it yet.
pub(crate) fn announcement(parts: &Parts, guards: &Guards, own: &str) -> Option<Command> {
    let log = &parts.audit().genesis()?.log;
    let member = live(parts).find(|member| member.name.as_str() == own)?;
    let key = format!("{REGISTER}{own}");
    let value = (!guards.is_empty()).then(|| {
        let mut text = format!("{log} {}", member.id.0);
        for mark in guards.marks(log) {
            text.push_str(&format!(" {mark}"));
        }
        Bytes::from(text)
    });
    let told = parts.registers().by_key().get(&key);
    let is_told = told.map(|told| &told.value) == value.as_ref();
    let expected = Expected::Any;
    let write = RegisterWrite {
        key,
        expected,
        value,
    };
    (!is_told).then(|| write.into())
}

/// What the leader, which was given `guards`, owes when all nodes want another secret than the one in force.
pub(crate) fn due(parts: &Parts, guards: &Guards) -> Option<Command> {
    let mut members = live(parts);
    let (wanted, _) = told(parts, members.next()?)?;
    guards.find(&parts.audit().genesis()?.log, &wanted)?;
    if !members.all(|member| told(parts, member).is_some_and(|(mark, _)| mark == wanted)) {
        return None;
    }
    let ranges = parts.audit().key_ranges()?;
    let set = AuditCommand::SetGuard {
        key_id: ranges.current().checked_add(1)?,
        guard: wanted,
    };
    (in_force(parts) != Some(&wanted)).then(|| set.into())
}

/// How it stands with the secret that a node was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardStatus {
    /// Whether the MAC key in use follows from it.
    pub is_in_force: bool,
    /// Other nodes that were not given it as the one to guard with, as far as is known. Without them it does not come in
    /// force.
    pub awaited: Vec<NodeName>,
}

/// How it stands with the first of `guards` at the node `own`. `None` without any, and before there is a log.
pub(crate) fn status(parts: &Parts, guards: &Guards, own: &str) -> Option<GuardStatus> {
    let wanted = *guards.marks(&parts.audit().genesis()?.log).first()?;
    let wants = |member: &Member| told(parts, member).is_some_and(|(mark, _)| mark == wanted);
    let others = live(parts).filter(|member| member.name.as_str() != own);
    let awaited = others.filter(|member| !wants(member));
    Some(GuardStatus {
        is_in_force: in_force(parts) == Some(&wanted),
        awaited: awaited.map(|member| member.name.clone()).collect(),
    })
}

/// A node that does not hold that secret.
pub(crate) fn without<'a>(parts: &'a Parts, guard: &Mark) -> Option<&'a Member> {
    let holds = |member: &Member| {
        told(parts, member)
            .is_some_and(|(wanted, former)| wanted == *guard || former.contains(guard))
    };
    live(parts).find(|member| !holds(member))
}

fn live(parts: &Parts) -> impl Iterator<Item = &Member> {
    let members = parts.nodes().members().values();
    members.filter(|member| member.is_live())
}

/// The secret that a node wants, and former ones that it holds. `None` when it has told nothing.
fn told(parts: &Parts, member: &Member) -> Option<(Mark, Vec<Mark>)> {
    let key = format!("{REGISTER}{}", member.name);
    let told = parts.registers().by_key().get(&key)?;
    let mut words = std::str::from_utf8(&told.value).ok()?.split(' ');
    let is_this =
        words.next()? == parts.audit().genesis()?.log && words.next()?.parse() == Ok(member.id.0);
    let mut marks = words.map(Mark::parse);
    let wanted = marks.next()??;
    is_this.then_some((wanted, marks.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Genesis;
    use crate::machine::test_cluster::TestCluster;
    use crate::machine::{Position, Refounder, snapshot};

    const A: &str = "a-secret-of-32-bytes-or-more-------";
    const B: &str = "another-secret-of-32-bytes-or-more--";

    fn guards(secrets: &[&str]) -> Guards {
        match secrets {
            [] => Guards::default(),
            secrets => Guards::parse(&secrets.join(" ")).unwrap(),
        }
    }

    fn cluster(n_nodes: usize) -> TestCluster {
        let mut cluster = TestCluster::of(n_nodes);
        let genesis = Genesis::of_cluster([7; 16], None);
        cluster.done(AuditCommand::Begin(genesis));
        cluster
    }

    /// Node `n1`, `n2` and so on tell that they were given these.
    fn tell(cluster: &mut TestCluster, given: &[&[&str]]) {
        for (place, secrets) in given.iter().enumerate() {
            let own = format!("n{}", place + 1);
            if let Some(told) = announcement(cluster.parts(), &guards(secrets), &own) {
                cluster.done(told);
            }
            assert_eq!(announcement(cluster.parts(), &guards(secrets), &own), None);
        }
    }

    /// Carries out what is due; says from which secret the key in use follows then.
    fn settle(cluster: &mut TestCluster, known: &[&str]) -> Option<usize> {
        assert_eq!(due(cluster.parts(), &Guards::default()), None);
        if let Some(due) = due(cluster.parts(), &guards(known)) {
            cluster.done(due);
        }
        assert_eq!(due(cluster.parts(), &guards(known)), None);
        let log = &cluster.parts().audit().genesis().unwrap().log;
        let mark = in_force(cluster.parts())?;
        let is_it = |secret: &&str| guards(&[secret]).find(log, mark).is_some();
        known.iter().position(is_it)
    }

    #[test]
    fn a_secret_guards_when_all_nodes_hold_it() {
        let mut cluster = cluster(3);
        tell(&mut cluster, &[&[A], &[A], &[]]);
        assert_eq!(settle(&mut cluster, &[A]), None, "one tells nothing");
        let stands = |cluster: &TestCluster, secrets: &[&str]| {
            let status = status(cluster.parts(), &guards(secrets), "n1")?;
            let awaited: Vec<&str> = status.awaited.iter().map(NodeName::as_str).collect();
            Some((status.is_in_force, awaited.join(" ")))
        };
        let is = |in_force, awaited: &str| Some((in_force, awaited.to_owned()));
        assert_eq!(stands(&cluster, &[A]), is(false, "n3"));
        assert_eq!(stands(&cluster, &[B]), is(false, "n2 n3"));
        assert_eq!(stands(&cluster, &[]), None);
        tell(&mut cluster, &[&[A], &[A], &[B]]);
        assert_eq!(settle(&mut cluster, &[A]), None, "one has another");
        tell(&mut cluster, &[&[A], &[A], &[A]]);
        assert_eq!(settle(&mut cluster, &[A]), Some(0));
        assert_eq!(stands(&cluster, &[A]), is(true, ""));
        // From one to the next, node by node.
        tell(&mut cluster, &[&[B, A], &[B, A], &[A]]);
        assert_eq!(settle(&mut cluster, &[A, B]), Some(0));
        assert_eq!(stands(&cluster, &[B, A]), is(false, "n3"));
        tell(&mut cluster, &[&[B, A], &[B, A], &[B, A]]);
        assert_eq!(settle(&mut cluster, &[A, B]), Some(1));
        tell(&mut cluster, &[&[], &[B], &[B]]);
        assert_eq!(
            settle(&mut cluster, &[A, B]),
            Some(1),
            "nobody takes it back"
        );
    }

    #[test]
    fn what_a_former_node_or_cluster_has_told_counts_for_nothing() {
        let mut cluster = cluster(1);
        let log = cluster.parts().audit().genesis().unwrap().log.clone();
        let mark = guards(&[A]).marks(&log)[0];
        let number = cluster.nodes()[0];
        for (told, counts) in [
            (format!("{log} {number} {mark}"), true),
            (format!("{log} {} {mark}", number + 1), false),
            (format!("{} {number} {mark}", "0".repeat(32)), false),
            (format!("{log} {number}"), false),
            (format!("{log} {number} {mark} x"), false),
            (String::new(), false),
        ] {
            cluster.done(RegisterWrite {
                key: format!("{REGISTER}n1"),
                expected: Expected::Any,
                value: Some(Bytes::from(told.clone())),
            });
            assert_eq!(
                due(cluster.parts(), &guards(&[A])).is_some(),
                counts,
                "{told}"
            );
            assert_eq!(without(cluster.parts(), &mark).is_none(), counts, "{told}");
        }
    }

    #[test]
    fn a_node_takes_part_with_the_secret_in_force_only() {
        let mut cluster = cluster(2);
        let check = |cluster: &TestCluster, secrets: &[&str]| {
            check(cluster.parts(), &guards(secrets), "n2")
        };
        let node = "n1".to_owned();
        tell(&mut cluster, &[&[A], &[]]);
        assert_eq!(check(&cluster, &[]), Ok(()), "nothing is guarded yet");
        assert_eq!(check(&cluster, &[A]), Ok(()));
        assert_eq!(check(&cluster, &[B, A]), Ok(()));
        assert_eq!(check(&cluster, &[B]), Err(GuardMismatch::Differs { node }));
        tell(&mut cluster, &[&[A], &[A]]);
        assert_eq!(settle(&mut cluster, &[A]), Some(0));
        let missing = Err(GuardMismatch::Missing { first: 1 });
        assert_eq!(check(&cluster, &[]), missing);
        assert_eq!(check(&cluster, &[B]), missing);
        assert_eq!(check(&cluster, &[B, A]), Ok(()));
    }

    #[test]
    fn a_cluster_made_of_a_guarded_state_begins_without_its_secret() {
        let mut cluster = cluster(1);
        tell(&mut cluster, &[&[A]]);
        assert_eq!(settle(&mut cluster, &[A]), Some(0));
        let by = Refounder {
            cluster: [9; 16],
            name: NodeName::from("n1"),
            address: String::new(),
            at_ms: 7,
        };
        let index = cluster.machine.position().index + 1;
        cluster.machine.refound(by, Position { term: 2, index });
        for secrets in [&[][..], &[A], &[B]] {
            assert_eq!(check(cluster.parts(), &guards(secrets), "n1"), Ok(()));
            assert_eq!(due(cluster.parts(), &guards(secrets)), None);
        }
        tell(&mut cluster, &[&[B]]);
        assert_eq!(settle(&mut cluster, &[A, B]), Some(1));
    }

    #[test]
    fn a_guarded_state_has_a_format_that_former_versions_refuse() {
        let mut cluster = cluster(1);
        let header = |cluster: &TestCluster| snapshot::records(&cluster.machine).next().unwrap();
        tell(&mut cluster, &[&[A]]);
        let before = header(&cluster);
        assert_eq!(settle(&mut cluster, &[A]), Some(0));
        // Header, its length, and its first field: the format.
        assert_eq!((&before[..1], &before[2..4]), (&[10][..], &[8, 1][..]));
        assert_eq!(header(&cluster)[2..4], [8, 2]);
        let records = snapshot::records(&cluster.machine).map(Ok::<_, crate::WireError>);
        assert_eq!(snapshot::restore(records).unwrap(), cluster.machine);
        let secrets = snapshot::records(&cluster.machine)
            .collect::<Vec<_>>()
            .concat();
        assert!(
            !secrets
                .windows(A.len())
                .any(|window| window == A.as_bytes())
        );
    }
}
