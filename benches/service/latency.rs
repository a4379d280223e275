//! From publish to receipt at a modest rate: quiet, and while other endpoints are in trouble.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use k_webhooks::clock::Clock;

use crate::{
    Engine,
    load::{closed_loop, event, histogram, open_loop, quantiles, record},
    program::{KEY, Program},
    receiver::{Receiver, Trouble, troubled},
    report,
};

const PER_SECOND: u32 = 200;
const SECONDS: u32 = 20;
const ENDPOINTS: usize = 10;

/// Deliveries that are due for one endpoint while the others are measured.
const BACKLOG: usize = 1_000_000;

/// Publishes at the fixed rate, to so many merchants in turn, and measures what their healthy endpoints get, each of them
/// every event.
async fn healthy(
    program: &Program,
    receiver: &Receiver,
    endpoints: usize,
    merchants: usize,
) -> Histogram<u64> {
    healthy_of(program, receiver, endpoints, |number| format!("m_{}", number % merchants)).await
}

async fn healthy_of(
    program: &Program,
    receiver: &Receiver,
    endpoints: usize,
    merchant: impl Fn(usize) -> String,
) -> Histogram<u64> {
    let events = usize::try_from(PER_SECOND * SECONDS).expect("a count");
    let begun = Mutex::new(Vec::<Instant>::with_capacity(events));
    let uri = format!("http://{}/v1/events", program.internal);
    let body = |number: usize| event(&merchant(number), number);
    receiver.take();
    open_loop(&uri, KEY, PER_SECOND, events, body, |at| begun.lock().expect("unpoisoned").push(at)).await;
    receiver.until(events * endpoints).await;
    let begun = begun.into_inner().expect("unpoisoned");
    let mut latencies = histogram();
    for arrival in receiver.take() {
        record(&mut latencies, arrival.at.saturating_duration_since(begun[arrival.number()]));
    }
    latencies
}

/// A service with `healthy` endpoints of merchant `m_0` on one receiver, and `others` of the same merchant.
async fn service(engine: Engine, healthy: usize, others: &[String]) -> (Program, Receiver) {
    let program = Program::start(engine, &[("delivery.timeout", "10s")]).await;
    let receiver = Receiver::start().await;
    let mut urls: Vec<String> = (0..healthy).map(|number| format!("{}{number}", receiver.url)).collect();
    urls.extend_from_slice(others);
    program.register("m_0", &urls).await;
    (program, receiver)
}

/// Latency with nothing in trouble.
pub(crate) async fn quiet(engine: Engine) {
    let (program, receiver) = service(engine, ENDPOINTS, &[]).await;
    let before = program.usage();
    let latencies = healthy(&program, &receiver, ENDPOINTS, 1).await;
    let cpu = (program.usage().cpu_seconds - before.cpu_seconds) / f64::from(SECONDS);
    report(&format!("\n# {engine:?}: latency, {PER_SECOND} events a second, each to {ENDPOINTS} endpoints"));
    report(&format!(
        "publish to receipt p50 / p99 / p99.9 {}; {:.0} % of a core",
        quantiles(&latencies),
        cpu * 100.0
    ));
    let before = program.usage();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = (program.usage().cpu_seconds - before.cpu_seconds) / 10.0;
    report(&format!("idle: {:.2} % of a core", idle * 100.0));
}

/// Latency of the healthy endpoints while another is in trouble, beside their quiet one.
pub(crate) async fn trouble(engine: Engine) {
    report(&format!(
        "\n# {engine:?}: isolation, {PER_SECOND} events a second, latency of the healthy endpoints"
    ));
    for trouble in [Trouble::Hangs, Trouble::Drips, Trouble::Resets] {
        let (program, receiver) = service(engine, ENDPOINTS - 1, &[]).await;
        let quiet = healthy(&program, &receiver, ENDPOINTS - 1, 1).await;
        program.register("m_0", &[troubled(trouble).await]).await;
        let latencies = healthy(&program, &receiver, ENDPOINTS - 1, 1).await;
        report(&compared(&format!("1 of {ENDPOINTS} {trouble:?}"), &quiet, &latencies));
    }
}

