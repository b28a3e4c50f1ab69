//! Load: one thread, one epoll, any number of connections, closed or open loop. Costs a few
//! microseconds a call, because it shares its core with the upstream.

mod client;
mod engine;
mod job;
mod lane;
mod pacer;
mod sample;
mod target;

pub(crate) use self::{
    client::Client,
    engine::{Engine, Pace, Window},
    job::{Job, Step},
    lane::Lane,
    sample::Sample,
    target::Target,
};
