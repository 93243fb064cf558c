# MateConv: `make demo` shows the whole road, `make test` checks it; `make help` lists everything.

# Any Python from 3.11; `make demo PYTHON=python3.12` chooses one. Without a choice: the first that fits.
NEWEST_FITTING := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(or $(NEWEST_FITTING),python3)
VENV ?= .venv
PY := $(VENV)/bin/python
UV ?= uv
TORCH := 2.13.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test tests lint style types format map test-slow lock install install-dev clean

help:
	@echo "make demo       raw text -> token shards -> a trained model -> samples, on text your Python already holds"
	@echo "make test       lint, types, import contracts and the test suite"
	@echo "make test-slow  the tests that take minutes (many kills, long runs)"
	@echo "make lint       make style (ruff, import contracts) and make types (mypy --strict)"
	@echo "make format     rewrite the code in the one format that make lint accepts"
	@echo "make map        config.yaml and the README's line for every file, taken from the code"
	@echo "make install    .venv with what the commands need;  make install-dev: and what the tests need"
	@echo "make lock       new requirements*.txt from pyproject.toml (needs uv)"
	@echo "make clean      remove .venv and caches; datasets and runs stay"

install: $(VENV)/.runtime
install-dev: $(VENV)/.dev

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: MateConv needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>/dev/null || echo 'not there')."; \
		echo "       Install one, or name one you have: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PY) -m pip install -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(PY) -m pip install -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime
	$(PY) -m pipeline.process --resume
	$(PY) train.py --resume
	@for prompt in "Return the" "This module provides"; do \
		echo; echo "--- inference.py --prompt \"$$prompt\""; \
		$(PY) inference.py --prompt "$$prompt" --max_new_tokens 100 --seed 1 || exit 1; \
	done
	@echo
	@echo "Done. What you have now:"
	@echo "  dataset/demo/stats.json      what the pipeline read, kept and dropped"
	@echo "  out/report.html              the run on one page: curves, samples, where the time went"
	@echo "  out/best                     the model (a directory that transformers loads, too)"
	@echo "Next:"
	@echo "  source $(VENV)/bin/activate"
	@echo "  python inference.py --interactive"
	@echo "  python -m pipeline.process --input my.jsonl --output dataset/mine      # your own text"
	@echo "  python train.py --train_data_path dataset/mine --out_dir out/mine"

lint: style types

style: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/.dev
	$(PY) -m mypy

format: $(VENV)/.dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

map: $(VENV)/.runtime
	$(PY) .ci/config_file.py
	$(PY) .ci/house_map.py

# The types are checked beside the tests, and these run in one process more than there are cores, of one thread each:
# tests wait for processes that they started, and for disks.
WORKERS = $$($(PY) -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))")
test: style
	@$(MAKE) --no-print-directory -j 2 types tests

tests: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/.dev
	$(PY) -m pytest -m slow

# Exact versions for Python 3.11 to 3.13 on every platform. torch brings the CUDA packages that fit its own
# build, so they are left out: a CPU build of torch then installs without them.
COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	--upgrade --upgrade-package torch==$(TORCH) pyproject.toml
WITHOUT_CUDA = sed -E '/^(nvidia|cuda)-|^triton==/d'
lock:
	@command -v $(UV) >/dev/null || { echo "error: make lock needs uv (pip install uv)"; exit 1; }
	mkdir -p build
	$(COMPILE) --extra dev -o build/all.txt
	$(COMPILE) --constraint build/all.txt -o build/runtime.txt
	{ echo "# Made by 'make lock': what the commands need."; $(WITHOUT_CUDA) build/runtime.txt; } > requirements.txt
	{ echo "# Made by 'make lock': what the tests need besides."; echo "-r requirements.txt"; \
		$(WITHOUT_CUDA) build/all.txt | grep -vxFf build/runtime.txt; } > requirements-dev.txt

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
