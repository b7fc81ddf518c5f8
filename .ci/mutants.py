"""Mutation testing with Cosmic Ray: the share of random mutants of `src` and `serving` that the tests detect.

`make mutants`, or `python .ci/mutants.py [--count 200] [--seed 0]`. A mutant has one changed operator, number,
condition, decorator, loop or `except` clause. Its tests are the fast ones of its own module: tests/serving for
`serving`, otherwise the folder or file of the same name in tests/unit, or those in ELSEWHERE.
The mutants are written to a temporary copy of the working tree, never to the tree itself; Ctrl-C ends with the share
so far. Cosmic Ray changes no strings, and so no docstring or message. What no input reaches is left out here; see
`behaviour`.
"""

import argparse
import ast
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from relu_pipeline.data.randomness import generator

# Equality in place of identity, or the other way round: of short strings, None and small integers both hold.
SAME = tuple(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_Is", "Is_Eq", "NotEq_IsNot", "IsNot_NotEq"))
OPERATORS = {
    name.removeprefix("core/"): get_operator(name)()
    for name in operator_names()
    if not name.endswith(SAME) and not get_operator(name).arguments()
}

# Tests of the modules that have none of their own name.
ELSEWHERE = {
    "describe": "tests/unit/models tests/unit/export/test_timm.py",
    "errors": "tests/unit/test_config.py tests/unit/test_provenance.py tests/unit/data tests/unit/doctor",
    "figures": "tests/unit/evaluation tests/unit/validation/test_pictures.py",
    "params_file": "tests/unit/test_use.py tests/unit/test_recipes.py",
    "parser": "tests/unit/test_cli.py",
    "task": "tests/unit/test_tasks.py",
}


class Mutant(NamedTuple):
    module: Path
    line: int
    operator: str
    source: str
    code: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes: Counter[str] = Counter()
    with suppress(KeyboardInterrupt), copy_of_the_working_tree():
        for mutant in islice(draw(arguments.seed), arguments.count):
            outcome = judge(mutant)
            outcomes[outcome] += 1
            print(f"{outcome}: {mutant.module}:{mutant.line} {mutant.operator}", flush=True)
            if outcome == "survived":
                print(changed_lines(mutant), flush=True)
    total = outcomes.total()
    detected = total - outcomes["survived"]
    print(f"{detected} of {total} mutants detected ({detected / max(1, total):.0%}): {dict(outcomes)}")


@contextmanager
def copy_of_the_working_tree() -> Iterator[None]:
    """Work in a temporary copy of all files that git knows or would add."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    names = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for name in filter(os.path.lexists, names):
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, Path(folder) / name, follow_symlinks=False)
        with chdir(folder):
            subprocess.run(["git", "init", "--quiet"], check=True)  # DVC opens no project outside a repository
            yield


def draw(seed: int) -> Iterator[Mutant]:
    """Yield one mutant for each place in the code, in random order: every operator, number or condition counts once."""
    places = defaultdict(list)
    for module in sorted([*Path("src").rglob("*.py"), *Path("serving").rglob("*.py")]):
        nodes = list(ast_nodes(get_ast_from_path(module)))
        for name, operator in OPERATORS.items():
            positions = ((node, at) for node in nodes for at in operator.mutation_positions(node))
            for occurrence, (node, at) in enumerate(positions):
                if node.parent is None or node.parent.type != "parameters":  # the marker `*` is no multiplication
                    places[module, at].append((name, occurrence))
    rng, keys = generator(seed, "mutants"), list(places)
    for index in rng.permutation(len(keys)):
        module, ((line, _), _) = keys[index]
        name, occurrence = places[keys[index]][rng.integers(len(places[keys[index]]))]
        source = module.read_text()
        try:
            mutated = mutate_code(source, OPERATORS[name], occurrence)
        except AttributeError:  # Cosmic Ray replaces no dotted name in a tuple of exceptions
            continue
        if behaviour(mutated) not in ("", behaviour(source)):
            yield Mutant(module, line, name, source, mutated)


def behaviour(source: str) -> str:
    """Return the syntax tree without what no input reaches, or "" if `source` has none.

    That is operators between types, `if TYPE_CHECKING`, and `strict=` of `zip`, a guard against mistakes in the code.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        for part in ast.walk(annotation) if annotation else ():
            if isinstance(part, ast.BinOp):
                part.op = ast.BitOr()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.test, node.body = ast.Constant(value=False), []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
    return ast.dump(tree)


def judge(mutant: Mutant) -> str:
    """Return "killed" if a test fails, "timed out" if the tests take four times as long as usual, else "survived"."""
    target = tests_of(mutant.module)
    limit = max(60.0, 4 * usual_seconds(target))
    mutant.module.write_text(mutant.code)
    try:
        return "survived" if run_tests(target, limit) == 0 else "killed"
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        mutant.module.write_text(mutant.source)


def tests_of(module: Path) -> str:
    if module.is_relative_to("serving"):
        return "tests/serving"
    name = module.relative_to("src/relu_pipeline").with_suffix("").parts[0]
    own = [at for at in (f"tests/unit/{name}", f"tests/unit/test_{name}.py") if Path(at).exists()]
    return own[0] if own else ELSEWHERE[name]


@cache
def usual_seconds(target: str) -> float:
    """Return how long the tests take without a mutant; exit if they fail."""
    started = time.monotonic()
    if run_tests(target, None) != 0:
        sys.exit(f"error: {target} fails without a mutant; see `pytest {target} -m 'not slow'`")
    return time.monotonic() - started


def run_tests(target: str, limit: float | None) -> int:
    """Return the exit status of pytest. Without byte code: two mutants of a second look alike to Python's cache.

    With one thread, as waiting threads slow down other processes, such as a second run with another seed.
    """
    words = [sys.executable, "-m", "pytest", *target.split(), "-m", "not slow", "-x", "-q"]
    environment = os.environ | {"PYTHONPATH": f"{Path.cwd()}/src:{Path.cwd()}"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(words, env=environment, timeout=limit, check=False, **quiet).returncode


def changed_lines(mutant: Mutant) -> str:
    before, after = mutant.source.splitlines(), mutant.code.splitlines()
    return "\n".join(f"  {line}" for line in islice(difflib.unified_diff(before, after, n=0, lineterm=""), 3, None))


if __name__ == "__main__":
    main()
