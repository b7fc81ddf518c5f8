"""Rewrite rules that fold batch norms of an ONNX graph into adjacent layers, also across a max pooling."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxscript import ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, rewrite
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule

from relu_pipeline.export.rewriting import constant, inputs_of, is_constant, matches, producer

EPSILON = 1e-5  # ONNX's default for BatchNormalization
DENSE = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # ONNX's defaults for Gemm


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model after applying the rules in order."""
    before_pooling, into_dense = NormBeforePooling.rule(), NormIntoDense.rule()  # type: ignore[no-untyped-call]
    for rule in (before_pooling, fuse_batchnorm_into_conv_rule, into_dense):
        model = rewrite(model, [rule])
    return model


class NormBeforePooling(RewriteRuleClassBase):
    """Rule that moves a batch norm before the max pooling that precedes it, so that the convolution can absorb it.

    This is exact if all scales are positive: such a norm preserves the order of the values.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        pooled = op.MaxPool(x, _outputs=["pooled"])
        return op.BatchNormalization(pooled, _allow_other_inputs=True, _outputs=["normed"])

    def check(self, op: Any, x: ir.Value, normed: ir.Value, **_: ir.Value) -> MatchResult:
        layer, norm = x.producer(), producer(normed)
        follows_conv = layer is not None and layer.op_type == "Conv" and len(x.uses()) == 1
        return matches(follows_conv and _is_fixed(norm) and bool((_affine(norm)[0] > 0).all()))

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value, normed: ir.Value) -> Any:
        norm, pool = producer(normed), producer(pooled)
        return op.MaxPool(op.BatchNormalization(x, *norm.inputs[1:], **norm.attributes), **pool.attributes)


class NormIntoDense(RewriteRuleClassBase):
    """Rule that folds a batch norm of scale s and shift t into the dense layer that follows it.

    W (s x + t) + b = (W s) x + (W t + b)
    """

    def pattern(self, op: Any, x: Any) -> Any:
        normed = op.BatchNormalization(x, _allow_other_inputs=True, _outputs=["normed"])
        return op.Gemm(normed, _allow_other_inputs=True, _outputs=["dense"])

    def check(self, op: Any, normed: ir.Value, dense: ir.Value, **_: ir.Value) -> MatchResult:
        layer = producer(dense)
        attributes = {name: item.value for name, item in layer.attributes.items()}
        weights = inputs_of(layer)[1:]
        return matches(
            _is_fixed(producer(normed))
            and DENSE | attributes == DENSE | {"transB": 1}
            and len(weights) == 2
            and all(is_constant(value) and len(value.uses()) == 1 for value in weights)
        )

    def rewrite(self, op: Any, x: ir.Value, normed: ir.Value, dense: ir.Value) -> Any:
        scale_F, shift_F = _affine(producer(normed))
        weight, bias = inputs_of(producer(dense))[1:]
        weight_OF, bias_O = constant(weight), constant(bias)
        return op.Gemm(
            x,
            op.initializer(ir.tensor((weight_OF * scale_F).astype(weight_OF.dtype)), name=weight.name),
            op.initializer(ir.tensor((weight_OF @ shift_F + bias_O).astype(bias_O.dtype)), name=bias.name),
            **producer(dense).attributes,
        )


def _is_fixed(norm: ir.Node) -> bool:
    return all(is_constant(value) for value in inputs_of(norm)[1:])


def _affine(norm: ir.Node) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scale and shift `[C]` of a BatchNormalization with constant parameters."""
    gamma_C, beta_C, mean_C, variance_C = (constant(value).astype(np.float64) for value in inputs_of(norm)[1:])
    scale_C = gamma_C / np.sqrt(variance_C + norm.attributes.get_float("epsilon", EPSILON))
    return scale_C, beta_C - mean_C * scale_C
