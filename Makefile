.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint audit docs pictures repro study ui serve bench lock

PYTHON ?= python3
VENV := .venv
SOAK_SECONDS ?= 600
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export BENTOML_DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
# Of MLflow's page: seven processes of 240 MB each, which serve GenAI applications alone.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

help:  ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## build .venv from the hash lock

# Compiled once here, or every stage would compile torch and Lightning anew where Python may not write.
$(READY): requirements/full.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv
	uv pip install --quiet --compile-bytecode --python $(VENV) --require-hashes --requirement requirements/full.txt
	uv pip install --quiet --python $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## the whole pipeline, small and offline, to an answered image and text
	python -m relu_pipeline.demo

test: $(READY)  ## the fast tests, two at a time
	pytest --numprocesses 2 --dist loadfile -m "not slow"

test-all: $(READY)  ## every test, with servers, browsers and trainings; on real data where RELU_DATA_MIRROR is set
	pytest --numprocesses 2 --dist loadfile -m "not alone"
	pytest -m alone

lint: $(READY)  ## style, types and import rules
	ruff check .
	ruff format --check .
	mypy
	lint-imports

audit: $(READY)  ## look for known vulnerabilities in the locks
	python .ci/audit.py

docs: $(READY)  ## build docs/ as a web site in site/, with the reference pages anew
	python docs/reference/generate.py
	zensical build --strict

repro: $(READY)  ## rebuild what changed: data, models, reports, the packed service
	dvc repro

study: $(READY)  ## measure what is said about ReLU on the images, four minutes; after `dvc repro`
	dvc repro study/dvc.yaml

ui: $(READY)  ## compare the runs in the MLflow UI on http://127.0.0.1:5000
	MLFLOW_BACKEND_STORE_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" mlflow ui

serve: $(READY)  ## serve what `dvc repro` made on http://127.0.0.1:3000
	bentoml serve --host 127.0.0.1

bench: $(READY)  ## measure against what people use instead, about an hour; after `dvc repro`, with wrk
	python -m benchmarks.text
	python -m benchmarks.image
	python -m benchmarks.loop
	python -m benchmarks.zero_shares
	python -m benchmarks.resume
	RELU_FUZZ_CASES=5000 pytest tests/serving/safety/test_fuzz.py
	python -m benchmarks.serve
	python -m benchmarks.reliability --soak-seconds $(SOAK_SECONDS)

pictures: $(READY)  ## make the figures of docs/ anew, four minutes; after a few `dvc exp run`, with chromium and prometheus
	python -m docs.pictures.terminal .
	python -m docs.pictures.web_page .
	python -m docs.pictures.model_card .
	python -m docs.pictures.dashboard .
	python docs/pictures/mlflow_ui.py .
	cp reports/image/relu_health.png docs/

UV_LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--python-version 3.11 pyproject.toml --extra serve

lock: $(READY)  ## resolve the requirements anew
	$(UV_LOCK) --extra train --extra dev --output-file requirements/full.txt
	$(UV_LOCK) --constraint requirements/full.txt --output-file requirements/serve.txt
	echo 'onnxruntime-gpu[cuda,cudnn]' | uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --constraint requirements/full.txt --output-file deploy/cuda.txt -
