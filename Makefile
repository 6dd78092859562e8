# Every target below sets itself up: Python >= 3.11 and a network are all it takes.
#   make quickstart   train, measure and draw on the embedded data set (2 CPU cores, minutes)
#   make test         the project's own tests            make test-slow   those marked slow
#   make test-lowest  the tests with the lowest version of every package that setup.cfg allows
#   make test-hf      Hugging Face's own suites on our classes
#   make test-web     the demo, the browser page and the JavaScript client (Node >= 18 and Chromium)
#   make build        wheel and sources in dist/, with the wheel tried as it is installed
#   make quality      check style                        make style       repair it
#   make bench        measure the figures that benchmarks/results lacks
# `make PYTHON=python3.12 ...` picks another interpreter, `make VENV=... ...` another environment folder.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-for-development
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed-for-development

# One thread a worker: the workers share the cores, and small tensors gain nothing from a thread pool.
PYTEST_IN = OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(1)/bin/python -m pytest -n $(WORKERS)
PYTEST := $(call PYTEST_IN,$(VENV))

.PHONY: quickstart test test-slow test-lowest test-hf test-web style quality build bench clean

quickstart: $(STAMP)
	$(BIN)/python examples/run_wsol.py examples/recipes/emblems.yaml --overwrite_output_dir

test: $(STAMP)
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)
	$(PYTEST) -m slow

test-lowest: $(LOWEST_STAMP)
	$(call PYTEST_IN,$(LOWEST)) -m "not slow"

test-hf: $(STAMP)
	$(BIN)/python tests/hf_common/fetch_suite.py
	$(PYTEST) tests/hf_common --junitxml=.cache/hf_suite/report.xml

test-web: $(STAMP)
	@command -v chromium >/dev/null && command -v npm >/dev/null || { \
		echo "make test-web needs Node with npm, and Chromium: on Debian, 'apt-get install nodejs npm chromium'." >&2; exit 1; }
	$(BIN)/python -m pip install --progress-bar off --quiet --editable '.[web]'
	cd tests/web && npm ci --no-audit --no-fund
	$(PYTEST) tests/web

style: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quality: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

build: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build
	tests/check_distributions.sh $(BIN)/python dist

bench: $(STAMP)
	@set -e; for script in $(sort $(filter-out benchmarks/records.py,$(wildcard benchmarks/*.py))); do echo "== $$script"; $(BIN)/python $$script; done

$(LOWEST)/lowest.txt: setup.cfg tests/lowest_versions.py
	mkdir -p $(LOWEST)
	$(PYTHON) tests/lowest_versions.py > $@

$(LOWEST_STAMP): $(LOWEST)/lowest.txt
$(LOWEST_STAMP): CONSTRAINTS = --constraint $(LOWEST)/lowest.txt

$(STAMP) $(LOWEST_STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "transformers-sat needs Python 3.11 or newer, and '$(PYTHON)' is not: run 'make PYTHON=/path/to/python3.11 ...'." >&2; \
		exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --progress-bar off --upgrade pip
	$(@D)/bin/python -m pip install --progress-bar off $(CONSTRAINTS) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) .cache .pytest_cache .ruff_cache build dist src/*.egg-info
