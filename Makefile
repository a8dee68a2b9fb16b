# make demo and make test do all their own set-up; they need Python 3.10 or newer and nothing else.
PYTHON     ?= python3
VENV       ?= .venv
DEMO_VENV  ?= .venv-demo
LOWEST_VENV ?= .venv-lowest
PYTEST_ARGS ?=
DEMO_ARGS  ?=
BENCH_ARGS ?=

BIN      := $(VENV)/bin
DEMO_BIN := $(DEMO_VENV)/bin
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest test-faults lint format bench clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# An environment is made once, and again when pyproject.toml changed.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Lookout needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(1) || { \
	  echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into $(1) (once)"
	@$(1)/bin/pip install --quiet -e '$(2)'
	@touch $@
endef

$(VENV)/.ready: pyproject.toml
	$(call make_venv,$(VENV),.[dev])

$(DEMO_VENV)/.ready: pyproject.toml
	$(call make_venv,$(DEMO_VENV),.[demo])

demo: $(DEMO_VENV)/.ready ## the whole product at work, in about two minutes
	@$(DEMO_BIN)/python -m tools.demo $(DEMO_ARGS)

test: $(VENV)/.ready ## unit and integration tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-faults: $(VENV)/.ready ## every attack of the fault suite, not only the sample that make test runs
	@$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)

# uv resolves to the lowest direct dependencies, which pip cannot.
$(LOWEST_VENV)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/pip install --quiet uv
	@$(LOWEST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct -e '.[dev]'
	@touch $@

test-lowest: $(LOWEST_VENV)/.ready ## the same without integration, on the lowest versions that pyproject.toml allows
	@$(LOWEST_VENV)/bin/python -m pytest --ignore tests/integration $(PYTEST_ARGS)

lint: $(VENV)/.ready ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.ready ## let ruff write the style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.ready ## the frame loop against bare ONNX Runtime, swaps, recovery, memory
	@$(BIN)/lookout bench all $(BENCH_ARGS)

clean: ## remove environments, caches and outputs
	rm -rf $(VENV) $(DEMO_VENV) $(LOWEST_VENV) .demo demo-out bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
