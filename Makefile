# What there is to do. `make run` needs the Rust toolchain, a C compiler and curl, nothing else.

.DEFAULT_GOAL := help
.PHONY: help run cluster test test-faults lint bench

CARGO ?= cargo
DATA ?= ./data

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build (release) and start everything in one process, data in ./data
	$(CARGO) build --release -p longwire
	@target=$${CARGO_TARGET_DIR:-target}; exec "$$target/release/longwire" all --data $(DATA)

cluster: ## the same as processes: 3 nats-servers, Redis, PostgreSQL, two of every role, HAProxy; ctrl-C ends them all
	$(CARGO) build --release -p longwire -p testkit --bin longwire --bin cluster
	@target=$${CARGO_TARGET_DIR:-target}; exec "$$target/release/cluster"

# Always the whole workspace: a part of it would be built with other features of what they share, and so would all below it. It
# brings the binary that the tests start.
test: ## install what the tests need, then run every test
	tests/install.sh
	$(CARGO) nextest run --workspace --no-run
	$(CARGO) test --workspace --doc --quiet
	tests/with-servers.sh $(CARGO) nextest run --workspace
	LONGWIRE_TEST_SHAPE=cluster tests/with-servers.sh $(CARGO) nextest run --workspace -E 'package(e2e) & not binary(cluster)'

test-faults: ## break everything that can break, one after the other, under load (a quarter of an hour)
	tests/install.sh
	$(CARGO) nextest run --workspace --profile faults

lint: ## formatting and clippy, without mercy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: ## measure, print a table and one JSON line per scenario
	tests/load/bench.sh
