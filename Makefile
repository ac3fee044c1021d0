# One command per task. Every target does its own set-up: a virtual environment in .venv, with the versions and hashes of requirements/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
DATA ?=
# Test processes: one per core of the smallest machine that this is meant for.
WORKERS ?= 2

.PHONY: help setup setup-dev run test test-fast lint format bench bench-peers models calendars lock clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Every package is pinned by version and sha256 in requirements/ (make lock); the project itself is built without isolation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
HASHED := --require-hashes --no-deps --requirement
# pip would make bytecode of every package's tests too, one file after the other.
BYTECODE := $(BIN)/python -m compileall -q -j 2 -x '/tests?/|/testing/'

# What a run needs is installed first; while pip installs the rest, the compiler is at work beside it.
$(VENV)/.runtime: pyproject.toml requirements/start.txt requirements/runtime.txt | $(BIN)/python
	@echo "setup: installing the runtime into $(VENV), and compiling for this processor (a minute the first time)"
	@$(PIP) --no-compile $(HASHED) requirements/start.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BYTECODE) src $(VENV)/lib || true
	@$(BIN)/grandmodel compile & compiling=$$!; \
	$(PIP) --no-compile $(HASHED) requirements/runtime.txt && { $(BYTECODE) $(VENV)/lib || true; }; installed=$$?; \
	wait $$compiling || echo "setup: not compiled, the first run will do it"; exit $$installed
	@touch $@

# torch comes by version: its builds differ from machine to machine, so no hash could hold on all of them.
$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(BIN)/python
	@echo "setup: installing runtime, training and development packages into $(VENV) (three to five minutes the first time)"
	$(PIP) $(HASHED) requirements/dev.txt
	$(PIP) torch==2.13.0
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

# backtesting.py is AGPL-3: what a test compares with it runs in a process and an environment of its own.
.venv-peer-backtesting/.ready: benchmarks/peers/backtesting.txt
	$(PYTHON) -m venv .venv-peer-backtesting
	.venv-peer-backtesting/bin/python -m pip install --quiet --disable-pip-version-check $(HASHED) benchmarks/peers/backtesting.txt
	@touch $@

setup: $(VENV)/.runtime          ## the runtime, in .venv
setup-dev: $(VENV)/.dev .venv-peer-backtesting/.ready ## runtime, training and development packages, in .venv

run: setup       ## the main job: one simulated paper session, a summary and a report page
	$(BIN)/grandmodel run $(ARGS)

lint: setup-dev  ## format check, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup-dev ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint       ## everything that must hold: lint, types, all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-fast: setup-dev ## the tests that take no more than seconds
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

bench: setup-dev ## the benchmarks; ARGS='engine features' for some of them
	$(BIN)/grandmodel bench $(ARGS)

bench-peers: setup-dev ## the same jobs in other libraries, each in an environment of its own
	$(BIN)/python benchmarks/peers/run_peers.py $(ARGS)
	$(BIN)/python benchmarks/peers/run_mappo.py --quick

models: setup-dev ## train and evaluate the shipped models anew from real bars; DATA=folder with bars/ (about 40 minutes)
	$(BIN)/python models/make_models.py $(DATA) $(ARGS)

calendars: setup ## the stored trading days anew from the calendar library
	$(BIN)/python -m grandmodel.data.market.calendar_days

lock:            ## resolve all packages anew: requirements/*.txt with hashes, and the list of components
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python -m pip install --quiet --disable-pip-version-check $(HASHED) requirements/supply.txt
	.venv-supply/bin/python requirements/make_locks.py $(ARGS)

clean:           ## environments, caches and run folders
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
