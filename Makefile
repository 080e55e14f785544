# What a developer of RedVault runs. `make` alone tells what there is.

CONF     ?= redvault.conf
UNITS    ?=
TLS      ?=
SCENARIO ?=
ONLY     ?=
ROUNDS   ?= 3
FAMILY   ?=
SEED     ?= 1
COUNT    ?= 20000
PEER     ?= redis=redis-server
SECONDS  ?= 30
POLICY   ?= always,everysec,no,snapshot
CRASHES  ?= 100
FAILOVERS ?= 10
CASES    ?= 1000
PREFIX   ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR  ?=
PLACES   := -e 's|/usr/local|$(PREFIX)|g' -e 's|/etc/redvault|$(SYSCONFDIR)/redvault|g'
BIN      := target/release/redvault

.DEFAULT_GOAL := help
.PHONY: help build run test lint compat differential crash sentinel bench clients fuzz install

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary, target/release/redvault
	cargo build --release --locked

run: build ## build the release binary and start it on 127.0.0.1:6379, data under ./data [CONF=redvault.conf]
	@mkdir -p data
	$(BIN) $(CONF)

# Most tests of a server wait for it: more of them at once than there are processors.
test: lint ## format, lints and every test of ours
	RUST_TEST_THREADS=4 cargo test --locked

lint: ## cargo fmt --check and clippy, warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

compat: build ## Redis's own test suite against the recorded list [UNITS=unit/type/string,unit/expire TLS=yes]
	python3 scripts/compat/run.py --units "$(UNITS)" $(if $(TLS),--tls)

differential: build ## random commands to redis-server and to ours, and to a primary with replicas: nothing differs [FAMILY=strings,keys SEED=1 COUNT=20000]
	python3 scripts/differential/run.py $(BIN) --seed $(SEED) --count $(COUNT) --family "$(FAMILY)"
	$(if $(FAMILY),,python3 scripts/differential/payloads.py $(BIN) --seed $(SEED) --count $(COUNT))
	$(if $(FAMILY),,python3 scripts/differential/replicas.py $(BIN) --seed $(SEED) --count $(COUNT))

bench: build ## measure side by side with redis-server [SCENARIO=throughput,memory ONLY=P16 ROUNDS=3 PEER=redis=BIN]
	python3 scripts/bench/run.py --targets --rounds $(ROUNDS) $(if $(SCENARIO),--scenario "$(SCENARIO)") \
		$(if $(ONLY),--only "$(ONLY)") redvault=$(BIN) $(PEER)

clients: build ## Python's redis package, and 1,000 jobs each of Celery, rq and BullMQ, against the release binary
	python3 scripts/python-client.py $(BIN)
	python3 scripts/jobs/run.py $(BIN)

crash: build ## kill loaded servers, replicas and links, cut their power, fill their disks; histories on a simulated disk [POLICY=always CRASHES=100 CASES=1000]
	SIM_CASES=$(CASES) cargo test --locked --test sim -- --nocapture
	python3 scripts/crash/run.py $(BIN) --rounds $(CRASHES) --policy "$(POLICY)"
	python3 scripts/crash/full.py $(BIN)
	python3 scripts/crash/replicas.py $(BIN) --rounds $(CRASHES)
	CHAOS_CUTS=$(CRASHES) cargo test --locked --test it replication_chaos

sentinel: build ## three real sentinels, the primary killed under load in each round [FAILOVERS=10]
	python3 scripts/sentinel/run.py $(BIN) --rounds $(FAILOVERS)

fuzz: ## every fuzz target in turn, or one [TARGET=request SECONDS=30]
	@for t in $(or $(TARGET),$(notdir $(wildcard tests/fuzz/seeds/*))); do \
		echo "== $$t"; scripts/fuzz.sh "$$t" $(SECONDS) || exit 1; \
	done

# The unit and the configuration name the places where this puts things; what is there already stays as it is.
install: build ## everything a system needs to run it, under systemd too [DESTDIR= PREFIX=/usr/local SYSCONFDIR=/etc]
	install -D -m 755 $(BIN) "$(DESTDIR)$(PREFIX)/bin/redvault"
	ln -sf redvault "$(DESTDIR)$(PREFIX)/bin/redvault-cli"
	install -D -m 644 README.md "$(DESTDIR)$(PREFIX)/share/doc/redvault/README.md"
	install -D -m 644 LICENSE "$(DESTDIR)$(PREFIX)/share/doc/redvault/LICENSE"
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/lib/sysusers.d" \
		"$(DESTDIR)$(PREFIX)/lib/tmpfiles.d"
	sed $(PLACES) scripts/redvault.service >"$(DESTDIR)$(PREFIX)/lib/systemd/system/redvault.service"
	sed $(PLACES) scripts/redvault.sysusers.conf >"$(DESTDIR)$(PREFIX)/lib/sysusers.d/redvault.conf"
	sed $(PLACES) scripts/redvault.tmpfiles.conf >"$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/redvault.conf"
	install -d "$(DESTDIR)$(SYSCONFDIR)/redvault"
	test -e "$(DESTDIR)$(SYSCONFDIR)/redvault/redvault.conf" || { \
		umask 027 && sed 's#^dir .*#dir /var/lib/redvault#' redvault.conf \
			>"$(DESTDIR)$(SYSCONFDIR)/redvault/redvault.conf"; }
