#![no_main]

#[path = "../checks/url_and_address.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
