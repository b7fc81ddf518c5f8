"""Fewer nodes for the same answers: batch norms go into the layers beside them, also across a pooling."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxscript import ir
from onnxscript.rewriter import RewriteRuleClassBase, rewrite
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule

EPSILON = 1e-5  # of a BatchNormalization that names none
DENSE = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # of a Gemm that names none


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewritten wherever a rule below holds, each on what the one before it left."""
    for rule in (NormBeforePooling.rule(), fuse_batchnorm_into_conv_rule, NormIntoDense.rule()):
        model = rewrite(model, [rule])
    return model


class NormBeforePooling(RewriteRuleClassBase):
    """A norm that keeps the order of values does the same before a maximum, where a convolution can take it in."""

    def pattern(self, op: Any, x: Any) -> Any:
        pooled = op.MaxPool(x, _outputs=["pooled"])
        return op.BatchNormalization(pooled, _allow_other_inputs=True, _outputs=["normed"])

    def check(self, context: Any, x: ir.Value, normed: ir.Value, **_: ir.Value) -> bool:
        layer, affine = x.producer(), _affine(normed.producer())
        follows_conv = layer is not None and layer.op_type == "Conv" and len(x.uses()) == 1
        return follows_conv and affine is not None and bool((affine[0] > 0).all())

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value, normed: ir.Value) -> ir.Value:
        norm, pool = normed.producer(), pooled.producer()
        return op.MaxPool(op.BatchNormalization(x, *norm.inputs[1:], **norm.attributes), **pool.attributes)


class NormIntoDense(RewriteRuleClassBase):
    """W (s x + t) + b = (W s) x + (W t + b), for a norm of the scale s and the shift t before a dense layer."""

    def pattern(self, op: Any, x: Any) -> Any:
        normed = op.BatchNormalization(x, _allow_other_inputs=True, _outputs=["normed"])
        return op.Gemm(normed, _allow_other_inputs=True, _outputs=["dense"])

    def check(self, context: Any, normed: ir.Value, dense: ir.Value, **_: ir.Value) -> bool:
        layer = dense.producer()
        attributes = {name: item.value for name, item in layer.attributes.items()}
        return (
            _affine(normed.producer()) is not None
            and DENSE | attributes == DENSE | {"transB": 1}
            and len(layer.inputs) == 3
            and all(_constant(value) is not None and len(value.uses()) == 1 for value in layer.inputs[1:])
        )

    def rewrite(self, op: Any, x: ir.Value, normed: ir.Value, dense: ir.Value) -> ir.Value:
        scale_F, shift_F = _affine(normed.producer())
        weight, bias = dense.producer().inputs[1:]
        weight_OF, bias_O = _constant(weight), _constant(bias)
        return op.Gemm(
            x,
            op.initializer(ir.tensor((weight_OF * scale_F).astype(weight.dtype.numpy())), name=weight.name),
            op.initializer(ir.tensor((weight_OF @ shift_F + bias_O).astype(bias.dtype.numpy())), name=bias.name),
            **dense.producer().attributes,
        )


def _affine(norm: ir.Node) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Scale and shift `[C]` of a BatchNormalization; None where they are not constant."""
    arrays = [_constant(value) for value in norm.inputs[1:]]
    if any(array is None for array in arrays):
        return None
    gamma_C, beta_C, mean_C, variance_C = arrays
    scale_C = gamma_C / np.sqrt(variance_C + norm.attributes.get_float("epsilon", EPSILON))
    return scale_C, beta_C - mean_C * scale_C


def _constant(value: ir.Value) -> NDArray[np.float64] | None:
    fixed = value.is_initializer() and not value.is_graph_input() and value.const_value is not None
    return value.const_value.numpy().astype(np.float64) if fixed else None
