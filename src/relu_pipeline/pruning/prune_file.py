"""The command `relu-pipeline prune`: remove the dead units of an ONNX file."""

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.errors import ArtifactError, PruningError
from relu_pipeline.evaluation.predict import OUTPUT_NAME
from relu_pipeline.pruning.cost import serialised
from relu_pipeline.pruning.prune import prune
from relu_pipeline.pruning.table import as_table, why_whole
from relu_pipeline.task import Task


def prune_file(path: Path, tasks: dict[str, Task[Any]], prepared: Path | None, output: Path | None) -> str:
    """Prune a graph file and return the report as text; `tasks` is keyed by the name of the graph's input.

    Raises ArtifactError for a file that is missing, not valid ONNX, quantised or of another task, and PruningError if
    a prediction would change.
    """
    model = _read(path)
    task = _task(path, model, tasks)
    folder = prepared or artifacts.prepared_dir(task.name)
    if (found := artifacts.read(folder / artifacts.META, PreparedMeta).task) != task.name:
        raise ArtifactError(
            f"{folder} has data of the task {found}, but {path} is of the task {task.name}; use --prepared"
        )
    pruned, report = prune(model, lambda split: task.load(folder, split))
    if report.refused:
        raise PruningError(f"{path} was not pruned: {report.refused}")
    if not report.removed:
        return f"{path}: {why_whole(report)}"
    target = output or path.with_suffix(".pruned.onnx")
    with artifacts.atomic_file(target) as partial:
        partial.write_bytes(serialised(pruned))
    return f"{as_table(report)}\n{target} written"


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; `dvc repro export` makes models/<task>/model.onnx") from error
    except (OSError, DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(f"{path}: not a valid ONNX model; remake it with `dvc repro --force export`") from error
    return model


def _task(path: Path, model: onnx.ModelProto, tasks: dict[str, Task[Any]]) -> Task[Any]:
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    if len(inputs) != 1 or inputs[0] not in tasks or OUTPUT_NAME not in outputs:
        raise ArtifactError(
            f"{path} has inputs {', '.join(inputs)} and outputs {', '.join(outputs)}; a graph of this project has one "
            f"input of {', '.join(tasks)} and the output {OUTPUT_NAME}: `dvc repro export` makes one"
        )
    if any("Quantize" in node.op_type for node in model.graph.node):
        raise ArtifactError(f"{path} is quantised; prune the float32 graph, which `export` calls model.onnx")
    return tasks[inputs[0]]
