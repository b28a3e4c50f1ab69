//! The bound, in simulation: real machine, real batcher, real purses; simulated network, log, clocks and faults.

mod bound;
mod commits;
mod node;
mod random;
mod world;
