from pathlib import Path

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.packaging import build_bento


def package() -> None:
    tag = build_bento(Path(), list(load_params().tasks), artifacts.BENTO)
    size_mb = artifacts.BENTO.stat().st_size / 1e6
    print(f'{artifacts.BENTO}: {tag}, {size_mb:.1f} MB; next: bentoml import "$PWD/{artifacts.BENTO}"')


if __name__ == "__main__":
    run(package)
