//! Replicated writes, as a user measures them.

use std::{fs, process::Command};

use serde_json::Value;

#[test]
fn three_nodes_the_engine_and_the_disk_are_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let arguments = ["raft", "--clients", "1,8", "--rounds", "1"];
    let output = Command::new(env!("CARGO_BIN_EXE_lockgate-bench"))
        .args(arguments)
        .args(["--warmup", "0.1", "--measure", "0.3", "--out", out])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("replicated writes, 8 clients"), "{text}");
    let results = fs::read_to_string(directory.path().join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let outcomes = results["raft"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2);
    let names = [
        "fdatasync alone",
        "engine in memory",
        "engine on sled",
        "cluster",
    ];
    for outcome in outcomes {
        let lanes = outcome["lanes"].as_array().unwrap();
        assert_eq!(lanes.len(), names.len());
        for (lane, name) in lanes.iter().zip(names) {
            let median = |figure: &str| lane[figure]["median"].as_f64().unwrap();
            assert_eq!(lane["name"], name);
            assert!(median("writes_per_second") > 0.0, "{lane}");
            let syncs = median("syncs_per_write");
            assert_eq!(syncs > 0.0, name != "engine in memory", "{lane}");
        }
    }
    let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(page.contains("replicated writes, 8 clients"));
}
