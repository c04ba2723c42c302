# Everything a newcomer needs: `make demo` shows it, `make test` proves it, `make venv` sets it up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: venv demo test lint types unit clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $(STAMP)

demo: venv
	$(BIN)/shiftless demo --out demo

test: lint types unit

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

unit: venv
	$(BIN)/python -m pytest -n 2 --durations=10

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
