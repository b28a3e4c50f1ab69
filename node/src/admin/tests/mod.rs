//! The admin plane over a whole node, without a data plane's listener.

mod api;
mod node;
mod wire;
