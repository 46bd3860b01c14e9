# The everyday commands. `make` alone lists them.
#
# Each command sets up its own environment first: a virtual environment in $(VENV), made again
# only when the dependencies in setup.py change.

PYTHON ?= python3.11
VENV   ?= .venv
# Tests run in so many processes, a file at a time in each.
JOBS   ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# TensorFlow's start-up notes bury what matters.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format docs clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  (VENV=$(VENV), PYTHON=$(PYTHON) and JOBS=$(JOBS) can be set on the command line)"

install: $(STAMP)  ## make the environment and install the project into it, editable

demo: $(STAMP)  ## train, quantize, convert, verify and measure a small network in 3 minutes
	$(BIN)/python -m mobilequant.cli demo

test: lint  ## lint, then run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-all: lint  ## the same with the slow tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow or not slow"

lint: $(STAMP)  ## check style and formatting, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## mend formatting and what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open build/site/index.html, or: $(BIN)/python -m http.server -d build/site"

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build *.egg-info

# The stamp is written last, so that an installation that was broken off is done again.
$(STAMP): setup.py
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found; install Python 3.11, or name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@
