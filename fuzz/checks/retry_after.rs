//! `Retry-After`, and what it does to the schedule. The first four bytes of the input are the number of failures, the
//! jitter, and how many minutes into the window the attempt began; the header follows.

use std::time::Duration;

use k_webhooks::{
    clock::UnixMs,
    schedule::{Next, Schedule, parse_retry_after},
};

const WINDOW_STARTED_AT: UnixMs = UnixMs(1_749_651_729_123);

pub(crate) fn check(data: &[u8]) {
    let Some(([failures, jitter, low, high], header)) = data.split_first_chunk::<4>() else { return };
    let header = String::from_utf8_lossy(header);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let started_at = WINDOW_STARTED_AT.plus(minutes(u64::from(u16::from_le_bytes([*low, *high]))));
    let pause = parse_retry_after(&header, started_at);

    let digits = header.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = digits.parse().unwrap_or(u64::MAX);
        assert_eq!(pause, Some(Duration::from_secs(seconds)), "{header}");
    } else {
        assert!(pause.is_none_or(|pause| !pause.is_zero()), "{header}: a date that is past asks for nothing");
    }

    let (ladder, window) = ([1, 5, 30, 120, 360, 720, 1440].map(minutes), minutes(72 * 60));
    let schedule = Schedule::new(ladder.to_vec(), window, f64::from(*jitter) / 255.0);
    let delivery = "dlv_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    let failures = u32::from(*failures);
    let rung = ladder[(failures.max(1) as usize - 1).min(ladder.len() - 1)];
    let window_end = WINDOW_STARTED_AT.plus(window);
    match schedule.next(failures, started_at, WINDOW_STARTED_AT, pause, (delivery, failures)) {
        Next::WindowClosed => assert!(started_at.plus(rung) > window_end, "closed early"),
        Next::At(at) => {
            assert!(at >= started_at.plus(rung), "before its rung");
            assert!(at <= window_end, "past the window");
            assert!(
                at >= started_at.plus(pause.unwrap_or_default()).min(window_end),
                "before it was asked for"
            );
        }
    }
}
