# The everyday commands. `make` alone lists them.
#
# Each command sets up its own environment first: a virtual environment in $(VENV), made again
# only when the dependencies in setup.py change.

PYTHON ?= python3.11
VENV   ?= .venv
# Tests run in so many processes, a file at a time in each, in the order of tests/conftest.py.
JOBS   ?= 2
PYTEST  = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

BIN   := $(VENV)/bin
# What runs the product is a fraction of what tests it.
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools

# TensorFlow's start-up notes bury what matters.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format docs clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  (VENV=$(VENV), PYTHON=$(PYTHON) and JOBS=$(JOBS) can be set on the command line)"

install: $(TOOLS)  ## make the environment and install the project into it, editable

demo: $(READY)  ## train, quantize, convert, verify and measure a small network in 3 minutes
	$(BIN)/python -m mobilequant.cli demo

test: lint  ## lint, then run the tests
	$(PYTEST)

test-all: lint  ## the same with the slow tests
	$(PYTEST) -m "slow or not slow"

lint: $(TOOLS)  ## check style and formatting, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(TOOLS)  ## mend formatting and what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(TOOLS)  ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open build/site/index.html, or: $(BIN)/python -m http.server -d build/site"

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build *.egg-info

# A stamp is written last, so that an installation that was broken off is done again.
$(READY): setup.py
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found; install Python 3.11, or name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(TOOLS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@
