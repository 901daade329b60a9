# Each target does all of its own set-up. `make help` lists them.
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

.DEFAULT_GOAL := help
.PHONY: help demo test long check bench chaos connectivity lock format clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: ## Three businesses sign in, two are killed, all stay signed in
	@sh scripts/setup.sh runtime
	@$(BIN)/raypool demo

test: ## The whole test suite
	@sh scripts/setup.sh dev
	@$(BIN)/python -m pytest -n 3 --dist loadfile  # most of it waits; one file stays on one worker

long: ## Whole clusters that lose their head, a node, their memory; one after another
	@sh scripts/setup.sh dev
	@$(BIN)/python -m pytest tests/long --timeout 400

check: ## Lint, format, types, import rules, links in the docs
	@sh scripts/setup.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_links.py

bench: ## Every benchmark, peer and product in one run
	@sh scripts/setup.sh dev
	@$(BIN)/python -m benchmarks

chaos: ## Faults against working businesses; CHAOS_SECONDS=…, CHAOS_SEED=…
	@sh scripts/setup.sh dev
	@$(BIN)/python -m tests.chaos

connectivity: ## Can Redis, Ray, Chromium (and Postgres) be reached?
	@sh scripts/setup.sh runtime
	@$(BIN)/raypool doctor

lock: ## Make the lock files again from pyproject.toml
	@sh scripts/setup.sh dev
	@PATH="$(BIN):$$PATH" sh scripts/lock.sh

format: ## Format the code
	@sh scripts/setup.sh dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
