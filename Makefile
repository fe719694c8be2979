# Every target does its own set-up: a virtual environment in .venv with the versions that constraints.txt pins.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TESTS := $(BIN)/python -m pytest -q -n 2 --dist worksteal

.PHONY: help demo test test-long test-peers check fix wheel-test clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Albertine needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Next: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Albertine into $(VENV); the first time takes some minutes"
	$(PIP) install -q -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Albertine and its test tools into $(VENV); the first time takes some minutes"
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo

$(VENV)/.parity: $(VENV)/.dev
	@echo "installing the programs that results are held against into $(VENV); the first time takes some minutes"
	$(PIP) install -q -c constraints.txt -e ".[dev,parity]"
	@touch $@

demo: $(VENV)/.demo ## BERT and ALBERT side by side on real reviews, at most 6 minutes
	$(BIN)/albertine demo

test: check ## format, lint, types, tests, and one run against the built wheel
	$(TESTS) -m "not long and not peers and not wheel" tests
	$(MAKE) --no-print-directory wheel-test

test-long: $(VENV)/.dev ## the tests that are too long for make test
	$(TESTS) -m "long and not peers and not wheel" tests

test-peers: $(VENV)/.parity ## results held against TensorFlow's and sentence-transformers', which are installed for it
	$(BIN)/python -m pytest -q -m peers tests

check: $(VENV)/.dev ## format check, lint, types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

fix: $(VENV)/.dev ## format and mend what lint can mend
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

wheel-test: $(VENV)/.dev ## build the wheel, install it in a folder of its own, test it there
	rm -rf build/wheel && mkdir -p build/wheel
	$(PIP) wheel -q --no-deps --no-build-isolation -w build/wheel .
	$(PIP) install -q --no-deps --no-index --target build/wheel/site build/wheel/albertine-*.whl
	cp tests/contracts/test_wheel.py build/wheel/
	cd build/wheel && PYTHONPATH=site ALBERTINE_WHEEL=1 ../../$(BIN)/python -m pytest -q -p no:cacheprovider --rootdir=. test_wheel.py

clean: ## remove what was built, the virtual environment too
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
