# Everything a newcomer needs: `make demo` shows it, `make test` proves it, `make venv` sets it up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: venv demo docs browser test lint types unit clean

venv: $(STAMP)

# pip would compile the modules one after the other, which takes 80 s.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[all,dev,docs]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $(STAMP)

demo: venv
	$(BIN)/shiftless demo --out demo

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "written: site/index.html"

# The tests of `shiftless explore` drive a Chromium. As root on Debian it is installed; elsewhere those tests are skipped
# unless there is one. BROWSER=no leaves it alone.
BROWSER ?= yes
APT := apt-get -qq -o Acquire::http::Timeout=10 -o Acquire::Retries=1

browser:
	@if [ "$(BROWSER)" = yes ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null \
	  && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { timeout 60 $(APT) update; timeout 120 $(APT) install -y --no-install-recommends --download-only chromium \
	    && $(APT) install -y --no-install-recommends --no-download chromium; } >/dev/null 2>&1 \
	    || echo "no Chromium could be installed: the tests in a browser are skipped"; \
	fi

# Two things at a time: the browser is fetched beside the packages, and types are checked beside the tests.
test:
	$(MAKE) -j 2 browser venv
	$(MAKE) lint
	$(MAKE) -j 2 types unit

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

unit: venv
	$(BIN)/python -m pytest -n 2 --durations=10

clean:
	rm -rf $(VENV) demo site .pytest_cache .mypy_cache .ruff_cache
