//! The checks of the fuzz targets, over their seeds: what is found by fuzzing is kept there, and holds from then on.

use std::path::Path;

#[path = "../../fuzz/checks/cursor_and_id.rs"]
mod cursor_and_id;
#[path = "../../fuzz/checks/event.rs"]
mod event;
#[path = "../../fuzz/checks/retry_after.rs"]
mod retry_after;
#[path = "../../fuzz/checks/signature_header.rs"]
mod signature_header;
#[path = "../../fuzz/checks/url_and_address.rs"]
mod url_and_address;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 5] = [
    ("cursor_and_id", cursor_and_id::check),
    ("event", event::check),
    ("retry_after", retry_after::check),
    ("signature_header", signature_header::check),
    ("url_and_address", url_and_address::check),
];

#[test]
fn every_seed_of_every_fuzz_target_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let targets = std::fs::read_dir(&seeds).unwrap();
    assert_eq!(targets.count(), TARGETS.len(), "each target has seeds, and each folder of seeds a target");
    for (name, check) in TARGETS {
        let files = std::fs::read_dir(seeds.join(name)).unwrap().map(|file| file.unwrap().path());
        let mut seeds = 0;
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            assert!(std::panic::catch_unwind(|| check(&bytes)).is_ok(), "{}", file.display());
            seeds += 1;
        }
        assert!(seeds >= 8, "{name} has {seeds} seeds");
    }
}
