//! One test binary: the service as its users see it, in this process and, where it is killed, as a process of its own.
//! `suite` is compiled once for each engine.

mod check;
mod cli;
mod docs;
mod doctor;
mod fuzz;
mod monitoring;
mod openapi;
mod packaging;
mod postgres;
mod sqlite;
mod support;
mod tools;
mod vectors;
