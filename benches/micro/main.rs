//! What the parts of the service cost, each alone: the pure rules, and a store's accept, claim and record on both engines.
//!
//! `make micro` measures times with criterion; `cargo bench --bench micro -- sqlite` runs what has that in its name.
//! `make instructions` counts instructions instead, which hardly vary, and compares them with the committed counts.

mod instructions;
mod pure;
mod store;

#[path = "../../tests/it/support/outcome.rs"]
mod outcome;

#[path = "../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod postgres;

use std::{
    cell::LazyCell,
    process::ExitCode,
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode, Throughput};
use tokio::runtime::Runtime;

use postgres::Cluster;
use store::{EVENTS, Fixture, Step};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is done over and over.
struct Case {
    name: &'static str,
    /// How often it is done when instructions are counted, so that what a process does besides is lost in it.
    times: u64,
    /// Does it so many times.
    run: Box<dyn Fn(u64)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--instructions"] => instructions::compare(),
        ["--instructions", "--write"] => instructions::write(),
        [instructions::RUN, name, times] => instructions::run(name, times),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            time_rules(&mut criterion);
            time_stores(&mut criterion);
            criterion.final_summary();
            ExitCode::SUCCESS
        }
    }
}

fn time_rules(criterion: &mut Criterion) {
    for case in pure::cases() {
        criterion.bench_function(case.name, |bencher| {
            bencher.iter_custom(|times| {
                let started = Instant::now();
                (case.run)(times);
                started.elapsed()
            });
        });
    }
}

fn time_stores(criterion: &mut Criterion) {
    // Started only where a case of its engine is wanted.
    let cluster = LazyCell::new(|| Cluster::start(&[]));
    let runtime = runtime();
    let _inside = runtime.enter();
    for engine in ["sqlite", "postgres"] {
        let fixture = LazyCell::new(|| {
            runtime.block_on(async {
                match engine {
                    "sqlite" => Fixture::sqlite().await,
                    _ => Fixture::postgres(&cluster.new_database().await).await,
                }
            })
        });
        let mut group = criterion.benchmark_group(format!("{engine}, {EVENTS} events"));
        // A round takes milliseconds, and the disk's own time varies.
        group.sampling_mode(SamplingMode::Flat).sample_size(30).measurement_time(Duration::from_secs(6));
        group.throughput(Throughput::Elements(EVENTS as u64));
        for step in [Step::Accept, Step::Claim, Step::Record] {
            group.bench_function(step.name(), |bencher| {
                let fixture = &*fixture;
                bencher.to_async(&runtime).iter_custom(async |rounds| {
                    let mut took = Duration::ZERO;
                    for _ in 0..rounds {
                        took += fixture.round(step).await;
                    }
                    took
                });
            });
        }
        group.finish();
    }
}

/// One thread, as what commits has one of its own in the service.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
