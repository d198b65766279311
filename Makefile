# Two commands on a fresh machine: `make quickstart` (the main job on embedded data) and `make test`.
# On Linux without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu avoids several GB of CUDA.

PYTHON ?= python3
BIN := .venv/bin
# The pins are for Python 3.11 and later; 3.10 takes what pip resolves.
PINS := $(shell $(PYTHON) -c "import sys; print('-c constraints.txt' if sys.version_info >= (3, 11) else '')")

.PHONY: quickstart test lint slow clean

quickstart: .venv/.installed
	$(BIN)/cmrsynth quickstart

test: .venv/.installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

slow: .venv/.installed
	$(BIN)/python -m pytest -q -m slow --timeout 3600

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv runs
