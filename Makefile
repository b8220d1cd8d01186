.DEFAULT_GOAL := help
SHELL := /bin/bash
export VENV ?= .venv
BIN := $(VENV)/bin
KEEP ?=
PROTOC = $(BIN)/python -m grpc_tools.protoc -Icore/proto/hostmesh/v1 core/proto/hostmesh/v1/host.proto

setup: ## Install what development needs: missing Debian packages (as root) and .venv
	@tools/setup dev

check: setup ## Format, lint, types, layers, test mirror, generated code: what must hold before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_mirror.py tests/test_repository.py
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(PROTOC) --python_out=$$made --pyi_out=$$made && \
	  for file in host_pb2.py host_pb2.pyi; do cmp $$made/$$file core/hostmesh_core/_pb/$$file || \
	  { echo "generated code differs from core/proto: run make proto"; exit 1; }; done
	@echo "check: everything holds"

test: setup ## Every test, the lab included (as root), with a fixed slice of the large generated sets
	@status=0; \
	  $(BIN)/pytest -m "not soak and not alone" --numprocesses 2 --dist loadfile || status=$$?; \
	  $(BIN)/pytest -m "alone and not soak" || status=$$?; \
	  exit $$status

test-soak: setup ## The whole of the large generated sets; takes long
	$(BIN)/pytest -m soak

demo: ## Four hosts, real Envoy, real Consul, under load, in namespaces (as root); KEEP=1 leaves it running
	@tools/demo

demo-end: ## End a demo that KEEP=1 left running
	@$(BIN)/python -m hostmesh_ctl.demo.end

bench: setup ## Measure latency through both sidecars and the cost of rendering (as root)
	$(BIN)/python benchmarks/run.py

proto: setup ## Regenerate core/hostmesh_core/_pb from core/proto
	$(PROTOC) --python_out=core/hostmesh_core/_pb --pyi_out=core/hostmesh_core/_pb

docs: setup ## Write docs/reference anew from the code
	cd tests/support && $(abspath $(BIN))/python -m hostmesh_testing.reference

install: ## Install the programs from this folder for this machine, with their accounts (as root)
	@tools/setup demo
	@tools/install

uninstall: ## Take the programs and accounts of `make install` away (as root)
	@tools/install remove

clean: ## Remove what was built here; the Consul in ~/.cache/hostmesh stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find agent controlplane core tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

.PHONY: setup check test test-soak demo demo-end bench proto docs install uninstall clean help
