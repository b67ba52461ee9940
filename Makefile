# `make demo` runs the main job, `make test` the tests; each first sets up what it needs in .venv.
# Another interpreter: make test PYTHON=/path/to/python3.12 VENV=.venv-3.12
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SHARED_DATA := $(wildcard ../shared/data)
ifneq ($(SHARED_DATA),)
export REGISTRATIONNET_DATA ?= $(realpath $(SHARED_DATA))
endif

.PHONY: help demo test pytest test-other-pythons test-newest-slicer style lint format module-files icon figures screenshots peers setup clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

demo: setup  ## register an anatomical phantom pair and show the true error, before and after
	$(BIN)/registrationnet demo

test: style pytest test-other-pythons test-newest-slicer  ## check style, then test on each Python and Slicer runtime found

pytest: setup  ## run the tests on one Python (each worker computes on one thread)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
	$(BIN)/python -m pytest -n $(WORKERS)

test-other-pythons: setup
	@here=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in 3.11 3.12; do \
	  if [ $$version = $$here ]; then continue; fi; \
	  if python=$$(scripts/find-python $$version); then \
	    $(MAKE) --no-print-directory pytest VENV=.venv-$$version PYTHON=$$python TORCH=optional; \
	  else echo "Python $$version is not on this machine: its run is left out."; fi; \
	done

# The stable runtime of constraints.txt has run in pytest; the newest one is what Slicer's next release is made of.
test-newest-slicer: setup
	@if scripts/newest-slicer $(VENV) .venv-newest-slicer; then \
	  OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
	  .venv-newest-slicer/bin/python -m pytest -n $(WORKERS) \
	    Testing/Python/standin Testing/Python/scene Testing/Python/panel Testing/Python/geometry; \
	else echo "The newest slicer-core cannot be had here: its run is left out."; fi

style: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

lint: style  ## check style and types
	$(BIN)/mypy

format: setup  ## mend style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

module-files: setup  ## bring up to date what the module carries into Slicer: file lists and requirements
	$(BIN)/python scripts/module_files.py

icon: setup  ## draw the icon anew
	$(BIN)/python scripts/draw_icon.py

figures: setup  ## draw the figures of docs/networks anew
	$(BIN)/python -m scripts.figures

screenshots: setup  ## take the pictures of the panel and the slice views anew
	$(BIN)/python -m scripts.screenshots

peers: setup  ## install greedy, ANTs, elastix and ConvexAdam, then compare them with us (hours; PEERS=--help)
	$(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt \
	  --no-build-isolation --editable '.[peers]'
	$(BIN)/python -m benchmarks.peers $(PEERS)

setup:
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/setup $(VENV)

clean:  ## remove the environments and everything made by tools
	rm -rf .venv .venv-3.11 .venv-3.12 .venv-newest-slicer build dist .mypy_cache .ruff_cache .import_linter_cache
