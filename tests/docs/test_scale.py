import subprocess
import sys

from tests.documents import blocks


def test_the_formula_runs_without_the_project() -> None:
    (block,) = blocks("docs/scale.md", "python")
    done = subprocess.run([sys.executable, "-I", "-c", block.code], capture_output=True, text=True, check=True)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["training", "images", "texts"]
