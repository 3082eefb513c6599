# `make` lists the targets. Everything is installed into .venv, made from nothing; a second call installs nothing.
#   PYTHON=python3.12        another interpreter to make .venv with (3.11 or newer)
#   PIP_ARGS="..."           arguments added to every pip install
#   TORCH_ARGS="..."         arguments added to the install of torch alone, such as an index of CPU builds
#   ARGS="..."               arguments of pytest, for test and bench
PYTHON ?= python3
PIP_ARGS ?=
TORCH_ARGS ?=
ARGS ?=

VENV := .venv
FIGURES := .venv-figures
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
QUIET = --quiet --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt
PIP_INSTALL = $(BIN)/python -m pip install $(QUIET)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench figures gallery fuzz faults zoo mutate analyses clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 14

demo: $(STAMPS)/lmc ## measure a barrier between two embedded networks: a table, out/demo.nc and out/demo.png
	$(BIN)/lmc barrier data/checkpoints/mlp-1.safetensors data/checkpoints/mlp-2.safetensors \
		--data digits --align none --align weights --output out/demo.nc --figure out/demo.png

test: $(STAMPS)/group-test ## run the tests, on every core
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(STAMPS)/group-lint ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMPS)/group-test $(STAMPS)/group-bench ## time what has to be fast
	$(BIN)/python -m pytest --override-ini addopts="--strict-markers -s" tests/benchmarks $(ARGS)

figures: $(FIGURES)/stamp ## draw every figure of the gallery from data/*.nc, into figures/out; installs no torch
	PYTHONPATH=. $(FIGURES)/bin/python figures/all.py

gallery: figures ## the same, and the pictures of docs/gallery.md
	cp figures/out/*.png docs/img/gallery/

fuzz: $(STAMPS)/group-test ## alter good checkpoints at random for five minutes: loaded or refused, nothing else
	LMC_FUZZ_SECONDS=300 $(BIN)/python -m pytest tests/checkpoints/test_checkpoint_fuzz.py -s $(ARGS)

faults: $(STAMPS)/group-test ## kill sweeps at ten random moments, on a pool and on dask: nothing lost, nothing twice
	LMC_FAULT_ROUNDS=10 $(BIN)/python -m pytest tests/sweep/test_faults.py -s -k many_times $(ARGS)

zoo: $(STAMPS)/group-test ## find and verify the symmetries of every architecture of the zoo, into docs/zoo.md (half an hour)
	$(BIN)/python tests/zoo/zoo.py

mutate: $(STAMPS)/group-test ## take every symmetry rule away in turn: is it missed by a test?
	cd tests && ../$(BIN)/python -m symmetry.mutate

STUDIES := $(patsubst analyses/%.py,study-%,$(sort $(wildcard analyses/1[1-4]_*.py analyses/2[0-9]_*.py)))

analyses: $(STUDIES) ## run the studies, into data/ (an hour; -j2 runs two at a time); what was interrupted goes on
	$(BIN)/python analyses/40_findings.py

study-%: $(STAMPS)/lmc # one study: make study-21_training_time
	@begin=$$(date +%s); $(BIN)/python analyses/$*.py && echo "$*: $$(($$(date +%s) - begin)) s"

clean: ## remove what the other targets made
	rm -rf $(VENV) $(FIGURES) out figures/out build dist .pytest_cache .ruff_cache .hypothesis .benchmarks
	find lmc tests -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/pip: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lmc needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade pip
	@mkdir -p $(STAMPS) && touch $@

# torch first and by itself, so that TORCH_ARGS names the build; the rest then finds it there.
$(STAMPS)/lmc: $(STAMPS)/pip pyproject.toml
	$(PIP_INSTALL) $(TORCH_ARGS) torch
	$(PIP_INSTALL) --editable .
	@touch $@

# Figures are drawn from results alone: what they need, and nothing of what computes.
$(FIGURES)/stamp: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(FIGURES)
	$(FIGURES)/bin/python -m pip install $(QUIET) --upgrade pip
	$(FIGURES)/bin/python -m pip install $(QUIET) --group figures
	@touch $@

$(STAMPS)/group-%: $(STAMPS)/lmc
	$(PIP_INSTALL) --group $*
	@touch $@
