"""Helpers for the rewrite rules of `fold` and `quantise`. Their asserts state what a rule's `check` has verified."""

from typing import Any

from numpy.typing import NDArray
from onnxscript import ir
from onnxscript.rewriter import MatchResult


def matches(holds: bool) -> MatchResult:
    """Return the result of a rule's `check`."""
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
