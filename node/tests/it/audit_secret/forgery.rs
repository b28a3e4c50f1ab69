//! What somebody does who has all that lies on a disk, and not the secret.

use lockgate_cluster::Secret;
use lockgate_cluster::audit::chain::link;
use lockgate_cluster::audit::hash::leaf_hash;
use lockgate_cluster::audit::{Hash, MacKey};
use serde_json::Value;

/// The export with another record `seq`: the chain is made anew from there on, MACs are of a key that the forger has,
/// and checkpoints are left out.
pub(super) fn forged(export: &str, seq: u64) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut chain = None;
    for line in export.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if value["checkpoint"].is_string() {
            continue;
        }
        let found = value["leaf"]["seq"].as_u64();
        if found.is_none_or(|found| found < seq) {
            lines.push(line.to_owned());
            continue;
        }
        let (found, key_id) = (found.unwrap(), value["key_id"].as_u64().unwrap());
        let (_, leaf) = line.split_once("\"leaf\":").unwrap();
        let leaf = leaf.strip_suffix('}').unwrap();
        let prev = value["leaf"]["prev"].as_str().unwrap();
        let leaf = match chain {
            None => leaf.replace("\"principal\":\"", "\"principal\":\"not-"),
            Some(chain) => leaf.replace(prev, &Hash::to_string(&chain)),
        };
        assert!(line.find(&leaf).is_none(), "{leaf}");
        let before = chain.unwrap_or_else(|| Hash::from_hex(prev.as_bytes()).unwrap());
        let made = link(&before, found, &leaf_hash(leaf.as_bytes()));
        let key = MacKey::new(u32::try_from(key_id).unwrap(), &Secret::from_bytes([9; 32]));
        let mac = Hash(key.sign(found, &made).0);
        lines.push(format!(
            "{{\"key_id\":{key_id},\"mac\":\"{mac}\",\"leaf\":{leaf}}}"
        ));
        chain = Some(made);
    }
    lines.join("\n") + "\n"
}
