#![no_main]

#[path = "../checks/cursor_and_id.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
