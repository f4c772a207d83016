# Everything that a developer or CI does. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := $(CURDIR)/.venv/bin/python
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.ansible
# Byte code is kept, out of the tree: without it each of the many processes compiles Django or ansible-core anew.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/python
export PYTHONPATH := $(CURDIR)/module_utils
UV_COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.venv/.stamp: requirements/dev.lock scripts/bootstrap.sh
	@scripts/bootstrap.sh

.PHONY: deps
deps: .venv/.stamp ## Make .venv from the lock file, installing what that needs

# Real encoders and players, for everything that publishes and plays.
.PHONY: players
players:
	@scripts/need.sh 'command -v ffmpeg && command -v ffprobe && command -v curl && command -v rsync' ffmpeg curl rsync

.PHONY: lock
lock: deps ## Renew the lock files after a change in pyproject.toml
	$(UV_COMPILE) --upgrade pyproject.toml panel/pyproject.toml --extra dev -o requirements/dev.lock
	$(UV_COMPILE) panel/pyproject.toml -c requirements/dev.lock -o requirements/panel.lock
	$(UV_COMPILE) --upgrade requirements/tls-scanner.in -o requirements/tls-scanner.lock

.PHONY: lint lint-python lint-yaml lint-ansible
lint: lint-python lint-yaml lint-ansible ## ruff, mypy, yamllint, ansible-lint (profile production)

lint-python: deps
	@echo "== ruff";         ruff check . && ruff format --check .
	@echo "== mypy";         mypy

lint-yaml: deps
	@echo "== yamllint";     yamllint --strict .

lint-ansible: deps
	@echo "== ansible-lint"; $(PY) scripts/lint_ansible.py -q

.PHONY: fmt
fmt: deps ## Format the Python code
	ruff check --fix-only . ; ruff format .

.PHONY: unit unit-repository unit-slow unit-panel
unit: unit-repository unit-slow unit-panel ## Unit tests and the panel's tests

# More workers than cores: these tests wait as long as they compute.
unit-repository: deps players
	@scripts/promtool.sh >/dev/null
	@echo "== unit";  $(PY) -m pytest -n 4 --maxschedchunk=4 -m "not slow" tests/unit

# Servers of databases, encoders of pictures, an AWX: what the inner loop need not wait for.
unit-slow: deps players ## Those unit tests that take more than five seconds each
	@scripts/promtool.sh >/dev/null
	@echo "== unit, slow";  $(PY) -m pytest -n 4 --maxschedchunk=1 -m slow tests/unit

unit-panel: deps
	@echo "== panel"; cd panel && $(PY) -m pytest -n 2 tests

# A server of each kind of its own, gone afterwards; SQLite is what unit-panel runs on.
.PHONY: panel-databases
panel-databases: deps ## The panel's tests on PostgreSQL and on MariaDB
	cd panel && for kind in postgresql mariadb; do \
		echo "== panel on $$kind"; $(PY) ../scripts/with_database.py $$kind $(PY) -m pytest -n 2 --hypothesis-profile=long tests || exit; done

# Two at a time, of which the first waits as long as it computes. The output of each comes when it ends.
.PHONY: check
check: deps ## The inner loop: lint, types, unit (under 3 minutes)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target unit-repository lint-python lint-yaml lint-ansible unit-panel

.PHONY: contract contract-full
contract: deps players ## The modules against a real panel
	$(PY) -m pytest -n 3 --durations=20 -m "not full" tests/contract

contract-full: deps players ## The same, with every fault that verify_engine.yml finds, and every bad answer to a job of AWX
	$(PY) -m pytest -n 3 tests/contract

.PHONY: browser
browser: deps ## The pages in Chromium: keyboard, no script, dark, phone, content policy
	scripts/need.sh 'command -v chromium' chromium fonts-dejavu-core
	$(PY) -m pytest tests/browser

# One engine in full (Icecast), of the others what shows that they serve; live-full is all of it. Three groups of files at a
# time (tests/live/conftest.py), each with nodes of its own: they wait more than they compute.
LIVE := $(PY) -m pytest -n 3 --dist loadscope --no-loadscope-reorder --durations=60
.PHONY: live
live: deps players ## Behaviour on real nodes: publish, play, count bytes, kill
	$(LIVE) -m "live and not full" tests/live

