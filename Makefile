# AniMusic: the verbs of a newcomer's day. `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
CATALOGUE ?=
# The longest first, a file always on one worker; each worker starts stores of its own. `make test WORKERS=0` uses none.
TESTS ?= tests/system tests/connected tests/unit
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH ?=
MINUTES ?= 30
SOAK ?=

# uv where it is, else venv and pip. Both check the hash of every package.
UV := $(shell command -v uv 2>/dev/null)
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$python" && break; done)

.PHONY: help
help:  ## list these verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# By the environment and not in the command: a path may hold quotes, and $(value) leaves its dollar signs alone.
ifneq ($(value CATALOGUE),)
run: export ANIMUSIC_LOCAL__CATALOGUE = $(value CATALOGUE)
endif
.PHONY: run
run: $(VENV)/.run  ## start the whole system on http://127.0.0.1:8080 (CATALOGUE=sample, synthetic, or a CSV's path)
	@$(BIN)/animusic run

.PHONY: test
test: $(VENV)/.dev  ## run every test; the stores are started by the tests themselves
	$(BIN)/python -m pytest $(TESTS) -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: unit
unit: $(VENV)/.dev  ## run the tests that start no store, in a minute
	$(BIN)/python -m pytest tests/unit -q -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

.PHONY: neural
neural: $(VENV)/.neural  ## add what encodes texts (minilm, mpnet); torch is several GB

.PHONY: evaluation
evaluation: $(VENV)/.evaluation  ## add what draws pictures of evaluated models (matplotlib)

.PHONY: test-neural
test-neural:  ## run the tests of encoding, in an environment of their own (.venv-neural, several GB)
	@$(MAKE) --no-print-directory VENV=.venv-neural neural-tests

.PHONY: neural-tests
neural-tests: $(VENV)/.dev $(VENV)/.neural
	$(BIN)/python -m pytest tests/neural -q $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.dev  ## ruff's rules and format, and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev  ## let ruff format and sort
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.dev  ## measure and write docs/benchmarks.md (BENCH=playlists for one section, BENCH=--quick for a look)
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: bench-models
bench-models: $(VENV)/.dev  ## measure the builds of models (BENCH='--quick', '--scale 1,3', '--write')
	$(BIN)/python -m tests.bench.models $(BENCH)

.PHONY: soak
soak: $(VENV)/.dev  ## break the running system for half an hour, then compare every count (MINUTES=5 for a look)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK)

.PHONY: schemas
schemas: $(VENV)/.run  ## generate contracts/schemas and contracts/published from the contracts
	$(BIN)/animusic schemas

.PHONY: lock
lock:  ## pin requirements/*.txt anew from pyproject.toml (needs uv)
	@test -n "$(UV)" || { echo "make lock needs uv: pip install uv"; exit 1; }
	$(UV) pip compile $(LOCK) pyproject.toml requirements/build.in -o requirements/run.txt
	$(UV) pip compile $(LOCK) -c requirements/run.txt --extra dev --extra evaluation \
		pyproject.toml requirements/build.in -o requirements/dev.txt
	$(UV) pip compile $(LOCK) -c requirements/dev.txt --extra evaluation \
		pyproject.toml requirements/build.in -o requirements/evaluation.txt
	$(UV) pip compile $(LOCK) requirements/bench.in -o requirements/bench.txt
	$(UV) pip compile $(LOCK) -c requirements/dev.txt --extra neural \
		pyproject.toml requirements/build.in -o requirements/neural.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

.PHONY: clean
clean:  ## remove the environment and every cache; the data in .animusic stays
	rm -rf $(VENV) .venv-neural build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "The data directory (.animusic, unless ANIMUSIC_DATA_DIR says another) was left alone."

# ---- the environment: made once, made again when the pins change ------------------------------------------------

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@$(call install,requirements/run.txt)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@$(call install,requirements/dev.txt)
	@touch $@ $(VENV)/.run

$(VENV)/.neural: requirements/neural.txt pyproject.toml | $(BIN)/python
	@$(call install,requirements/neural.txt)
	@touch $@ $(VENV)/.run

$(VENV)/.evaluation: requirements/evaluation.txt pyproject.toml | $(BIN)/python
	@$(call install,requirements/evaluation.txt)
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "AniMusic needs Python 3.11, 3.12 or 3.13, and none was found." \
		"Install one, or name it: make run PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$(PYTHON) is" \
		"$$("$(PYTHON)" --version 2>&1), but AniMusic needs Python 3.11, 3.12 or 3.13." \
		"Name one: make run PYTHON=/path/to/python3"; exit 1; }
	@echo "Making the environment in $(VENV)"
ifneq ($(UV),)
	@$(UV) venv --quiet --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" $(VENV)
else
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module did not work; on Debian and" \
		"Ubuntu it is a package of its own: apt install python3-venv"; exit 1; }
endif

ifneq ($(UV),)
install = echo "Installing $(1) with uv" && \
	$(UV) pip install --python $(BIN)/python --require-hashes -r $(1) && \
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
install = echo "Installing $(1) with pip (this takes a minute or two)" && \
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r $(1) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
