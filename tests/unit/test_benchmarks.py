"""The benchmarks take minutes to hours; here they are imported, so that a renamed function is noticed."""

import importlib
import pkgutil

import pytest

import benchmarks

NAMES = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
NOT_HERE = ("__main__", "_side")  # they run at once; the peers' sides need environments of their own


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(NOT_HERE)])
def test_every_benchmark_can_be_imported(name: str) -> None:
    importlib.import_module(name)
