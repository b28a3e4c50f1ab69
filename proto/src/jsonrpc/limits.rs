//! What a message may cost before it is refused.

/// Deepest nesting that [`Limits::depth_max`] can allow: the scanner keeps one bit per level in a
/// fixed block, so that it neither recurses nor allocates.
pub(super) const DEPTH_CEILING: u16 = 1024;

/// Bounds on one incoming message. Every refusal names the bound that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes. Default 4 MiB, as in the official SDKs. Spans are 32 bits wide,
    /// so 4 GiB is the most that it can allow.
    pub body_bytes_max: usize,
    /// Deepest nesting of arrays and objects, the message itself included. Default 128, as in
    /// `serde_json`; 1024 is the most that it can allow.
    pub depth_max: u16,
    /// Most messages in one batch (2025-03-26 only). Default 64.
    pub batch_max: usize,
}

impl Limits {
    /// As much as a span and the scanner can hold: for texts that we made ourselves.
    pub(super) const WIDEST: Self = Self {
        body_bytes_max: u32::MAX as usize,
        depth_max: DEPTH_CEILING,
        batch_max: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            depth_max: 128,
            batch_max: 64,
        }
    }
}
