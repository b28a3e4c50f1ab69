//! Members that move, and members that leave.

use super::*;

#[test]
fn a_node_that_has_moved_is_found_although_the_leader_has_changed() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let before = world.addresses["n2"].clone();
    world.close([nodes.remove(1)]);
    let n3 = nodes[0].view().member(&NodeName::from("n3")).unwrap().id;
    let handing_over = nodes[0].transfer_leader(n3.0);
    world.runtime.block_on(handing_over).unwrap();

    world.addresses.remove("n2");
    let join = Begin::Join {
        token: None,
        learner: false,
    };
    let n2 = world.start("n2", join).unwrap();
    assert_ne!(world.addresses["n2"], before);
    world.write(&n2, "moved", "n2");
    nodes.push(n2);
    world.close(nodes);
}

#[test]
fn a_removal_that_was_not_completed_is_called_off() {
    let (world, nodes) = World::cluster(&["n1", "n2", "n3"]);
    let id = nodes[2].view().member(&NodeName::from("n3")).unwrap().id;
    let drains = |view: &View| {
        let n3 = view.member(&NodeName::from("n3"));
        n3.is_some_and(|member| member.draining_since_ms.is_some())
    };
    // Its calls don't end.
    nodes[2].serving().report_unfinished(|| 1);
    let interrupted = async {
        let mut views = nodes[2].watch();
        tokio::select! {
            done = nodes[0].remove_member(id, false) => panic!("{done:?}"),
            seen = views.wait_for(|view| drains(view)) => drop(seen),
        }
    };
    world.runtime.block_on(interrupted);
    let kept = nodes[1].keep_member(id);
    world.runtime.block_on(kept).unwrap();
    world.until(&nodes[2], |view| !drains(view));
    assert_eq!(n_voters(&nodes[0].view()), 3);
    world.close(nodes);
}

#[test]
fn a_removed_node_is_told_so_while_it_runs_and_when_it_starts_again() {
    let (world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let n3 = nodes.remove(2);
    let id = n3.view().member(&NodeName::from("n3")).unwrap().id;
    let removing = nodes[0].remove_member(id, false);
    world.runtime.block_on(removing).unwrap();
    let told = async { timeout(PATIENCE, n3.removed()).await.unwrap() };
    let removed = world.runtime.block_on(told);
    assert_eq!(
        (removed.node.as_str(), &removed.data_dir),
        ("n3", &world.data_dir("n3"))
    );
    let cluster = nodes[0].view().cluster_id().unwrap();
    let cluster: String = cluster.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(removed.cluster, cluster);
    world.close([n3]);

    // Also where it would wait for as long as it takes.
    let join = || Begin::Join {
        token: None,
        learner: false,
    };
    let again = Cluster::begin(world.options("n3", join())).unwrap();
    let again = async { timeout(PATIENCE, again.joined()).await.unwrap() };
    let refused = world.runtime.block_on(again).err().unwrap();
    assert!(matches!(refused, OpenError::Removed(told) if told == removed));

    world.close(nodes);
}
