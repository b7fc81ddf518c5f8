"""Parts of the rewrite rules of `fold` and `quantise`. A rule's `check` has seen what its `rewrite` relies on."""

from typing import Any

from numpy.typing import NDArray
from onnxscript import ir
from onnxscript.rewriter import MatchResult


def matches(holds: bool) -> MatchResult:
    """Return what a rule's `check` answers."""
    result = MatchResult()
    return result if holds else result.fail("the rule does not hold for what the pattern found")


def producer(value: ir.Value) -> ir.Node:
    """Return the node that computes a value that is not an input or initializer."""
    node = value.producer()
    assert node is not None
    return node


def inputs_of(node: ir.Node) -> list[ir.Value]:
    """Return the inputs without the optional ones that are left out."""
    return [value for value in node.inputs if value is not None]


def is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_input() and value.const_value is not None


def constant(value: ir.Value) -> NDArray[Any]:
    """Return the numbers of a constant."""
    assert value.const_value is not None
    return value.const_value.numpy()
