//! The engine's parts under its own test suite, and several nodes in one process.

mod cluster;
mod failure;
mod members;
mod net;
mod starts;
mod suite;
mod world;
