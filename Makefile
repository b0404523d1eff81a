# Everything a developer or CI types. `make help` lists it.
# Nothing here starts a system service or touches a running mail server.

SHELL := /bin/bash
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
CONFIG ?= conf/mailshaper.toml

.DEFAULT_GOAL := help
.PHONY: help setup setup-test test demo run check lint types imports bench deb deb-test wheel lock clean

help:            ## this list
	@sed -nE 's/^([a-z-]+): .*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup:           ## what running needs: Debian packages, .venv from the lock
	@scripts/setup run

setup-test:      ## and what the tests need: Postfix; Exim, Prometheus beside
	@scripts/setup test

test: setup-test ## every test, against real servers (ARGS="-k name" narrows it)
	@$(PYTEST) $(ARGS)

demo: setup      ## a stolen account, slowed, reviewed and released, in a minute
	@$(BIN)/python -m tools.demo $(ARGS)

run: setup       ## the daemon in the foreground (CONFIG=path)
	@$(BIN)/mailshaper daemon --config $(CONFIG)

lint:            ## format and lint, without changing anything
	@$(BIN)/ruff format --check --quiet --output-format concise . || \
	  { echo 'repair with $(BIN)/ruff format FILE...'; false; }
	@$(BIN)/ruff check --quiet .

types:           ## mypy --strict on shaper, federation, tests/support
	@$(BIN)/mypy

imports:         ## who may import whom
	@$(BIN)/lint-imports --no-logo

check: lint types imports ## the fast gate before a commit
	@$(PYTEST) -q $(wildcard tests/unit tests/property)

bench: setup-test ## figures of this machine, printed
	@$(BIN)/python -m bench $(ARGS)

deb:             ## the Debian package for the Debian that runs here: build/deb
	@scripts/build-deb

deb-test:        ## build it in fresh Debians, install, use, upgrade, purge (root)
	@scripts/try-deb $(SUITES)

wheel: setup     ## what pipx installs: dist/*.whl
	@$(BIN)/python -m hatchling build -t wheel

# The build and runtime locks are constrained by the dev lock, so one version
# of a package is used everywhere. --universal: one file for every Python >=3.11.
UV := UV_NO_CONFIG=1 $(or $(shell command -v uv),.cache/uv/bin/uv)
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
  --custom-compile-command 'make lock' $(UPGRADE)

lock:            ## pin what pyproject.toml asks for (UPGRADE=--upgrade: newest)
	@command -v uv >/dev/null || test -x .cache/uv/bin/uv || \
	  { python3 -m venv .cache/uv && .cache/uv/bin/pip install -q uv; }
	$(COMPILE) pyproject.toml --extra uvloop --group dev --group build -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra uvloop -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --group build -c requirements-dev.lock -o requirements-build.lock

clean:           ## forget .venv, caches and unpacked servers
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
