//! The two text formats in which Prometheus and its relatives read metrics.

/// `OpenMetrics`, which Prometheus asks for.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The format before it, which everything reads.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same metrics in the format before `OpenMetrics`: there a counter and an info are named as their samples are, an info
/// is a gauge, and units and the end are not told.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", _, text] => help = Some(text),
            ["#", "TYPE", name, kind] => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                if let Some(text) = help.take() {
                    plain.extend(["# HELP ", name, suffix, " ", text, "\n"]);
                }
                plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            ["#", ..] => {}
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        encoding::text::encode,
        metrics::{counter::Counter, gauge::Gauge, info::Info},
        registry::{Registry, Unit},
    };

    use super::*;

    #[test]
    fn counters_and_infos_are_named_as_their_samples_are() {
        let mut registry = Registry::default();
        registry.register("events", "Events, a # and \"quotes\" too", Counter::<u64>::default());
        registry.register_with_unit("age", "An age", Unit::Seconds, Gauge::<i64>::default());
        registry.register("build", "What was built", Info::new([("version", "1 2")]));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(
            plain(&text),
            "# HELP events_total Events, a # and \"quotes\" too.\n# TYPE events_total counter\nevents_total 0\n\
             # HELP age_seconds An age.\n# TYPE age_seconds gauge\nage_seconds 0\n\
             # HELP build_info What was built.\n# TYPE build_info gauge\nbuild_info{version=\"1 2\"} 1\n"
        );
    }
}
