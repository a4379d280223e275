//! As much as goes through: publishers who wait for nothing but their answers.

use std::time::Instant;

use crate::{
    Engine,
    load::{closed_loop, event, quantiles},
    program::{KEY, Program},
    rate,
    receiver::{Receiver, check},
    report,
};

const EVENTS: usize = 50_000;
const PUBLISHERS: usize = 64;
const BATCH: usize = 100;
const BATCH_PUBLISHERS: usize = 8;

/// Each with one endpoint: one is the least work for the database, several are not held to what one endpoint takes at once.
const MERCHANTS: [usize; 2] = [1, 10];

/// Measures single events and batches, each beside the floor.
pub(crate) async fn measure(engine: Engine) {
    let receiver = Receiver::start().await;
    // To warm up: connections, memory, the processor's clock.
    two_hops(&receiver).await;
    for merchants in MERCHANTS {
        report(&format!("\n# {engine:?}: throughput, {EVENTS} events to {merchants} endpoints"));
        single(engine, &receiver, merchants).await;
        batches(engine, &receiver, merchants).await;
    }
}

/// Events a second over two hops: the payloads sent by a bare client to the receiver take one.
async fn two_hops(receiver: &Receiver) -> f64 {
    let (elapsed, _) =
        closed_loop(&receiver.url, "", PUBLISHERS, EVENTS, |number| event("m_0", number)).await;
    receiver.take();
    rate(EVENTS, elapsed) / 2.0
}

/// What went through, beside the floor before it and after it: the machine's speed varies from minute to minute.
fn beside_floor(through: f64, before: f64, after: f64) -> String {
    let floor = f64::midpoint(before, after);
    format!(
        "delivered {through:.0}/s = {:.2} of the floor, {floor:.0}/s ({before:.0} before, {after:.0} after)",
        through / floor
    )
}

fn event_of(merchants: usize, number: usize) -> String {
    event(&format!("m_{}", number % merchants), number)
}

/// Registers the merchants' endpoints; answers their secrets.
async fn register(program: &Program, receiver: &Receiver, merchants: usize) -> Vec<String> {
    let mut secrets = Vec::new();
    for merchant in 0..merchants {
        let url = format!("{}{merchant}", receiver.url);
        secrets.extend(program.register(&format!("m_{merchant}"), &[url]).await);
    }
    secrets
}

async fn single(engine: Engine, receiver: &Receiver, merchants: usize) {
    let program = Program::start(engine, &[]).await;
    let secrets = register(&program, receiver, merchants).await;
    let floor_before = two_hops(receiver).await;
    let before = program.usage();
    let started = Instant::now();
    let uri = format!("http://{}/v1/events", program.internal);
    let (accepted, latencies) =
        closed_loop(&uri, KEY, PUBLISHERS, EVENTS, move |number| event_of(merchants, number)).await;
    receiver.until(EVENTS).await;
    let delivered = started.elapsed();
    let usage = program.usage();
    let (lost, repeated) = check(&receiver.take(), &secrets, EVENTS);
    let bytes = program.stop().await;
    let through = beside_floor(rate(EVENTS, delivered), floor_before, two_hops(receiver).await);
    report(&format!(
        "{PUBLISHERS} publishers of single events: accepted {:.0}/s, {through}",
        rate(EVENTS, accepted)
    ));
    report(&format!("  accept latency p50 / p99 / p99.9 {}", quantiles(&latencies)));
    report(&format!(
        "  lost {lost}, received twice {repeated}; service: {:.0} µs of CPU an event, peak {} MiB; {} bytes stored an event",
        (usage.cpu_seconds - before.cpu_seconds) * 1e6 / f64::from(u32::try_from(EVENTS).expect("a count")),
        usage.peak_memory_mib,
        bytes / u64::try_from(EVENTS).expect("a count")
    ));
}

async fn batches(engine: Engine, receiver: &Receiver, merchants: usize) {
    let program = Program::start(engine, &[]).await;
    let secrets = register(&program, receiver, merchants).await;
    let floor_before = two_hops(receiver).await;
    let started = Instant::now();
    let uri = format!("http://{}/v1/events/batch", program.internal);
    let body = move |batch: usize| {
        let events: Vec<String> =
            (batch * BATCH..(batch + 1) * BATCH).map(|number| event_of(merchants, number)).collect();
        format!(r#"{{"events":[{}]}}"#, events.join(","))
    };
    let (accepted, _) = closed_loop(&uri, KEY, BATCH_PUBLISHERS, EVENTS / BATCH, body).await;
    receiver.until(EVENTS).await;
    let delivered = started.elapsed();
    let (lost, repeated) = check(&receiver.take(), &secrets, EVENTS);
    program.stop().await;
    let through = beside_floor(rate(EVENTS, delivered), floor_before, two_hops(receiver).await);
    report(&format!(
        "{BATCH_PUBLISHERS} publishers of batches of {BATCH}: accepted {:.0}/s, {through}; \
         lost {lost}, received twice {repeated}",
        rate(EVENTS, accepted)
    ));
}
