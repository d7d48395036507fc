# `make run` shows what Millrace does; the rest is for those who change it. CONTRIBUTING.md says more.

# Outside the checkout, so that a fresh clone on the same machine builds quickly.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/millrace/target

# Property tests draw the same cases on every run, so that a change fails for what it changed. To look for
# more: PROPTEST_RNG_SEED=7 PROPTEST_CASES=5000 make test
export PROPTEST_RNG_SEED ?= 1

# Everything is built with one profile and one set of features, so that nothing is built twice.
XTASK := $(CARGO_TARGET_DIR)/release/xtask
MILLRACE := $(CARGO_TARGET_DIR)/release/millrace

.PHONY: build run test lint bench fuzz

build:
	cargo build --release --workspace --bins

# Start on defaults, send recorded Gemini CLI sessions, print views and audit, stay up.
run: build
	@$(XTASK) demo --binary $(MILLRACE)

# Unit, property, simulation and end-to-end tests, then the real binary: killed at random moments under OTLP
# producers and under Pub/Sub clients, left alone with thousands of streams, its disk filled, its tables read by somebody else's reader, its Postgres port used by other people's clients.
test: build
	scripts/setup.sh
	cargo test --release --workspace
	$(XTASK) crash --rounds 20 --seed 1 --binary $(MILLRACE)
	$(XTASK) crash-pubsub --rounds 10 --seed 1 --binary $(MILLRACE)
	$(XTASK) idle-streams --binary $(MILLRACE)
	$(XTASK) disk-full --binary $(MILLRACE)
	$(XTASK) readers --binary $(MILLRACE)
	$(XTASK) clients --binary $(MILLRACE)

lint: build
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	$(XTASK) deps
	$(XTASK) tidy

# Writes docs/benchmarks.md. One part of it: make bench ARGS="--quick e2e"
bench: build
	$(XTASK) bench --binary $(MILLRACE) $(ARGS)

# Each parser of what strangers send, TIME seconds on what libFuzzer makes up. Some of them only:
# make fuzz TARGETS="pubsub_filter otlp_logs_json"
TIME ?= 120
fuzz:
	cargo run --release -p xtask -- fuzz --seconds $(TIME) $(TARGETS)
