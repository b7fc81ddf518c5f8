"""One checkpoint -> `model.onnx`, `parity.json` and `manifest.json`."""

from pathlib import Path

import onnx
import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Metrics, Parity, PreparedMeta, RunInfo, TensorInfo
from relu_pipeline.config import ExportConfig
from relu_pipeline.data.batches import load_split
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.export.graph import export_graph
from relu_pipeline.export.parity import compare, require, run_onnx
from relu_pipeline.health.probe import zero_shares
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tracking.run import Run

ALIAS = "candidate"
EXAMPLE_ROWS = 2


def export(models: Path, reports: Path, prepared: Path, config: ExportConfig, run: Run) -> Manifest:
    """Nothing in `models` changes unless the graph passes and is registered. Raises ParityError, ArtifactError."""
    meta = artifacts.read(prepared / "meta.json", PreparedMeta)
    metrics = artifacts.read(reports / artifacts.METRICS, Metrics)
    network = load_network(models / artifacts.CHECKPOINT)
    test, val = (load_split(meta.task, prepared, split) for split in ("test", "val"))
    example = val.gather(torch.arange(EXAMPLE_ROWS))
    with artifacts.atomic_file(models / artifacts.ONNX_MODEL) as partial:
        export_graph(meta.task, network, example, config.opset, partial)
        onnx_answers = run_onnx(partial, test)
        parity = compare(predict(network, test), onnx_answers, test.labels.numpy())
        artifacts.write(reports / artifacts.PARITY, parity)
        require(parity, metrics.accuracy, config.max_probability_difference)
        version = _register(meta, partial, example, run)
        relu_baseline = zero_shares(network, val)
    manifest = _describe(meta, metrics, models, prepared, version, relu_baseline)
    artifacts.write(models / artifacts.MANIFEST, manifest)
    _log(run, parity, models)
    return manifest


def _model_name(meta: PreparedMeta) -> str:
    return f"relu-pipeline-{meta.task}"


def _register(meta: PreparedMeta, model: Path, example: torch.Tensor, run: Run) -> str:
    """The registry's version number; a model of demo data says so wherever its version is shown."""
    version = run.register_onnx(model, _model_name(meta), ALIAS, example.numpy())
    return f"demo-{version}" if meta.source.source == "demo" else version


def _describe(
    meta: PreparedMeta, metrics: Metrics, models: Path, prepared: Path, version: str, relu_baseline: dict[str, float]
) -> Manifest:
    model = onnx.load(models / artifacts.ONNX_MODEL)
    run = artifacts.read(models / artifacts.RUN, RunInfo)
    served = {artifacts.ONNX_MODEL: models}
    if meta.task == "text":
        served[artifacts.TOKENIZER] = prepared  # the same bytes as the one in models/text, and this stage's input
    return Manifest(
        task=meta.task,
        name=_model_name(meta),
        version=version,
        labels=meta.source.labels,
        input=_tensor_info(model.graph.input[0]),
        outputs=[_tensor_info(output) for output in model.graph.output],
        files={name: artifacts.sha256_of(folder / name) for name, folder in served.items()},
        checkpoint_sha256=artifacts.sha256_of(models / artifacts.CHECKPOINT),
        opset=model.opset_import[0].version,
        run_id=run.run_id,
        git_commit=run.git_commit,
        data_source=meta.source.source,
        data_sha256=meta.source.sha256,
        test_metrics=metrics.model_dump(exclude={"per_class"}),
        relu_baseline=relu_baseline,
    )


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return TensorInfo(name=value.name, shape=shape, dtype=str(dtype))


def _log(run: Run, parity: Parity, models: Path) -> None:
    values = parity.model_dump(include={"different_top1", "max_probability_difference", "onnx_accuracy"})
    run.log_metrics({f"parity/{name}": value for name, value in values.items()})
    run.log_files([models / artifacts.MANIFEST], "export")
