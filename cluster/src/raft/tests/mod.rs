//! The engine's parts under its own test suite, and several nodes in one process.

mod suite;
