.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all coverage lint audit mutants docs pictures repro study ui serve bench lock

PYTHON ?= python3
VENV := .venv
SOAK_SECONDS ?= 600
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export BENTOML_DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
# MLflow's job execution starts seven processes of 240 MB each, which only GenAI applications use.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## install the locked dependencies into .venv

# Byte-compile once here: if Python cannot write to .venv, every stage would compile torch and Lightning again.
$(READY): requirements/full.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv
	uv pip install --quiet --compile-bytecode --python $(VENV) --require-hashes --requirement requirements/full.txt
	uv pip install --quiet --python $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## run the pipeline on small built-in data, and classify an image and a text
	python -m relu_pipeline.demo

# One thread for each test process. With more threads than cores, PyTorch's threads wait for each other, and a training
# of one second takes a minute.
PYTEST_SHARED := OMP_NUM_THREADS=1 pytest --dist loadfile --no-loadscope-reorder

test: $(READY)  ## run the fast tests, two at a time
	$(PYTEST_SHARED) --numprocesses 2 -m "not slow"

# Three at a time: the slow ones spend a third of their time waiting for servers and other processes.
test-all: $(READY)  ## run all tests, with servers, browsers and trainings; on real data if RELU_DATA_MIRROR is set
	$(PYTEST_SHARED) --numprocesses 3 -m "not alone"
	pytest -m alone

coverage: $(READY)  ## list the lines that the fast tests do not execute; those run in other processes do not count
	$(PYTEST_SHARED) --numprocesses 2 -m "not slow" \
		--cov=relu_pipeline --cov=relu_inputs --cov=serving --cov-report=term-missing:skip-covered

lint: $(READY)  ## check style, types and import rules
	ruff check .
	ruff format --check .
	mypy
	lint-imports

audit: $(READY)  ## check the locked dependencies for known vulnerabilities
	python .ci/audit.py

mutants: $(READY)  ## count how many of 200 random changes of the code the fast tests detect; takes hours
	python .ci/mutants.py --count 200

docs: $(READY)  ## generate the reference pages, and build docs/ as a web site in site/
	python docs/reference/generate.py
	zensical build --strict

repro: $(READY)  ## rebuild what changed: data, models, reports, Bento
	dvc repro

study: $(READY)  ## test textbook claims about ReLU on the images, four minutes; after `dvc repro`
	dvc repro study/dvc.yaml

ui: $(READY)  ## compare the runs in the MLflow UI on http://127.0.0.1:5000
	MLFLOW_BACKEND_STORE_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" mlflow ui

serve: $(READY)  ## serve the models of `dvc repro` on http://127.0.0.1:3000
	bentoml serve --host 127.0.0.1

bench: $(READY)  ## run the benchmarks against alternatives, about an hour; after `dvc repro`, needs wrk
	python -m benchmarks.text
	python -m benchmarks.image
	python -m benchmarks.loop
	python -m benchmarks.zero_shares
	python -m benchmarks.resume
	RELU_FUZZ_CASES=5000 pytest tests/serving/safety/test_fuzz.py
	python -m benchmarks.serve
	python -m benchmarks.reliability --soak-seconds $(SOAK_SECONDS)

pictures: $(READY)  ## regenerate the images of docs/, four minutes; after a few `dvc exp run`, needs chromium and prometheus
	python -m docs.pictures.terminal .
	python -m docs.pictures.web_page .
	python -m docs.pictures.model_card .
	python -m docs.pictures.dashboard .
	python -m docs.pictures.mlflow_ui .
	cp reports/image/relu_health.png docs/

UV_LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--python-version 3.11 pyproject.toml --extra serve

lock: $(READY)  ## update the locked dependencies
	$(UV_LOCK) --extra train --extra dev --output-file requirements/full.txt
	$(UV_LOCK) --constraint requirements/full.txt --output-file requirements/serve.txt
	echo 'onnxruntime-gpu[cuda,cudnn]' | uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --constraint requirements/full.txt --output-file deploy/cuda.txt -
