# make demo       the method end to end on real images, in a few minutes
# make test       lint, types, layers, tests (WORKERS=2 processes of one thread)
# make test-all   and the slow ones: crash sweeps, a real SLURM where it is installed
# make reproduce-small   the study of recipes/study.yaml: its estimate, then its runs (hours; continues when run again),
#                 then its page; SCALE=smoke in minutes, on images that come along; DATA is where the image sets lie
# The virtual environment is made once and reused. PIP_ARGS chooses another package index,
# for example one with CPU-only builds:  make demo PIP_ARGS="--index-url URL"

PYTHON   ?= python3
VENV     ?= .venv
RUN      ?= run
PIP_ARGS ?=
BIN      := $(VENV)/bin
DATA     ?= data
WORKERS  ?= 2
SCALE    ?= full
STUDY    ?= $(RUN)-study-$(SCALE)

# The study, cut to two seeds, few steps and images that come along: all arms, rounds, targets and questions of it.
HALVES_full  := 'for_each.seed=[2, 3, 4, 5]' 'for_each.seed=[6, 7, 8, 9]'
HALVES_smoke := 'for_each.seed=[0]' 'for_each.seed=[1]'
WHOLE_full   :=
WHOLE_smoke  := 'for_each.seed=[0, 1]'
CUT_full     :=
CUT_smoke    := 'dense.data={name: digits, classes: 0-4}' 'pixels.data={name: scenes, classes: 5-9, images: 16}' \
                'nuclei.data={name: scenes, classes: 5-9, images: 16}' nuclei.epochs=4it 'nuclei.short_sides=[64]' \
                'objects.data={name: scenes, classes: 5-9, images: 16}' objects.epochs=2it 'objects.short_sides=[64]' \
                'images.data={name: digits, classes: 5-9, per_class: 20}' \
                defaults.pretrain.epochs=60it 'defaults.pretrain.milestones=[40it]' \
                defaults.train-decoder.epochs=40it 'defaults.train-decoder.milestones=[]' \
                report.replicates=2 defaults.prune.finetune=2it defaults.prune.recalibrate_bn=64 defaults.transfer.recalibrate_bn=64 \
                pixels.epochs=4it images.epochs=4it 'images.milestones=[]'
RUN_STUDY     = $(BIN)/ticket run recipes/study.yaml $(CUT_$(SCALE)) --run $(STUDY) --data-dir $(DATA)

.PHONY: demo reproduce-small test test-all lint clean

demo: $(VENV)/.installed
	$(BIN)/ticket run recipes/demo.yaml --run $(RUN)

# Two processes of one thread are faster on two cores than one of two threads, and no slower beside other work.
reproduce-small: $(VENV)/.installed-study
	OMP_NUM_THREADS=1 $(RUN_STUDY) $(WHOLE_$(SCALE)) --estimate
	@set -- $(HALVES_$(SCALE)); \
	OMP_NUM_THREADS=1 $(RUN_STUDY) "$$1" >/dev/null & first=$$!; \
	OMP_NUM_THREADS=1 $(RUN_STUDY) "$$2" >/dev/null; second=$$?; \
	wait $$first || exit $$?; exit $$second
	$(RUN_STUDY) $(WHOLE_$(SCALE))
	$(BIN)/ticket report --run $(STUDY) --format markdown > $(STUDY)/study.md
	$(BIN)/ticket report --run $(STUDY) --page $(STUDY)/page
	@echo "Results: $(STUDY)/study.md"

test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

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

$(VENV)/.installed-study: $(VENV)/.installed pyproject.toml
	@$(BIN)/python -c 'import hotcoco, jinja2' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[coco,report]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
