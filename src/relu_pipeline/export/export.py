"""The export of one checkpoint: the files that the service loads, `pruning.json` and `parity.json`."""

import sys
from collections.abc import Callable
from functools import partial as bind
from pathlib import Path
from typing import Any

import onnx
import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import (
    Int8,
    Manifest,
    Metrics,
    Parity,
    PreparedMeta,
    Pruning,
    TensorInfo,
)
from relu_pipeline.card.facts import collect
from relu_pipeline.card.write import write_card
from relu_pipeline.config import Params
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.evaluation.predict import predict, predict_onnx
from relu_pipeline.export.graph import ZERO_SHARES, export_graph
from relu_pipeline.export.parity import compare, problem, require
from relu_pipeline.export.quantise import Compared, judge, quantise
from relu_pipeline.export.samples import pick_samples
from relu_pipeline.health.zero_shares import baseline, confidence_baseline, with_zero_shares
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.pruning.cost import serialised
from relu_pipeline.pruning.prune import Splits, prune, unpruned
from relu_pipeline.task import Task
from relu_pipeline.tracking.run import Run

EXAMPLE_ROWS = 2
VERSION_CHARS = 12


def export(
    task: Task[Any], checkpoint: Path, reports: Path, prepared: Path, params: Params, run: Run, out: Path
) -> Manifest:
    """Write the served files to `out`, register them, and return their manifest.

    `out` does not change if an error is raised. Raises ExportError, ParityError, ArtifactError.
    """
    config = params.export
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    metrics = artifacts.read(reports / artifacts.METRICS, Metrics)
    network = load_network(checkpoint)
    splits = bind(task.load, prepared)
    test, val = splits("test"), splits("val")
    example = val.gather(torch.arange(EXAMPLE_ROWS))
    pick = bind(pick_samples, meta.source.labels, task.to_sample(prepared), val)
    of_network, labels, tolerance = predict(network, test), test.labels.numpy(), config.max_probability_difference

    def refused(model: Path | bytes) -> str | None:
        """Return why the graph cannot replace the network, or None if it can."""
        return problem(compare(of_network, predict_onnx(model, test), labels, tolerance), metrics.accuracy, tolerance)

    with artifacts.atomic_dir(out) as models:
        graph, int8_graph = models / artifacts.ONNX_MODEL, models / artifacts.INT8_MODEL
        export_graph(task, network, example, config.opset, graph)
        pruning = _prune(graph, splits, refused) if config.prune else unpruned(onnx.load(graph), val)
        artifacts.write(reports / artifacts.PRUNING, pruning)
        answers = predict_onnx(graph, test)
        parity = compare(of_network, answers, labels, tolerance)
        artifacts.write(reports / artifacts.PARITY, parity)
        require(parity, metrics.accuracy, tolerance)
        artifacts.write(models / artifacts.SAMPLES, pick(graph))
        _, relu_layers, _ = with_zero_shares(network, example)
        if not relu_layers:
            print("warning: the network has no ReLU layer; drift detection uses its confidence only", file=sys.stderr)
        baselines = _baselines(graph, relu_layers, val)
        quantise(onnx.load(graph), splits("train"), int8_graph)
        int8 = judge(
            Compared(answers, predict_onnx(int8_graph, test), labels),
            Compared(predict_onnx(graph, val), predict_onnx(int8_graph, val), val.labels.numpy()),
            config,
            sample_probabilities=[item.probabilities for item in pick(int8_graph).samples],
            **_baselines(int8_graph, relu_layers, val),
        )
        facts = collect(task, params, prepared, reports, models, int8, baselines["relu_baseline"])
        write_card(facts, reports, models)
        artifacts.copy(reports / artifacts.HEALTH_MAP, models / artifacts.HEALTH_MAP)
        for name in task.served_files:
            artifacts.copy(prepared / name, models / name)
        manifest = _describe(meta, metrics, models, artifacts.sha256_of(checkpoint), baselines, int8)
        artifacts.write(models / artifacts.MANIFEST, manifest)
    _log(run, parity, pruning, int8)
    run.register(out, meta)
    return manifest


def _baselines(graph: Path, relu_layers: list[str], val: PreparedSplit) -> dict[str, Any]:
    """Return the baselines of drift detection, by their names in the manifest and its section `int8`."""
    return {
        "relu_baseline": baseline(relu_layers, predict_onnx(graph, val, ZERO_SHARES)),
        "confidence_baseline": confidence_baseline(predict_onnx(graph, val)),
    }


def _prune(path: Path, splits: Splits, refused: Callable[[bytes], str | None]) -> Pruning:
    """Prune the graph at `path` and return the report.

    The file does not change if a prediction would: by float32 rounding, or because a test example activates a unit
    that no training or validation example activates.
    """
    model = onnx.load(path)
    pruned, report = prune(model, splits)
    if report.removed and (reason := refused(serialised(pruned))):
        report = unpruned(model, splits("val"), report.measured_rows, report.layers, reason)
    if report.refused:
        print(f"warning: no unit was removed: {report.refused}", file=sys.stderr)
    if report.removed:
        path.write_bytes(serialised(pruned))
    return report


def _describe(
    meta: PreparedMeta,
    metrics: Metrics,
    models: Path,
    checkpoint_sha256: str,
    baselines: dict[str, Any],
    int8: Int8,
) -> Manifest:
    model = onnx.load(models / artifacts.ONNX_MODEL)
    files = sorted(models.iterdir())
    return Manifest(
        task=meta.task,
        name=artifacts.model_name(meta.task),
        version=_version(meta, artifacts.sha256_of(*files)),
        labels=meta.source.labels,
        input=_tensor_info(model.graph.input[0]),
        outputs=[_tensor_info(output) for output in model.graph.output],
        files={path.name: artifacts.sha256_of(path) for path in files},
        checkpoint_sha256=checkpoint_sha256,
        opset=model.opset_import[0].version,
        data_source=meta.source.source,
        data_sha256=meta.source.sha256,
        test_metrics=metrics.model_dump(),
        **baselines,
        int8=int8,
    )


def _version(meta: PreparedMeta, digest: str) -> str:
    """Return the version for a digest of the files; the version of a model of demo data begins with "demo-"."""
    version = digest[:VERSION_CHARS]
    return f"demo-{version}" if meta.source.source == "demo" else version


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return TensorInfo(name=value.name, shape=shape, dtype=str(dtype))


def _log(run: Run, parity: Parity, pruning: Pruning, int8: Int8) -> None:
    values = parity.model_dump(include={"different_top1", "max_probability_difference", "onnx_accuracy"})
    run.log_metrics({f"parity/{name}": value for name, value in values.items()})
    counts = {"dead_units": pruning.dead, "removed_units": pruning.removed, "parameters": pruning.after.parameters}
    run.log_metrics({f"pruning/{name}": value for name, value in counts.items()})
    values = int8.model_dump(include={"accuracy", "accuracy_loss", "val_accuracy_loss", "max_probability_difference"})
    run.log_metrics({f"int8/{name}": value for name, value in values.items()})
