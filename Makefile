# Vigie. `make help` lists what there is.
#
# Everything is installed into .venv beside this file; nothing outside the checkout is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench chaos powercuts wheel clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.dev  ## install everything that development needs into .venv

demo: $(VENV)/.demo  ## three cameras, a broker, a collector and the dashboard, on this machine
	@$(BIN)/vigie-collector demo

test: $(VENV)/.dev  ## run the tests
	@echo "vigie: running the tests; those that need a missing program skip and say how to install it"
	@$(BIN)/pytest -n $(JOBS) -q

outages: $(VENV)/.dev  ## a day offline, then a broker killed every 30 s for 20 minutes
	@VIGIE_OFFLINE_HOURS=24 VIGIE_OFFLINE_RATE=250 VIGIE_BROKER_KILL_MINUTES=20 \
		$(BIN)/pytest -q -s tests/journeys/test_offline.py tests/journeys/test_broker_kills.py

check: $(VENV)/.dev  ## style, types and imports
	@echo "vigie: ruff";        $(BIN)/ruff check .
	@echo "vigie: formatting";  $(BIN)/ruff format --check .
	@echo "vigie: mypy";        $(BIN)/mypy
	@echo "vigie: imports";     $(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## measure, as ratios within one run
	@$(BIN)/python benchmarks/table.py $(BENCH)

chaos: $(VENV)/.dev  ## break a real site FAULTS times (300), in the order that SEED (1) draws, and account for every frame
	@PYTHONPATH=.:tests/plugins $(BIN)/python -m tests.faults.campaign --seed $(or $(SEED),1) --faults $(or $(FAULTS),300) $(CHAOS)

powercuts: $(VENV)/.dev  ## cut the power 10,000 times over the real files (CUTS="--cuts N --seed N")
	@PYTHONPATH=.:tests/plugins $(BIN)/python -m tests.faults.powercuts $(CUTS)

wheel: $(VENV)/.dev  ## build the wheel and try it, bare, on every Python from 3.10 to 3.13 found here
	@rm -rf dist build
	@echo "vigie: building the wheel"; $(BIN)/python -m build --wheel --installer pip . > build.log || (cat build.log; exit 1); rm -f build.log
	@$(BIN)/python -m zipfile -l dist/*.whl
	@$(BIN)/pytest -q -n 2 --timeout 900 tests/wheel

clean:  ## remove .venv, what the demo wrote, and everything built
	rm -rf $(VENV) demo-data build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "vigie: there is no $(PYTHON); install Python 3.11 or newer, or say PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vigie: the collector needs Python 3.11 or newer, this is $$($(PYTHON) --version); say PYTHON=/path/to/a/newer/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "vigie: $(PYTHON) cannot make virtual environments; on Debian: sudo apt install python3-venv"; exit 1; }
	@echo "vigie: making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml $(VENV)/bin/python
	@echo "vigie: installing agent and collector into $(VENV) (about 125 MB to fetch, once)"
	@$(PIP) install --progress-bar on -e '.[agent,collector]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/bin/python
	@echo "vigie: installing agent, collector and development tools into $(VENV) (once)"
	@$(PIP) install -q --progress-bar on -e '.[agent,collector,dev]'
	@touch $(VENV)/.demo $@
