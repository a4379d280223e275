//! One test binary: the service as its users see it, in this process and, where it is killed, as a process of its own.

mod api;
mod cli;
mod crash;
mod delivery;
mod ingest;
mod keys;
mod store;
mod support;
