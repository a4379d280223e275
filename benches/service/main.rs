//! How fast the service is, and how little one endpoint's trouble is noticed by the others: the real program as a process
//! of its own, published to and received from over HTTP, all on this machine.
//!
//! `make bench` runs everything on both engines; `cargo bench --bench service -- throughput sqlite` runs one part.
//! Each figure stands beside one measured in the same run: throughput beside the floor, which is the same payloads sent by
//! a bare client to the same receiver, once for each of an event's two hops; latency beside the quiet service's.

mod flat;
mod latency;
mod load;
mod pressure;
mod program;
mod receiver;
mod storage;
mod throughput;

#[path = "../../tests/it/support/outcome.rs"]
mod outcome;

#[path = "../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod postgres;

use std::time::Duration;

/// What the program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

#[tokio::main]
async fn main() {
    // Cargo adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let wanted = |name: &str, of: &[&str]| {
        let named = arguments.iter().any(|argument| of.contains(&argument.as_str()));
        !named || arguments.iter().any(|argument| argument == name)
    };
    for (name, engine) in [("sqlite", Engine::Sqlite), ("postgres", Engine::Postgres)] {
        if !wanted(name, &["sqlite", "postgres"]) {
            continue;
        }
        let parts = ["throughput", "latency", "trouble", "backlog", "many", "pressure", "flat", "retention"];
        if wanted("throughput", &parts) {
            throughput::measure(engine).await;
        }
        if wanted("latency", &parts) {
            latency::quiet(engine).await;
        }
        if wanted("trouble", &parts) {
            latency::trouble(engine).await;
        }
        if wanted("backlog", &parts) {
            latency::backlog(engine).await;
        }
        if wanted("many", &parts) {
            latency::many(engine).await;
        }
        if wanted("pressure", &parts) {
            pressure::measure(engine).await;
        }
        if wanted("flat", &parts) {
            flat::measure(engine).await;
        }
        if wanted("retention", &parts) {
            latency::retention(engine).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
pub(crate) fn report(line: &str) {
    println!("{line}");
}

#[expect(clippy::cast_precision_loss, reason = "counts far below what the type holds exactly")]
pub(crate) fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