.PHONY: live-full
live-full: deps players ## The same, with every test of every engine
	$(LIVE) -m live tests/live

# Side by side, each with nodes of its own; molecule names the scenario in what it says.
.PHONY: molecule molecule-default molecule-fleet
molecule: deps players ## Scenarios default and fleet: check, converge, idempotence, verify
	@$(MAKE) --no-print-directory --jobs=2 molecule-default molecule-fleet

molecule-default molecule-fleet: molecule-%: deps players
	molecule test -s $*

# In pairs, whose members wait more than they compute or use one core: side by side they take two thirds of the time. Fast
# checks come first.
.PHONY: pages-and-collection
pages-and-collection: deps
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target browser collection

# The demo is one of the groups.
.PHONY: live-and-demo live-full-and-demo
# With one round of each campaign of faults.
live-and-demo: deps players restic
	STREAMFLEET_FAULT_ROUNDS=1 $(LIVE) -m "live and not full" tests/demo tests/faults tests/live

live-full-and-demo: deps players
	$(LIVE) -m live tests/demo tests/live

# What takes longest of scenarios, of tests on nodes and of contracts is in test-full alone: on a slow machine, too, this has to
# end within its limit.
.PHONY: test
test: check unit-slow contract pages-and-collection molecule-default live-and-demo ## Everything that CI runs

.PHONY: test-full
test-full: check unit-slow contract-full pages-and-collection molecule live-full-and-demo panel-databases ## The long matrix: databases, Debian 13, PostgreSQL and MariaDB on a node, reboot, uninstall
	molecule test -s trixie
	STREAMFLEET_LIVE_RELEASE=trixie $(PY) -m pytest -m live tests/live/test_autodj.py tests/live/test_converge.py tests/live/test_hardening.py
	STREAMFLEET_LIVE_RELEASE=trixie $(PY) -m pytest -m "live and not full" tests/live/test_engines.py
	molecule test -s postgresql
	molecule test -s mariadb
	molecule test -s lifecycle

# Backups are broken with the program that makes them.
.PHONY: restic
restic:
	@scripts/need.sh 'command -v restic' restic

.PHONY: faults
faults: deps players restic ## A short sample of the fault campaign
	STREAMFLEET_FAULT_ROUNDS=2 $(PY) -m pytest -m "live and not full" tests/faults

.PHONY: test-faults
test-faults: deps players restic ## Kills, full disk, cut network; STREAMFLEET_SEED repeats a run, STREAMFLEET_FAULT_ROUNDS lengthens it
	$(PY) -m pytest -s -m live tests/faults

.PHONY: bench
bench: deps players ## Ratios, each within one run; writes bench/results.json
	$(PY) -m bench

.PHONY: demo
demo: deps players ## From nothing to streams on the air, on one test node
	$(PY) -m demo up

.PHONY: demo-domain
demo-domain: deps players ## The demo's host names change, and change back, with everything on the air
	$(PY) -m demo domain

.PHONY: demo-backup
demo-backup: deps players ## The demo is backed up with everything on the air; what is lost comes back
	$(PY) -m demo backup

.PHONY: demo-upgrade
demo-upgrade: deps players ## Release 0.1.0 with streams on the air becomes this one; what anybody loses is counted
	$(PY) -m demo upgrade

.PHONY: demo-clean
demo-clean: deps ## Remove the demo and all that it started
	$(PY) -m demo clean

.PHONY: demo-test
demo-test: deps players ## The demo twice, then its removal, as the tests hold it
	$(PY) -m pytest -m live tests/demo

.PHONY: collection
collection: deps ## Build streamfleet.core and run ansible-test sanity on it
	$(PY) scripts/build_collection.py --sanity

.PHONY: docs
docs: deps ## Make the generated pages and AWX's surveys anew
	$(PY) scripts/gen_docs.py
	$(PY) scripts/gen_awx_surveys.py

.PHONY: clean
clean: ## Remove what was built (not the caches)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
