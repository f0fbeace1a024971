# anomalib_lite: `make help` lists the verbs.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types unit bench results data clean

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(STAMP)  ## make .venv and install the package with everything for training and development

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,openvino,dev]'
	touch $(STAMP)

demo: $(STAMP)  ## the whole job on generated parts, offline: fit, calibrate, export, verify, score, report
	$(BIN)/anomalib-lite demo --out demo-out

test: lint types unit  ## lint, type-check and run the tests

lint: $(STAMP)  ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

unit: $(STAMP)  ## the test suite, on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(STAMP)  ## measure the bars of docs/benchmarks.md on this machine
	$(BIN)/python benchmarks/bars.py

results: $(STAMP)  ## measure accuracy on the sets of ../shared/data and rewrite docs/results.md
	$(BIN)/python benchmarks/results.py

data: $(STAMP)  ## write the generated parts of data/ anew (same bytes)
	$(BIN)/python data/generate.py

clean:  ## remove what make and the demo made
	rm -rf $(VENV) demo-out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
