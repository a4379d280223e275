//! When to try again: the ladder, the window and the jitter, as a pure function.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::{clock::UnixMs, id::DeliveryId};

/// The rule for retries.
#[derive(Clone, Debug)]
pub struct Schedule {
    ladder: Vec<Duration>,
    window: Duration,
    jitter: f64,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, due at this instant.
    At(UnixMs),
    /// None: it would fall outside the window.
    WindowClosed,
}

impl Schedule {
    /// Retries after each rung of `ladder` in turn, the last one repeating, for as long as they fall inside `window`;
    /// each delay is lengthened by up to the fraction `jitter` of itself.
    ///
    /// # Panics
    ///
    /// Panics where the ladder has no rung or the jitter is no fraction; the configuration refuses both.
    #[must_use]
    pub fn new(ladder: Vec<Duration>, window: Duration, jitter: f64) -> Self {
        assert!(!ladder.is_empty(), "a ladder has at least one rung");
        assert!((0.0..=1.0).contains(&jitter), "jitter is a fraction from 0 to 1");
        Self { ladder, window, jitter }
    }

    /// What follows the failure of an attempt that started at `started_at`, the `failures`-th in a row on this ladder
    /// (1 for the first). `asked_pause` is what the endpoint asked for. `attempt` seeds the jitter.
    ///
    /// Whether the window has closed is decided by the rung alone. Jitter and an asked pause lengthen the delay, but at
    /// most to the end of the window, so that they never cost the last attempt.
    #[must_use]
    pub fn next(
        &self,
        failures: u32,
        started_at: UnixMs,
        window_started_at: UnixMs,
        asked_pause: Option<Duration>,
        attempt: (DeliveryId, u32),
    ) -> Next {
        let rung = (failures.max(1) as usize - 1).min(self.ladder.len() - 1);
        let delay = self.ladder[rung];
        let window_end = window_started_at.plus(self.window);
        if started_at.plus(delay) > window_end {
            return Next::WindowClosed;
        }
        let lengthened = delay.saturating_add(delay.mul_f64(self.jitter * fraction(attempt)));
        Next::At(started_at.plus(lengthened.max(asked_pause.unwrap_or_default())).min(window_end))
    }
}

