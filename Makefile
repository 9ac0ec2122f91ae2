# Everything runs from .venv, which make builds by itself when it is missing.
#
#   make table1 VOXCELEB2=/data/vox2 MEAD=/data/mead [METHODS="still videos:/my/results"]
#   make table2 STUDY=DIR      mean opinion scores of a user study (python -m protocols.user_study)
#   make table3        the paper's ablations as we measured them; table4 likewise
#   make table3 BASE=RUN [STEPS=20000]    the same, trained and measured on puppets here
#   make figures       the paper's Figures 4 to 6 from runs and models on disk (python -m protocols.figures)
#   make test          the tests (under ten minutes on two cores)
#   make test-all      with the slow ones, as CI runs them
#   make bench         timings: metrics beside the reference implementations (metrics/SPEED.md), and FC-TFG itself
#                      (results/benchmarks)
#   make regression    every metric on drawn clips, and the bundled model on puppets, against results/regression
#   make precision     write metrics/PRECISION.md
#   make lint          ruff

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# What running needs, and what the tests and tools need besides.
READY := $(VENV)/.installed
READY_DEV := $(VENV)/.installed-dev

VOXCELEB2 ?=
MEAD ?=
METHODS ?=
STUDY ?=
BASE ?=
STEPS ?=
ARGS ?=
JOBS ?= 2

.PHONY: help install install-dev table1 table2 table3 table4 figures test test-all bench regression precision lint format clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -13

install: $(READY)

install-dev: $(READY_DEV)

.venv: $(READY)

# The pins come from constraints.txt: torch and torchvision by exact version, so that no CUDA packages are pulled in.
$(READY): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[metrics,study]'
	touch $@

$(READY_DEV): $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[metrics,study,dev]'
	touch $@

table1: $(READY)
	@$(PY) -m protocols.table1 $(if $(VOXCELEB2),--voxceleb2 "$(VOXCELEB2)") $(if $(MEAD),--mead "$(MEAD)") \
	  $(if $(METHODS),--methods "$(METHODS)") $(ARGS)

table2: $(READY)
	@test -n "$(STUDY)" || { echo "make table2 STUDY=DIR: which study? python -m protocols.user_study --help"; exit 2; }
	@$(PY) -m protocols.user_study analyse "$(STUDY)" $(ARGS)

table3 table4: $(READY)
	@$(PY) -m protocols.ablations $@ $(if $(BASE),--base "$(BASE)") $(if $(STEPS),--steps $(STEPS)) $(ARGS)

figures: $(READY)
	@$(PY) -m protocols.figures $(if $(VOXCELEB2),--voxceleb2 "$(VOXCELEB2)") $(if $(MEAD),--mead "$(MEAD)") $(ARGS)

# Tests share the cores by file; torch keeps to one thread in each worker.
test: $(READY_DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile -m "not slow"

test-all: $(READY_DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile

bench: $(READY_DEV)
	$(PY) -m pytest tests/bench_*.py -o addopts= --benchmark-only --benchmark-columns=median,min,max,rounds -s
	$(PY) tests/speed.py --write
	$(PY) -m fctfg.bench --recipe demo --write
	$(PY) -m fctfg.bench --recipe paper256 --batch 1 --write

# Every metric on drawn clips, and the bundled model on puppets, against the numbers in results/regression; red when one
# moves. ARGS=--update records both anew.
regression: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m metrics.regression $(ARGS)
	OMP_NUM_THREADS=1 $(PY) -m protocols.regression $(filter --update,$(ARGS))

# Writes metrics/PRECISION.md: the largest difference from each reference implementation.
precision: $(READY_DEV)
	OMP_NUM_THREADS=1 $(PY) tests/precision.py --write

lint: $(READY_DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY_DEV)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) results/runs results/reports .ruff_cache build *.egg-info
