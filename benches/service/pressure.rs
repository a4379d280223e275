//! More publishers than the service can serve: what is accepted arrives, the rest is told when to come again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Engine,
    load::{Client, event, histogram, quantiles, record},
    program::{KEY, Program},
    receiver::{Receiver, check},
    report,
};

const PUBLISHERS: usize = 4000;
const LASTS: Duration = Duration::from_secs(10);

/// Counts the answers, and what arrives of what was accepted.
pub(crate) async fn measure(engine: Engine) {
    let program = Program::start(engine, &[]).await;
    let receiver = Receiver::start().await;
    let secrets = program.register("m_1", std::slice::from_ref(&receiver.url)).await;
    let uri = format!("http://{}/v1/events", program.internal);
    let (client, next, until) = (Client::new(), Arc::new(AtomicUsize::new(0)), Instant::now() + LASTS);
    let mut publishing = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (client, next, uri) = (client.clone(), Arc::clone(&next), uri.clone());
        publishing.spawn(async move {
            let (mut answers, mut accepted, mut latencies) = (BTreeMap::new(), Vec::new(), histogram());
            while Instant::now() < until {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                let answer = client.try_send(&uri, KEY, event("m_1", number).into()).await;
                let status = answer.status().as_u16();
                *answers.entry(status).or_insert(0_usize) += 1;
                if status == 201 {
                    accepted.push(number);
                    record(&mut latencies, sent.elapsed());
                } else {
                    assert!(matches!(status, 429 | 503), "answered {status}");
                    let pause = answer.headers()["retry-after"].to_str().expect("a number");
                    let seconds: u64 = pause.parse().expect("Retry-After is a number of seconds");
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
            }
            (answers, accepted, latencies)
        });
    }
    let (mut answers, mut accepted, mut latencies) = (BTreeMap::new(), Vec::new(), histogram());
    for (counted, numbers, took) in publishing.join_all().await {
        for (status, count) in counted {
            *answers.entry(status).or_insert(0) += count;
        }
        accepted.extend(numbers);
        latencies.add(took).expect("in range");
    }
    receiver.until(accepted.len()).await;
    let usage = program.usage();
    let arrivals = receiver.take();
    let (absent, repeated) = check(&arrivals, &secrets, next.load(Ordering::SeqCst));
    let refused_but_sent = next.load(Ordering::SeqCst) - accepted.len() - absent;
    report(&format!(
        "\n# {engine:?}: {PUBLISHERS} publishers at once, each again as soon as it may, for {} s",
        LASTS.as_secs()
    ));
    report(&format!(
        "answers by status {answers:?}; of the accepted {} arrived, {repeated} of them twice; of the refused {refused_but_sent}",
        arrivals.len()
    ));
    report(&format!(
        "accept latency p50 / p99 / p99.9 {}; peak memory {} MiB",
        quantiles(&latencies),
        usage.peak_memory_mib
    ));
}
