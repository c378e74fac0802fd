# Everything runs in .venv, made on first use from constraints.txt; `make` alone lists the targets.
# pip's own variables choose the index or the build of torch, and PYTHON=python3.12 another interpreter.

PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c $(CONSTRAINTS)

# Flags that accelerate would otherwise ask for or warn about. It gives a process one CPU thread unless told.
LAUNCH = $(BIN)/accelerate launch -q --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	--num_cpu_threads_per_process $$($(BIN)/python -c 'import torch; print(torch.get_num_threads())')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow test-lowest lint format types docstrings clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv and install the package with its tools

# torch goes first: what depends on it must find it there, not choose another version.
$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[dev,images,plots]'
	@touch $@

demo: $(READY)  ## train, score, sample and save a small text model (some minutes on a CPU)
	$(LAUNCH) recipes/train_ardm.py

# One thread a worker: the tests' tensors are tiny, and more threads would only wait for each other.
test: $(READY)  ## run the quick tests
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest \
		--numprocesses auto --maxprocesses 4 --dist worksteal

# Two side by side, of one thread each: half of these start two processes of their own, and more would only wait.
test-slow: $(READY)  ## run the slow tests
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m slow --timeout 900 \
		--numprocesses 2 --dist worksteal

# The same in an environment of its own, for Python 3.10: make test-lowest PYTHON=python3.10. torch's lowest version
# comes as the index has it, with 3 GB of CUDA libraries unless pip's own variables name a build for CPUs.
test-lowest:  ## run the quick tests with the lowest versions of constraints-lowest.txt
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

lint: $(READY)  ## check style and import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## check types
	$(BIN)/mypy

docstrings: $(READY)  ## check docstrings against signatures (lint checks what is raised)
	$(BIN)/pydoclint --quiet $(wildcard ardm ddpm recipes)

clean:  ## remove environments, builds and caches, never what a run wrote
	rm -rf $(VENV) .venv-lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ardm ddpm recipes tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
