# Two commands are all that a newcomer needs: `make run` and `make test`. Both set up what they use.
# Everything goes into .venv from the lock files in requirements/; pass options through ARGS.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --require-virtualenv install --no-input
SOURCES := src tests benchmarks examples
# Debian packages; tests start servers of their own from them.
SERVERS := postgresql pgbouncer
ARGS ?=
# The tests start hundreds of processes: each would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo test check format bench bench-full chaos docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Start a server on localhost:8080, with everything it needs (ARGS="--port 9000")
	@exec $(BIN)/narrows dev $(ARGS)

demo: $(VENV)/run.stamp ## Watch a shell and a job's run outlive kill -9, in a minute
	@exec $(BIN)/narrows demo $(ARGS)

test: $(VENV)/dev.stamp ## Run all tests, with the time of each suite (ARGS="tests/core -k send")
	@.ci/need $(SERVERS)
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev.stamp ## Format, lint, types, import contracts, tidiness: in seconds
	$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "run 'make format'"; exit 1; }
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --show-timings 2>/dev/null
	$(BIN)/python -m pytest -n 0 tests/test_tidy.py

format: $(VENV)/dev.stamp ## Format the code and mend what ruff can mend
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(VENV)/dev.stamp ## Measure every target with 1 million waits into benchmarks/RESULTS.md (ARGS="--database sqlite")
	@.ci/need wrk $(SERVERS)
	$(BIN)/python -m benchmarks.run --rows 1000000 $(ARGS)

bench-full: $(VENV)/dev.stamp ## The same with 10 million waits (hours)
	@.ci/need wrk $(SERVERS)
	$(BIN)/python -m benchmarks.run --rows 10000000 $(ARGS)

chaos: $(VENV)/dev.stamp ## The long campaigns: simulation, kills, crashes, races, power cuts, fuzzing
	@.ci/need $(SERVERS)
	$(BIN)/python -m benchmarks.chaos $(ARGS)

docs: $(VENV)/dev.stamp ## Write docs/reference anew from the code
	$(BIN)/python -m docs.reference.generate

lock: ## Resolve requirements/*.txt anew (needs uv)
	uv pip compile --quiet pyproject.toml --extra postgres --extra workflows --group build --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade -o requirements/run.txt
	uv pip compile --quiet pyproject.toml --extra postgres --extra workflows --group dev --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade \
	  -c requirements/run.txt -o requirements/dev.txt

clean: ## Remove what make made; your data in .narrows/ stays
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache benchmarks/.work tests/.work
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment ---------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Narrows needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/need python3-venv
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) ..."
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
