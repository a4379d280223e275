//! As much as goes through: publishers who wait for nothing but their answers.

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

/// Measures single events and batches beside the floor.
pub(crate) async fn measure(engine: Engine) {
    let receiver = Receiver::start().await;
    // Once to warm up: connections, memory, the processor's clock.
    for _ in 0..2 {
        receiver.take();
        closed_loop(&receiver.url, "", PUBLISHERS, EVENTS, |number| event("m_1", number)).await;
    }
    receiver.take();
    let (elapsed, _) =
        closed_loop(&receiver.url, "", PUBLISHERS, EVENTS, |number| event("m_1", number)).await;
    receiver.take();
    let hop = rate(EVENTS, elapsed);
    report(&format!("\n# {engine:?}: throughput, {EVENTS} events to one endpoint"));
    report(&format!(
        "floor: a bare client sends {hop:.0} requests a second to the receiver, so two hops come to {:.0}",
        hop / 2.0
    ));
    single(engine, &receiver, hop / 2.0).await;
    batches(engine, &receiver, hop / 2.0).await;
}

async fn single(engine: Engine, receiver: &Receiver, floor: f64) {
    let program = Program::start(engine, &[]).await;
    let secret = program.register("m_1", std::slice::from_ref(&receiver.url)).await.remove(0);
    let before = program.usage();
    let started = std::time::Instant::now();
    let uri = format!("http://{}/v1/events", program.internal);
    let (accepted, latencies) =
        closed_loop(&uri, KEY, PUBLISHERS, EVENTS, |number| event("m_1", number)).await;
    receiver.until(EVENTS).await;
    let delivered = started.elapsed();
    let usage = program.usage();
    let (lost, repeated) = check(&receiver.take(), &secret, EVENTS);
    let bytes = program.stop().await;
    let through = rate(EVENTS, delivered);
    report(&format!(
        "{PUBLISHERS} publishers of single events: accepted {:.0}/s, delivered {through:.0}/s = {:.2} of the floor",
        rate(EVENTS, accepted),
        through / floor
    ));
    report(&format!("  accept latency p50 / p99 / p99.9 {}", quantiles(&latencies)));
    report(&format!(
        "  lost {lost}, received twice {repeated}; service: {:.0} µs of CPU an event, peak {} MiB; {} bytes stored an event",
        (usage.cpu_seconds - before.cpu_seconds) * 1e6 / f64::from(u32::try_from(EVENTS).expect("a count")),
        usage.peak_memory_mib,
        bytes / u64::try_from(EVENTS).expect("a count")
    ));
}

async fn batches(engine: Engine, receiver: &Receiver, floor: f64) {
    let program = Program::start(engine, &[]).await;
    let secret = program.register("m_1", std::slice::from_ref(&receiver.url)).await.remove(0);
    let started = std::time::Instant::now();
    let uri = format!("http://{}/v1/events/batch", program.internal);
    let body = |batch: usize| {
        let events: Vec<String> =
            (batch * BATCH..(batch + 1) * BATCH).map(|number| event("m_1", number)).collect();
        format!(r#"{{"events":[{}]}}"#, events.join(","))
    };
    let (accepted, _) = closed_loop(&uri, KEY, 8, EVENTS / BATCH, body).await;
    receiver.until(EVENTS).await;
    let delivered = started.elapsed();
    let (lost, repeated) = check(&receiver.take(), &secret, EVENTS);
    program.stop().await;
    let through = rate(EVENTS, delivered);
    report(&format!(
        "8 publishers of batches of {BATCH}: accepted {:.0}/s, delivered {through:.0}/s = {:.2} of the floor; \
         lost {lost}, received twice {repeated}",
        rate(EVENTS, accepted),
        through / floor
    ));
}
