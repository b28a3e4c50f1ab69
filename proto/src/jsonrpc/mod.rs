//! JSON-RPC 2.0 on raw text. A message is read once, shallowly; what passes through keeps its bytes:
//! unknown members, number spelling, key order and `null` survive because nothing is re-serialised.

mod batch;
mod envelope;
mod error;
mod frame;
mod index;
mod legible;
mod limits;
mod long_string;
mod object;
mod plain_run;
mod scanner;
mod span;
mod splice;
mod string;

pub use self::batch::{Batch, Unfit};
pub use self::error::ParseError;
pub use self::frame::{Frame, Kind};
pub use self::legible::Legible;
pub use self::limits::Limits;
pub use self::object::{Elements, Member, Members, elements, find, find_path, members, reads_as};
pub use self::span::Span;
pub use self::splice::Splice;
pub use self::string::{decode_lossy, decode_str, encode_str};
