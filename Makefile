.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow check bench lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
# The machine's own certificates, as pip uses them: behind a company's proxy uv's built-in ones do not do.
UV := UV_SYSTEM_CERTS=true $(BIN)/uv

BENCHMARKS := import_events window_features training_set profile_refresh online_read stream serving live reliability

help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything pinned, and the project in it
	@echo "Ready: run $(BIN)/tagtide --help, or activate $(VENV) first"

# Made again whenever the pins or the package list change. uv comes from the same lock and takes seconds; pip, which
# takes minutes, steps in where uv cannot be had or does not know the machine's package index.
$(STAMP): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	    echo "error: Python 3.11 is needed, $(PYTHON) is $$("$(PYTHON)" --version 2>&1)" >&2; \
	    echo "next step: install Python 3.11, or run: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@if [ ! -x $(BIN)/python ]; then \
	    "$(PYTHON)" -m venv $(VENV) 2>/dev/null || { \
	        rm -rf $(VENV); "$(PYTHON)" -m venv --without-pip $(VENV); \
	        "$(PYTHON)" -m pip --python $(BIN)/python install --quiet pip; }; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)" \
	    && $(UV) pip install --quiet --python $(BIN)/python -r requirements.lock \
	    && $(UV) pip install --quiet --python $(BIN)/python --no-deps -e . \
	    || { echo "uv could not install everything; pip takes over, which takes some minutes"; \
	         $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock; \
	         $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; }
	@$(BIN)/tagtide doctor python lightgbm dependencies
	@touch $@

demo: $(STAMP) ## The main job on real data: tags, propensities, CLV, HTTP service, report
	$(BIN)/tagtide demo

test: $(STAMP) ## The test suite, on all cores (10 to 15 minutes on two); sets that TAGTIDE_DATA should hold are skipped without it
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP) ## Soak, fuzz and whole-year runs
	$(BIN)/python -m pytest -m slow

check: $(STAMP) ## Lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## Every benchmark; results in benchmarks/results/
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done
	@$(BIN)/python benchmarks/speed_page.py

lock: $(STAMP) ## Pin all dependencies anew within the bounds of pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	    --upgrade --no-emit-index-url --no-header --quiet --output-file requirements.lock

clean: ## Remove the environment, caches and builds; homes such as .tagtide stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
