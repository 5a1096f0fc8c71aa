# What people type; `make` alone lists it. `make test` is the whole gate, and .ci/run calls nothing less.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the C client of Kafka is built with; Rust is expected.
BUILD_PACKAGES := gcc g++ make pkg-config libssl-dev zlib1g-dev

# Cheapest first, so that a slip is told early.
CHECKS := fmt-check guided rules board compose contract units clippy clippy-bare doc servers unit

PROMTOOL := tests/servers/prometheus.sh --promtool
CHECK_JSONSCHEMA := check-jsonschema==0.39.0
GRAFANA_SDK := grafana-foundation-sdk==1769699998!10.1.0
KUBERNETES_VALIDATE := kubernetes-validate==1.37.0

.PHONY: help demo test properties fuzz fuzz-guided soak chaos bench fmt servers packages pictures dashboard $(CHECKS)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages ## Watch events flow while the connection is cut: make demo ARGS='--sink nats --for 60s'
	@cargo build --locked -p tieline
	@cargo run --quiet --locked -p tieline -- demo $(ARGS)

test: packages ## Everything that must hold: format, lints, docs, tests on real servers, alerts, compose file
	@for check in $(CHECKS); do \
	  echo "── $$check"; started=$$SECONDS; \
	  $(MAKE) --no-print-directory $$check; \
	  echo "── $$check: $$((SECONDS - started)) s"; \
	done

# How long `make properties` looks, and how many cases it draws of each property from each seed.
FOR ?= 600
CASES ?= 2000

properties: packages ## Look for counter-examples with fresh seeds: make properties FOR=3600 CASES=20000
	@cargo test --locked --package tieline --lib --no-run
	@ends=$$((SECONDS + $(FOR))); runs=0; \
	while [ $$runs = 0 ] || [ $$SECONDS -lt $$ends ]; do \
	  seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); runs=$$((runs + 1)); \
	  again="TIELINE_WORLD_SEED_FROM=$$seed PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$(CASES) cargo test --package tieline --lib"; \
	  env $$again --quiet || { echo "repeat it with: $$again"; exit 1; }; \
	done; \
	echo "$$runs seeds, $(CASES) cases of each property from each: no counter-example"

fuzz: packages ## Feed every way in with mutations from fresh seeds: make fuzz FOR=3600
	@cargo test --locked --package tieline --test fuzz --no-run
	@ends=$$((SECONDS + $(FOR))); runs=0; \
	while [ $$runs = 0 ] || [ $$SECONDS -lt $$ends ]; do \
	  seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); runs=$$((runs + 1)); \
	  again="TIELINE_FUZZ_SEED=$$seed TIELINE_FUZZ_TIMES=5 cargo test --package tieline --test fuzz"; \
	  env $$again --quiet || { echo "repeat it with: $$again"; exit 1; }; \
	done; \
	echo "$$runs seeds: nothing panicked, and nothing took more memory than it may"

fuzz-guided: packages ## The same by libFuzzer, guided by what an input reaches: make fuzz-guided FOR=3600 KEEP=20
	@tests/fuzz/guided/run.sh $(FOR)

soak: FOR := 30m
soak: packages ## 200 rotations, 200 cuts, then random faults under traffic from a fresh seed: make soak FOR=5m
	@cargo test --locked --package tieline --test it --no-run
	@run() { cargo test --quiet --locked --package tieline --test it "$$1" -- --exact --nocapture; }; \
	TIELINE_ROTATIONS=200 run rotation::twenty_rotations_under_traffic_cost_nothing; \
	TIELINE_SOAK_CUTS=200 run soak::a_cut_is_over_in_a_quarter_of_a_second; \
	seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	TIELINE_SOAK_FOR=$(FOR) TIELINE_SOAK_SEED=$$seed run soak::random_faults_cost_nothing_but_the_gaps_they_made

# How many faults `make chaos` injects; SEED repeats a run.
FAULTS ?= 200

chaos: packages ## Let everything fail at random, and compare what was sent with what consumers read: make chaos FAULTS=500 SEED=7
	@cargo test --locked --package tieline --test it --no-run
	@seed="$(SEED)"; seed=$${seed:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "make chaos FAULTS=$(FAULTS) SEED=$$seed"; \
	TIELINE_CHAOS_SEED=$$seed TIELINE_CHAOS_FAULTS=$(FAULTS) \
	  cargo test --locked --quiet --package tieline --test it chaos:: -- --nocapture

bench: packages ## Measure (eight minutes after the build); the figures and how they were taken are in docs/performance.md
	cargo bench --locked --package tieline

bench-journals: ## Compare stores for the journal's pattern, on the disk of this folder (docs/decisions/0009)
	cd benches/journals && cargo run --locked --release --quiet

fmt: ## Format the code
	cargo fmt --all

fmt-check: ## Check the format
	cargo fmt --all --check

guided: ## Check that the fuzzer's package, which is not built here, can still be resolved as it is locked
	@cargo tree --quiet --locked --manifest-path tests/fuzz/guided/Cargo.toml >/dev/null || \
	  { echo "cargo update --workspace --manifest-path tests/fuzz/guided/Cargo.toml brings its lock up to date"; exit 1; }

clippy: ## Lint everything, warnings denied
	cargo clippy --locked --workspace --all-targets -- -D warnings

clippy-bare: ## Lint the build without any feature
	cargo clippy --locked --no-default-features --all-targets -- -D warnings

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --workspace

unit: ## Run all tests of the workspace; they start the servers they need
	cargo test --locked --workspace

pictures: ## Take the pictures of the status page anew, into docs/images
	PICTURES=$(CURDIR)/docs/images cargo test --locked --package tieline --test it page::the_page_can_be_read

servers: ## Install the real servers and readers that tests and the demo use, into .servers
	@for server in nats kafka openbao prometheus chromium; do tests/servers/$$server.sh --install; done
	@tests/consumers/install.sh >/dev/null
	@for language in node python java; do tests/consumers/examples.sh $$language >/dev/null; done

rules: ## Check the alerts and the scrape configuration, and run the alerts' own tests
	$(PROMTOOL) check config dashboards/prometheus.yml
	$(PROMTOOL) test rules dashboards/alerts.test.yml

dashboard: ## Build the dashboard anew, with Grafana's own library
	"$$(tests/servers/venv.sh grafana '$(GRAFANA_SDK)')/bin/python" dashboards/build.py

board: ## Check that the dashboard is what its builder makes
	"$$(tests/servers/venv.sh grafana '$(GRAFANA_SDK)')/bin/python" dashboards/build.py --check

compose: ## Check docker-compose.yml against the compose specification
	"$$(tests/servers/venv.sh checks $(CHECK_JSONSCHEMA))/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml

units: ## Check the unit of systemd and the manifest of Kubernetes
	@command -v systemd-analyze >/dev/null || tests/servers/packages.sh systemd
	tests/servers/unit.sh config/systemd/tieline.service
	"$$(tests/servers/venv.sh kubernetes $(KUBERNETES_VALIDATE))/bin/kubernetes-validate" --strict --quiet config/kubernetes/tieline.yaml

contract: ## Check the AsyncAPI document and its schemas by the official parser
	tests/consumers/asyncapi.sh docs/contract/asyncapi.yaml

packages: ## Install the Debian packages that the build needs, where one is missing
	@dpkg --status $(BUILD_PACKAGES) >/dev/null 2>&1 || tests/servers/packages.sh $(BUILD_PACKAGES)
