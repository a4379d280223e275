//! How many instructions each case takes, as valgrind counts them, beside the counts in `instructions.json`.
//!
//! A case runs in a process of its own, once N and once 2N times; the difference is N times the case alone, whatever else
//! the process does. Counts depend on the compiler and the C library, and hardly on the processor: valgrind shows programs
//! one without SHA instructions, so what signs takes far more here than in service. They say whether a case has grown.
//!
//! From run to run the rules vary by less than 0.1 %, and the store by less than 1 %, also on a busy machine: how its
//! threads meet, and where keys fall in hash tables, is left to chance.

use std::{
    collections::BTreeMap,
    process::{Command, ExitCode},
};

use crate::{Case, pure, store};

/// The counts that are compared with.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/micro/instructions.json");

/// A case that grew by more fails.
const GROWTH_PERCENT_MAX: f64 = 5.0;

/// Before the name of a case and a number of times: what this program is called with to be counted.
pub(crate) const RUN: &str = "--run";

/// Prints each case's count beside the expected one, and fails where one has grown or has none.
pub(crate) fn compare() -> ExitCode {
    let text =
        std::fs::read_to_string(FILE).expect("the expected counts (--instructions --write makes them)");
    let expected: BTreeMap<String, u64> = serde_json::from_str(&text).expect("counts by case");
    let mut code = ExitCode::SUCCESS;
    report(&format!("{:40} {:>12} {:>12} {:>9}", "case", "expected", "counted", "growth"));
    for case in cases() {
        let counted = count(&case);
        let Some(expected) = expected.get(case.name) else {
            report(&format!("{:40} {:>12} {counted:>12} {:>9}", case.name, "-", "new"));
            code = ExitCode::FAILURE;
            continue;
        };
        let growth = growth_percent(*expected, counted);
        let verdict = if growth > GROWTH_PERCENT_MAX { " too much" } else { "" };
        report(&format!("{:40} {expected:>12} {counted:>12} {growth:>+7.2} %{verdict}", case.name));
        if growth > GROWTH_PERCENT_MAX {
            code = ExitCode::FAILURE;
        }
    }
    if code == ExitCode::FAILURE {
        report(
            "If that is as it should be, `cargo bench --bench micro -- --instructions --write` keeps these counts.",
        );
    }
    code
}

/// Counts all cases and keeps the counts.
pub(crate) fn write() -> ExitCode {
    let counts: BTreeMap<_, _> = cases().iter().map(|case| (case.name, count(case))).collect();
    let text = serde_json::to_string_pretty(&counts).expect("JSON");
    report(&text);
    std::fs::write(FILE, text + "\n").expect("the file can be written");
    ExitCode::SUCCESS
}

/// Runs one case so many times: the process that is counted.
pub(crate) fn run(name: &str, times: &str) -> ExitCode {
    let case = cases().into_iter().find(|case| case.name == name).expect("a case");
    (case.run)(times.parse().expect("a number of times"));
    ExitCode::SUCCESS
}

fn cases() -> Vec<Case> {
    let mut cases = pure::cases();
    cases.push(store::rounds_on_sqlite());
    cases
}

/// The instructions of one time.
fn count(case: &Case) -> u64 {
    let once = count_process(case.name, case.times);
    let twice = count_process(case.name, 2 * case.times);
    (twice - once) / case.times
}

/// The instructions of a process, all its threads together, that runs the case so many times.
fn count_process(name: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        // The caches need not be simulated to count instructions, and the counts by line are not wanted.
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        // Threads take turns, so that how often one finds the other waiting varies less.
        .arg("--fair-sched=try")
        .arg(std::env::current_exe().expect("this program"))
        .args([RUN, name, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {log}");
    let refs = log.lines().find_map(|line| line.split_once("I   refs:")).expect("a count").1;
    refs.trim().replace(',', "").parse().expect("a count")
}

#[expect(clippy::cast_precision_loss, reason = "counts far below what the type holds exactly")]
fn growth_percent(expected: u64, counted: u64) -> f64 {
    (counted as f64 / expected as f64 - 1.0) * 100.0
}

#[expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
fn report(line: &str) {
    println!("{line}");
}
