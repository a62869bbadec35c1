# `make` lists what there is. `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a network for the first install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
INSTALL := $(BIN)/python deploy/installing.py $(BIN)/pip install --constraint deploy/lock/constraints.txt
# Torch first and on its own: a plain install of what depends on it may bring gigabytes of CUDA.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help install dev demo test docs check lint types arrows schemas benchmarks clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.torch: deploy/lock/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "normfed needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V`. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "Creating $(VENV) and installing torch (once, some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) $(TORCH_INDEX) torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "Installing normfed (once, some minutes) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what the tests need (once) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@echo "Installing what the documentation needs (once) ..."
	@$(INSTALL) --editable '.[docs]'
	@touch $@

install: $(VENV)/.installed  ## normfed in .venv, for a server or a hospital

dev: $(VENV)/.dev  ## the same, with what the tests need

demo: $(VENV)/.installed  ## synthetic hospitals train one model together; ends with a report
	@$(BIN)/normfed simulate

test: $(VENV)/.dev  ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

docs: $(VENV)/.docs  ## the documentation as a site, deploy/site/index.html
	@echo "Building the documentation (about half a minute) ..."
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --config-file deploy/mkdocs.yml
	@echo deploy/site/index.html

lint: $(VENV)/.dev  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict
	@$(BIN)/mypy

arrows: $(VENV)/.dev  ## import-linter: the arrows between the packages
	@$(BIN)/lint-imports

schemas: $(VENV)/.installed  ## write the JSON schemas of metrics.json, privacy-audit.json, domain-shift.json and events.jsonl anew, from their models
	@$(BIN)/python -m normfed_server.results.schemas
	@$(BIN)/python -m normfed_simulation.domain_shift.schema

check: lint types arrows test  ## lint, types, arrows and tests

benchmarks: $(VENV)/.dev  ## every benchmark that needs no argument, one after another; names those that do
	@left=; for script in benchmarks/bench_*.py; do \
		echo "== $$script"; $(BIN)/python $$script; code=$$?; \
		case $$code in 0) ;; 2) left="$$left $$script";; *) exit 1;; esac; \
	done; test -z "$$left" || echo "Left out, for an argument is missing or cannot be used; each says above which:$$left"

clean:  ## remove the environment and tool caches (never runs/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
