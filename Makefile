# Aloud. `make help` prints the commands.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PYTHON_313 := $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: setup ## set up, start everything on this machine, turn the demo book into text, print what to open
	@exec $(BIN)/python -m localhost

.PHONY: test
test: setup .venv-3.13/.ready ## set up and run all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: check
check: setup ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: setup ## put all code into the common format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: seed
seed: setup ## write N generated books (make seed N=1000) into the Aloud that runs here
	$(BIN)/python -m localhost.seed $(or $(N),1000) $(ARGS)

.PHONY: bench
bench: setup .venv-peers/.ready ## measure, and print the table that the README quotes
	$(BIN)/python -m bench $(ARGS)

.PHONY: soak
soak: setup ## kill and starve the pipeline for so long (make soak MINUTES=30 BOOKS=60) and compare its books
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --books $(or $(BOOKS),60) $(ARGS)

.PHONY: fuzz
fuzz: setup ## ingest damaged and absurd recordings, so many of each format (make fuzz N=500)
	$(BIN)/python -m tests.fuzz --number $(or $(N),500) $(ARGS)

.PHONY: setup
setup: .venv/.ready node_modules/.ready ## install what the rest needs, into .venv and node_modules

.venv/.ready: requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Aloud needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@echo "Installing the Python packages into .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

node_modules/.ready: package.json package-lock.json .npmrc
	@command -v npm >/dev/null || { echo "Aloud needs Node 20 or newer with npm; none was found." >&2; exit 1; }
	@echo "Installing the storage emulator into node_modules ..."
	@npm ci --silent --no-progress
	@touch $@

# Microsoft's own worker needs Python 3.13; where there is none, the conformance test says so and is skipped.
.venv-3.13/.ready: requirements.txt requirements-conformance.txt
ifneq ($(PYTHON_313),)
	@echo "Installing Microsoft's worker library into .venv-3.13 ..."
	@$(PYTHON_313) -m venv .venv-3.13
	@.venv-3.13/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-conformance.txt
	@touch $@
endif

.venv-peers/.ready: bench/peers/requirements.txt
	@echo "Installing what the bench compares with into .venv-peers ..."
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: clean
clean: ## remove what setup and run have made, the books of this machine included
	rm -rf .venv .venv-3.13 .venv-peers node_modules .data .mypy_cache .ruff_cache
