//! k-webhooks accepts events from internal services, signs them, and delivers them to the endpoints that merchants
//! registered, until they are answered or 72 hours have passed.
//!
//! The database is the queue. Accepting an event, matching it to endpoints and making its deliveries is one transaction;
//! due deliveries are leased, attempted with nothing else held, and their outcomes recorded in batches.
//!
//! The words: a *merchant* registers *endpoints*; an *event* that an internal service publishes becomes one *delivery* for
//! each matching endpoint; a delivery is tried by *attempts*, on the *ladder* of delays, inside its *window*; a *lease* says
//! which process may attempt it. The modules, in reading order:

mod counted;
mod nearest;
mod rarely;
mod words;

pub mod event;
pub mod samples;

pub mod delivery;
pub mod endpoint;
pub mod failing;
pub mod merchant;

pub mod endpoint_url;
pub mod headers;
pub mod schedule;
pub mod signature;

pub mod store;

pub mod attempt;
pub mod backfill;
pub mod dispatcher;
pub mod feed;
pub mod ingest;
pub mod operational;
pub mod pulse;
pub mod reconciliation;
pub mod replicas;
pub mod statistics;
pub mod trace;
pub mod transport;

pub mod maintenance;
pub mod metrics;
pub mod test_clock;

pub mod api_key;
pub mod audit;
pub mod clock;
pub mod encryption;
pub mod entropy;
pub mod id;
pub mod kill_point;
pub mod vault;

pub mod app;
pub mod cli;
pub mod config;
pub mod console;
pub mod http;
pub mod keys;
pub mod portal;
