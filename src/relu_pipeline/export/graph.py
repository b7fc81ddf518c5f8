"""torch -> ONNX: preprocessing and softmax are inside the graph."""

import logging
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from relu_pipeline.config import Task

INPUT_NAMES: dict[Task, str] = {"image": "image", "text": "token_ids"}
OUTPUT_NAME = "probabilities"
DYNAMIC_AXES: dict[Task, dict[int, str]] = {"image": {0: "N"}, "text": {0: "N", 1: "L"}}


class Probabilities(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.softmax(self.network(inputs), dim=1)


def export_graph(task: Task, network: nn.Module, example: Tensor, opset: int, path: Path) -> None:
    """Write the checked graph. `example` has at least 2 rows: a single one would be taken as the fixed batch size."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        Probabilities(network).eval(),
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=opset,
        input_names=[INPUT_NAMES[task]],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=(DYNAMIC_AXES[task],),
    )
    assert program is not None  # as dynamo=True promises
    model = program.model_proto
    _strip_traces(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _strip_traces(model: onnx.ModelProto) -> None:
    """The exporter notes the source lines, with their folders, at each node: other bytes on each machine."""
    for holder in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del holder.metadata_props[:]
        holder.doc_string = ""
