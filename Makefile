# make demo and make test do all their own set-up; they need Python 3.10 or newer and nothing else.
PYTHON     ?= python3
VENV       ?= .venv
DEMO_VENV  ?= .venv-demo
LOWEST_VENV ?= .venv-lowest
TORCH_VENV ?= .venv-torch
TENSORFLOW_VENV ?= .venv-tensorflow
HOME_ASSISTANT_VENV ?= .venv-homeassistant
HOME_ASSISTANT_PYTHON ?= python3.13
PEERS_VENV ?= .venv-peers
ROBOFLOW_VENV ?= .venv-roboflow
PYTEST_ARGS ?=
# Files are shared out among as many processes: most tests wait for real brokers and devices.
JOBS       ?= 4
DEMO_ARGS  ?=
BENCH_ARGS ?=
ARM64_ARGS ?=
IMAGE_ARGS ?=

comma    := ,
BIN      := $(VENV)/bin
DEMO_BIN := $(DEMO_VENV)/bin
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A test waits three times as long as it has to here before it calls something late: machines of CI are busy.
export LOOKOUT_TEST_PATIENCE ?= 3
# Tests start thousands of processes, and each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest test-faults test-export test-export-torch test-export-tensorflow test-home-assistant test-arm64 image lint format docs bench bench-peers bench-roboflow clean

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-23s %s\n", $$1, $$2}'

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

demo: $(DEMO_VENV)/.ready ## the whole product at work, in about two minutes (MODEL=a.onnx VIDEO=b.mp4: yours)
	@$(DEMO_BIN)/python -m tools.demo $(if $(MODEL),--model '$(MODEL)') $(if $(VIDEO),--video '$(VIDEO)') $(DEMO_ARGS)

test: $(VENV)/.ready ## unit and integration tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-faults: $(VENV)/.ready ## every attack of the fault suite and every example, not only the sample that make test runs
	@LOOKOUT_TEST_DEPTH=full $(BIN)/python -m pytest -m 'faults or hypothesis' $(PYTEST_ARGS)

# uv resolves to the lowest direct dependencies, which pip cannot.
$(LOWEST_VENV)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/pip install --quiet uv
	@$(LOWEST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct -e '.[dev]'
	@touch $@

test-lowest: $(LOWEST_VENV)/.ready ## the same without whole devices, on the lowest versions that pyproject.toml allows
	@$(LOWEST_VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/integration --ignore tests/faults --ignore tests/browser $(PYTEST_ARGS)

# The frameworks are large (torch 5.5 GB on x86_64, TensorFlow 2 GB): each lives apart, and make test needs neither.
$(TORCH_VENV)/.ready: pyproject.toml
	$(call make_venv,$(TORCH_VENV),.[dev$(comma)torch])

$(TENSORFLOW_VENV)/.ready: pyproject.toml
	$(call make_venv,$(TENSORFLOW_VENV),.[dev$(comma)tensorflow])

test-export: test-export-torch test-export-tensorflow ## exports from PyTorch and TensorFlow, with the real frameworks

test-export-torch: $(TORCH_VENV)/.ready ## its PyTorch half: parity, and ResNet-18 all the way to a device
	@$(TORCH_VENV)/bin/python -m pytest -m torch $(PYTEST_ARGS)

test-export-tensorflow: $(TENSORFLOW_VENV)/.ready ## its TensorFlow half: Keras and TFLite
	@$(TENSORFLOW_VENV)/bin/python -m pytest -m tensorflow $(PYTEST_ARGS)

# Home Assistant wants a newer Python than the agent does, and 500 MB.
$(HOME_ASSISTANT_VENV)/.ready:
	@$(HOME_ASSISTANT_PYTHON) -m venv $(HOME_ASSISTANT_VENV)
	@$(HOME_ASSISTANT_VENV)/bin/pip install --quiet 'homeassistant>=2025.2' paho-mqtt aiohttp_cors aiohttp-fast-zlib
	@touch $@

test-home-assistant: $(VENV)/.ready $(HOME_ASSISTANT_VENV)/.ready ## the discovery message, judged by Home Assistant itself
	@HOME_ASSISTANT_PYTHON=$(HOME_ASSISTANT_VENV)/bin/python $(BIN)/python -m pytest tests/link/test_discovery.py tests/integration/test_home_assistant.py $(PYTEST_ARGS)

# Both install what they need from Debian by themselves where they are root, and keep everything in .arm64.
test-arm64: $(VENV)/.ready ## the suite's core under emulation, as on a Raspberry Pi 4 and 5 (ARM64_ARGS=--smoke: the short one)
	@$(BIN)/python -m tools.arm64 test $(ARM64_ARGS)

image: $(VENV)/.ready ## the container image for 64-bit ARM, built and checked, with Docker or without
	@$(BIN)/python -m tools.arm64 image $(IMAGE_ARGS)

lint: $(VENV)/.ready ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.ready ## let ruff write the style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.ready ## the reference pages, schemas and configs/agent.yaml, from the code (make test finds them stale)
	@$(BIN)/python -m tools.reference

bench: $(VENV)/.ready ## every benchmark, the peers that make bench-peers installed among them; writes docs/performance.md
	@$(BIN)/lookout bench all --page docs/performance.md $(BENCH_ARGS)

# What others run, for make bench alone. Ultralytics is AGPL-3.0: installed by name here, and no extra of Lookout's.
# It and pnnx bring PyTorch, 5.5 GB on x86_64; torch and torchvision must be of one build.
$(PEERS_VENV)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(PEERS_VENV)
	@echo "installing into $(PEERS_VENV) (once)"
	@$(PEERS_VENV)/bin/pip install --quiet ultralytics-opencv-headless -e '.[peers]'
	@touch $@

# Its dependencies (6 GB) pin other versions than ours, and pip takes an hour to choose among them.
$(ROBOFLOW_VENV)/.ready:
	@$(PYTHON) -m venv $(ROBOFLOW_VENV)
	@echo "installing into $(ROBOFLOW_VENV) (once)"
	@$(ROBOFLOW_VENV)/bin/pip install --quiet uv
	@$(ROBOFLOW_VENV)/bin/uv pip install --quiet --compile-bytecode --python $(ROBOFLOW_VENV)/bin/python inference-cpu msgspec
	@touch $@

bench-roboflow: $(ROBOFLOW_VENV)/.ready ## Roboflow's InferencePipeline, for the same

bench-peers: $(PEERS_VENV)/.ready ## OpenVINO, ncnn and Ultralytics, which make bench then measures too

clean: ## remove environments, caches and outputs
	rm -rf $(VENV) $(DEMO_VENV) $(LOWEST_VENV) $(TORCH_VENV) $(TENSORFLOW_VENV) $(HOME_ASSISTANT_VENV) $(PEERS_VENV) $(ROBOFLOW_VENV) .arm64 .demo demo-out bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
