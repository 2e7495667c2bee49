# `make` lists what can be made.  Everything lives in .venv; `make clean` takes it away again.
#   make lab LAB_ARGS=--no-browser      arguments for `efimm lab`
#   make test PYTEST_ARGS="-k walk"     arguments for pytest
#   make bench BENCH_ARGS=--quick       arguments for the benchmarks
#   make lab PYTHON=python3.13          the Python to build .venv with
#   make test LOCKED=1                  the versions of requirements/, by their hashes, and no others
# With uv on the PATH uv installs, otherwise pip does.

PYTHON ?=
LOCKED ?=
LAB_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
UV := $(shell uv --version 2>/dev/null)
INSTALL := $(if $(UV),uv pip install --quiet --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade --quiet --custom-compile-command 'make lock'
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
IS_311 := import sys, venv; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab test site lite slides handout picture offline-kit bench bench-views fuzz nightly lint format lock clean

help:  ## this list
	@awk -F ':.*## +' '/^[a-z-]+:.*##/ { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

lab: .venv/.installed  ## open the notebooks in JupyterLab
	$(BIN)/efimm lab $(LAB_ARGS)

test: .venv/.installed-dev  ## run every test and every notebook, on up to four processors
	$(BIN)/python -m pytest --nbmake -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

site: .venv/.installed-site  ## the series as web pages that need no Python and no network, in site/ (2 minutes)
	$(BIN)/efimm site --output site

lite: .venv/.installed-site  ## the notebooks for any browser, with nothing installed, in site/lite/ (half a minute)
	$(BIN)/efimm lite --output site/lite

slides: .venv/.installed  ## the slides of the workshop as one page, site/slides.html
	$(BIN)/python workshop/slides.py

handout: .venv/.installed  ## the handout of the workshop, two pages, site/handout.pdf (needs Chromium or Chrome)
	$(BIN)/python workshop/handout.py

picture: .venv/.installed-dev  ## the screenshot at the top of the README, docs/slider.png (needs Chromium or Chrome)
	$(BIN)/python workshop/screenshot.py

offline-kit: .venv/.installed-kit site  ## everything on a stick, for a room without the network, in dist/ (3 minutes)
	$(BIN)/python workshop/kit.py

bench: .venv/.installed-bench  ## measure speed beside other walkers (5 minutes)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-views: .venv/.installed-dev  ## measure how soon the pictures follow the mouse, in JupyterLab (1 minute)
	$(BIN)/python -m benchmarks.views

fuzz: .venv/.installed-dev  ## send a minute of damaged bytes to every reader of text (7 minutes)
	EFIMM_NIGHTLY=1 EFIMM_FUZZ_SECONDS=60 $(BIN)/python -m pytest tests/test_fuzz.py

nightly: .venv/.installed-dev  ## every notebook in a browser, every case to real firmware, more questions to a real kernel (an hour)
	export EFIMM_NIGHTLY=1 EFIMM_VMLINUZ=$${EFIMM_VMLINUZ:-$$(tests/fetch-kernel linux-image-amd64)}; \
	$(BIN)/python -m pytest -m nightly $(PYTEST_ARGS)

lint: .venv/.installed-dev  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/.installed-dev  ## let ruff tidy the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock:  ## write the versions and hashes of requirements/ anew (needs uv and the network)
	$(LOCK) --extra dev --extra kit -o requirements/dev.txt
	$(LOCK) --extra dashboard -o requirements/kit.txt

clean:  ## remove .venv and everything built
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched when its step is complete: an interrupted step is done again, a complete one is not.
.venv/.made:
	@found=; for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	    "$$python" -c '$(IS_311)' 2>/dev/null && found=$$python && break; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "efimm needs Python 3.11 or newer; $(if $(PYTHON),$(PYTHON) is not,none was found). Try: make $(or $(MAKECMDGOALS),lab) PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	echo "Setting up .venv with $$found and $(if $(UV),uv (some ten seconds),pip (about a minute))"; \
	"$$found" -m venv --clear $(if $(UV),--without-pip) .venv
	@touch $@

.venv/.installed .venv/.installed-dev .venv/.installed-bench .venv/.installed-site .venv/.installed-kit: .venv/.made pyproject.toml
	$(if $(LOCKED),$(INSTALL) --require-hashes -r requirements/dev.txt)
	$(INSTALL) $(if $(LOCKED),--no-deps) -e '.$(if $(findstring -,$(@F)),[$(lastword $(subst -, ,$(@F)))])'
	@touch .venv/.installed $@
