# One command per task. Every target does its own set-up: a virtual environment in .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
DATA ?=
# Test processes: one per core of the smallest machine that this is meant for.
WORKERS ?= 2

.PHONY: help setup setup-dev run test test-fast lint format bench bench-peers models clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing the runtime into $(VENV) (about 30 seconds the first time)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing runtime, training and development packages into $(VENV) (two to three minutes the first time)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.runtime          ## the runtime, in .venv
setup-dev: $(VENV)/.dev          ## runtime, training and development packages, in .venv

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

clean:           ## environments, caches and run folders
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
