# Everything a newcomer needs: `make demo` shows it, `make test` proves it, `make venv` sets it up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: venv demo docs test lint types unit clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]'
	touch $(STAMP)

demo: venv
	$(BIN)/shiftless demo --out demo

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "written: site/index.html"

test: lint types unit

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

unit: venv
	$(BIN)/python -m pytest -n 2 --durations=10

clean:
	rm -rf $(VENV) demo site .pytest_cache .mypy_cache .ruff_cache
