# Everything a newcomer types. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo run test test-clients lint bench bench-guard sim model crash fault hostile canary oracle slt docs sqldiff postgres prerequisites

# The build directory is outside the tree, so a fresh clone finds what an older one has compiled.
CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidewater/target
export CARGO_TARGET_DIR

# Commands name the whole workspace, not single crates: cargo chooses the features of shared
# dependencies by what is named, and another set compiles DataFusion and RocksDB once more.
# (`sim` may name its crate, and be optimised: nothing below `scaling` is large.)
# For the same reason demo, run and test share the dev profile: one build for all three.
BUILD_SERVER := cargo build --workspace --bin tidewater
SERVER := $(CARGO_TARGET_DIR)/debug/tidewater

# cargo-nextest runs tests in parallel, each in a process of its own; cargo test does without it.
HAS_NEXTEST := $(shell command -v cargo-nextest)
ifneq ($(HAS_NEXTEST),)
RUN_TESTS := cargo nextest run --workspace --config-file .ci/nextest.toml
RUN_SLT := $(RUN_TESTS) --test slt
RUN_DOCS := $(RUN_TESTS) --test docs
else
RUN_TESTS := cargo test --workspace --lib --bins --tests
RUN_SLT := cargo test --workspace --test slt --
RUN_DOCS := cargo test --workspace --test docs --
endif

# SEED, SEEDS and CHAOS reach the tests by the environment; a failing run prints the line that
# repeats it.

help: ## list the targets
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'SEED=n     repeats one run of sim or slt        make sim SEED=42'
	@echo 'SEEDS=n    how many seeds sim tries             make sim SEEDS=20000'
	@echo 'CHAOS=1    slt: altered all along, from aside   make slt CHAOS=1'
	@echo 'QUERIES=n  how many queries sqldiff tries       make sqldiff QUERIES=2000'
	@echo 'CASES=n    how many spoilt conversations        make hostile CASES=200000'
	@echo 'ONLY=text  slt, docs: whose name holds the text make slt ONLY=joins'
	@echo 'BLESS=1    docs: pages get what is printed      make docs BLESS=1'
	@echo
	@echo 'Build directory: $(CARGO_TARGET_DIR) (CARGO_TARGET_DIR sets another)'

demo: prerequisites ## a guided psql session on real data, with live scaling; two minutes
	@$(BUILD_SERVER)
	@SERVER_BINARY=$(SERVER) server/demo/demo.sh

run: prerequisites ## a server on 127.0.0.1:4566 that forgets everything at its end
	@$(BUILD_SERVER)
	@$(SERVER) playground

test: prerequisites ## every test of the workspace
	@$(BUILD_SERVER)
	@$(RUN_TESTS)
	@cargo test --workspace --doc --quiet

test-clients: prerequisites ## real clients of PostgreSQL, against a PostgreSQL 15 (CLIENTS='psycopg2 node')
	@$(BUILD_SERVER)
	@SERVER_BINARY=$(SERVER) sqllogictest/clients/run.py $(CLIENTS)

lint: prerequisites ## format, clippy and documentation; warnings fail
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet

bench: prerequisites ## rescaling under load in a release build (BENCH='rescale …' or 'nexmark …', '--help' lists)
	@cargo build --release --workspace --bin tidewater
	@$(CARGO_TARGET_DIR)/release/tidewater bench $(or $(BENCH),rescale)

bench-guard: ## instructions of NEXMark queries by callgrind, against committed figures (WRITE=1 commits to new ones)
	@.ci/prerequisites valgrind
	@cargo build --release --workspace --bin tidewater
	@$(CARGO_TARGET_DIR)/release/tidewater bench guard $(if $(WRITE),--write)

sim: prerequisites ## simulation of the scaling protocol (SEED, SEEDS)
	@cargo test --release --package scaling --test sim -- --nocapture

model: prerequisites ## every state of small worlds of the scaling protocol, one by one; a minute
	@cargo test --release --package scaling --test model -- --include-ignored --nocapture

crash: prerequisites ## kill -9 at every crash point, power loss included; ten minutes (ONLY, SEED)
	@$(BUILD_SERVER)
	@cargo test --workspace --test crash -- --include-ignored --nocapture --test-threads 1

fault: prerequisites ## full and failing disks, changed bytes, other directories; minutes (SEED)
	@$(BUILD_SERVER)
	@cargo test --workspace --test faults -- --include-ignored --nocapture --test-threads 2

hostile: prerequisites ## clients that break the protocol, and are many, slow or gone; minutes (SEED, CASES)
	@$(BUILD_SERVER)
	@CASES=$(or $(CASES),20000) cargo test --workspace --test hostile -- --include-ignored --nocapture --test-threads 1

canary: prerequisites ## takes guards away one by one: tests must see it; ten minutes (ONLY)
	@$(BUILD_SERVER)
	@.ci/canary

oracle: prerequisites ## the whole engine against the batch engine, at every epoch (SEED, SEEDS)
	@cargo test --workspace --test oracle -- --nocapture

slt: prerequisites ## SQL tests at parallelism 1, at 3, and altered midway (SEED, CHAOS, ONLY)
	@$(BUILD_SERVER)
	@$(RUN_SLT) $(ONLY)

docs: prerequisites ## the examples of README and docs/ (ONLY, BLESS)
	@$(BUILD_SERVER)
	@$(RUN_DOCS) $(ONLY)

sqldiff: prerequisites ## random queries as views, against the batch engine and a PostgreSQL 15 (QUERIES, SEED)
	@$(BUILD_SERVER)
	@sqllogictest/clients/with_postgres.py cargo test --workspace --test sqldiff -- --nocapture

postgres: prerequisites ## the SQL tests against a PostgreSQL 15 itself
	@.ci/prerequisites postgresql-15
	@sqllogictest/clients/with_postgres.py cargo test --workspace --test postgres -- --ignored --nocapture

prerequisites:
	@.ci/prerequisites
