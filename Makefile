# Everything a fresh clone needs: Python 3.11 or 3.12 and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST_VENV ?= .venv-lowest

export HF_HUB_OFFLINE ?= 1

.PHONY: install quickstart test test-other-processor test-slow test-lowest constraints lint format hooks pages bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

# MEM on digits-LT: masked autoencoding, fine-tuning, modulator; prints the table, writes outputs/mem_vit.
quickstart: $(STAMP)
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no recipes/mem_vit.py

test: lint
	$(BIN)/python -m pytest -q -n 2

# The contracts as an older processor computes them (kernels of torch and oneDNN): none may depend on the machine.
# `make test-other-processor CAPABILITY=avx2` takes the kernels of processors without AVX-512.
CAPABILITY ?= default
test-other-processor: $(STAMP)
	ATEN_CPU_CAPABILITY=$(CAPABILITY) ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -q -n 2 tests/contracts

# The tests that are too slow for every change: launchers, kills, big evaluations.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

# The lower bounds of pyproject.toml, installed exactly, with the default suite.
test-lowest:
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST_VENV)/bin/python -m pip install --quiet $$($(PYTHON) .ci/lowest.py) --editable ".[dev]"
	$(LOWEST_VENV)/bin/python -m pytest -q -n 2

# Refresh the tested versions: the newest set the bounds allow, then the tests, then the list.
constraints:
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --editable ".[dev]"
	.venv-newest/bin/python -m pytest -q -n 2
	.venv-newest/bin/python -m pip freeze --exclude-editable | grep -viE '^(-e|hf_ltr|pip|setuptools)' > constraints.txt
	rm -rf .venv-newest

# Style, the rooms' one-way imports, types.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Git runs what `make lint` runs before every commit.
hooks: $(STAMP)
	$(BIN)/pre-commit install

# recipes/<method>.md and the table of methods in README.md, from the methods, their configs and the measured runs.
pages: $(STAMP)
	$(BIN)/python -m docs.method_pages

bench: $(STAMP)
	$(BIN)/python benchmarks/batch_loading.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/large_datasets.py

clean:
	rm -rf outputs runs .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