/// A number from 0 to 1 that is the attempt's own.
fn fraction((delivery, number): (DeliveryId, u32)) -> f64 {
    let digest =
        Sha256::new().chain_update(delivery.to_string()).chain_update(number.to_be_bytes()).finalize();
    let leading = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(leading) / f64::from(u32::MAX)
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. What is neither, or past, asks for nothing.
#[must_use]
pub fn parse_retry_after(value: &str, now: UnixMs) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    let date_ms = i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some(UnixMs(date_ms).since(now)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    const LADDER: [u64; 7] = [MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR];

    fn schedule(jitter: f64) -> Schedule {
        let ladder = LADDER.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        Schedule::new(ladder, Duration::from_secs(72 * HOUR), jitter)
    }

    fn delivery() -> DeliveryId {
        "dlv_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    #[test]
    fn without_jitter_the_attempts_fall_at_the_published_offsets_and_then_the_window_closes() {
        let (schedule, start) = (schedule(0.0), UnixMs(1_749_651_729_123));
        let (mut offsets, mut at) = (vec![0], start);
        for failures in 1.. {
            let Next::At(next) = schedule.next(failures, at, start, None, (delivery(), failures)) else {
                break;
            };
            offsets.push((next.0 - start.0) / 1000 / 60);
            at = next;
        }
        let hours_and_minutes = |hours: i64, minutes: i64| hours * 60 + minutes;
        let expected = [
            0,
            1,
            6,
            36,
            hours_and_minutes(2, 36),
            hours_and_minutes(8, 36),
            hours_and_minutes(20, 36),
            hours_and_minutes(44, 36),
            hours_and_minutes(68, 36),
        ];
        assert_eq!(offsets, expected);
    }

    #[test]
    fn a_late_attempt_still_gets_its_next_rung_while_that_is_inside_the_window() {
        let start = UnixMs(0);
        let late = start.plus(Duration::from_secs(71 * HOUR));
        let (minute, close) = (Duration::from_secs(MINUTE), Duration::from_secs(72 * HOUR));
        assert_eq!(schedule(0.0).next(1, late, start, None, (delivery(), 1)), Next::At(late.plus(minute)));
        assert_eq!(schedule(0.0).next(4, late, start, None, (delivery(), 4)), Next::WindowClosed);
        let last = start.plus(close).minus(minute);
        assert_eq!(schedule(0.1).next(1, last, start, None, (delivery(), 1)), Next::At(start.plus(close)));
    }

    #[test]
    fn a_pause_beyond_the_window_ends_with_it_even_when_it_has_no_end() {
        let (start, window) = (UnixMs(1_749_651_729_123), Duration::from_secs(72 * HOUR));
        let pause = parse_retry_after(&"9".repeat(40), start);
        assert_eq!(schedule(0.0).next(1, start, start, pause, (delivery(), 1)), Next::At(start.plus(window)));
    }

    #[test]
    fn jitter_spreads_attempts_over_its_whole_fraction() {
        let delays: Vec<i64> = (0..1_000)
            .map(|number| match schedule(0.1).next(2, UnixMs(0), UnixMs(0), None, (delivery(), number)) {
                Next::At(at) => at.0,
                Next::WindowClosed => panic!("the window is open"),
            })
            .collect();
        assert!(delays.iter().all(|delay| (300_000..=330_000).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 301_000) && delays.iter().any(|delay| *delay > 329_000));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixMs(784_111_777_000 - 60_000);
        let read = |value| parse_retry_after(value, now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:00 GMT"), None);
        assert_eq!(
            read("99999999999999999999999999999999"),
            Some(Duration::from_secs(u64::MAX)),
            "saturates"
        );
        for nonsense in ["", "soon", "-5", "1.5", "12 s", "+3"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn never_early_never_past_the_window_and_jitter_only_lengthens(
            failures in 1_u32..40,
            started_after in 0_u64..80 * HOUR * 1000,
            jitter in 0.0_f64..=1.0,
            asked in proptest::option::of(0_u64..200 * HOUR),
            number in 1_u32..100,
        ) {
            let window_started_at = UnixMs(1_749_651_729_000);
            let started_at = window_started_at.plus(Duration::from_millis(started_after));
            let window_end = window_started_at.plus(Duration::from_secs(72 * HOUR));
            let rung = Duration::from_secs(LADDER[(failures as usize - 1).min(LADDER.len() - 1)]);
            let asked = asked.map(Duration::from_secs);
            let attempt = (delivery(), number);
            match schedule(jitter).next(failures, started_at, window_started_at, asked, attempt) {
                Next::WindowClosed => prop_assert!(started_at.plus(rung) > window_end),
                Next::At(at) => {
                    prop_assert!(at >= started_at.plus(rung), "early");
                    prop_assert!(at <= window_end, "past the window");
                    let longest = rung.mul_f64(1.0 + jitter).max(asked.unwrap_or_default());
                    prop_assert!(at <= started_at.plus(longest + Duration::from_millis(1)), "longer than asked");
                    prop_assert!(at >= started_at.plus(asked.unwrap_or_default()).min(window_end), "sooner than asked");
                    prop_assert_eq!(
                        Next::At(at),
                        schedule(jitter).next(failures, started_at, window_started_at, asked, attempt),
                    );
                }
            }
        }

        #[test]
        fn the_last_rung_repeats(failures in 7_u32..1_000_000) {
            let start = UnixMs(0);
            let day = Duration::from_secs(24 * HOUR);
            prop_assert_eq!(schedule(0.0).next(failures, start, start, None, (delivery(), failures)), Next::At(start.plus(day)));
        }
    }
}
