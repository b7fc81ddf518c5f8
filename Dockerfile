# The service as an image: one replica, of one worker. In the repository, after `dvc repro`:
#
#   docker build -t relu-pipeline .
#   docker build -t relu-pipeline:cuda --build-arg VARIANT=cuda .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:3000:3000 relu-pipeline
#
# Base images are pinned by version tag, which their publishers rebuild for security fixes; to get the same bytes each
# time, append the `@sha256:...` that `docker pull` prints. .dockerignore lists everything that a build can see.

FROM python:3.11-slim-bookworm AS venv
ARG VARIANT=cpu
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
COPY requirements/serve.txt /tmp/serve.txt
COPY deploy/cuda.txt /tmp/cuda.txt
RUN uv venv --no-python-downloads --python 3.11 /venv \
 && uv pip install --quiet --python /venv --require-hashes --compile-bytecode -r /tmp/serve.txt
# On x86_64 the lock brings ONNX Runtime's CUDA build: a CPU needs all but these 270 MB of it, a GPU CUDA and cuDNN as
# well, which come from PyPI, locked with hashes too; the host has the driver.
RUN case "$VARIANT" in \
      cpu) find /venv -name libonnxruntime_providers_cuda.so -delete ;; \
      cuda) uv pip install --quiet --python /venv --require-hashes -r /tmp/cuda.txt ;; \
      *) echo "error: VARIANT is $VARIANT; it must be cpu or cuda" >&2; exit 1 ;; \
    esac

FROM python:3.11-slim-bookworm
COPY --from=venv /venv /venv
WORKDIR /app
COPY relu_inputs relu_inputs
COPY serving serving
COPY configs/serving.yaml configs/serving.yaml
COPY models models
# Everything the service writes is below /tmp: BentoML's home with the metrics, its sockets, large uploads.
# BENTOML_CONTAINERIZED stays unset: with it, BentoML does not start a killed worker again.
# One worker: a proxy spreads the load over replicas, and then knows how busy each worker is.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_CONFIG_OPTIONS=services.relu_pipeline.workers=1 \
    BENTOML_DO_NOT_TRACK=true
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
CMD ["bentoml", "serve", "serving.service:ReluPipeline", "--host", "0.0.0.0", "--port", "3000"]
