# Portside's verbs. Each sets up what it needs; on a fresh Debian only `make` and `git` come first.

SHELL := /bin/bash -o pipefail
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ISO := build/lab/portside-lab.iso
# Without compiled modules each of hundreds of processes compiles them anew.
unexport PYTHONDONTWRITEBYTECODE
# What the tests and the bench need from Debian beside what the lab installs for itself.
PACKAGES := clamav-daemon curl e2fsprogs fiu-utils libnginx-mod-http-lua nginx-light openssh-client postgresql prometheus prometheus-alertmanager prometheus-node-exporter python3-venv strace systemd xorriso xfsprogs

.PHONY: up down leaving odd year nodes lab iso check unit test clients upgrades nginx-lint bench faults fuzz release format lock clean packages

up: nodes iso  ## the lab from nothing to a finished upload of a real multi-GB ISO
	$(BIN)/portside put --node s01 --namespace isos $(ISO)

lab: packages $(VENV)/ready  ## boot c01 s01 s02 s03 s04
	$(PYTHON) -m lab up

nodes: lab  ## provision the lab's storage nodes and control plane
	$(BIN)/portside keys init
	$(BIN)/pyinfra inventory deploys/site.py -y

iso: packages
	$(PYTHON) -m lab.iso $(ISO)

down:  ## destroy the lab and everything it made
	$(PYTHON) -m lab down

check: packages $(VENV)/ready  ## lint, types and unit tests: a minute
	$(PYTHON) -m tests.side_by_side lint '$(LINT)' types '$(TYPES)' unit '$(PYTEST) -n 2 tests/unit'

test: packages  ## everything, on real machines
	@command -v npm >/dev/null || { $(call install,nodejs npm); }
	$(PYTHON) -m tests.side_by_side \
		lab '$(MACHINES) && $(ON_MACHINES)' \
		suites '$(READY) && { $(COLLECT); $(PYTEST) --durations=15 -n $(WORKERS) $(SUITES); }' \
		lint '$(READY) && $(LINT)' types '$(READY) && $(TYPES)'

# The lab takes the longest: nothing in it waits for what can be made beside.
MACHINES = $(PYTHON) -m tests.side_by_side machines "$(PYTHON) -m lab up" \
	iso "$(PYTHON) -m lab.iso $(ISO)" releases "$(READY) && $(BIN)/python -m deploys.wheelhouse"
ON_MACHINES = $(PYTHON) -m tests.side_by_side \
	cluster "$(PYTEST) -vv --durations=15 tests/lab/cluster" \
	spare "$(PYTEST) -vv --durations=10 --ignore=$(LEAVING) tests/lab/spare"
# Five minutes on a machine of its own.
LEAVING := tests/lab/spare/test_leaving.py
# Whoever comes first sets it up, the others wait for that.
READY := flock Makefile $(MAKE) --no-print-directory $(VENV)/ready
LINT := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/vulture && $(BIN)/deptry .
TYPES := $(BIN)/mypy
PYTEST := $(BIN)/python -m pytest -q --dist loadgroup
# The longest first: whoever comes last finds short ones only. What needs browsers and other
# people's programs is for `make clients`.
SUITES := -m "not installed_clients" tests/faults tests/agent tests/protocol tests/control \
	tests/deploys tests/clients tests/fuzz tests/unit tests/operate
# One process compiles what otherwise each worker would compile for itself, at the same time. What
# is wrong with a file, the tests' own run says.
COLLECT := $(PYTEST) --collect-only -qqq $(SUITES) >/dev/null
# Tests wait as much as they compute.
WORKERS = $(shell expr 2 \* $$(nproc))

clients: packages $(VENV)/ready build/clients/venv/ready  ## other people's clients against a real node
	@command -v npm >/dev/null || { $(call install,nodejs npm); }
	@$(call install,aria2 chromium default-jdk-headless firefox-esr rclone ruby wget)
	$(PYTEST) -n 2 --durations=10 -m installed_clients tests/clients

upgrades: lab  ## from every tag to what is here, on the lab's spare machine: minutes for each
	@# A clone without history has no tags.
	@! test -f "$$(git rev-parse --git-dir)/shallow" || git fetch --quiet --tags --unshallow
	$(PYTEST) -vv tests/upgrades

