"""torch -> ONNX: preprocessing, softmax and the count of the ReLUs' zeros are inside the graph."""

import logging
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx.errors import OnnxExporterError

from relu_pipeline.errors import ExportError
from relu_pipeline.evaluation.predict import OUTPUT_NAME
from relu_pipeline.export.fold import fold
from relu_pipeline.health.zero_shares import with_zero_shares
from relu_pipeline.task import Task

ZERO_SHARES = "zero_shares"


class Answering(nn.Module):
    """inputs -> probabilities `[B, C]`, zero shares `[B, R]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, zero_shares = with_zero_shares(self.network, inputs)
        return torch.softmax(logits, dim=1), zero_shares


def export_graph(task: Task[Any], network: nn.Module, example: Tensor, opset: int, path: Path) -> None:
    """Write the checked graph. `example` has at least 2 rows: a single one would be taken as the fixed batch size.

    Raises ExportError for a network that torch cannot export.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            Answering(network).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=[task.input_name],
            output_names=[OUTPUT_NAME, ZERO_SHARES],
            dynamic_shapes=(dict(task.dynamic_axes),),
        )
    except OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(
            f"torch cannot export this network to ONNX: {cause}; choose another in {task.name}.model of params.yaml"
        ) from error
    assert program is not None  # as dynamo=True promises
    model = fold(program.model_proto)
    strip_traces(model)
    _count_faster(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip_traces(model: onnx.ModelProto) -> None:
    """The exporter notes the source lines, with their folders, at each node: other bytes on each machine."""
    for holder in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del holder.metadata_props[:]
        holder.doc_string = ""


def _count_faster(model: onnx.ModelProto) -> None:
    """Sign of what is never negative, by an operator that ONNX Runtime computes vectorised and in its blocked layout.

    The smallest normal float32, 2^-126, becomes 2, and is cut to 1.
    """
    attributes = [onnx.helper.make_attribute(name, value) for name, value in (("alpha", 2.0**127), ("beta", 0.0))]
    for node in model.graph.node:
        if node.op_type == "Sign":
            node.op_type = "HardSigmoid"
            node.attribute.extend(attributes)
