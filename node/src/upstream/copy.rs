//! States that are written down and read back, as if they went on elsewhere.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A copy that was text in between.
pub(super) fn through_text<T: Serialize + DeserializeOwned>(state: &T) -> T {
    let text = serde_json::to_string(state).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A copy that was bytes in between, all of which it needs.
pub(super) fn through_bytes<T: Serialize + DeserializeOwned>(state: &T) -> T {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(state, config).unwrap();
    let (state, length) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(length, bytes.len());
    state
}
