//! The admin plane over a whole node, without a data plane's listener.

mod api;
mod early;
mod node;
mod wire;