fn compared(name: &str, quiet: &Histogram<u64>, latencies: &Histogram<u64>) -> String {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let ratio = latencies.value_at_quantile(0.99) as f64 / quiet.value_at_quantile(0.99) as f64;
    format!("{name}: {} beside {} quiet = {ratio:.2} at p99", quantiles(latencies), quantiles(quiet))
}

/// One endpoint has a million deliveries due and takes none.
pub(crate) async fn backlog(engine: Engine) {
    let (program, receiver) = service(engine, ENDPOINTS - 1, &[]).await;
    let quiet = healthy(&program, &receiver, ENDPOINTS - 1, 1).await;
    program.register("m_1", &[troubled(Trouble::Hangs).await]).await;
    let uri = format!("http://{}/v1/events/batch", program.internal);
    let body = |batch: usize| {
        let events: Vec<String> = (0..500).map(|number| event("m_1", batch * 500 + number)).collect();
        format!(r#"{{"events":[{}]}}"#, events.join(","))
    };
    closed_loop(&uri, KEY, 8, BACKLOG / 500, body).await;
    let latencies = healthy(&program, &receiver, ENDPOINTS - 1, 1).await;
    report(&compared(&format!("{BACKLOG} due for another"), &quiet, &latencies));
    report(&format!("  peak memory with that backlog: {} MiB", program.usage().peak_memory_mib));
}

/// A thousand endpoints, of which a hundred hang.
pub(crate) async fn many(engine: Engine) {
    const MERCHANTS: usize = 100;
    let program = Program::start(engine, &[("delivery.timeout", "10s")]).await;
    let receiver = Receiver::start().await;
    for merchant in 0..MERCHANTS {
        let urls: Vec<String> = (0..9).map(|number| format!("{}{number}", receiver.url)).collect();
        program.register(&format!("m_{merchant}"), &urls).await;
    }
    let quiet = healthy(&program, &receiver, 9, MERCHANTS).await;
    let dead = troubled(Trouble::Hangs).await;
    for merchant in 0..MERCHANTS {
        program.register(&format!("m_{merchant}"), std::slice::from_ref(&dead)).await;
    }
    let latencies = healthy(&program, &receiver, 9, MERCHANTS).await;
    report(&compared("100 of 1000 hang", &quiet, &latencies));
}

/// Latency while retention removes a million old rows, events, deliveries and attempts, beside that of the same database
/// while all of them are kept.
pub(crate) async fn retention(engine: Engine) {
    const OLD: usize = 50_000;
    let receiver = Receiver::start().await;
    let urls: Vec<String> = (0..ENDPOINTS).map(|number| format!("{}{number}", receiver.url)).collect();
    let merchant = |_| "merchant_of_now".to_owned();
    let keeping_all = [("retention.events", "36500d")];
    let mut program = Program::start(engine, &keeping_all).await;
    program.register("merchant_of_now", &urls).await;
    program.terminate();
    // Past the retention that comes, as it is where the service was not stopped: not so late that it would hurry.
    let accepted_at = Clock::system().now().minus(Duration::from_secs(96 * 60 * 60));
    program.storage.fill(OLD * 10, 0, accepted_at).await;
    program.start_again(&keeping_all);
    let quiet = healthy_of(&program, &receiver, ENDPOINTS, merchant).await;
    program.terminate();
    program.start_again(&[("retention.events", "96h")]);
    // It runs at every full minute, for less than one.
    let old = "events WHERE created_at = 0";
    while program.storage.rows(old).await == OLD {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = program.storage.rows(old).await;
    let latencies = healthy_of(&program, &receiver, ENDPOINTS, merchant).await;
    let removed = before - program.storage.rows(old).await;
    report(&format!(
        "\n# {engine:?}: retention, {PER_SECOND} events a second, each to {ENDPOINTS} endpoints"
    ));
    report(&compared(
        &format!("{removed} old events with 10 deliveries each removed in {SECONDS} s"),
        &quiet,
        &latencies,
    ));
}
