"""The study: train all cells, and write tables, figures and the report."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from tqdm import tqdm

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Pruning, Split
from relu_pipeline.config import StudyConfig
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.export.graph import export_graph
from relu_pipeline.health.record import Row
from relu_pipeline.pruning.prune import prune
from relu_pipeline.study import pictures
from relu_pipeline.study.cells import Cell, grid
from relu_pipeline.study.claims import Claim, judge
from relu_pipeline.study.cost import measure_cost
from relu_pipeline.study.report import write_page
from relu_pipeline.study.results import Results
from relu_pipeline.study.synthetic import analyse
from relu_pipeline.study.train import CellResult, train_cell
from relu_pipeline.tasks.image import ImageTask
from relu_pipeline.tracking.run import Run

PAGE = "study.md"
OPSET = 20
SEED = 0  # of the synthetic data and its network; cells have their own seeds

Splits = dict[Split, ImageSplit]


def study(prepared: Path, config: StudyConfig, run: Run, out: Path) -> list[Claim]:
    """Run the study, write the folder `out` atomically, and log it; each cell is logged as a child of `run`.

    The test split is not read. Raises TrainingError if a loss is not finite.
    """
    # With one thread per process the results do not depend on the number of cores.
    torch.set_num_threads(1)
    splits = load_splits(prepared, config)
    cost, synthetic = measure_cost(), analyse(SEED)
    networks = grid(config)
    trained = train_cells(networks, config, splits)
    cells = list(tqdm(trained, "networks", len(networks), unit="", disable=None))
    results = Results(cells, config, cost)
    claims = judge(results)
    with artifacts.atomic_dir(out) as partial:
        write_tables(cells, cost, synthetic, partial)
        draw(results, synthetic, partial)
        accuracy, pruning = prune_wide(config, splits)
        artifacts.write(partial / artifacts.PRUNING, pruning)
        (partial / PAGE).write_text(write_page(results, claims, pruning, accuracy, synthetic, config))
    run.log_metrics({"claims": len(claims), "claims_confirmed": sum(claim.confirmed for claim in claims)})
    run.log_files(sorted(out.iterdir()), "study")
    for result in cells:
        log_cell(result, run)
    return claims


def load_splits(prepared: Path, config: StudyConfig) -> Splits:
    """Return the training and validation examples; "test" is the rest of the validation split, not the test split."""
    train, val = (ImageSplit.load(prepared, split) for split in ("train", "val"))
    val_rows = min(config.val_rows, len(val) // 2)
    return {
        "train": halved(train, 0, config.rows),
        "val": halved(val, 0, val_rows),
        "test": halved(val, val_rows, len(val)),
    }


def halved(split: ImageSplit, first: int, last: int) -> ImageSplit:
    """Return the examples from `first` to before `last`, at half their resolution."""
    x_BCHW = split.images_BHWC[first:last].permute(0, 3, 1, 2).float()
    small_BHWC = F.avg_pool2d(x_BCHW, 2).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return ImageSplit(small_BHWC, split.labels[first:last])


def train_cells(cells: Sequence[Cell], config: StudyConfig, splits: Splits) -> Iterator[CellResult]:
    """Yield the results in the order of `cells`, trained by one process per core."""
    workers = ProcessPoolExecutor(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        # Forked processes could deadlock on locks of torch.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(config, splits["train"], splits["val"]),
    )
    with workers:
        yield from workers.map(_train, cells)


_worker: dict[str, tuple[StudyConfig, ImageSplit, ImageSplit]] = {}


def _begin(config: StudyConfig, train: ImageSplit, val: ImageSplit) -> None:
    torch.set_num_threads(1)
    _worker["data"] = (config, train, val)


def _train(cell: Cell) -> CellResult:
    return train_cell(cell, *_worker["data"])[1]


def log_cell(result: CellResult, run: Run) -> None:
    with run.child(result.cell.name) as child:
        child.log_params(result.cell.settings)
        for row in result.epochs:
            values = {"train/loss": row["train_loss"], "val/accuracy": row["val_accuracy"]}
            child.log_metrics(values, step=row["epoch"])
        child.log_metrics({"dead_share": result.dead_share})


def write_tables(cells: Sequence[CellResult], cost: Sequence[Row], synthetic: Sequence[Row], out: Path) -> None:
    epochs = [result.cell.settings | row for result in cells for row in result.epochs]
    layers = [result.cell.settings | row for result in cells for row in result.layers]
    for name, rows in (("cells", epochs), ("layers", layers), ("cost", cost), ("synthetic", synthetic)):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        artifacts.write_table(out / f"{name}.csv", columns, rows)


def draw(results: Results, synthetic: Sequence[Row], out: Path) -> None:
    pictures.draw_activations(out / "activations.png")
    pictures.draw_overview(results, out / "overview.png")
    pictures.draw_accuracy(results, out / "accuracy.png")
    pictures.draw_gradients(results, out / "gradients.png")
    pictures.draw_dead_units(results, out / "dead_units.png")
    pictures.draw_synthetic(synthetic, out / "synthetic.png")


def prune_wide(config: StudyConfig, splits: Splits) -> tuple[float, Pruning]:
    """Train a network with many dead units and prune it; return its validation accuracy and the report."""
    cell = Cell("relu", "he", config.depths[0], config.pruned_width, config.pruned_learning_rate, seed=0)
    network, result = train_cell(cell, config, splits["train"], splits["val"])
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / artifacts.ONNX_MODEL
        export_graph(ImageTask(), network.eval(), splits["val"].images_BHWC[:2], OPSET, graph)
        model = onnx.load(graph)
    return result.accuracy, prune(model, splits.__getitem__)[1]
