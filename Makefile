.PHONY: test run bench

# Everything that must hold: formatting, lints, documentation, every test. `--all-targets` in one profile, so that
# each crate is built once.
test:
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --locked
	cargo test --locked

run:
	cargo run --release --locked -- serve

bench:
	cargo bench --locked --bench throughput
