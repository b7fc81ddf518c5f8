"""Export of a torch network as an ONNX graph with its preprocessing, softmax and zero fractions of ReLU outputs."""

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
    """Module that maps inputs to probabilities `[B, C]` and the zero fractions `[B, R]` of the R ReLU layers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, zero_shares = with_zero_shares(self.network, inputs)
        return torch.softmax(logits, dim=1), zero_shares


def export_graph(task: Task[Any], network: nn.Module, example: Tensor, opset: int, path: Path) -> None:
    """Export the network, check the graph and write it to `path`.

    `example` is a batch of at least 2 inputs: the exporter would take 1 for a fixed batch size. Raises ExportError if
    torch cannot export the network.
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
    assert program is not None  # guaranteed by dynamo=True
    model = fold(program.model_proto)
    strip_traces(model)
    _count_faster(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove the source locations that the exporter stores in the graph: they differ between machines."""
    for holder in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del holder.metadata_props[:]
        holder.doc_string = ""


def _count_faster(model: onnx.ModelProto) -> None:
    """Replace Sign by HardSigmoid, which ONNX Runtime vectorises and computes in its blocked layout.

    The results are equal because the inputs are outputs of ReLU: 0 stays 0, and even the smallest normal float32,
    2^-126, is scaled to 2 and clipped to 1.
    """
    attributes = [onnx.helper.make_attribute(name, value) for name, value in (("alpha", 2.0**127), ("beta", 0.0))]
    for node in model.graph.node:
        if node.op_type == "Sign":
            node.op_type = "HardSigmoid"
            node.attribute.extend(attributes)
