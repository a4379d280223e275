.PHONY: test sdks deployment image-check run bench micro instructions crash deny advisories fuzz fuzz-short

# Everything that must hold: formatting, lints, documentation, every test. `--all-targets` in one profile, so that
# each crate is built once. The library for receivers is also looked at without the features that its tests bring.
test:
	tests/install-engines
	tests/install-languages
	tests/install-browser
	tests/install-schemathesis
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo check --locked --package k-payments-webhooks
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --locked
	$(MAKE) deny
	$(MAKE) deployment
	cargo test --workspace --locked
	$(MAKE) sdks K_WEBHOOKS_BIN=target/debug/k-webhooks
	$(MAKE) fuzz-short

# The libraries for receivers, each in its own language, and how many of the cases in sdks/vectors.json each one passed.
# With K_WEBHOOKS_BIN, a built program, the clients are tested against the service too.
sdks:
	tests/install-languages
	sdks/run-tests

# The compose file and the Kubernetes manifests, against their schemas and for what they promise.
deployment:
	tests/install-languages
	tests/check-deployment

# Builds the image without a registry, and runs it: read-only, without root, in production. On Debian, as root.
image-check:
	tests/image-check

run:
	cargo run --release --locked -- serve

bench:
	tests/install-engines
	cargo bench --locked --bench service

# The parts of the service, each alone: times.
micro:
	tests/install-engines
	cargo bench --locked --bench micro

# The same in instructions, which a case may have at most 5 % more of than benches/micro/instructions.json says.
instructions:
	benches/micro/install-valgrind
	cargo bench --locked --bench micro -- --instructions

# The crash harness at length, on both engines. K_WEBHOOKS_CRASH_SEED repeats a run.
crash:
	tests/install-engines
	K_WEBHOOKS_CRASH_EVENTS=$${K_WEBHOOKS_CRASH_EVENTS:-20000} K_WEBHOOKS_CRASH_KILLS=$${K_WEBHOOKS_CRASH_KILLS:-30} \
		cargo test --locked --test it -- nothing_accepted_is_lost --nocapture --test-threads 1

# What deny.toml says of dependencies: bans, licences and sources, from the lock file alone.
deny:
	tests/install-deny
	cargo deny --locked check bans licenses sources

# Known holes in dependencies, from the advisory database, which is fetched.
advisories:
	tests/install-deny
	cargo deny --locked check advisories

# Every fuzz target for ten seconds: enough to see that they run, and that the seeds hold under instrumentation.
fuzz-short:
	tests/install-fuzz
	fuzz/run 10

# The same at length, each target for FUZZ_SECONDS: optimised, which takes longer to build and tries ten times as many
# inputs.
FUZZ_SECONDS ?= 3600
fuzz:
	tests/install-fuzz
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 fuzz/run $(FUZZ_SECONDS)
