import os
from pathlib import Path

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import Dataset, load_datasets, load_params
from relu_pipeline.data.sources import obtain


def download(dataset: Dataset) -> None:
    mirror = os.environ.get("RELU_DATA_MIRROR")
    source = obtain(
        dataset,
        getattr(load_datasets(), dataset),
        load_params().data.source,
        Path(mirror) if mirror else None,
        artifacts.raw_dir(dataset),
    )
    print(f"{dataset} ({source.source}): {source.rows['train']:,} training and {source.rows['test']:,} test rows")


if __name__ == "__main__":
    run(download, ("cifar10", "ag_news"))
