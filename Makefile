# `make help` lists the targets.
PYTHON ?= python3
UV_VERSION := 0.13.9
# uv from the PATH, or a copy of our own in .uv
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/python
# of the tests: a worker per core, at most four, for each takes 1.5 GB; a file's tests stay together
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.PHONY: help setup demo studio test test-all check format lock sync clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.locked ## the environment, from requirements.lock

.venv/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@command -v $(UV) >/dev/null || { echo "fetching uv"; $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --compile-bytecode --python $(RUN) requirements.lock
	@touch $@

demo: setup ## a first picture: the motorcycle, painted behind it
	$(RUN) -m src.run +experiment=masked_style

studio: setup ## a page on this machine: photo, depth, mask, run, compare
	$(RUN) -m src.studio

test: setup ## the test suite
	$(RUN) -m pytest -m "not slow" $(PARALLEL)

test-all: setup ## the slow tests too
	$(RUN) -m pytest $(PARALLEL)

check: setup ## format, lint, types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: setup ## format the code
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

lock: ## requirements.lock from pyproject.toml: exact versions with hashes, for every platform
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-header --no-emit-index-url pyproject.toml -o requirements.lock

sync: FOLDER ?= outputs
sync: ## upload to W&B what was tracked offline in outputs/, or in FOLDER=...
	@find $(FOLDER) -type d -name 'offline-run-*' -exec .venv/bin/wandb sync {} +

clean: ## caches and the environment; never outputs/
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache
	find src tests -type d -name __pycache__ -exec rm -rf {} +
