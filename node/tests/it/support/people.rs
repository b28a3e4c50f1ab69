//! Callers that the tests of who may do what are about.

use super::gateway::Gateway;

/// Key of Ann.
pub(crate) const ANN: &str = "lg_0000000000000000000000000000000000000000ann";
/// Key of Bob.
pub(crate) const BOB: &str = "lg_0000000000000000000000000000000000000000bob";

impl Gateway {
    /// Starts with `servers`, entries of that section. Ann and Bob may do everything there.
    pub(crate) async fn of_two(servers: &str) -> Self {
        let config = format!(
            r#"
identity:
  api_keys:
    - {{ id: ann, key_env: KEY_ANN, principal: ann, roles: [all] }}
    - {{ id: bob, key_env: KEY_BOB, principal: bob, roles: [all] }}
roles: {{ all: {{ allow: ["*"] }} }}
servers:
{servers}"#
        );
        Self::start_with(&config, &[("KEY_ANN", ANN), ("KEY_BOB", BOB)]).await
    }
}
