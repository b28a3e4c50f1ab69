//! Random bytes for what must be unguessable or unique.

use crate::error::OpenError;

/// Draws `N` bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OpenError::NoRandomness)?;
    Ok(bytes)
}
