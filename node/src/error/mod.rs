//! Every way a call can fail, and the one table from error to wire.

mod call;
mod upstream;

pub(crate) use self::call::own_code;
pub use self::call::{CallError, Object, Wire};
pub use self::upstream::UpstreamError;
