# Every target sets itself up: it needs python3, make and a Python package index.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export WAE_JAX_CACHE ?= $(CURDIR)/.cache/wae_jax

.PHONY: quickstart test test-slow lint clean

# Trains full resolution, low resolution and WAE on CIFAR-10 and sets them side by side.
quickstart: $(VENV)/ready
	$(RUN) -m wae_jax study --config=configs/quickstart.py --variants=full,lowres,wae \
	  --workdir=runs/quickstart --picture_of=wae

test: $(VENV)/ready-dev
	$(RUN) -m pytest

test-slow: $(VENV)/ready-dev
	$(RUN) -m pytest -m slow

lint: $(VENV)/ready-dev
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) .cache runs build *.egg-info

$(VENV)/ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