leaving: lab  ## a node retired, uninstalled and made anew, on the lab's spare machine: 5 minutes
	$(PYTEST) -vv $(LEAVING)

nginx-lint: $(VENV)/ready build/gixy-ng/venv/ready build/gixy-next/venv/ready  ## what two linters say of every nginx.conf
	$(BIN)/python -m tests.support.deploys.nginx_lint $(foreach each,gixy-ng gixy-next,$(each)=build/$(each)/venv/bin/gixy)

bench: packages $(VENV)/ready  ## our figures beside peers', in one run
	@command -v npm >/dev/null || { $(call install,nodejs npm); }
	$(BIN)/python -m bench.upload
	$(BIN)/python -m bench.resume
	$(BIN)/python -m bench.crowd
	$(BIN)/python -m bench.catalogue
	$(BIN)/python -m bench.rebuild
	$(BIN)/python -m bench.control
	@test -x /usr/sbin/sshd || { $(call install,openssh-server); }
	@$(call install,rclone rsync)
	$(BIN)/python -m bench.replicate

faults: packages $(VENV)/ready  ## crash figures, ours beside peers': some 40 minutes
	@command -v npm >/dev/null || { $(call install,nodejs npm); }
	@command -v cc >/dev/null || { $(call install,gcc libc6-dev); }
	$(BIN)/python -m faults --peers

fuzz: packages $(VENV)/ready  ## odd requests by the ten thousand: a minute or two
	$(BIN)/python -m fuzz

release: packages $(VENV)/ready  ## the tag of a version, and its wheelhouses: make release VERSION=1.2.3
	$(BIN)/python -m deploys.tagging $(VERSION)

odd: packages $(VENV)/ready  ## VPSes as providers hand them out, from bare to verified: 20 minutes
	@$(call install,nmap)
	$(PYTHON) -m lab --machines lab/odd.json up
	$(PYTEST) -vv -s --durations=0 tests/lab/odd; outcome=$$?; $(PYTHON) -m lab --machines lab/odd.json down; exit $$outcome

year: packages $(VENV)/ready  ## a cluster's life from bare to export, under an app that never pauses
	$(PYTHON) -m lab --machines lab/year.json up
	$(PYTEST) -x -vv -s --durations=0 tests/lab/year; outcome=$$?; $(PYTHON) -m lab --machines lab/year.json down; exit $$outcome

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready  ## pin versions and hashes anew
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra agent --extra cold -o requirements/agent.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra control --extra replica -o requirements/control.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --all-extras -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) requirements/clients.in -o requirements/clients.txt
	$(BIN)/uv pip compile $(LOCK) requirements/gixy-ng.in -o requirements/gixy-ng.txt
	$(BIN)/uv pip compile $(LOCK) requirements/gixy-next.in -o requirements/gixy-next.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache

packages:
	@$(call install,$(PACKAGES))
	@test -x /usr/sbin/sshd || { $(call install,openssh-server); }
	@# For promtool alone: where systemd runs, Debian would start a Prometheus that nobody asked for.
	@command -v promtool >/dev/null || { systemctl --quiet mask prometheus.service; $(call install,prometheus); }

$(VENV)/ready: requirements/dev.txt pyproject.toml | packages
	$(PYTHON) -m venv $(VENV)
	@# uv takes a fifth of pip's time, and knows PyPI alone; pip goes where this machine's pip is told to.
	$(BIN)/pip install --quiet --require-hashes -r <(sed -n '/^uv==/,/# via/p' requirements/dev.txt)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt || \
		$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Clients that are tested, and linters, can't share a venv with what this project needs itself.
build/%/venv/ready: requirements/%.txt | $(VENV)/ready
	$(PYTHON) -m venv --clear build/$*/venv
	$(BIN)/uv pip install --quiet --python build/$*/venv/bin/python --require-hashes -r $< || \
		build/$*/venv/bin/pip install --quiet --require-hashes -r $<
	touch $@

# Install what is missing of the given Debian packages, and nothing when nothing is.
define install
missing=$$(for name in $(1); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
if [ -n "$$missing" ]; then \
	echo "installing $$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
fi
endef
