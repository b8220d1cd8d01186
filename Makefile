.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[agent,controlplane,cli]" --group dev
	touch $@

setup: $(VENV)/.ready ## Make the virtual environment with everything that development needs

check: setup ## Format, lint, types, layers, test mirror, generated code: what must hold before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## All tests, the lab included (needs root for the lab)
	$(BIN)/pytest

proto: setup ## Regenerate core/hostmesh_core/_pb from core/proto
	$(BIN)/python -m grpc_tools.protoc -Icore/proto/hostmesh/v1 --python_out=core/hostmesh_core/_pb --pyi_out=core/hostmesh_core/_pb core/proto/hostmesh/v1/host.proto

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: setup check test proto help
