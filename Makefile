# make demo       the method end to end on real images, in a few minutes
# make test       lint, types, layers, tests
# make test-all   and the slow ones: crash sweeps, a real SLURM where it is installed
# The virtual environment is made once and reused. PIP_ARGS chooses another package index,
# for example one with CPU-only builds:  make demo PIP_ARGS="--index-url URL"

PYTHON   ?= python3
VENV     ?= .venv
RUN      ?= run
PIP_ARGS ?=
BIN      := $(VENV)/bin

.PHONY: demo test test-all lint clean

demo: $(VENV)/.installed
	$(BIN)/ticket run recipes/demo.yaml --run $(RUN)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -rs

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "ticketcli needs Python 3.11 or newer; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  echo "Installing torch and its companions: 2 to 3 GB to download (6 GB on disk) where the index serves CUDA builds (Linux),"; \
	  echo "about 0.3 GB for CPU builds; see PIP_ARGS in the Makefile. Done once; $(VENV)/ is reused."; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
